"""A catalogue that other sites pull from: a folder of versions, and a file that says which of them is in force.

    <scope>/current                          JSON: the version of each image, by its name
    <scope>/versions/<YYYYMMDD>-vN/          one version of one image, which stays as it is:
        <Name>.qcow2, manifest.json, SHA256SUMS, and its bills of materials

Whoever reads `current` finds whole versions only: a version is put together in a hidden folder, gets its place by one
rename, and is named in `current` last, by another one. `current` is changed by who holds the folder's lock and finds it
as it was read. Names are never vacant. Marks of pushes are in the manifests.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.host.files import flush_folder, write_bytes
from cc_images.model import site_shapes
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
from cc_images.sites.catalogue_entries import (
    CURRENT,
    MANIFEST,
    SUMS,
    entry_of,
    manifest_of,
    marks_of,
    places_of,
    upload_of,
    with_archive_names,
)
from cc_images.sites.entry import Entry, mark
from cc_images.sites.folder import copied, locked, translated
from cc_images.sites.queries import Queries


class CatalogueSite(Queries):
    """One scope of a catalogue, for images of one format."""

    def __init__(self, site: Site, disk_format: Format) -> None:
        self._name = site.name
        self._scope = Path(site.catalogue) / site.scope
        self._suffix = disk_format.suffix
        self.disk_format = disk_format.suffix
        self.vacates = False
        self.visibility = ""

    def place(self) -> str:
        """Return the folder's path and inode; nothing for one without versions, which may be new."""
        with suppress(OSError):
            return f"{self._scope.resolve()} {self._versions.stat().st_ino}"
        return ""

    def first_visibility(self) -> str:
        """Return nothing: who may read a folder is the folder's business."""
        return ""

    def address(self, name: str) -> str:
        """Return the folder of the version that is in force."""
        version = self._current().get(name, "")
        return str(self._versions / version) if version else f"{self._scope}: {name}"

    def exclusive(self, stop: Stop) -> AbstractContextManager[None]:
        """Hold the folder's lock, where its file system has locks."""
        return locked(self._name, self._scope, stop)

    # -- observe ----------------------------------------------------------------------------------------------------

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return every version of a name, and every upload for it."""
        with translated(self._name, self._scope):
            current = self._current().get(name, "")
            found = ((folder, said) for folder, said in self._manifests() if said.get("name") == name)
            entries = ((self._entry(folder, said, current), folder.name == current) for folder, said in found)
            return with_archive_names(entries)

    def _entry(self, folder: Path, said: Json, current: str) -> Entry:
        stored = (folder / f"{said['name']}.{self._suffix}").exists()
        in_force = folder.name == current
        return entry_of(said, disk_format=self.disk_format, in_force=in_force, stored=stored)

    def _manifests(self) -> Iterator[tuple[Path, Json]]:
        """Yield the folder of each version and upload with its manifest, in the order of their names."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._versions)):
                if name.endswith(".removed"):
                    continue
                with suppress(OSError, ValueError, record_files.Newer):
                    folder = self._versions / name
                    yield folder, record_files.load(folder / MANIFEST, site_shapes.ManifestOfVersionShape)

    def _current(self) -> dict[str, str]:
        """Return the version of each name. Raises CCImagesError for a file that is none of ours."""
        return self._parsed(self._read_current())

    def _read_current(self) -> bytes:
        try:
            return (self._scope / CURRENT).read_bytes()
        except FileNotFoundError:
            return b"{}"

    def _parsed(self, content: bytes) -> dict[str, str]:
        return places_of(content, self._name, self._scope / CURRENT)

    @property
    def _versions(self) -> Path:
        return self._scope / "versions"

    # -- act --------------------------------------------------------------------------------------------------------

    def act(
        self, step: Act, publication: Publication | None, *, stop: Stop, report: Callable[[int], None]
    ) -> Entry | None:
        """Take a step. Its precondition is looked at just before, since people do not lock folders."""
        with translated(self._name, self._scope):
            match step:
                case Upload():
                    assert publication is not None
                    return self._upload(step, publication, stop, report)
                case Archive() | Share() | Give():  # a version is archived when `current` names another one
                    return after(step)
                case Delete(entry=entry):
                    self._delete(entry)
                    return None
                case Publish() | Restore():
                    self._publish(step)
                case Describe() | Recall() | Return() | Settle():
                    self._mark(step.entry, after(step))
            return after(step)

    def _upload(self, step: Upload, publication: Publication, stop: Stop, report: Callable[[int], None]) -> Entry:
        folder = self._versions / f".{publication.name}.{publication.run}.staged"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        said = upload_of(step, publication, self.disk_format)
        try:
            self._write(folder, said)
            file = folder / f"{publication.name}.{self._suffix}"
            digests = copied(publication.path, file, ("sha256", "sha512"), stop, report)
            sums = f"{digests['sha256']}  {file.name}\n" + bills.written(folder, publication.name, publication.bills)
            write_bytes(folder / SUMS, sums.encode())
            (folder / SUMS).chmod(0o644)
            folder.chmod(0o755)
            self._write(folder, said := said | digests)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self._entry(folder, said, "")

    def _publish(self, step: Publish | Restore) -> None:
        """Give an upload the place of a version, name it in `current`, then take its marks."""
        told, before = after(step), self._read_current()
        name, said = told.name, self._parsed(before)
        expected = self._version_of(step.before) if isinstance(step, Publish) and step.before is not None else ""
        if expected and said.get(name, "") not in (expected, ""):
            raise self._conflict()
        folder = self._folder_of(step.entry)
        self._write(folder, self._described(folder) | marks_of(told) | {"target": name})
        if folder.name.startswith("."):
            folder = folder.rename(self._free(step.entry))
            flush_folder(self._versions)
        if self._read_current() != before:
            raise self._conflict()
        pointed = json.dumps(said | {name: folder.name}, indent=1, sort_keys=True)
        write_bytes(self._scope / CURRENT, f"{pointed}\n".encode())
        (self._scope / CURRENT).chmod(0o644)
        self._write(folder, self._described(folder) | marks_of(told))
        if expected and (old := self._versions / expected).is_dir() and old != folder:
            self._write(old, self._described(old) | {"archived": True, "successor": mark(step.entry.sha512)})

    def _mark(self, entry: Entry, told: Entry) -> None:
        folder = self._folder_of(entry)
        self._write(folder, self._described(folder) | marks_of(told) | {"properties": dict(told.properties)})

    def _delete(self, entry: Entry) -> None:
        """Remove a version or an upload that is as it was seen; one that is gone already is fine."""
        try:
            folder = self._folder_of(entry)
        except CCImagesError:
            return
        if self._current().get(entry.archives or entry.target) == folder.name:
            raise self._conflict()
        doomed = folder.with_name(f".{folder.name.lstrip('.')}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        shutil.rmtree(folder.rename(doomed), ignore_errors=True)

    def _folder_of(self, entry: Entry) -> Path:
        for folder, said in self._manifests():
            if said["id"] == entry.id:
                return folder
        raise CCImagesError(
            f"site {self._name}: {entry.name} is gone", hint="somebody else removed it; push again",
            reason=Reason.GONE, temporary=True,
        )  # fmt: skip

    def _version_of(self, entry: Entry) -> str:
        with suppress(CCImagesError):
            return self._folder_of(entry).name
        return ""

    def _free(self, entry: Entry) -> Path:
        """Return the first free place for a version of its day."""
        places = (self._versions / f"{entry.created:%Y%m%d}-v{number}" for number in count(1))
        return next(place for place in places if not place.exists())

    def _described(self, folder: Path) -> Json:
        return record_files.load(folder / MANIFEST, site_shapes.ManifestOfVersionShape)

    def _write(self, folder: Path, said: Json) -> None:
        write_bytes(folder / MANIFEST, manifest_of(said))
        (folder / MANIFEST).chmod(0o644)

    def _conflict(self) -> CCImagesError:
        return CCImagesError(
            f"site {self._name}: {self._scope / CURRENT} was changed meanwhile",
            hint="somebody else works in the catalogue; push again",
            reason=Reason.CONFLICT,
            temporary=True,
        )
