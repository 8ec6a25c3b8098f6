"""The parents of images: whether they are there, and fit. What is inherited from them is the subject of `images`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from cc_images.config.container_parts import SPACKS
from cc_images.config.yaml_file import LISTED, Section
from cc_images.model.catalog import Image


def check(images: Mapping[str, Image], where: Mapping[str, Section], problems: Sequence[str]) -> None:
    """Report parents that are not there, or not for the same architectures."""
    tags = list(images)
    for tag, image in images.items():
        for parent in image.depends:
            if parent not in images and image.builder == "spack" and parent in SPACKS:
                continue  # it is reported below
            if parent not in images:
                listed = len(problems) < LISTED  # a comparison with all names, so not for thousands
                close = difflib.get_close_matches(parent, [each for each in tags if each != tag], n=1) if listed else []
                hint = f" (did you mean {images[close[0]].name}?)" if close else ""
                where[tag].problem("depends", f"{parent!r} is not in the catalogue{hint}")
            elif image.builder == "dib" != images[parent].builder and parent == image.depends[0]:
                where[tag].problem(
                    "depends", f"{images[parent].name} is made by a Containerfile: dib starts from no such"
                )
            elif lacking := [arch for arch in image.arches if arch not in images[parent].arches]:
                parent_name = images[parent].name
                where[tag].problem("arch", f"{', '.join(lacking)} is not among those of its parent {parent_name}")
        _check_spack(image, images, where[tag])


def _check_spack(image: Image, images: Mapping[str, Image], section: Section) -> None:
    """Report that a catalogue lacks the images which one that Spack makes takes by default."""
    missing = [each for each in SPACKS if each in image.depends and each not in images]
    if image.builder != "spack" or not missing:
        return
    are, entries, their = ("is", "its entry", "its") if len(missing) == 1 else ("are", "their entries", "their")
    folders = " and ".join(f"containers/{each}" for each in missing)
    section.problem(
        "",
        f"builder: spack needs {' and '.join(missing)}, which {are} not in the catalogue: copy {entries}, "
        f"those of {their} parents, and {folders} from cc-images, or name other images in depends",
    )
