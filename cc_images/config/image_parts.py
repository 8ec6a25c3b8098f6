"""Parts of an entry of images.yaml: its checks, its contract with the boot test, its artifacts, its firmware."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cc_images.config.yaml_file import Section
from cc_images.model.catalog import (
    RAMDISK,
    Arch,
    Checks,
    Contract,
    Download,
    Firmware,
    Format,
    Image,
    Level,
    Source,
    Waiver,
)
from cc_images.model.check_kinds import KINDS
from cc_images.model.checks import DROPPED, canonical, mistakes
from cc_images.model.contract import USER_NAME
from cc_images.model.properties import mistake

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}\Z")
"""A name of at most 100 characters: file systems take 255 bytes, and archives and logs add to them."""


MACHINES = {each.machine: each.value for each in Arch} | {"x64": "amd64", "x86-64": "amd64", "armv8": "arm64"}
"""Architectures by the names that others give them."""


_RAMDISK = "ramdisk"

_FORMATS = (*(each.value for each in Format if each not in RAMDISK), _RAMDISK)
"""Formats by the words of the catalogue."""


_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


_CONSOLE = re.compile(r"(ttyS[0-3]|ttyAMA0|none)\Z")


_AS = re.compile(r"(path|url)\Z")


_URL = re.compile(r"((https?|file)://|\{DIB_[A-Z0-9_]+\}/)\S+\Z")


def formats_of(section: Section) -> tuple[Format, ...]:
    """Read a list of formats, in which `ramdisk` stands for its two files; nothing where there is none."""
    found: list[Format] = []
    for word in section.chosen("formats", _FORMATS):
        found += RAMDISK if word == _RAMDISK else (Format(word),)
    return tuple(found)


def contract_of(section: Section) -> Contract:
    """Read the section `boot` of an image. Raises UserError, as `artifact_of` does."""
    said = Contract(
        user=section.text("user", USER_NAME, "a user's name"),
        console=section.text("console", _CONSOLE, "ttyS0 to ttyS3, ttyAMA0 or none"),
        source=next(iter(section.choices("source", Source)), None),
        level=next(iter(section.choices("level", Level)), None),
    )
    section.close()
    return said


def usual_firmware(disk: Sequence[str]) -> set[Firmware]:
    """Return the default firmware of a disk with these elements."""
    return {Firmware.BIOS, Firmware.UEFI} if any("efi" in element for element in disk) else {Firmware.BIOS}


def firmware_of(image: Image) -> tuple[Firmware, ...]:
    """Return the firmware that an image's disk starts with.

    Unless the catalogue says it: dib's EFI layouts have a boot loader for BIOS too, its others for BIOS alone. What the
    property for clouds asks for is tested in any case.
    """
    claimed = set(image.firmware) or usual_firmware(image.disk)
    if image.properties.get("hw_firmware_type") in set(Firmware):
        claimed.add(Firmware(image.properties["hw_firmware_type"]))
    return tuple(each for each in Firmware if each in claimed)


def checks_of(section: Section) -> Checks:
    """Return what the boot test shall look for; a name whose expectation is `no` is one that the parent's drops."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for kind, known in KINDS.items():
        for name, said in section.named(kind).items():
            if said in ("", "yes", "true"):
                wanted = {}
            elif isinstance(said, str):
                wanted = {DROPPED: ""} if said in ("no", "false") else {known.short or "": said}
            else:
                wanted = {key: said.text(key) for key in said.names}
            for wrong in [] if DROPPED in wanted else mistakes(kind, name, wanted):
                section.problem(f"{kind}.{name}", wrong)
            found.setdefault(kind, {})[canonical(kind, name)] = wanted
    section.close()
    return found


def tags_of(section: Section) -> tuple[str, ...]:
    """Read the key `tags`: those of images on clouds, whose limit is 255 characters."""
    tags = section.words("tags")
    for tag in tags:
        if not tag or len(tag) > 255 or tag.partition(":")[0] == "cc-images":
            section.problem(
                "tags", f"{tag[:40]!r} is no tag for people: 1 to 255 characters, and none of cc-images' own"
            )
    return tags


def check_properties(section: Section, properties: Mapping[str, str]) -> None:
    """Report properties that clouds would not understand."""
    for name, value in properties.items():
        if wrong := mistake(name, value):
            section.problem(f"properties.{name}", wrong)


def artifact_of(section: Section) -> Download:
    """Read one entry of `artifacts`."""
    form = section.text("as", _AS, "path or url")
    artifact = Download(
        url=section.text(
            "url",
            _URL,
            "an address that begins with https://, http://, file:// or the name of a mirror's variable, {DIB_…}/",
        ),
        object=section.text("object"),
        site=section.text("site"),
        sha256=section.text("sha256", _SHA256, "64 hexadecimal digits in lower case, as sha256sum prints them"),
        filename=section.text("filename", NAME, "a file's name without folders"),
        as_url=form == "url" if form else None,
    )
    if bool(artifact.url) == bool(artifact.object):
        section.problem("", "needs either url, or object and site")
    elif artifact.object and not artifact.site:
        section.problem("site", "is missing; name the cloud whose object store has the object")
    section.close()
    return artifact


def waivers_of(section: Section) -> dict[str, Waiver]:
    """Return the packages and vulnerabilities that an image ignores: each needs a reason, and may have a last day."""
    found: dict[str, Waiver] = {}
    for name, said in section.named("ignore").items():
        if isinstance(said, str):
            section.problem(f"ignore.{name}", "needs {why: TEXT, until: DATE}; the date may be left out")
            continue
        waiver = Waiver(why=said.text("why"), until=said.day("until"))
        said.close()
        if not waiver.why.strip():
            section.problem(f"ignore.{name}.why", "is missing; say why it may wait")
        found[name] = waiver
    return found
