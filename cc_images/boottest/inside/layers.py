"""The layers of an OCI image: where its archive has them, and how a later one is laid over what is there.

Rules: the OCI image specification 1.1 (image-layout.md, layer.md: whiteouts). A later layer could follow the links that
an earlier one has made, so it is laid by a process whose root is the tree itself. Devices are left out.

Runs beside `look.py` with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

Facts = dict[str, Any]

CHUNK = 1 << 20
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
XATTR = "SCHILY.xattr."
DEEPEST = 4
"""How many indexes of indexes are followed."""

CACHES = ("apt lists", "pip cache", "/root/.cache")
"""What only a build has use for, and layers are large by."""


def parts(image: Path, folder: Path) -> Iterator[Path]:
    """Yield the layers of an archive as files, the lowest first; each may be removed. Raises OSError."""
    with tarfile.open(image) as tar:
        try:
            found = manifest(tar)["layers"]
            for each in found:
                target = folder / "layer"
                with target.open("wb") as file:
                    shutil.copyfileobj(content(tar, blob(each)), file, CHUNK)
                yield target
        except (KeyError, ValueError, TypeError, tarfile.TarError) as error:
            raise OSError(0, f"it is no OCI image: {error}") from error


def configuration(image: Path) -> Facts:
    """Return the configuration of an archive's image, see config.md. Raises OSError."""
    with tarfile.open(image) as tar:
        try:
            found: Facts = json.load(content(tar, blob(manifest(tar)["config"])))
        except (KeyError, ValueError, TypeError, tarfile.TarError) as error:
            raise OSError(0, f"it is no OCI image: {error}") from error
    return found


def manifest(tar: tarfile.TarFile) -> Facts:
    """Return the manifest of the one image in an archive. Raises KeyError or ValueError."""
    said: Facts = json.load(content(tar, "index.json"))
    for _ in range(DEEPEST):
        if "layers" in said:
            return said
        several = said["manifests"]
        if len(several) != 1:
            raise ValueError(f"it has {len(several)} images, not one")
        said = json.load(content(tar, blob(several[0])))
    raise ValueError("its index has no end")


def blob(said: dict[str, str]) -> str:
    """Return where a layout has what a descriptor means."""
    kind, _, digest = said["digest"].partition(":")
    return f"blobs/{kind}/{digest}"


def content(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    """Return the content of a member. Raises KeyError."""
    found = tar.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found


def measured(place: Path) -> dict[str, int]:
    """Return the bytes of CACHES in a tree that is one layer."""
    found: dict[str, int] = {}
    for root, _, files in os.walk(place):
        inside = os.path.relpath(root, place)
        for name in files:
            if kind := cache(f"{inside}/{name}"):
                found[kind] = found.get(kind, 0) + os.lstat(os.path.join(root, name)).st_size
    return found


def cache(name: str) -> str:
    """Return which of CACHES a file belongs to, or nothing."""
    if name.startswith("var/lib/apt/lists/"):
        return "apt lists"
    if "/.cache/pip/" in f"/{name}":
        return "pip cache"
    return "/root/.cache" if name.startswith("root/.cache/") else ""


def add(layer: Path, reader: Sequence[str], place: Path, left: int) -> dict[str, int]:
    """Lay a layer over a tree; return the bytes of CACHES in it. `left` is how many bytes it may have.

    Raises OSError for what is no layer, or larger than that.
    """
    told, tell = os.pipe()
    with subprocess.Popen([*reader, str(layer)], stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        child = os.fork()
        if child == 0:
            _laid(source.stdout, place, left, tell)
        os.close(tell)
        source.stdout.close()
        with os.fdopen(told, "rb") as file:
            said = json.loads(file.read() or b'{"trouble": "the layer cannot be unpacked"}')
        os.waitpid(child, 0)
    if "trouble" in said:
        raise OSError(0, said["trouble"])
    if source.returncode not in (0, -13, 141):  # 13: what follows the archive's end is of no interest
        raise OSError(0, f"{reader[0]} cannot read it")
    found: dict[str, int] = said
    return found


def _laid(source: IO[bytes], place: Path, left: int, tell: int) -> None:
    """Be the process whose root is the tree: lay a layer, tell what became of it, and end."""
    try:
        os.chroot(place)
        os.chdir("/")
        for each in (sys.path, sys.meta_path, sys.path_hooks):  # nothing is loaded from the tree
            each.clear()
        said: Facts = dict(Laying(left).lay(source))
    except BaseException as error:  # noqa: BLE001 - the image's author decides what is in it
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        said = {"trouble": f"a layer cannot be unpacked: {why or type(error).__name__}"}
    os.write(tell, json.dumps(said).encode("utf-8", "replace"))
    os._exit(0)


class Laying:
    """The laying of one layer over the tree that is this process's root; at most `left` bytes."""

    def __init__(self, left: int) -> None:
        self.left = left
        self._own: set[str] = set()
        """Names of this layer, and the folders around them: its whiteouts do not hide these."""
        self._caches: dict[str, int] = {}

    def lay(self, source: IO[bytes]) -> dict[str, int]:
        """Lay the layer; return the bytes of CACHES in it."""
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for member in tar:
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if ".." in parts:
                    raise ValueError(f"it leads out of itself at {member.name[:100]!r}")
                if not parts or (parts[0] == "dev" and len(parts) > 1):
                    continue
                folder = "/".join(parts[:-1])
                if parts[-1] == OPAQUE:
                    self._empty(folder)
                elif parts[-1].startswith(WHITEOUT):
                    self._hide("/".join([*parts[:-1], parts[-1].removeprefix(WHITEOUT)]))
                else:
                    self._place(tar, member, "/".join(parts))
        return self._caches

    def _hide(self, name: str) -> None:
        if name not in self._own:
            removed(name)

    def _empty(self, folder: str) -> None:
        """Remove what lower layers have in a folder."""
        if os.path.islink(folder) or not os.path.isdir(folder or "."):
            return
        for each in os.listdir(folder or "."):
            name = f"{folder}/{each}" if folder else each
            if name not in self._own:
                removed(name)
            else:
                self._empty(name)

    def _place(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk() or member.isfifo()):
            return
        self._own.update(name[:at] for at in range(len(name) + 1) if name[at : at + 1] in ("/", ""))
        folder = os.path.realpath(os.path.dirname(name) or ".")  # links among the folders lead on inside of the tree
        os.makedirs(folder, exist_ok=True)
        inner, name = name, os.path.join(folder, os.path.basename(name))
        if not (member.isdir() and os.path.isdir(name) and not os.path.islink(name)):
            removed(name)
        if member.islnk():
            os.link(member.linkname.lstrip("/"), name, follow_symlinks=False)
            return
        if member.issym():
            os.symlink(member.linkname, name)
        elif member.isfifo():
            os.mkfifo(name)
        elif member.isdir():
            os.makedirs(name, exist_ok=True)
        else:
            self._write(tar, member, name, cache(inner))
        dressed(member, name)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, kind: str) -> None:
        self.left -= member.size
        if self.left < 0:
            raise ValueError("its tree is larger than the free room here")
        if kind:
            self._caches[kind] = self._caches.get(kind, 0) + member.size
        source = tar.extractfile(member)
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if source is not None:
                shutil.copyfileobj(source, file, CHUNK)


def dressed(member: tarfile.TarInfo, name: str) -> None:
    """Set owner, mode, attributes and time of what was made."""
    os.chown(name, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        os.chmod(name, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith(XATTR):
            with suppress(OSError):  # some are the host's to set
                os.setxattr(name, key.removeprefix(XATTR), value.encode("utf-8", "surrogateescape"),
                            follow_symlinks=False)  # fmt: skip
    os.utime(name, (member.mtime, member.mtime), follow_symlinks=False)


def removed(name: str) -> None:
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(name) and not os.path.islink(name):
        shutil.rmtree(name)
    else:
        with suppress(FileNotFoundError):
            os.unlink(name)
