# Written by the element cc-xilinx.
export XILINX_XRT=/opt/xilinx/xrt
export PATH=$PATH:/opt/xilinx/xrt/bin
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/opt/xilinx/xrt/lib
export PLATFORM_REPO_PATHS=/opt/xilinx/platforms
