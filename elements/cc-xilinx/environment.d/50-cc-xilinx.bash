export DIB_FPGA_TREES="${DIB_FPGA_TREES:-} DIB_XILINX_XRT:/opt/xilinx/xrt DIB_XILINX_PLATFORM:/opt/xilinx/platforms"
