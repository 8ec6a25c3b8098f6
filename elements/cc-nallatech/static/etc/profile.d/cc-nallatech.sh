# Written by the element cc-nallatech.
export INTELFPGAOCLSDKROOT=/opt/nallatech/sdk
export AOCL_BOARD_PACKAGE_ROOT=/opt/nallatech/bsp
export PATH=$PATH:/opt/nallatech/sdk/bin
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/opt/nallatech/sdk/host/linux64/lib:/opt/nallatech/bsp/linux64/lib
