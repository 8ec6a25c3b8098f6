"""Archives of OCI images that exist: what is in them, their tree, and images that add layers to them.

Rules: the OCI image specification 1.1; whiteouts are those of layer.md. Layers that an image has from another one stay
byte by byte, so that registries have each once.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import zstandard

from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host.containers.members import CHUNK, ZSTD, plain_name
from cc_images.model.container import Configuration

NAMES = ("path", "linkpath", "size")
"""Headers that would win over a member's new name."""

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
LARGEST_JSON = 16 << 20
"""Bytes of a manifest or configuration at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of a file."""

    path: Path
    size: int
    begin: int = 0

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open it where it begins; who reads takes no more than its size."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            yield file


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer: its blob's digest, that of the plain archive, both sha256 without a prefix, and its kind."""

    digest: str
    diff_id: str
    kind: str
    piece: Piece


class _Said(msgspec.Struct, kw_only=True, rename="pascal"):
    """How an image is run, by the names and kinds of the image specification."""

    user: str | None = None
    working_dir: str | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    labels: dict[str, str] | None = None
    exposed_ports: dict[str, Any] | None = None
    volumes: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in an archive: its configuration as JSON, and its layers, the lowest first."""

    config: Mapping[str, Any]
    layers: tuple[Layer, ...]
    annotations: Mapping[str, str]

    @property
    def configuration(self) -> Configuration:
        """How it is run."""
        said = msgspec.convert(self.config.get("config") or {}, _Said)
        return Configuration(
            user=said.user or "",
            folder=said.working_dir or "",
            entrypoint=tuple(said.entrypoint or ()),
            command=tuple(said.cmd or ()),
            environment=dict(each.partition("=")[::2] for each in said.env or ()),
            labels=said.labels or {},
            ports=tuple(said.exposed_ports or ()),
            volumes=tuple(said.volumes or ()),
        )


def read(path: Path) -> Image:
    """Return the image of an archive, or of a folder by skopeo's "dir". Raises CCImagesError for what is none."""
    try:
        found = _in_folder(path) if path.is_dir() else _pieces(path)
        if "manifest.json" in found:
            manifest = _json(found["manifest.json"])
        else:
            (top,) = _json(found["index.json"])["manifests"]
            manifest = _json(_blob(found, top["digest"]))
        if "manifests" in manifest:
            raise ValueError("it is an index of several images")
        config = _json(_blob(found, manifest["config"]["digest"]))
        diff_ids = config["rootfs"]["diff_ids"]
        layers = tuple(
            Layer(
                digest=each["digest"].removeprefix("sha256:"),
                diff_id=diff_id.removeprefix("sha256:"),
                kind=each["mediaType"],
                piece=_blob(found, each["digest"]),
            )
            for each, diff_id in zip(manifest["layers"], diff_ids, strict=True)
        )
        made = Image(config=config, layers=layers, annotations=manifest.get("annotations") or {})
        _ = made.configuration  # which can be read, from now on
        return made
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError, tarfile.TarError) as error:
        raise CCImagesError(
            f"{path.name} is no OCI image: {error}", hint="make it again", reason=Reason.DAMAGED
        ) from error


@contextmanager
def plain(layer: Layer) -> Iterator[tarfile.TarFile]:
    """Open a layer's archive, to be read once from its beginning."""
    with layer.piece.opened() as file:
        bounded = BufferedReader(cast("Any", _Bounded(file, layer.piece.size)), CHUNK)
        magic = bounded.peek(4)[:4]
        unpacked: Any = bounded
        if magic.startswith(b"\x1f\x8b"):
            unpacked = gzip.GzipFile(fileobj=bounded)
        elif magic == ZSTD:
            unpacked = zstandard.ZstdDecompressor().stream_reader(bounded, read_across_frames=True)
        with tarfile.open(fileobj=unpacked, mode="r|", bufsize=CHUNK) as tar:
            yield tar


def flatten(path: Path, target: Path, stop: threading.Event) -> None:
    """Write the tree of an archive as a zstd tar, folders before what is in them. Raises CCImagesError, Interrupted."""
    image = read(path)
    last = _last_words(image, stop)
    with (
        target.open("wb") as file,
        zstandard.ZstdCompressor(level=3, threads=-1).stream_writer(file) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar,
    ):
        for number, each in enumerate(image.layers):
            with plain(each) as layer:
                _add(layer, number, last, tar, stop)


@dataclass(slots=True)
class _Last:
    """Which layer has the last word on each name, by number; the folders as they are at last; names with links."""

    owner: dict[str, int] = field(default_factory=dict)
    folders: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    linked: set[tuple[int, str]] = field(default_factory=set)


def _last_words(image: Image, stop: threading.Event) -> _Last:
    """Look at the layers from above: what was seen there, or is hidden there, counts no more below."""
    last, hidden = _Last(), set[str]()
    for number in reversed(range(len(image.layers))):
        above = frozenset(hidden)
        with plain(image.layers[number]) as layer:
            for member in _heeded(layer, stop):
                name = plain_name(member.name)
                folder, _, end = name.rpartition("/")
                if end == OPAQUE:
                    hidden.add(f"{folder}/")
                elif end.startswith(WHITEOUT):
                    hidden.add(f"{folder}/{end.removeprefix(WHITEOUT)}".lstrip("/"))
                elif not _covers(above, name):
                    last.owner.setdefault(name, number)
                    if member.isdir() and last.owner[name] == number:
                        last.folders[name] = member
                    elif not member.isdir():
                        hidden.add(name)
                if member.islnk():
                    last.linked.add((number, plain_name(member.linkname)))
    return last


def _add(layer: tarfile.TarFile, number: int, last: _Last, tar: tarfile.TarFile, stop: threading.Event) -> None:
    """Add the files of which a layer has the last word.

    Of a file that an upper layer has replaced, the first of its other names gets the content.
    """
    contents: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    moved: dict[str, str] = {}
    for member in _heeded(layer, stop):
        name, origin = plain_name(member.name), plain_name(member.linkname)
        member.name = name
        member.pax_headers = {key: value for key, value in member.pax_headers.items() if key not in NAMES}
        if member.isdir():
            if name != "." and (whole := last.folders.pop(name, None)) is not None:
                whole.name = name
                tar.addfile(whole)
        elif last.owner.get(name) != number:
            if member.isreg() and (number, name) in last.linked:
                contents[name] = member, cast("BinaryIO", layer.extractfile(member)).read()
        elif not member.islnk():
            tar.addfile(member, layer.extractfile(member) if member.isreg() else None)
        elif origin in contents:
            file, content = contents.pop(origin)
            file.name = moved[origin] = name
            tar.addfile(file, BytesIO(content))
        else:
            member.linkname = moved.get(origin, origin)
            tar.addfile(member)


def _heeded(layer: tarfile.TarFile, stop: threading.Event) -> Iterator[tarfile.TarInfo]:
    for member in layer:
        if stop.is_set():
            raise Interrupted("the conversion was stopped")
        yield member


def _covers(hidden: frozenset[str], name: str) -> bool:
    """Say whether upper layers hide a name: it, or a folder that it is in, was removed or is something else there."""
    if name in hidden or "/" in hidden:
        return True
    parts = name.split("/")
    folders = ("/".join(parts[:end]) for end in range(1, len(parts)))
    return any(each in hidden or f"{each}/" in hidden for each in folders)


@dataclass(slots=True)
class _Bounded:
    """The first bytes of an open file, as a raw stream."""

    file: BinaryIO
    left: int
    closed: bool = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        content = self.file.read(min(self.left, len(buffer)))
        self.left -= len(content)
        buffer[: len(content)] = content
        return len(content)


def _in_folder(path: Path) -> dict[str, Piece]:
    """Return the files of a folder, blobs by the names that they have in a layout."""
    found = {each.name: Piece(path=each, size=each.stat().st_size) for each in path.iterdir()}
    return found | {f"blobs/sha256/{name}": each for name, each in found.items()}


def _pieces(path: Path) -> dict[str, Piece]:
    """Return the files of an archive by name."""
    with tarfile.open(path, "r:") as tar:
        return {
            plain_name(each.name): Piece(path=path, size=each.size, begin=each.offset_data)
            for each in tar
            if each.isreg()
        }


def _blob(found: Mapping[str, Piece], digest: str) -> Piece:
    return found[f"blobs/{digest.replace(':', '/')}"]


def _json(piece: Piece) -> Any:
    if piece.size > LARGEST_JSON:
        raise ValueError("its description is too large")
    with piece.opened() as file:
        return json.loads(file.read(piece.size))
