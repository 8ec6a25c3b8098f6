"""How images are tested, against their formats: keys of `boot` and of trials that nothing of an image would use."""

from __future__ import annotations

from collections.abc import Mapping

from cc_images.config.container_parts import TRIED
from cc_images.config.yaml_file import Section
from cc_images.model.catalog import CONTAINERS, RAMDISK, Format, Image, Level
from cc_images.model.contract import SILENT, contradiction

OF_DISKS = tuple(each for each in Level if each is not Level.STARTS)
OF_RAMDISKS = (Level.INSIDE, Level.FIRMWARE, Level.KERNEL, Level.LOGIN)
OF_CONTAINERS = (Level.INSIDE, Level.STARTS, Level.CHECKS)
"""The levels that images of a kind reach; other trees are only looked into."""


def check_tests(said: Mapping[str, Image], complete: Mapping[str, Image], where: Mapping[str, Section]) -> None:
    """Report what an image says of its test and nothing uses, or cannot be kept.

    Children have `boot` from their parent, so what fits one of them may stand there.
    """
    formats = {tag: {*image.formats} for tag, image in said.items()}
    for tag in reversed([*complete]):  # children come last
        if said[tag].depends:
            formats[said[tag].depends[0]] |= formats[tag]
    for tag, image in complete.items():
        if wrong := contradiction(image.boot):
            where[tag].problem("boot", wrong)
        _check_boot(said[tag], formats[tag], where[tag])
        if not {*CONTAINERS} & {*image.formats}:
            for key in (each for each in TRIED if each in said[tag].container):
                where[tag].unused(key, f"it is no container: {_formats_of(image)}")


def _check_boot(image: Image, formats: set[Format], section: Section) -> None:
    """Report keys of `boot` that none of these formats uses, and values that none of them reaches."""
    boot, has_disk = image.boot, any(each.is_disk for each in formats)
    is_booted = has_disk or bool({*RAMDISK} & formats)
    levels = _levels(formats)
    if boot.level and boot.level not in levels:
        possible = ", ".join(levels)
        section.problem("boot.level", f"{boot.level} is never reached: {_formats_of(image)}; say one of {possible}")
    if boot.console == SILENT and is_booted and not has_disk and boot.level is not Level.INSIDE:
        section.problem("boot.console", "none: of a ramdisk the test sees its console alone; name a serial port")
    for key, is_heeded, needs in (
        ("user", has_disk, "only disks are logged in to"),
        ("source", has_disk, "only disks get metadata"),
        ("console", is_booted, "only disks and ramdisks have a console"),
    ):
        if getattr(boot, key) and not is_heeded:
            section.unused(f"boot.{key}", f"{needs}, and {_formats_of(image)}")


def _levels(formats: set[Format]) -> list[Level]:
    """Return the levels that images in any of these formats reach."""
    found = {Level.INSIDE}
    found |= {*OF_DISKS} if any(each.is_disk for each in formats) else set()
    found |= {*OF_RAMDISKS} if {*RAMDISK} & formats else set()
    found |= {*OF_CONTAINERS} if {*CONTAINERS} & formats else set()
    return [each for each in Level if each in found]


def _formats_of(image: Image) -> str:
    """Return the formats of an image by the words of the catalogue."""
    words = dict.fromkeys("ramdisk" if each in RAMDISK else each.value for each in image.formats)
    return f"its formats are {', '.join(words)}"
