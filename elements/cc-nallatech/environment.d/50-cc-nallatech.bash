export DIB_FPGA_TREES="${DIB_FPGA_TREES:-} DIB_NALLATECH_SDK:/opt/nallatech/sdk DIB_NALLATECH_BSP:/opt/nallatech/bsp"
