"""Catalogues to pull from, in a folder or on the web: which version of each image is in force, and what it consists of.

The other end of `sites.catalogue`. Whatever is read is checked before it becomes a path or an address.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import msgspec

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model import site_shapes
from cc_images.model.catalog import Arch, Download, Format
from cc_images.model.properties import CORE
from cc_images.model.redaction import without_secrets

TIMEOUT = 30.0
"""Seconds that a server has to answer."""

LARGEST = 16 << 20
"""Bytes above which a file is neither a list nor a manifest."""

LONGEST = 40_000
"""Characters of a property's value; a statement with its signature has a few thousand."""

RETIRED, ENDED = "build-retired", "build-end-of-life"
"""Properties that are about an image on one site, not about what it is."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}\Z")
_PROPERTY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}\Z")
_VERSION = re.compile(r"\d{8}-v\d{1,9}\Z")
_SHA256, _SHA512 = re.compile(r"[0-9a-f]{64}\Z"), re.compile(r"[0-9a-f]{128}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A version of an image in a catalogue: its place there, its file, and what was said of it."""

    name: str
    place: str
    arch: Arch
    format: Format
    version: str
    file: Download
    sha512: str
    size: int
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One scope of a catalogue at an address (http, https, file)."""

    address: str

    @classmethod
    def at(cls, source: str) -> Catalogue:
        """Return the catalogue at an address, or in a folder. Raises UserError for what is neither."""
        if re.match(r"(https?|file)://", source):
            return cls(source.rstrip("/"))
        if not Path(source).is_dir():
            raise UserError(
                f"{source} is neither an address, nor a folder, nor a catalogue of sites.yaml",
                hint="give the folder of a scope, that with `current` and `versions`, or its address",
            )
        return cls(Path(source).absolute().as_uri())

    def current(self) -> dict[str, str]:
        """Return the place of the version in force of each image, by its name. Raises CCImagesError."""
        said = self._json("current")
        if not isinstance(said, dict):
            raise self._wrong("current", "it is no JSON of names and versions")
        for name, place in said.items():
            if not (isinstance(place, str) and _NAME.match(name) and _VERSION.match(place)):
                raise self._wrong("current", f"{name!r}: {place!r} is no version of an image")
        return dict(sorted(said.items()))

    def offered(self, name: str, place: str) -> Offered:
        """Return what a version consists of. Raises CCImagesError for a manifest that is none, or of another image."""
        path = f"versions/{place}/manifest.json"
        try:
            said = msgspec.convert(self._json(path), site_shapes.ManifestOfVersionShape)
            disk_format, arch = Format(said.disk_format or "qcow2"), Arch(said.arch or "amd64")
        except (msgspec.ValidationError, ValueError) as error:
            raise self._wrong(path, str(error)) from error
        if said.name != name or not (_SHA256.match(said.sha256) and _SHA512.match(said.sha512) and said.size):
            raise self._wrong(path, f"it does not say what {name} consists of")
        file = f"{name}.{disk_format.suffix}"
        return Offered(
            name=name,
            place=place,
            arch=arch,
            format=disk_format,
            version=said.properties.get("build-version", ""),
            file=Download(url=f"{self.address}/versions/{place}/{quote(file)}", sha256=said.sha256, filename=file),
            sha512=said.sha512,
            size=said.size,
            properties=self._harmless(path, said.properties),
        )

    def _harmless(self, path: str, properties: Mapping[str, str]) -> dict[str, str]:
        """Return properties without those that each site sets itself. Raises CCImagesError for names that sites own."""
        for name, value in properties.items():
            wrong = name in CORE or name.startswith("os_glance_") or not _PROPERTY.match(name)
            if wrong or len(value) > LONGEST:
                raise self._wrong(path, f"the property {name[:100]!r} is none that an image may have")
        return {name: value for name, value in properties.items() if name not in (RETIRED, ENDED)}

    def _json(self, path: str) -> object:
        try:
            request = urllib.request.Request(f"{self.address}/{path}", headers={"User-Agent": "cc-images"})
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                content = answer.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise ValueError("it is too large")
            return json.loads(content)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            gone = isinstance(error, urllib.error.HTTPError) and error.code in (403, 404)
            raise CCImagesError(
                f"{self._shown}/{path} cannot be read: {without_secrets(str(getattr(error, 'reason', error)))}",
                hint="give the folder or address of a scope, that with `current` and `versions`"
                if gone
                else "try again",
                reason=Reason.FETCH,
                temporary=not gone,
            ) from error
        except (ValueError, OSError, RecursionError) as error:
            raise self._wrong(path, str(error)) from error

    def _wrong(self, path: str, why: str) -> CCImagesError:
        return CCImagesError(
            f"{self._shown}/{path}: {why}", hint="ask who keeps the catalogue", reason=Reason.CATALOGUE
        )

    @property
    def _shown(self) -> str:
        return without_secrets(self.address)
