"""Sections of READMEs as labels: an image has those of its own README, and not those of what it starts from.

Else an image without a licence would have that of its parent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cc_images.builders.containerfile.instructions import Instruction
from cc_images.model.catalog import Arch, Image, Json
from cc_images.model.container import configured
from cc_images.model.contracts import LICENCES, README, readme_labels

FILE = "README.md"

OWN = frozenset({*README, *LICENCES})
"""Labels that tell of one image alone."""


def readme_said(image: Image, arch: Arch, folder: Path, cleared: Iterable[str] = ()) -> Json:
    """Return what the catalogue says of how an image is run; its README's sections are labels.

    Those in `cleared` are empty where neither says anything else, which takes away what it starts from has there.
    """
    said = configured(image, image.published_name(arch))
    readme = folder / FILE
    told = readme_labels(readme.read_text(errors="replace")) if readme.is_file() else {}
    return replace(said, labels={**dict.fromkeys(sorted(cleared), ""), **told, **said.labels}).as_json()


def labelled(found: Iterable[Instruction]) -> frozenset[str]:
    """Return which of the labels in OWN instructions set."""
    texts = [each.rest for each in found if each.word == "LABEL"]
    return frozenset(
        name for name in OWN if any(re.search(rf'(?:^|\s)"?{re.escape(name)}"?[=\s]', text) for text in texts)
    )
