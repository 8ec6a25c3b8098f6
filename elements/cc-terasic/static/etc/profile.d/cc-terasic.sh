# Written by the element cc-terasic.
export QUARTUS_ROOTDIR=/opt/terasic/sdk/quartus
export INTELFPGAOCLSDKROOT=/opt/terasic/sdk/hld
export AOCL_BOARD_PACKAGE_ROOT=/opt/terasic/bsp
export PATH=$PATH:/opt/terasic/sdk/quartus/bin:/opt/terasic/sdk/hld/bin
