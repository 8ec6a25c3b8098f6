"""Bills of materials: what an image consists of, as far as its package databases say."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime

from cc_images.model.builds import Build
from cc_images.model.catalog import Json

DEBIAN = frozenset({"debian", "ubuntu"})
"""Distributions whose packages are .deb files."""

SPACE = uuid.UUID("6c1d7c2e-9d4a-5b53-8a5e-6f6f0d3b7b11")
"""The namespace of our documents' identifiers."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """A package; `kind` is its type by the names of package URLs (purl)."""

    kind: str
    name: str
    version: str
    arch: str = ""
    path: str = ""
    """Where a Python distribution is that no other package brings."""
    source: str = ""
    source_version: str = ""
    licence: str = ""


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
    packages: tuple[Package, ...] = ()
    whole: bool = True
    """Whether the image's own databases were read; else only names and versions are known."""

    @property
    def identity(self) -> uuid.UUID:
        """The identifier of documents about it: other packages or files give another one."""
        said = [self.name, self.version, self.arch, *(f"{each}={self.digests[each]}" for each in sorted(self.digests))]
        said += ["\t".join(astuple(each)) for each in sorted(self.packages)]
        return uuid.uuid5(SPACE, "\n".join(said))


def bill_of(build: Build, details: Json, provenance: Mapping[str, str]) -> Bill:
    """Return the bill of a build from the details of its record; `provenance` stands in where nobody looked inside."""
    seen = details.get("contents", {})
    release: Mapping[str, str] = seen.get("os", {})
    distro = release.get("ID", "") or provenance.get("distro", "")
    installed = seen.get("installed")
    if installed is None:
        named = seen.get("packages") or details.get("packages", {})
        packages = [Package(kind=_kind(distro), name=name, version=named[name]) for name in named]
    else:
        packages = [_package(each) for each in installed]
    return Bill(
        name=build.name,
        version=build.version,
        arch=build.arch,
        created=build.created,
        digests={str(form): output.digest for form, output in build.outputs.items()},
        distro=distro,
        release=release.get("VERSION_ID", "") or provenance.get("release", ""),
        packages=tuple(sorted(packages)),
        whole=installed is not None,
    )


def _kind(distro: str) -> str:
    return "deb" if distro in DEBIAN else "rpm" if distro else "generic"


def _package(plain: Mapping[str, str]) -> Package:
    return Package(
        kind=plain.get("type", "generic"),
        name=plain.get("name", ""),
        version=plain.get("version", ""),
        arch=plain.get("arch", ""),
        path=plain.get("path", ""),
        source=plain.get("source", ""),
        source_version=plain.get("source-version", ""),
        licence=plain.get("licence", ""),
    )
