"""The boot test: looks into an image, boots it in QEMU, and judges it."""
