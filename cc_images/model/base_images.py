"""Base images: what containers can be built from, in the store and in registries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cc_images.model.builds import Build
from cc_images.model.catalog import Image, Json
from cc_images.model.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """An image of the catalogue that containers can be built from, and its newest build."""

    target: Target
    children: tuple[str, ...]
    """The tags of the images that name it in `depends`."""
    build: Build | None
    digest: str = ""
    """That of the build's OCI manifest, by which registries know it; without an OCI image, of its first file."""

    @property
    def image(self) -> Image:
        """The image's entry in the catalogue."""
        return self.target.image

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of the stored build; before the first one those of the catalogue."""
        return tuple(map(str, self.build.outputs if self.build else self.image.formats))

    def as_json(self) -> Json:
        """Return the image as plain data."""
        return {
            "tag": self.image.tag,
            "arch": self.target.arch,
            "version": self.build.version if self.build else None,
            "created": self.build.created.isoformat() if self.build else None,
            "digest": self.digest,
            "formats": self.formats,
            "files": {str(form): output.digest for form, output in self.build.outputs.items()} if self.build else {},
            "children": self.children,
            "eol": self.image.eol,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTag:
    """A tag in a registry. `created` is when cc-images published the version, else what the image itself says."""

    site: str
    repository: str
    """With host and prefix, as it is pulled."""
    tag: str
    digest: str
    version: str = ""
    """The version that cc-images gave to the build; empty for images of others."""
    created: datetime | None = None

    def as_json(self) -> Json:
        """Return the tag as plain data."""
        return {
            "site": self.site,
            "repository": self.repository,
            "tag": self.tag,
            "digest": self.digest,
            "version": self.version or None,
            "created": self.created.isoformat() if self.created else None,
        }
