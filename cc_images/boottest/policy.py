"""The policy of boot tests: the job for an image, and the key by which a pass counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from cc_images.model.catalog import USUAL, Arch, Format, Image, Json, Material
from cc_images.model.container import trial
from cc_images.model.plan import BootJob
from cc_images.model.recipe import key_of

RULES = 2
"""Raised when the boot test itself asks for more: what passed before is then tested again."""


LEAST_MEMORY = 1024
"""MiB of a guest's memory."""

RAMDISK_MEMORY = 4096
"""The same for a ramdisk: the kernel gives at most half of it to the tree."""


STARTS = 3
"""The same for the trial of containers."""


def boot_test_key(image: Image, arch: Arch, contracts: Iterable[str] = ()) -> str:
    """Return the key of an image's boot test: a pass with another key does not count.

    `contracts` are those of all sites that take the image.
    """
    firmware = [each.value for each in image.boots_with(arch)]
    tested: Json = {"rules": RULES, "firmware": firmware, "checks": image.checks, "memory": _memory(image)}
    tested |= {"allow": sorted(image.allow)} if image.allow else {}
    tested |= {"boot": asdict(image.boot)} if image.boot != USUAL else {}
    if (tried := trial(image, contracts)) is not None:
        tested["containers"] = {"rules": STARTS, **asdict(tried)}
    return key_of(tested)


def boot_job(
    image: Image, arch: Arch, version: str, formats: tuple[Format, ...], contracts: Iterable[str] = ()
) -> BootJob:
    """Return the job that puts a version of an image through its boot test."""
    return BootJob(
        name=image.published_name(arch),
        tag=image.tag,
        arch=arch,
        version=version,
        formats=formats,
        firmware=image.boots_with(arch),
        checks=image.checks,
        test_key=boot_test_key(image, arch, contracts),
        memory_mib=_memory(image),
        allow=image.allow,
        boot=image.boot,
        trial=trial(image, contracts),
    )


def _memory(image: Image) -> int:
    """Return what a guest gets, in MiB: what the image says that it needs, and no less than a usual small instance."""
    least = RAMDISK_MEMORY if image.makes is Material.TREE and Format.KERNEL in image.formats else LEAST_MEMORY
    return max(least, int(image.properties.get("min_ram", "0")))
