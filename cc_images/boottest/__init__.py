"""The boot test: an image is looked into, booted in QEMU, and judged."""
