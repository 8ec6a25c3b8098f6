"""A target of a request: one image for one architecture."""

from __future__ import annotations

from typing import NamedTuple

from cc_images.model.catalog import Arch, Image


class Target(NamedTuple):
    """One image of the catalogue for one of its architectures."""

    image: Image
    arch: Arch
