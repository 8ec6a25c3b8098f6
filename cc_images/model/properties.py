"""Image properties that clouds act on, and which values make sense.

Glance accepts anything (`hw_disk_bus=bogus` too), and a wrong value shows only when an instance does not start. Names
and values are those of Nova's and Glance's documentation of useful image properties; unknown names are the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping

VALUES: Mapping[str, frozenset[str]] = {
    "architecture": frozenset({"x86_64", "aarch64", "armv7l", "i686", "ppc64le", "riscv64", "s390x"}),
    "hw_boot_menu": frozenset({"true", "false"}),
    "hw_disk_bus": frozenset({"fdc", "ide", "lxc", "nvme", "sata", "scsi", "uml", "usb", "virtio", "xen"}),
    "hw_firmware_type": frozenset({"bios", "uefi"}),
    "hw_qemu_guest_agent": frozenset({"yes", "no"}),
    "hw_scsi_model": frozenset(
        {"buslogic", "ibmvscsi", "lsilogic", "lsisas1068", "lsisas1078", "virtio-scsi", "vmpvscsi"}
    ),
    "hw_vif_model": frozenset(
        {"e1000", "e1000e", "lan9118", "ne2k_pci", "pcnet", "rtl8139", "sriov", "virtio", "vmxnet3"}
    ),
    "hypervisor_type": frozenset({"baremetal", "hyperv", "ironic", "kvm", "lxc", "qemu", "vmware", "xen"}),
    "os_secure_boot": frozenset({"disabled", "optional", "required"}),
    "os_type": frozenset({"linux", "windows"}),
}

NUMBERS = frozenset({"min_disk", "min_ram", "hw_cpu_cores", "hw_cpu_sockets", "hw_cpu_threads", "hw_rng_rate_bytes"})
"""Whole numbers; min_disk is in GiB, min_ram in MiB."""

CORE = frozenset(
    {
        "checksum",
        "container_format",
        "created_at",
        "deleted",
        "direct_url",
        "disk_format",
        "file",
        "id",
        "location",
        "locations",
        "name",
        "os_hash_algo",
        "os_hash_value",
        "os_hidden",
        "owner",
        "protected",
        "schema",
        "self",
        "size",
        "status",
        "stores",
        "tags",
        "updated_at",
        "virtual_size",
        "visibility",
    }
)
"""Names of Glance's own image fields; no property may have such a name."""


def mistake(name: str, value: str) -> str:
    """Return what is wrong with a property, or an empty string."""
    if name in CORE or name.startswith(("build-", "os_glance_")):
        return "is set by cc-images or by the site itself"
    if name in VALUES and value not in VALUES[name]:
        return f"{value!r} is none of {', '.join(sorted(VALUES[name]))}"
    if name in NUMBERS and not value.isdecimal():
        return f"{value!r} is not a whole number"
    if len(value) > 255:
        return "is longer than 255 characters"
    return ""
