export DIB_FPGA_TREES="${DIB_FPGA_TREES:-} DIB_TERASIC_SDK:/opt/terasic/sdk DIB_TERASIC_BSP:/opt/terasic/bsp"
