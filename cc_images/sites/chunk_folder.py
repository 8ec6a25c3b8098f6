"""A folder that keeps images as chunks: `<Name>.caibx`, its description, and `chunks.castr` with the chunks of all.

What is chunked is the raw disk, since compressed bytes have nothing in common from version to version. The description
has the digests of the qcow2 file, the raw disk and the index; `cc-images fetch` puts both files together again. Names,
archives and rollback are a folder's; chunks that no index names any more go when an image is removed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import chunks, environment, process
from cc_images.model.catalog import Json
from cc_images.model.stop import Stop
from cc_images.sites.base import Publication
from cc_images.sites.directory import DirectorySite
from cc_images.sites.entry import Entry
from cc_images.sites.folder import flushed

SCRATCH = ".chunking"
"""A folder in the site's for the raw disk while it is chunked."""


class ChunkFolder(DirectorySite):
    """One folder of indexes, for images whose qcow2 file is published."""

    _suffix = chunks.SUFFIX
    _noted = ("index_sha512", "index_size")

    @property
    def _store(self) -> Path:
        return self._folder / chunks.STORE

    def _fill(self, publication: Publication, file: Path, stop: Stop, report: Callable[[int], None]) -> Json:
        """Write the index, after the chunks that the folder lacks."""
        chunks.tool()
        scratch = self._folder / SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)  # of a push that was killed: the folder is locked
        scratch.mkdir()
        try:
            raw, index = scratch / "disk.raw", scratch / f"disk.{chunks.SUFFIX}"
            argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(publication.path), str(raw)]
            process.run(argv, env=environment.plain(), stop=stop)
            report(publication.size // 2)
            chunks.make(raw, index, self._store, stop=stop)
            with raw.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            size = raw.stat().st_size
            index.chmod(0o644)
            index.rename(file)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        flushed(file)
        if missing := chunks.lacking(file, self._store):
            raise CCImagesError(
                f"site {self._name}: {len(missing)} chunks did not arrive in {self._store}",
                hint="push again",
                reason=Reason.SITE,
                temporary=True,
            )
        report(publication.size)
        with file.open("rb") as content:
            named = hashlib.file_digest(content, "sha512").hexdigest()
        return {
            "sha512": publication.sha512,
            "size": publication.size,
            "raw_sha256": digest,
            "raw_size": size,
            "index_sha512": named,
            "index_size": file.stat().st_size,
        }

    def _delete(self, entry: Entry) -> None:
        super()._delete(entry)
        endings = (f".{chunks.SUFFIX}", f".{chunks.SUFFIX}.staged")
        chunks.collect(self._store, [self._folder / each for each in self._names() if each.endswith(endings)])
