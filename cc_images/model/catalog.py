"""The catalog's values; the glossary is in `model/__init__.py`. Plain frozen values, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Arch(StrEnum):
    """An architecture by Debian's name."""

    AMD64 = "amd64"
    ARM64 = "arm64"

    @property
    def machine(self) -> str:
        """The kernel's and Glance's name of the architecture."""
        return {"amd64": "x86_64", "arm64": "aarch64"}[self.value]


class Material(StrEnum):
    """The material that builders make: a root tree as a zstd tar, or a raw disk with partitions and a boot loader."""

    TREE = "tree"
    DISK = "disk"


class Format(StrEnum):
    """A format of disks (`qcow2` has zstd, `qcow2-zlib` is for QEMU before 5.1), trees (`tar` has zstd), containers."""

    QCOW2 = "qcow2"
    QCOW2_ZLIB = "qcow2-zlib"
    RAW = "raw"
    VMDK = "vmdk"
    VHD = "vhd"
    TAR = "tar"
    TAR_GZIP = "tar-gzip"
    SQUASHFS = "squashfs"
    OCI = "oci"
    SIF = "sif"
    KERNEL = "kernel"
    INITRAMFS = "initramfs"

    @property
    def qemu(self) -> str:
        """QEMU's name of the format of a disk."""
        return "vpc" if self is Format.VHD else self.suffix

    @property
    def suffix(self) -> str:
        """The file name's ending, of a disk also Glance's `disk_format`."""
        ends = {"tar": "tar.zst", "tar-gzip": "tar.gz", "oci": "oci.tar"}
        return ends.get(self.value) or self.value.partition("-")[0]

    @property
    def is_disk(self) -> bool:
        """Whether a file in this format is a machine's disk, and no tree of files."""
        return self not in TREES


RAMDISK = (Format.KERNEL, Format.INITRAMFS)
"""The two files that `ramdisk` in a list of formats means."""
CONTAINERS = (Format.OCI, Format.SIF)
"""Formats of trees that know how they are run."""
TREES = frozenset({Format.TAR, Format.TAR_GZIP, Format.SQUASHFS, *CONTAINERS, *RAMDISK})
"""Formats that hold files, and no disk."""


class Firmware(StrEnum):
    """How a machine starts."""

    BIOS = "bios"
    UEFI = "uefi"


class Level(StrEnum):
    """How far an image gets in the boot test, in the order in which it gets there.

    `cloud-init` is reached when it has finished without errors, `systemd` when the system runs without failed units. A
    container has `inside`, `starts` and `checks` alone.
    """

    INSIDE = "inside"
    FIRMWARE = "firmware"
    LOADER = "boot loader"
    KERNEL = "kernel"
    LOGIN = "login"
    CLOUD_INIT = "cloud-init"
    SSH = "ssh"
    SYSTEM = "systemd"
    STARTS = "starts"
    CHECKS = "checks"


class Source(StrEnum):
    """Where cloud-init finds an instance's metadata; `none`: there is none."""

    NOCLOUD = "NoCloud"
    CONFIG_DRIVE = "ConfigDrive"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """How the boot test meets an image; empty: as the image shows. `console` may be `none`, `level` is the highest."""

    user: str = ""
    console: str = ""
    source: Source | None = None
    level: Level | None = None


USUAL = Contract()

Checks = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Checks of the boot test: kind of check → name → expectations; see `checks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Where a file comes from: a `url` (https, http, file), or an `object` in the store of a `site`."""

    url: str = ""
    object: str = ""
    site: str = ""
    sha256: str = ""
    filename: str = ""
    as_url: bool | None = None
    """Whether its variable holds a file:// address in builds, not a path; None, if not set: a path."""

    @property
    def identity(self) -> str:
        """A short name of where the artifact comes from and what it must be."""
        return hashlib.sha256(f"{self.url} {self.object} {self.site} {self.sha256}".encode()).hexdigest()[:12]

    @property
    def shown(self) -> str:
        """The artifact for people: its address without what may be a password or a signature."""
        scheme, separator, rest = self._address.rpartition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2]}" if self.url else f"{self.object} of {self.site}"

    @property
    def basename(self) -> str:
        """The file's name as builds see it."""
        name = self.filename or (self.object or self._address).rpartition("/")[2]
        return name if name not in ("", ".", "..") else self.identity

    @property
    def _address(self) -> str:
        """The address without query and fragment, either of which may be a signature."""
        return self.url.partition("#")[0].partition("?")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """When versions that were replaced become private, are hidden and deleted, in seconds; None: never.

    The newest `keep` of them stay as they are. `ended` is the day on which the image's life ended, if it has.
    """

    private_after: int | None = None
    hide_after: int | None = None
    delete_after: int | None = None
    keep: int = 1
    ended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Why a package, or a vulnerability, is no reason for a new build, until a day; None: for good."""

    why: str
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One entry of images.yaml, with its defaults filled in. `timeout` is in minutes."""

    name: str
    family: str = ""
    """Of a variant: the name of the entry that it is made from."""
    variant: str = ""
    arches: tuple[Arch, ...] = (Arch.AMD64,)
    depends: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    disk: tuple[str, ...] = ("vm", "block-device-efi")
    environment: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    baremetal_only: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Download] = field(default_factory=dict)
    formats: tuple[Format, ...] = (Format.QCOW2,)
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    checks: Checks = field(default_factory=dict)
    firmware: tuple[Firmware, ...] = (Firmware.UEFI,)
    timeout: int = 240
    scratch: int = 6
    """GiB that a build's scratch folder may need: below that much free memory it lies on disk."""
    eol: date | None = None
    layer: bool = True
    assemble: bool = True
    """Whether cc-images may put its disk together, where it can; else dib does."""
    abstract: bool = False
    """Whether it is only there for others to build on: it is never built itself."""
    in_all: bool = True
    """Whether `all` means it, too; else it is built when it is named."""
    network: str = ""
    """The network of its builds: `host` or `private`; empty: private where the host offers that."""
    secrets: tuple[str, ...] = ()
    """Variables whose values are secrets: masked, searched for in the image, and no part of a key."""
    without: tuple[str, ...] = ()
    """Elements of its ancestors' lists that it leaves out."""
    boot: Contract = USUAL
    base: bool | None = None
    """Whether dib's element `base` is added to the named elements, as dib does; None if not set."""
    container: Json = field(default_factory=dict)
    """How its tree is run as a container; see `container.Configuration`."""
    builder: str = "dib"
    """What makes it: `dib`, or `containerfile` by the words in `containerfile`; see `builders.containerfile`."""
    containerfile: Json = field(default_factory=dict)
    version: str = ""
    """Its version in words of its own, such as 2.1: registries have it as a tag."""
    bump: bool = False
    """Whether that gets the next number when the image changes."""
    allow: tuple[str, ...] = ()
    """Findings that would be refused, and that the image allows: of ALLOWED."""
    retire: Retirement | None = None
    """What becomes of its old versions on all sites, whatever these say."""
    waivers: Mapping[str, Waiver] = field(default_factory=dict)
    """Packages and vulnerabilities that are no reason for a new build."""

    @property
    def makes(self) -> Material:
        """The material that its builds make: a tree when none of its formats is a disk."""
        return Material.DISK if any(each.is_disk for each in self.formats) else Material.TREE

    @property
    def entry_name(self) -> str:
        """The name of the entry that it is made from: its own, or a variant's family."""
        return self.family or self.name

    @property
    def tag(self) -> str:
        """The name as users type it."""
        return self.name.lower()

    def boots_with(self, arch: Arch) -> tuple[Firmware, ...]:
        """Return the firmware that an image for this architecture starts with; arm64 machines have UEFI alone."""
        if self.makes is Material.TREE:
            usual = Firmware.BIOS if arch is Arch.AMD64 else Firmware.UEFI
            return (usual,) if Format.KERNEL in self.formats else ()
        return self.firmware if arch is Arch.AMD64 else (Firmware.UEFI,)

    def published_name(self, arch: Arch) -> str:
        """Return the name on sites: `<Name>` for amd64, `<Name>-ARM64` for arm64."""
        return published_name(self.name, arch)


def published_name(name: str, arch: Arch) -> str:
    """Return the name on sites of an image: its own for amd64, with the architecture behind it for others."""
    return name if arch is Arch.AMD64 else f"{name}-{arch.value.upper()}"
