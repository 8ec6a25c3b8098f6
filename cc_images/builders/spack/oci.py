"""A build cache in a registry: packages as Spack has them there, each with our signed manifest."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack import oci_layout
from cc_images.builders.spack.cache_layout import Blob, Odd
from cc_images.builders.spack.oci_calls import Calls
from cc_images.model.build_cache import BuildCache

CHUNK = 1 << 20


class Repository:
    """A cache in a repository of a registry; see `places.Place`.

    A manifest that replaces another one leaves it without a tag, for the registry's own garbage collection.
    """

    def __init__(self, cache: BuildCache) -> None:
        self._calls = Calls(cache)

    def read(self, path: str, most: int) -> bytes | None:
        content = self._calls.read(f"manifests/{oci_layout.tag_of(path)}", most, oci_layout.MANIFEST)
        return None if content is None else oci_layout.signed_in(content)

    def size(self, path: str) -> int | None:
        return self._calls.size(f"blobs/sha256:{PurePosixPath(path).name}")

    def fetch(self, blob: Blob, to: BinaryIO) -> None:
        self._calls.fetch(blob, to)

    def put(self, path: str, file: Path) -> None:
        self._calls.upload(Blob(PurePosixPath(path).name, file.stat().st_size), file)

    def finish(self, path: str, content: bytes, folder: Path) -> None:
        manifest = layout.parsed(layout.signed_text(content))
        packed = (folder / manifest.spec.path).read_bytes()
        config = oci_layout.config_of(manifest, packed, _unpacked_digest(folder / manifest.archive.path))
        blob = layout.blob_of(config)
        if self.size(blob.path) != blob.size:
            self._calls.upload(blob, config)
        self._calls.put(oci_layout.tag_of(path), oci_layout.manifest_of(manifest, blob, content), oci_layout.MANIFEST)


def _unpacked_digest(archive: Path) -> str:
    """Return the digest that an archive has without its compression. Raises Odd."""
    digest, left = hashlib.sha256(), layout.MOST_OF_AN_ARCHIVE
    try:
        with gzip.open(archive) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                left -= len(chunk)
                if left < 0:
                    raise Odd("its files are too large for a registry")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Odd("its archive cannot be unpacked") from error
    return digest.hexdigest()
