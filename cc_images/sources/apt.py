"""apt's repositories: the packages that they offer now, compared with those that an image has installed.

A repository's InRelease changes several times a day; an image must be built again only when apt would install something
else into it. Formats: Debian's "repository format"; versions: Debian policy, 5.6.12.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.client
import json
import lzma
import os
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import write_bytes
from cc_images.model.updates import Update
from cc_images.sources.apt_index import Offers, Release, changed, offers, release, sources, updates

LARGEST = 128 << 20
"""Bytes above which a file is no index."""

TIMEOUT = 20.0
"""Seconds that a server has to answer, and may be silent."""

KEPT = 300
"""Files of indices that the store keeps."""

PATIENCE = 120.0
"""Seconds that all indices of one look together may take."""

UNPACKED = 512 << 20
"""Bytes above which an index is none, once it is unpacked."""


class _Unpacker(Protocol):
    """An object of the standard library that unpacks."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


UNPACK: Mapping[str, Callable[[], _Unpacker] | None] = {
    ".xz": lzma.LZMADecompressor,
    ".bz2": bz2.BZ2Decompressor,
    ".gz": lambda: zlib.decompressobj(31),
    "": None,
}
"""How an index may be packed, the smallest first."""

UNKNOWN = (OSError, ValueError, http.client.HTTPException, lzma.LZMAError, EOFError, zlib.error)
"""Errors for which it is not known what a repository offers."""


class Repositories:
    """Repositories as they are asked now; parsed indices are kept in `folder` by their digests."""

    def __init__(
        self,
        folder: Path,
        offline: bool = False,
        stop: threading.Event | None = None,
        *,
        unpacked: int = UNPACKED,
    ) -> None:
        self._unpacked = unpacked
        self._folder = folder
        self._offline = offline
        self._stop = stop
        self._until = time.monotonic() + PATIENCE
        self._silent: set[str] = set()
        """Servers that did not answer: they are asked once."""
        self._releases: dict[str, Release] = {}
        self._offers: dict[str, Offers] = {}
        self._sources: dict[str, Offers] = {}

    def changed(self, installed: Mapping[str, str], arch: str, indices: Mapping[str, str]) -> list[str] | None:
        """Return what apt would install differently, or None when that is not known.

        `indices` has the digest of each InRelease by its address. Every component counts, also one that the image has
        nothing of: which ones a build used is not known, and names are in one component of an archive.
        """
        try:
            parts = [part for part, _ in self._parts(arch, indices)]
        except UNKNOWN:
            return None
        return changed(installed, parts)

    def updates(self, installed: Mapping[str, str], arch: str, indices: Mapping[str, str]) -> list[Update]:
        """Return the packages of which a later version is offered now; arguments as of `changed`.

        Raises CCImagesError when that is not known.
        """
        try:
            return updates(installed, self._parts(arch, indices))
        except UNKNOWN as error:
            said = str(error) or type(error).__name__
            raise CCImagesError(f"what its repositories offer is not known: {said}", reason=Reason.FETCH) from error

    def _parts(self, arch: str, indices: Mapping[str, str]) -> list[tuple[Offers, bool]]:
        """Return what each component offers that apt does not avoid, and whether it is of a security suite."""
        parts: list[tuple[Offers, bool]] = []
        for address, digest in indices.items():
            found = self._release(address, digest)
            if not found.components:
                raise ValueError(f"{address} is flat: what it offers is not known")
            if not found.avoided:
                parts += [(self._part(address, found, each, arch), found.security) for each in found.components]
        return parts

    def offered(self, arch: str, indices: Mapping[str, str]) -> set[str] | None:
        """Return the names of all packages, as far as everything is kept here; None if something is not."""
        names: set[str] = set()
        kept = Repositories(self._folder, offline=True)
        try:
            for address, digest in indices.items():
                found = kept._release(address, digest)
                for component in found.components:
                    names |= kept._part(address, found, component, arch).keys()
        except (OSError, ValueError):
            return None
        return names or None

    def _release(self, address: str, digest: str) -> Release:
        if digest not in self._releases:
            kept = self._folder / f"{digest}.release"
            if kept.exists():
                text = kept.read_bytes()
            else:
                text = self._fetched(address, digest)
                self._keep(kept, text)
            self._releases[digest] = release(text.decode(errors="replace"))
        return self._releases[digest]

    def sources(self, arch: str, indices: Mapping[str, str]) -> Mapping[str, str]:
        """Return the sources of packages, where they have other names. Raises CCImagesError when that is not known."""
        every: dict[str, str] = {}
        try:
            for address, digest in indices.items():
                found = self._release(address, digest)
                for component in found.components:
                    if place := _index(address, found, component, arch):
                        every |= self._sources_in(address, *place)
        except UNKNOWN as error:
            raise CCImagesError(f"the sources of its packages are not known: {error}", reason=Reason.FETCH) from error
        return every

    def _sources_in(self, address: str, name: str, digest: str) -> Offers:
        if digest not in self._sources:
            kept = self._kept(digest, "sources.gz")  # an older version kept none
            self._sources[digest] = {} if kept is None else kept
            if kept is None:
                self._parsed(address, name, digest)
        return self._sources[digest]

    def _part(self, address: str, found: Release, component: str, arch: str) -> Offers:
        """Return what a component offers. Raises ValueError when it has an index in no form that can be read."""
        if not (place := _index(address, found, component, arch)):
            return {}
        name, digest = place
        if digest not in self._offers:
            kept = self._kept(digest, "json.gz")
            self._offers[digest] = self._parsed(address, name, digest) if kept is None else kept
        return self._offers[digest]

    def _kept(self, digest: str, kind: str) -> Offers | None:
        file = self._folder / f"{digest}.{kind}"
        with suppress(OSError, ValueError, EOFError, zlib.error):
            found = json.loads(gzip.decompress(file.read_bytes()))
            os.utime(file)
            if isinstance(found, dict):
                return {str(name): str(version) for name, version in found.items()}
        return None

    def _parsed(self, address: str, name: str, digest: str) -> Offers:
        content = self._fetched(f"{address.rpartition('/')[0]}/{name}", digest)
        unpack = next(each for packed, each in UNPACK.items() if name.endswith(f"Packages{packed}"))
        if unpack is not None:
            unpacker = unpack()
            content = unpacker.decompress(content, self._unpacked)
            if not unpacker.eof or unpacker.unused_data:
                raise ValueError(f"{address}: {name} is torn, in pieces, or larger than {self._unpacked >> 20} MiB")
        found = offers(content.decode(errors="replace"))
        self._keep(self._folder / f"{digest}.json.gz", gzip.compress(json.dumps(found).encode(), 1))
        self._sources[digest] = sources(content.decode(errors="replace"))
        self._keep(self._folder / f"{digest}.sources.gz", gzip.compress(json.dumps(self._sources[digest]).encode(), 1))
        return found

    def _keep(self, file: Path, content: bytes) -> None:
        with suppress(OSError):  # a full or foreign store must not keep anybody from looking
            write_bytes(file, content)
            kept = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for old in kept[:-KEPT]:
                old.unlink(missing_ok=True)

    def _fetched(self, address: str, digest: str) -> bytes:
        """Return a file whose digest is known. Raises ValueError for another content, OSError when it cannot be had."""
        if self._offline:
            raise OSError("it is not asked (--offline)")
        server = address.partition("://")[2].partition("/")[0]
        if server and server in self._silent:
            raise OSError("it did not answer")
        request = urllib.request.Request(address, headers={"User-Agent": "cc-images"})
        content = bytearray()
        out_of_time = False
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                while not out_of_time and (chunk := answer.read1(1 << 20)):
                    content += chunk
                    out_of_time = time.monotonic() > self._until or (self._stop is not None and self._stop.is_set())
                    if len(content) > LARGEST:
                        raise ValueError(f"{address} is too large")
        except urllib.error.HTTPError:
            raise
        except OSError:
            self._silent.add(server)
            raise
        if out_of_time:
            raise OSError("there was no time left for it")
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"{address} has changed again")
        return bytes(content)


def _index(address: str, found: Release, component: str, arch: str) -> tuple[str, str] | None:
    """Return the file with what a component offers, and its digest; None when it has none.

    Raises ValueError when it has one in no form that can be read.
    """
    for packed in UNPACK:
        name = f"{component}/binary-{arch}/Packages{packed}"
        if name in found.files:
            return name, found.files[name]
    if any(name.startswith(f"{component}/binary-{arch}/Packages") for name in found.files):
        raise ValueError(f"{address} has an index of {component} that cannot be read")
    return None
