"""Build caches of layout 3: packages are put there, and taken from there when they are whole and signed."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.support.standin_spack.faults import FAULT, Refused, die
from tests.support.standin_spack.packages import Node, blob_path, label_of, manifest_of, prefix_of
from tests.support.standin_spack.session import Session


def push(now: Session, node: Node, folder: Path) -> None:
    """Put a package into a build cache. Raises Refused where there is no room."""
    try:
        _copy(node, folder, packed(now.tree, node))
    except OSError as error:
        raise Refused(f"PushToBuildCacheError: Failed to push 1 specs to file://{folder}:\n"
                      f"Failed to push {label_of(node)}: {error}") from error  # fmt: skip


def _copy(node: Node, folder: Path, archive: bytes) -> None:
    """Write archive, spec and manifest, each in its place at once, so that a kill leaves a part of it."""
    name, said = node["name"], dict(node)
    if FAULT.hits("foreign", name):
        said |= {"name": "libevil", "hash": "e" * 32}
    spec = gzip.compress(json.dumps({"spec": {"_meta": {"version": 5}, "nodes": [said]}}).encode(), mtime=0)
    kinds = ("install.v2.tar+gzip", "spec.v5+json")
    blobs: list[dict[str, Any]] = [
        {"contentLength": len(content), "mediaType": f"application/vnd.spack.{kind}", "compression": "gzip",
         "checksumAlgorithm": "sha256", "checksum": hashlib.sha256(content).hexdigest()}
        for kind, content in zip(kinds, (archive, spec), strict=True)
    ]  # fmt: skip
    write(folder / "v3/layout.json", b'{"signing": "gpg"}')
    if FAULT.hits("digest", name):
        archive = bytes(len(archive))
    if FAULT.hits("full", name):
        write(folder / blob_path(blobs[0]["checksum"]), archive[: len(archive) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for blob, content in zip(blobs, (archive, spec), strict=True):
        write(folder / blob_path(blob["checksum"]), content)
    text = json.dumps({"version": 3, "data": blobs}, indent=0, separators=(",", ":")).encode()
    torn = FAULT.hits("torn", name)
    write(folder / manifest_of(node), text[: len(text) // 2] if torn else text)
    if torn:
        die()


def fetched(now: Session, node: Node) -> bytes | None:
    """Return a package's archive from the first mirror that has it whole, and signed where that is asked for."""
    for mirror in now.mirrors:
        file = mirror["folder"] / manifest_of(node)
        if not file.exists():
            continue
        try:
            text = gpg("--decrypt", str(file)).decode() if mirror["signed"] else file.read_text()
            said = json.loads(text[text.index("{") : text.rindex("}") + 1])  # a signature may be around it
            archive, _ = said["data"]
            content = Path(mirror["folder"], blob_path(archive["checksum"])).read_bytes()
        except (Refused, ValueError, OSError):
            continue
        if hashlib.sha256(content).hexdigest() == archive["checksum"] and len(content) == archive["contentLength"]:
            return content
    return None


def packed(tree: Path, node: Node) -> bytes:
    """Return the archive of a package: its files under their whole path, and where that tree was."""
    prefix, out = prefix_of(tree, node), io.BytesIO()
    note = json.dumps({"buildpath": str(tree), "relative_prefix": str(prefix.relative_to(tree))}).encode()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for path in sorted(prefix.rglob("*")):
            tar.add(path, str(path).lstrip("/"), recursive=False)
        member = tarfile.TarInfo(f"{str(prefix).lstrip('/')}/.spack/binary_distribution")
        member.size = len(note)
        tar.addfile(member, io.BytesIO(note))
    return out.getvalue()


def extract(packed: bytes, tree: Path) -> None:
    """Unpack an archive into another tree; what names the first one names that."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        files = {each: tar.extractfile(each).read() for each in tar if each.isreg()}  # type: ignore[union-attr]
    note = json.loads(next(text for each, text in files.items() if each.name.endswith("/.spack/binary_distribution")))
    for member, content in files.items():
        path = tree / Path("/", member.name).relative_to(note["buildpath"])
        write(path, content.replace(note["buildpath"].encode(), os.fsencode(tree)))
        path.chmod(member.mode)


def gpg(*words: str) -> bytes:
    """Run gpg with Spack's keys and without an agent; return its output."""
    home = os.environ["SPACK_GNUPGHOME"]
    argv = ["gpg", "--homedir", home, "--batch", "--no-autostart", "--trust-model", "always", *words]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode != 0:
        raise Refused(f"Command exited with status {done.returncode}:\n{done.stderr.decode(errors='replace')}")
    return done.stdout


def write(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
