"""apt's repositories: the packages that they offer now, compared with those that an image has installed.

A repository's InRelease changes several times a day; an image must be built again only when apt would install something
else into it. Formats: Debian's "repository format"; versions: Debian policy, 5.6.12.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.client
import itertools
import json
import lzma
import os
import re
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cc_images.host.files import write_bytes

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

Offers = Mapping[str, str]
"""The newest version of each package that a part of a repository has, by name; empty for what others provide."""

_PART = re.compile(r"(\d+)|(\D+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A repository's own index: its components, the digest of each file by its name, whether apt avoids it."""

    components: tuple[str, ...]
    files: Mapping[str, str]
    avoided: bool


def release(text: str) -> Release:
    """Return what an InRelease says."""
    fields = {name: value.strip() for name, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", text, re.MULTILINE)}
    listed = re.search(r"^SHA256:[ \t]*\n((?:[ \t].*\n?)+)", text, re.MULTILINE)
    words = (line.split() for line in (listed[1].splitlines() if listed else ()))
    return Release(
        components=tuple(each.rpartition("/")[2] for each in fields.get("Components", "").split()),
        files={line[2]: line[0] for line in words if len(line) == 3},
        avoided=fields.get("NotAutomatic", "").lower() == "yes",
    )


def offers(text: str) -> Offers:
    """Return what an index of packages has."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("Package: "):
            name = line[9:].strip()
        elif line.startswith("Version: ") and name:
            version = line[9:].strip()
            if not found.get(name) or is_later(version, found[name]):
                found[name] = version
            name = ""
        elif line.startswith("Provides: "):
            for each in line[10:].split(","):
                found.setdefault(each.split()[0] if each.split() else "", "")
    return found


def is_later(version: str, than: str) -> bool:
    """Say whether a version is later than another one, by the rules of Debian's policy."""
    pairs = zip(_order(version), _order(than), strict=True)
    parts = (both for one, other in pairs for both in itertools.zip_longest(one, other, fillvalue=END))
    return next((part > its for part, its in parts if part != its), False)


def _order(version: str) -> tuple[Parts, Parts, Parts]:
    """Return what orders a version: epoch, upstream version, revision."""
    epoch, _, rest = version.partition(":") if ":" in version else ("0", "", version)
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return ([([0], int(epoch) if epoch.isdecimal() else 0)], _parts(upstream), _parts(revision))


Parts = list[tuple[list[int], int]]

END: tuple[list[int], int] = ([0], 0)
"""The part that stands for all that a version has not; a number 0 without signs before it is no more."""


def _parts(text: str) -> Parts:
    """Return alternating parts without and with digits; letters sort before other signs, ~ before the end."""
    found: Parts = []
    signs: list[int] = []
    for number, other in _PART.findall(text):
        if other:
            signs = [-1 if sign == "~" else ord(sign) if sign.isalpha() else ord(sign) + 256 for sign in other]
        else:
            found.append(([*signs, 0], int(number)))
            signs = []
    if signs:
        found.append(([*signs, 0], 0))
    return found


def changed(installed: Mapping[str, str], offered: Iterable[Offers]) -> list[str]:
    """Return what apt would install differently now, a phrase each."""
    newest: dict[str, str] = {}
    for part in offered:
        for name in installed.keys() & part.keys():
            if name not in newest or is_later(part[name], newest[name]):
                newest[name] = part[name]
    found = [
        f"{name} {version} → {newest[name]}"
        for name, version in installed.items()
        if newest.get(name, version) != version
    ]
    return found + [f"{name} {version} is not offered" for name, version in installed.items() if name not in newest]


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

    def changed(self, installed: Mapping[str, str], arch: str, indices: Mapping[str, str]) -> list[str] | None:
        """Return what apt would install differently, or None when that is not known.

        `indices` has the digest of each InRelease by its address. Every component counts, also one that the image has
        nothing of: which ones a build used is not known, and names are in one component of an archive.
        """
        parts: list[Offers] = []
        try:
            for address, digest in indices.items():
                found = self._release(address, digest)
                if not found.components:
                    raise ValueError(f"{address} is flat: what it offers is not known")
                if not found.avoided:
                    parts += [self._part(address, found, component, arch) for component in found.components]
        except (OSError, ValueError, http.client.HTTPException, lzma.LZMAError, EOFError, zlib.error):
            return None
        return changed(installed, parts)

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

    def _part(self, address: str, found: Release, component: str, arch: str) -> Offers:
        """Return what a component offers. Raises ValueError when it has an index in no form that can be read."""
        for packed, unpack in UNPACK.items():
            name = f"{component}/binary-{arch}/Packages{packed}"
            if (digest := found.files.get(name)) is None:
                continue
            if digest not in self._offers:
                kept = self._kept(digest)
                self._offers[digest] = self._parsed(address, name, digest, unpack) if kept is None else kept
            return self._offers[digest]
        if any(name.startswith(f"{component}/binary-{arch}/Packages") for name in found.files):
            raise ValueError(f"{address} has an index of {component} that cannot be read")
        return {}

    def _kept(self, digest: str) -> Offers | None:
        file = self._folder / f"{digest}.json.gz"
        with suppress(OSError, ValueError, EOFError, zlib.error):
            found = json.loads(gzip.decompress(file.read_bytes()))
            os.utime(file)
            if isinstance(found, dict):
                return {str(name): str(version) for name, version in found.items()}
        return None

    def _parsed(self, address: str, name: str, digest: str, unpack: Callable[[], _Unpacker] | None) -> Offers:
        content = self._fetched(f"{address.rpartition('/')[0]}/{name}", digest)
        if unpack is not None:
            unpacker = unpack()
            content = unpacker.decompress(content, self._unpacked)
            if not unpacker.eof or unpacker.unused_data:
                raise ValueError(f"{address}: {name} is torn, in pieces, or larger than {self._unpacked >> 20} MiB")
        found = offers(content.decode(errors="replace"))
        self._keep(self._folder / f"{digest}.json.gz", gzip.compress(json.dumps(found).encode(), 1))
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
