"""Catalogues to pull from, in a folder, on the web or in Swift: which version of each image is in force, and its file.

The other end of `sites.catalogue` and `sites.container_catalogue`. Whatever is read is checked before it becomes a path
or an address.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import msgspec

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model import site_shapes
from cc_images.model.catalog import Arch, Download, Format
from cc_images.model.properties import CORE
from cc_images.model.redaction import without_secrets
from cc_images.model.swift_address import SCHEME, SwiftAddress
from cc_images.sites.cloud import Cloud
from cc_images.sites.objects import Objects

TIMEOUT = 30.0
"""Seconds that a server has to answer."""

LARGEST = 16 << 20
"""Bytes above which a file is neither a list nor a manifest."""

LONGEST = 40_000
"""Characters of a property's value; a statement with its signature has a few thousand."""

RETIRED, ENDED = "build-retired", "build-end-of-life"
"""Properties that are about an image on one site, not about what it is."""

SCOPE = "give the folder or address of a scope, that with `current` and `versions`"
"""What to do about a source that is none."""

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
    """One scope of a catalogue at an address (http, https, file, swift)."""

    address: str

    @classmethod
    def at(cls, source: str) -> Catalogue:
        """Return the catalogue at an address, or in a folder. Raises UserError for what is neither."""
        if re.match(r"(https?|file)://", source):
            return cls(source.rstrip("/"))
        if source.startswith(SCHEME):
            _address(source)
            return cls(source.rstrip("/"))
        if not Path(source).is_dir():
            raise UserError(
                f"{source} is neither an address, nor a folder, nor a catalogue of sites.yaml",
                hint=SCOPE,
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
            disk_format, arch = _format(said.disk_format or "qcow2"), Arch(said.arch or "amd64")
        except (msgspec.ValidationError, ValueError) as error:
            raise self._wrong(path, str(error)) from error
        if said.name != name or not (_SHA256.match(said.sha256) and _SHA512.match(said.sha512) and said.size):
            raise self._wrong(path, f"it does not say what {name} consists of")
        return Offered(
            name=name,
            place=place,
            arch=arch,
            format=disk_format,
            version=said.properties.get("build-version", ""),
            file=self._download(f"versions/{place}", f"{name}.{disk_format.suffix}", said.sha256),
            sha512=said.sha512,
            size=said.size,
            properties=self._harmless(path, said.properties),
        )

    def _download(self, folder: str, file: str, sha256: str) -> Download:
        if not self.address.startswith(SCHEME):
            return Download(url=f"{self.address}/{folder}/{quote(file)}", sha256=sha256, filename=file)
        at = _address(self.address)
        return Download(object=f"{at.container}/{at.path}/{folder}/{file}", site=at.cloud, sha256=sha256, filename=file)

    def _harmless(self, path: str, properties: Mapping[str, str]) -> dict[str, str]:
        """Return properties without those that each site sets itself. Raises CCImagesError for names that sites own."""
        for name, value in properties.items():
            wrong = name in CORE or name.startswith("os_glance_") or not _PROPERTY.match(name)
            if wrong or len(value) > LONGEST:
                raise self._wrong(path, f"the property {name[:100]!r} is none that an image may have")
        return {name: value for name, value in properties.items() if name not in (RETIRED, ENDED)}

    def _json(self, path: str) -> object:
        try:
            content = self._object(path) if self.address.startswith(SCHEME) else self._file(path)
            if len(content) > LARGEST:
                raise ValueError("it is too large")
            return json.loads(content)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            gone = isinstance(error, urllib.error.HTTPError) and error.code in (403, 404)
            raise CCImagesError(
                f"{self._shown}/{path} cannot be read: {without_secrets(str(getattr(error, 'reason', error)))}",
                hint=SCOPE if gone else "try again",
                reason=Reason.FETCH,
                temporary=not gone,
            ) from error
        except (ValueError, OSError, RecursionError) as error:
            raise self._wrong(path, str(error)) from error

    def _file(self, path: str) -> bytes:
        request = urllib.request.Request(f"{self.address}/{path}", headers={"User-Agent": "cc-images"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(LARGEST + 1)
        return content

    def _object(self, path: str) -> bytes:
        """Return an object of a container. Raises CCImagesError for one that is not there, or may not be read."""
        at = _address(self.address)
        found = Objects(Cloud(at.cloud, at.cloud), at.container).read(f"{at.path}/{path}", LARGEST + 1)
        if found is None:
            raise CCImagesError(
                f"{self._shown}/{path} cannot be read: there is no such object", hint=SCOPE, reason=Reason.FETCH
            )
        return found.content

    def _wrong(self, path: str, why: str) -> CCImagesError:
        return CCImagesError(
            f"{self._shown}/{path}: {why}", hint="ask who keeps the catalogue", reason=Reason.CATALOGUE
        )

    @property
    def _shown(self) -> str:
        return without_secrets(self.address)


def _address(text: str) -> SwiftAddress:
    """Return the address of a scope in a container. Raises UserError for another one."""
    with suppress(ValueError):
        if (found := SwiftAddress.parse(text)).path:
            return found
    raise UserError(f"{text} is no address such as swift://CLOUD/CONTAINER/SCOPE", hint=SCOPE)


def _format(suffix: str) -> Format:
    """Return the format of files with an ending. Raises ValueError."""
    found = next((each for each in Format if each.suffix == suffix), None)
    return found or Format(suffix)
