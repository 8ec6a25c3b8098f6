"""Text for the verb `bases`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from cc_images.model.base_images import BaseImage, RegistryTag
from cc_images.model.plain_text import printable
from cc_images.report.text import end_of_life
from cc_images.report.units import age, aligned

SHORT = len("sha256:") + 12
"""Characters of a digest that are shown."""


def base_images(found: Sequence[BaseImage], now: datetime) -> list[str]:
    """Return the table of the catalogue's base images: newest build, its age, digest and formats, and who uses it."""
    if not found:
        return ["no image of the catalogue is for containers: one with `formats: [oci]` is"]
    table: list[Sequence[str]] = [
        ("base image", "arch", "newest build", "age", "digest", "formats", "end of life", "images on it")
    ]
    for each in found:
        build = each.build
        table.append(
            (
                each.image.tag,
                each.target.arch,
                build.version if build else "never built",
                age(now - build.created) if build else "-",
                each.digest[:SHORT] or "-",
                ", ".join(each.formats),
                end_of_life(each.image, now),
                str(len(each.children)),
            )
        )
    return aligned(table)


def registry_tags(found: Sequence[RegistryTag], errors: Mapping[str, str], now: datetime) -> list[str]:
    """Return the table of the tags in registries, and a line for each registry that could not be asked."""
    table: list[Sequence[str]] = [("site", "in a registry", "version", "age", "digest")]
    table += [
        (
            each.site,
            f"{each.repository}:{each.tag}",
            printable(each.version) or "-",  # strangers may have pushed it
            age(now - each.created) if each.created else "-",
            each.digest[:SHORT],
        )
        for each in found
    ]
    lines = ["", *aligned(table)] if found else []
    failed = [printable(f"site {name}: {error.removeprefix(f'site {name}: ')}") for name, error in errors.items()]
    return [*lines, *(["", *failed] if failed else [])]
