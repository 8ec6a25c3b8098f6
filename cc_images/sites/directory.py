"""A folder as a site: `<Name>.<suffix>` beside `<Name>.json`, which says what it is; everybody may read both.

Every step is one rename or one hard link, and the name is never vacant: archiving links the old file to its archive
name, publishing renames the new one over it. Staged files are hidden: `.<Name>.<suffix>.staged` and its `.json`. The
folder itself is locked while an image is published, whichever store or user does it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from cc_images import clock, record_shapes, records
from cc_images.blobs import CHUNK
from cc_images.errors import CCImagesError, Interrupted
from cc_images.files import flush_folder, write_json
from cc_images.model import Format, Json, Site
from cc_images.sites.base import ARCHIVED, Entry, Publication, Stop


class DirectorySite:
    """One folder, for files of one format."""

    def __init__(self, site: Site, disk_format: Format) -> None:
        self._folder = Path(site.directory).expanduser()
        self._name = site.name
        self._suffix = disk_format.suffix
        self.visibility = ""

    def first_visibility(self) -> str:
        """Return nothing: who may read a folder is the folder's business."""
        return ""

    @contextmanager
    def exclusive(self, stop: Stop) -> Iterator[None]:
        """Hold the folder's lock; what the file system refuses meanwhile is an error of the site."""
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True, exist_ok=True)
                self._folder.chmod(0o755)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                while not _flocked(descriptor):
                    if stop.is_set():
                        raise Interrupted("waiting for another push to the folder was ended")
                    time.sleep(0.05)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._refused(error) from error

    def find(self, name: str) -> list[Entry]:
        """Return the file with this name, also one that somebody else put there."""
        return self._entry(self._file(name), self._sidecar(name), name)

    def staged(self, name: str) -> list[Entry]:
        """Return the unfinished publication of this name."""
        file, sidecar = self._staged(name)
        if not sidecar.exists() and not file.exists():
            return []
        if not file.exists():  # killed between the two renames of `publish`
            sidecar.rename(self._sidecar(name))
            return []
        return self._entry(file, sidecar, file.name)

    def upload(self, publication: Publication, replaces: str, *, stop: Stop, report: Callable[[int], None]) -> Entry:
        """Copy the file, flush it to disk, and hash what was written."""
        file, sidecar = self._staged(publication.name)
        try:
            done = 0
            with publication.path.open("rb") as source, file.open("wb") as target:
                while chunk := source.read(CHUNK):
                    if stop.is_set():
                        raise Interrupted("the push was ended")
                    if chunk.count(0) < len(chunk):
                        target.write(chunk)
                    else:
                        target.seek(len(chunk), os.SEEK_CUR)
                    done += len(chunk)
                    report(done)
                target.truncate(done)
                os.fchmod(target.fileno(), 0o644)  # whoever serves the folder may be another user
                target.flush()
                os.fsync(target.fileno())
            with file.open("rb") as written:
                sha512 = hashlib.file_digest(written, "sha512").hexdigest()
            self._describe(sidecar, self._description(publication, replaces, sha512, done))
        except BaseException:
            self._discard(file, sidecar)
            raise
        return self._entry(file, sidecar, file.name)[0]

    def archive(self, entry: Entry, name: str) -> None:
        """Link file and description to the archive name; the old name stays until `publish` takes it."""
        os.link(self._file(entry.name), self._file(name))
        self._describe(
            self._sidecar(name), self._read(self._sidecar(entry.name)) | {"name": name, "archives": entry.name}
        )

    def holds(self, image_id: str, name: str) -> bool:
        """Say whether the file with this name is the one with this id."""
        return any(entry.id == image_id for entry in self.find(name))

    def restore(self, image_id: str, name: str) -> None:
        """Give an image its name back, wherever `archive` and `publish` were interrupted."""
        kept = self._file(name)
        for other in self._folder.glob(f"{name}-*.{self._suffix}"):
            archived = other.name.removesuffix(f".{self._suffix}")
            owner = self._read(self._sidecar(archived)).get("id", image_id)
            if other.is_symlink() or owner != image_id or not ARCHIVED.fullmatch(archived.removeprefix(name)):
                continue  # not what `archive` has made of this image
            if kept.exists() and other.samefile(kept):
                self._discard(self._sidecar(archived), other)
            elif self._sidecar(archived).exists():
                other.rename(kept)
                said = {k: v for k, v in self._read(self._sidecar(archived)).items() if k != "archives"}
                self._describe(self._sidecar(name), said | {"name": name})
                self._sidecar(archived).unlink()

    def publish(self, staged: Entry, name: str) -> None:
        """Rename the file, then its description, over the old ones."""
        file = self._folder / staged.name
        sidecar = file.with_name(f"{file.name}.json")
        file.rename(self._file(name))
        sidecar.rename(self._sidecar(name))
        flush_folder(self._folder)

    def describe(self, entry: Entry, publication: Publication) -> None:
        """Write the description anew; what the file is stays."""
        said = self._read(self._sidecar(entry.name))
        self._describe(
            self._sidecar(entry.name),
            said | publication.details | {"run": publication.run, "properties": dict(publication.properties)},
        )

    def archived(self, name: str) -> list[Entry]:
        """Return the archived files that have a description of ours, newest first."""
        try:
            found = list(self._folder.glob(f"{name}-*.{self._suffix}"))
        except OSError as error:
            raise self._refused(error) from error
        names = [path.name.removesuffix(f".{self._suffix}") for path in found]
        ours = [archived for archived in names if self._read(self._sidecar(archived)).get("archives") == name]
        entries = [entry for archived in ours for entry in self.find(archived) if entry.sha512]
        return sorted(entries, key=lambda entry: entry.created, reverse=True)

    def delete(self, entry: Entry) -> None:
        """Remove a staged or archived file and its description."""
        file = self._folder / entry.name
        if entry.name.startswith("."):
            self._discard(file, file.with_name(f"{file.name}.json"))
        else:
            self._discard(self._file(entry.name), self._sidecar(entry.name))

    def address(self, name: str) -> str:
        """Return the file's path."""
        return str(self._file(name))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.{self._suffix}"

    def _sidecar(self, name: str) -> Path:
        suffix = "" if self._suffix == Format.QCOW2 else f".{self._suffix}"
        return self._folder / f"{name}{suffix}.json"

    def _staged(self, name: str) -> tuple[Path, Path]:
        file = self._folder / f".{name}.{self._suffix}.staged"
        return file, file.with_name(f"{file.name}.json")

    def _describe(self, sidecar: Path, description: Json) -> None:
        write_json(sidecar, description, _unfinished(sidecar))
        sidecar.chmod(0o644)

    def _discard(self, *paths: Path) -> None:
        for path in paths:
            _unfinished(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _description(self, publication: Publication, replaces: str, sha512: str, size: int) -> Json:
        return publication.details | {
            "id": str(uuid.uuid4()),
            "name": publication.name,
            "published": clock.now().isoformat(),
            "run": publication.run,
            "replaces": replaces,
            "sha512": sha512,
            "size": size,
            "properties": dict(publication.properties),
        }

    def _entry(self, file: Path, sidecar: Path, name: str) -> list[Entry]:
        try:
            status = file.stat()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refused(error) from error
        said = self._read(sidecar)
        # a description that does not fit the file's size is of another file
        complete = said.get("size") == status.st_size and "sha512" in said
        created = said.get("published") if complete else None
        return [
            Entry(
                id=said.get("id", name) if complete else name,
                name=name,
                sha512=said["sha512"] if complete else "",
                size=status.st_size,
                created=datetime.fromisoformat(created) if created else datetime.fromtimestamp(status.st_mtime, UTC),
                properties=said.get("properties", {}) if complete else {},
                complete=complete,
                run=said.get("run", ""),
                replaces=said.get("replaces", ""),
            )
        ]

    def _read(self, sidecar: Path) -> Json:
        with suppress(OSError, ValueError, records.Newer):
            return records.load(sidecar, record_shapes.SidecarShape)
        return {}

    def _refused(self, error: OSError) -> CCImagesError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return CCImagesError(
            f"site {self._name}: {self._folder}: {error.strerror}",
            hint="free some space there" if full else "the site's directory must be writable and allow hard links",
            reason="disk-full" if full else "site",
        )


def _unfinished(sidecar: Path) -> Path:
    """Return the name that a description has while it is written; a kill may leave it."""
    return sidecar.with_name(f".{sidecar.name.lstrip('.')}.new")


def _flocked(descriptor: int) -> bool:
    """Lock an open folder, and say whether that could be; it cannot while another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
