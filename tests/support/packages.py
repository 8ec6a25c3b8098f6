"""Packages as Spack drops them into an unsigned build cache: small, made in a moment, of the same layout."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.cache_layout import Blob, Manifest


@dataclass(frozen=True)
class Made:
    """A package of a lock file."""

    name: str
    hash: str = ""
    version: str = "1.0"
    external: bool = False


def made(name: str) -> Made:
    """Return a package whose hash follows from its name."""
    letters = hashlib.sha256(name.encode()).hexdigest()[:32].translate(str.maketrans("0189", "ghij"))
    return Made(name, letters)


def drop(folder: Path, package: Made, content: bytes | None = None, spec: Made | None = None) -> Manifest:
    """Write a package as Spack's autopush does: its blobs, then its manifest, each by a rename."""
    archive = gzip.compress(content or f"the files of {package.name}".encode() * 1000, mtime=0)
    node = {"name": (spec or package).name, "version": package.version, "hash": (spec or package).hash}
    described = gzip.compress(json.dumps({"spec": {"_meta": {"version": 5}, "nodes": [node]}}).encode(), mtime=0)
    blobs = [write_blob(folder, each) for each in (archive, described)]
    manifest = Manifest(blobs[0], blobs[1], "application/vnd.spack.spec.v5+json")
    write(folder / layout.manifest_path(package), layout.manifest_text(manifest).encode())
    return manifest


def write_blob(folder: Path, content: bytes) -> Blob:
    """Write a blob into its place."""
    blob = layout.blob_of(content)
    write(folder / blob.path, content)
    return blob


def write(path: Path, content: bytes) -> None:
    """Write a file by a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f"{path.name}.{os.getpid()}.new")
    staged.write_bytes(content)
    staged.rename(path)


def published(caches: Caches, folder: Path, *wanted: Made) -> list[str]:
    """Take what lies in a drop folder into caches; return what was told."""
    told: list[str] = []
    with caches.publishing(folder, wanted, told.append):
        pass
    return told
