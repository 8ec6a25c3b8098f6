"""Chunk stores: files as lists of content-defined chunks, so that the next version of a file costs what changed.

The formats are casync's, which desync reads and writes, too: an index (`.caibx`) names the chunks of one file by their
SHA512/256, a store (`.castr`) has each chunk once, as `<4 digits>/<id>.cacnk`, compressed by zstd. Chunks of 16 KiB on
average: smaller ones cost more in names than they save.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment, process
from cc_images.model.stop import Stop

SUFFIX = "caibx"
STORE = "chunks.castr"
"""The name of the store beside indexes."""

SIZES = (4, 16, 64)
"""The least, usual and largest size of a chunk in KiB."""

TOOLS = ("desync", "casync")
"""Programs that do it, the better one first; Debian's packages have the same names."""

_HEAD = struct.Struct("<6Q2Q")
"""Of an index, casync's caformat.h: size, kind, flags and the three sizes of chunks; size and kind of the table."""
_KINDS = (0x96824D9C7B129FF9, 0xE75B9E112F17417D)
_ITEM = struct.Struct("<Q32s")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a file: its id, and the byte after its last one in the file."""

    id: str
    end: int

    def place(self, store: str) -> str:
        """Return where it is in a store, which is a path or an address."""
        return f"{store}/{self.id[:4]}/{self.id}.cacnk"


def tool() -> str:
    """Return the program of this host. Raises CCImagesError (reason `missing-tool`) when it has none."""
    found = next((each for each in TOOLS if shutil.which(each)), None)
    if found is None:
        raise CCImagesError(
            "chunks need desync or casync, and this host has neither",
            hint="install the package casync, or desync",
            reason=Reason.MISSING_TOOL,
        )
    return found


def make(file: Path, index: Path, store: Path, *, stop: Stop) -> None:
    """Write the chunks of a file that a store lacks, then the file's index."""
    least, usual, most = SIZES
    store.mkdir(parents=True, exist_ok=True)
    if tool() == "desync":
        sizes = f"{least}:{usual}:{most}"
        _run("desync", "make", "-m", sizes, "-s", str(store), str(index), str(file), stop=stop)
    else:
        sizes = ":".join(str(each << 10) for each in SIZES)
        _run("casync", "make", f"--chunk-size={sizes}", f"--store={store}", str(index), str(file), stop=stop)


def extract(index: Path, file: Path, store: Path, *, stop: Stop) -> None:
    """Put a file together from a store that has all its chunks, each verified. Raises CommandFailed if one lacks."""
    if tool() == "desync":
        _run("desync", "extract", "-s", str(store), str(index), str(file), stop=stop)
    else:
        words = ("--seed-output=no", "--punch-holes=yes", f"--store={store}")
        _run("casync", "extract", *words, str(index), str(file), stop=stop)


def _run(*argv: str, stop: Stop) -> None:
    process.run(argv, env=environment.plain(HOME="/nonexistent", TMPDIR="/tmp"), stop=stop)


def listed(index: Path) -> list[Chunk]:
    """Return the chunks of an index in order. Raises ValueError for what is no index."""
    content = index.read_bytes()
    if len(content) < _HEAD.size + _ITEM.size:
        raise ValueError(f"{index} is no index of chunks")
    head = _HEAD.unpack_from(content)
    if (head[1], head[7]) != _KINDS:
        raise ValueError(f"{index} is no index of chunks")
    items = (_ITEM.unpack_from(content, at) for at in range(_HEAD.size, len(content) - _ITEM.size, _ITEM.size))
    return [Chunk(name.hex(), end) for end, name in items]


def lacking(index: Path, store: Path) -> list[Chunk]:
    """Return the chunks of an index that a store lacks, each once."""
    once = {each.id: each for each in listed(index)}
    return [each for each in once.values() if not Path(each.place(str(store))).exists()]


def collect(store: Path, indexes: Iterable[Path]) -> int:
    """Remove the chunks that none of the indexes names; return how many bytes that frees.

    An index that cannot be read keeps all: nobody knows which chunks are its.
    """
    try:
        used = {each.id for index in indexes for each in listed(index)}
    except (OSError, ValueError):
        return 0
    freed = 0
    for chunk in store.glob("????/*.cacnk"):
        if chunk.stem not in used:
            freed += chunk.stat().st_size
            chunk.unlink()
    return freed


def size(store: Path, chunks: Iterable[Chunk] | None = None) -> int:
    """Return the bytes of a store, or of some chunks in it."""
    if chunks is None:
        return sum(path.stat().st_size for path in store.glob("????/*.cacnk"))
    return sum(Path(each.place(str(store))).stat().st_size for each in {each.id: each for each in chunks}.values())
