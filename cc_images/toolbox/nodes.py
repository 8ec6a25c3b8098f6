"""Device nodes in trees that are made without root: no user namespace makes one, so an empty file stands for each.

    nodes.py make TREE            the /dev that a bootstrap by root has
    nodes.py pack                 a tar from standard input to standard output, with nodes for such files
    nodes.py unpack TAR WORD…     run tar with these words; what it unpacks has such files for nodes

Nodes stand in /dev alone, and their names say which they are (the kernel's devices.txt). What is packed has the same
bytes as root's. `chroot` beside this file shows the host's nodes in their places while programs run. The standard
library only; knows nothing of cc_images.
"""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

NODES = {
    "console": (5, 1),
    "full": (1, 7),
    "null": (1, 3),
    "ptmx": (5, 2),
    "random": (1, 8),
    "tty": (5, 0),
    "urandom": (1, 9),
    "zero": (1, 5),
}
"""The character devices of a fresh /dev, with their numbers."""

LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
FOLDERS = ("pts", "shm")

BLOCK = 512
CHUNK = 1 << 20
REGULAR, CHARACTER, BLOCK_DEVICE, EXTENDED = b"0", b"3", b"4", b"x"
WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
"""Links, nodes, folders and pipes; what else there is, GNU's long names too, has data."""


def make(tree: Path) -> None:
    """Make what a bootstrap by root makes in /dev."""
    for folder in ("", *FOLDERS):
        (tree / "dev" / folder).mkdir(exist_ok=True)
        (tree / "dev" / folder).chmod(0o755)
    for name in NODES:
        (tree / "dev" / name).touch()
        (tree / "dev" / name).chmod(0o666)
    for name, place in LINKS.items():
        if not os.path.lexists(tree / "dev" / name):
            (tree / "dev" / name).symlink_to(f"/proc/self/fd{place}")


def in_place(tree: Path) -> list[str]:
    """Return the names of the nodes for which a file stands in a tree."""
    found = []
    for name in NODES:
        path = tree / "dev" / name
        if os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_size == 0:
            found.append(name)
    return found


COMPRESSED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd",
              b"\x5d\x00\x00": "xz", b"LZIP": "lzip"}  # fmt: skip
"""What compresses archives, by what such files begin with."""

COMPRESSION = re.compile(r"--(?:gzip|gunzip|ungzip|bzip2|xz|zstd|lzma|lzip|auto-compress|use-compress-program=.*)")
WITH_VALUE = "fCTXIbgHKLNV"
"""tar's short options that take a value."""


def unpack(tar: str, words: list[str]) -> int:
    """Run tar, and return its exit code. An archive that it would unpack comes to it converted, and not compressed."""
    archive, others, unpacks = parsed(words)
    if not (archive and unpacks):
        return subprocess.run([tar, *words]).returncode
    with sys.stdin.buffer if archive == "-" else open(archive, "rb") as file:
        begins = file.peek(6)[:6] if isinstance(file, io.BufferedReader) else b""
        program = next((name for magic, name in COMPRESSED.items() if begins.startswith(magic)), "")
        source = None
        if program:  # what was looked at has left the descriptor
            source = subprocess.Popen([program, "-dc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            threading.Thread(target=fed, args=(file, source.stdin), daemon=True).start()
        target = subprocess.Popen([tar, *others, "-f", "-"], stdin=subprocess.PIPE)
        plain = source.stdout if source is not None else file
        assert plain is not None
        assert target.stdin is not None
        try:
            with suppress(BrokenPipeError), target.stdin:  # tar says why it has ended
                convert(plain, target.stdin, packs=False)
        except ValueError:
            target.kill()  # it would say that the archive ends too early
            raise
        failed = source is not None and source.wait() != 0
        return target.wait() or int(failed)


def fed(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy what is left of a stream, and close the other one."""
    with suppress(OSError), target:
        while chunk := source.read(CHUNK):
            target.write(chunk)


def parsed(words: list[str]) -> tuple[str, list[str], bool]:
    """Return the archive that tar's words name, the words without it and its compression, and whether they unpack."""
    archive, others, unpacks, rest = "", [], False, iter(words)
    for number, word in enumerate(rest):
        if word.startswith("--file=") or word == "--file":
            archive = word.partition("=")[2] or next(rest, "")
        elif word == "--use-compress-program":
            next(rest, "")
        elif word.startswith("--") or word == "-" or not (word.startswith("-") or number == 0):
            unpacks |= word in ("--extract", "--get")
            others += [] if COMPRESSION.fullmatch(word) else [word]
        else:
            letters = word.removeprefix("-")
            value = next((at for at, letter in enumerate(letters) if letter in WITH_VALUE), len(letters))
            flags, option = letters[:value], letters[value : value + 1]
            given = (letters[value + 1 :] or next(rest, "")) if option else ""
            unpacks |= "x" in flags
            flags = re.sub("[zjJaZ]", "", flags)
            archive = given if option == "f" else archive
            others += [f"-{flags}"] if flags else []
            others += [f"-{option}", given] if option and option not in "fI" else []
    return archive, others, unpacks


def convert(source: IO[bytes], target: IO[bytes], packs: bool) -> None:
    """Copy a tar with nodes in place of files, or the other way round. Raises ValueError for nodes that are not known.

    The fields of a header are those of ustar, see pax(1).
    """
    size = None
    while len(block := source.read(BLOCK)) == BLOCK:
        kind, told = block[156:157], size if size is not None else number(block[124:136])
        size = None
        target.write(changed(block, kind, told, packs))
        if kind == EXTENDED:
            records = source.read(-(-told // BLOCK) * BLOCK)
            said = re.search(rb"(?:^|\n)\d+ size=(\d+)\n", records[:told])
            size = int(said[1]) if said else None
            target.write(records)
        else:
            copy(source, target, 0 if kind in WITHOUT_DATA else -(-told // BLOCK) * BLOCK)
    target.flush()


def changed(block: bytes, kind: bytes, size: int, packs: bool) -> bytes:
    """Return a header as it shall be in the copy."""
    place = block[:100].rstrip(b"\0").decode(errors="replace")
    found = re.fullmatch(r"(?:\./)?dev/(.*)", place)
    known = NODES.get(found[1]) if found and not block[345:500].strip(b"\0") else None
    if packs and kind == REGULAR and size == 0 and known is not None:
        return header(block, CHARACTER, *known)
    if not packs and kind in (CHARACTER, BLOCK_DEVICE):
        if kind == BLOCK_DEVICE or known != (number(block[329:337]), number(block[337:345])):
            raise ValueError(f"{place} is a device node, which takes the host's own root to make")
        return header(block, REGULAR, 0, 0)
    return block


def header(block: bytes, kind: bytes, major: int, minor: int) -> bytes:
    """Return a header of another kind, with its sum."""
    whole = block[:148] + b" " * 8 + kind + block[157:329] + b"%07o\0%07o\0" % (major, minor) + block[345:]
    return whole[:148] + b"%06o\0 " % sum(whole) + whole[156:]


def number(field: bytes) -> int:
    """Return a number of a header: octal digits, or the bytes of a large one."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b"\0 ") or b"0", 8)


def copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    """Copy that many bytes."""
    while size > 0 and (chunk := source.read(min(size, CHUNK))):
        target.write(chunk)
        size -= len(chunk)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "make":
            make(Path(sys.argv[2]))
        elif sys.argv[1] == "unpack":
            sys.exit(unpack(sys.argv[2], sys.argv[3:]))
        else:
            convert(sys.stdin.buffer, sys.stdout.buffer, packs=True)
    except (OSError, ValueError) as error:
        raise SystemExit(f"nodes: {error}") from error
