"""Bills of materials: what an image consists of, as far as its package databases say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

DEBIAN = frozenset({"debian", "ubuntu"})
"""Distributions whose packages are .deb files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """The packages of one version of an image, and what identifies the image."""

    name: str
    version: str
    arch: str
    created: datetime
    digests: Mapping[str, str] = field(default_factory=dict)
    """The digests of its files, by `<format>` : sha256."""
    distro: str = ""
    release: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The type of its packages, by the names of package URLs (purl)."""
        return "deb" if self.distro in DEBIAN else "rpm" if self.distro else "generic"
