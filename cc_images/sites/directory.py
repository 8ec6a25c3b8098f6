"""A folder as a site: `<Name>.<suffix>` beside `<Name>.json`, which says what it is; everybody may read both.

Every step is one rename or one hard link, and the name is never vacant: archiving links the old file to its archive
name, publishing renames the new one over it. Between the two the file counts as archived. Staged files are hidden:
`.<Name>.<run>.<suffix>.staged` and its `.json`. Bills of materials follow the descriptions (`bills`). The folder is
locked while an image is published, whichever store or user does it.

A description belongs to a file as long as size, inode and time of change are those it notes. Otherwise the file's bytes
tell: somebody may have copied the folder, or put another image in the place of ours.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cc_images import clock
from cc_images.host.files import flush_folder
from cc_images.model.catalog import Format, Json
from cc_images.model.site import Site
from cc_images.model.stop import Stop
from cc_images.sites import bills
from cc_images.sites.base import (
    Act,
    Archive,
    Delete,
    Describe,
    Give,
    Publication,
    Publish,
    Recall,
    Restore,
    Return,
    Settle,
    Share,
    Upload,
    after,
)
from cc_images.sites.entry import Entry
from cc_images.sites.folder import copied, locked
from cc_images.sites.image_folder import ImageFolder, beside, note, stem
from cc_images.sites.queries import Queries

_log = logging.getLogger(__name__)


class DirectorySite(ImageFolder, Queries):
    """One folder, for files of one format."""

    def __init__(self, site: Site, disk_format: Format) -> None:
        super().__init__(site, disk_format)
        self.disk_format = ""
        self.vacates = False
        self.visibility = ""

    def place(self) -> str:
        """Return the folder's path and inode; nothing for one without images, which may be new."""
        with suppress(OSError):
            with os.scandir(self._folder) as entries:
                known = any(entry.name.endswith(".json") for entry in entries)
            return f"{self._folder.resolve()} {self._folder.stat().st_ino}" if known else ""
        return ""

    def first_visibility(self) -> str:
        """Return nothing: who may read a folder is the folder's business."""
        return ""

    def address(self, name: str) -> str:
        """Return the file's path."""
        return str(self._file(name))

    @contextmanager
    def exclusive(self, stop: Stop) -> Iterator[None]:
        """Hold the folder's lock, where its file system has locks."""
        with locked(self._name, self._folder, stop):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False
                self._arrange_bills()

    def _arrange_bills(self) -> None:
        """Put the bills of materials beside their images; the next push does what could not be done."""
        try:
            bills.arrange(self._folder)
        except OSError as error:
            _log.warning("bills of materials in %s: %s", self._folder, error.strerror)

    # -- act --------------------------------------------------------------------------------------------------------

    def act(
        self, step: Act, publication: Publication | None, *, stop: Stop, report: Callable[[int], None]
    ) -> Entry | None:
        """Take a step. Its precondition is looked at just before, since people do not lock folders."""
        with self._translated():
            match step:
                case Upload():
                    assert publication is not None
                    return self._upload(step, publication, stop, report)
                case Describe(entry=entry):
                    said = self._described_as(entry.name) | {"properties": dict(step.wanted.properties)}
                    if publication is not None:
                        said |= publication.details | {"run": publication.run} | self._bills(publication)
                    return self._describe(entry.name, said)
                case Share(entry=entry) | Give(entry=entry):  # only sites with `shares` are asked
                    return entry
                case Delete(entry=entry):
                    self._delete(entry)
                    return None
            self._renames[type(step)](step)
            return after(step)

    @property
    def _renames(self) -> Mapping[type, Callable[[Any], None]]:
        """Return what carries out the steps that change names and marks."""
        return {
            Archive: self._archive,
            Publish: self._publish,
            Restore: self._restore,
            Recall: self._recall,
            Return: self._return,
            Settle: self._settle,
        }

    def _upload(self, step: Upload, publication: Publication, stop: Stop, report: Callable[[int], None]) -> Entry:
        """Fill a staged file, and describe it."""
        file = self._folder / f".{publication.name}.{publication.run}.{self._suffix}.staged"
        said = (
            publication.details
            | self._bills(publication)
            | {
                "id": step.id,
                "name": publication.name,
                "published": clock.now().isoformat(),
                "run": publication.run,
                "replaces": step.replaces,
                "properties": dict(publication.properties),
            }
        )
        try:
            self._write(beside(file), said)
            self._write(beside(file), said | self._fill(publication, file, stop, report) | note(file.stat()))
        except BaseException:
            self._discard(file, beside(file))
            raise
        entry = self._staged(file)
        assert entry is not None
        return entry

    def _bills(self, publication: Publication) -> Json:
        """Bring an image's bills of materials to the folder, and return what its description says of them."""
        added = bills.added(self._folder, publication.bills)
        return {"bills": added} if added else {}

    def _fill(self, publication: Publication, file: Path, stop: Stop, report: Callable[[int], None]) -> Json:
        """Copy an image, flush it to disk, and return its size and the digest of what was written."""
        return copied(publication.path, file, ("sha512",), stop, report)

    def _archive(self, step: Archive) -> None:
        """Describe the archive name, then link the file to it; the old name stays until `publish` takes it."""
        entry, name = step.entry, step.name
        file, link = self._file(entry.name), self._file(name)
        self._still(entry)
        if os.path.lexists(link) and not self._same_file(name, entry.name):
            raise self._conflict(link)
        said = self._described_as(entry.name) if entry.made else {"id": entry.id, self._noted[1]: file.stat().st_size}
        said = {key: value for key, value in said.items() if key != "format" or entry.made}
        noted = said | {"name": name, "archives": entry.name, "successor": step.successor, **note(file.stat())}
        self._write(self._sidecar(name), noted)
        if not os.path.lexists(link):
            os.link(file, link, follow_symlinks=False)

    def _publish(self, step: Publish) -> None:
        """Rename the file, then its description, over the old ones."""
        name, before, file = step.entry.target, step.before, self._staged_file(step.entry)
        if self._file(name).exists() and (before is None or not self._same_file(before.name, name)):
            raise self._conflict(self._file(name))
        told = after(step)
        marks = {"turn": step.turn, "replaces": told.replaces, "successor": "", "properties": dict(told.properties)}
        self._write(beside(file), self._read(beside(file)) | marks)
        file.rename(self._file(name))
        beside(file).rename(self._sidecar(name))
        flush_folder(self._folder)

    def _restore(self, step: Restore) -> None:
        """Give an image its name back, by removing its link where it has the name still."""
        entry, name = step.entry, step.name
        kept, file, sidecar = self._file(name), self._file(entry.name), self._sidecar(entry.name)
        said = {key: value for key, value in self._read(sidecar).items() if key != "archives"}
        if not kept.exists():
            file.rename(kept)
            if entry.made:
                self._write(self._sidecar(name), said | {"name": name})
            self._discard(sidecar)
        elif self._same_file(entry.name, name):
            self._discard(sidecar, file)
        else:
            raise self._conflict(kept)

    def _recall(self, step: Recall) -> None:
        """Describe the temporary name, then give it to the archived file."""
        entry = step.entry
        self._still(entry)
        for staged in self._staged_files(step.target):  # of a push that was killed before the file had the name
            if not staged.exists() and self._read(beside(staged)).get("id") == entry.id:
                self._discard(beside(staged))
        file = self._folder / f".{step.target}.{step.run}.{self._suffix}.staged"
        said = self._read(self._sidecar(entry.name)) | {
            "name": step.target,
            "run": step.run,
            "replaces": step.replaces,
            "archives": "",
            "recalled": True,
        }
        self._write(beside(file), said)
        self._file(entry.name).rename(file)
        self._discard(self._sidecar(entry.name))

    def _return(self, step: Return) -> None:
        """Describe the archive name, then give it to the file."""
        file, link = self._staged_file(step.entry), self._file(step.name)
        if os.path.lexists(link):
            raise self._conflict(link)
        said = self._read(beside(file)) | {"name": step.name, "archives": step.entry.target}
        self._write(self._sidecar(step.name), said)
        file.rename(link)
        self._discard(beside(file))

    def _settle(self, step: Settle) -> None:
        """Give the file that has its name the description that goes with that."""
        entry = step.entry
        if entry.archives:
            said = self._described_as(entry.name) | {"name": entry.name}
            self._write(self._sidecar(entry.name), said | note(self._file(entry.name).stat()))
        for staged in self._staged_files(entry.name):
            if not staged.exists() and self._read(beside(staged)).get("id") == entry.id:
                beside(staged).rename(self._sidecar(entry.name))

    def _delete(self, entry: Entry) -> None:
        """Remove a staged or archived file and its description, if it is what it was."""
        if entry.target:
            file = self._staged_file(entry)
            self._discard(file, beside(file))
            return
        self._still(entry)
        self._discard(self._file(entry.name), self._sidecar(entry.name))

    def _still(self, entry: Entry) -> None:
        """Raise CCImagesError if a name is another file's by now."""
        now = next((each for each in self.observe(stem(entry)) if each.name == entry.name), None)
        if now is None or (now.id, now.size) != (entry.id, entry.size):
            raise self._conflict(self._file(entry.name))

    def _staged_file(self, entry: Entry) -> Path:
        for file in self._staged_files(entry.target):
            if entry.id in (self._read(beside(file)).get("id"), file.name):
                return file
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), entry.name)

    def _describe(self, name: str, said: Json) -> Entry | None:
        file = self._file(name)
        self._write(self._sidecar(name), said | note(file.stat()))
        return self._entry(file)
