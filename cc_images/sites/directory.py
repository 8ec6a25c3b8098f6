"""A folder as a site: `<Name>.<suffix>` beside `<Name>.json`, which says what it is; everybody may read both.

Every step is one rename or one hard link, and the name is never vacant: archiving links the old file to its archive
name, publishing renames the new one over it. Between the two the file counts as archived. Staged files are hidden:
`.<Name>.<run>.<suffix>.staged` and its `.json`. The folder is locked while an image is published, whichever store or
user does it.

A description belongs to a file as long as size, inode and time of change are those it notes. Otherwise the file's bytes
tell: somebody may have copied the folder, or put another image in the place of ours.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cc_images import clock
from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host import record_files
from cc_images.host.files import flush_folder, write_json
from cc_images.model import record_shapes
from cc_images.model.catalog import Format, Json, Site
from cc_images.sites.base import (
    Act,
    Archive,
    Delete,
    Describe,
    Entry,
    Publication,
    Publish,
    Restore,
    Settle,
    Stop,
    Upload,
    after,
    concerns,
    mark,
    staged_name,
)
from cc_images.sites.queries import Queries
from cc_images.store.blobs import CHUNK

LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without locks say, such as NFS without its lock daemon."""

_log = logging.getLogger(__name__)


class DirectorySite(Queries):
    """One folder, for files of one format."""

    def __init__(self, site: Site, disk_format: Format) -> None:
        self._folder = Path(site.directory).expanduser()
        self._name = site.name
        self._suffix = disk_format.suffix
        self._locked = False
        self._digests: dict[tuple[int, int, int], str] = {}
        self.disk_format = ""
        self.vacates = False
        self.visibility = ""

    def place(self) -> str:
        """Return the folder's path and inode; nothing for one without images, which may be new."""
        with suppress(OSError):
            known = any(name.endswith(".json") for name in self._names())
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
        with self._translated():
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True, exist_ok=True)
                self._folder.chmod(0o755)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with self._translated():
                while not _flocked(descriptor):
                    if stop.is_set():
                        raise Interrupted("waiting for another push to the folder was ended")
                    time.sleep(0.05)
            self._locked = True
            yield
        finally:
            self._locked = False
            os.close(descriptor)

    # -- observe ----------------------------------------------------------------------------------------------------

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return every file that concerns the name; a look without the lock never reads a file's bytes."""
        with self._translated():
            staged = [entry for entry in map(self._staged, self._staged_files(name)) if entry is not None]
            others = [self._entry(self._file(other)) for other in self._others(name)]
            found = [entry for entry in others if entry is not None and concerns(entry, name)]
            holder = self._holder(name, found)
            if holder is None:
                return [*staged, *found]
            twin = next((entry for entry in found if self._same_file(entry.name, name)), None)
            if twin is None:
                return [holder, *staged, *found]
            swapping = any(entry.complete and _follows(entry, twin) for entry in staged)
            left = [entry for entry in found if entry is not twin]
            return [*staged, *left, twin if swapping else holder]

    def _holder(self, name: str, found: Sequence[Entry]) -> Entry | None:
        """Return the file that has the name, as its own description has it, or that of a link or of an upload."""
        file = self._file(name)
        entry = self._entry(file)
        if entry is None or entry.made:
            return entry
        for staged in self._staged_files(name):
            if not staged.exists() and (made := self._described(file, name, _beside(staged))) is not None and made.made:
                return replace(made, target=name)
        twin = next((each for each in found if each.made and self._same_file(each.name, name)), None)
        return replace(twin, name=name) if twin is not None else entry

    def _staged_files(self, name: str) -> list[Path]:
        """Return the names of uploads, also of those of which only the description is left."""
        ending = f".{self._suffix}.staged"
        hidden = [path for path in self._names() if path.startswith(f".{name}.")]
        files = {path.removesuffix(".json") for path in hidden if path.removesuffix(".json").endswith(ending)}
        return [self._folder / file for file in sorted(files) if self._belongs(self._folder / file, name)]

    def _belongs(self, staged: Path, name: str) -> bool:
        """Say whether an upload is for a name, not for a longer one."""
        said = self._read(_beside(staged)).get("name", name)
        return bool(said == name)

    def _staged(self, file: Path) -> Entry | None:
        """Return an upload, or None for a description whose file has got its name already."""
        run = file.name.removesuffix(f".{self._suffix}.staged")
        said = self._read(_beside(file))
        name = said.get("name") or run[1:].partition(".")[0]
        run = said.get("run") or run.removeprefix(f".{name}").removeprefix(".")
        made = self._described(file, staged_name(name, run), _beside(file)) if file.exists() else None
        if made is not None and made.made:
            return replace(made, target=name, run=run)
        holder = self._file(name)
        if not file.exists() and holder.exists() and self._fits(said, holder.stat(), holder):
            return None
        return Entry(
            id=said.get("id") or file.name, name=staged_name(name, run), sha512="", size=0, status="queued", made=True,
            created=_written(file), target=name, run=run, replaces=said.get("replaces", ""),
        )  # fmt: skip

    def _others(self, name: str) -> list[str]:
        ending = f".{self._suffix}"
        return [each.removesuffix(ending) for each in self._names() if each.startswith(f"{name}-") and
                each.endswith(ending)]  # fmt: skip

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []

    def _entry(self, file: Path) -> Entry | None:
        name = file.name.removesuffix(f".{self._suffix}")
        return self._described(file, name, self._sidecar(name))

    def _described(self, file: Path, name: str, sidecar: Path) -> Entry | None:
        """Return a file under a name, by a description if that is the file's."""
        try:
            status = file.stat()
        except FileNotFoundError:
            return None
        said = self._read(sidecar)
        if not self._fits(said, status, file, sidecar):
            return Entry(
                id=f"inode-{status.st_ino}", name=name, sha512="", size=status.st_size,
                created=datetime.fromtimestamp(status.st_mtime, UTC), displaced=said.get("sha512", ""),
            )  # fmt: skip
        return Entry(
            id=said.get("id") or f"inode-{status.st_ino}",
            name=name,
            sha512=said.get("sha512", ""),
            size=status.st_size,
            created=_moment(said.get("published")) or datetime.fromtimestamp(status.st_mtime, UTC),
            properties=said.get("properties", {}),
            made="sha512" in said,
            made_for=said.get("name", ""),
            turn=said.get("turn", 0),
            **{each: said.get(each, "") for each in ("run", "replaces", "archives", "successor")},
        )

    def _fits(self, said: Json, status: os.stat_result, file: Path, sidecar: Path | None = None) -> bool:
        """Say whether a description is that of a file: by its note of it, else by the bytes, and then it is noted."""
        if said.get("size") != status.st_size or not ("sha512" in said or said.get("archives")):
            return False
        if _note(status).items() <= said.items():
            return True
        if "sha512" not in said:
            return False
        if not self._locked:
            return not said.get("inode")  # written by a version that made no note
        fits = bool(self._hashed(file, status) == said["sha512"])
        if fits and sidecar is not None:
            self._write(sidecar, said | _note(status))
        return fits

    def _hashed(self, file: Path, status: os.stat_result) -> str:
        key = (status.st_ino, status.st_mtime_ns, status.st_size)
        if key not in self._digests:
            with file.open("rb") as opened:
                self._digests[key] = hashlib.file_digest(opened, "sha512").hexdigest()
        return self._digests[key]

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
                case Archive():
                    self._archive(step)
                case Publish():
                    self._publish(step)
                case Restore():
                    self._restore(step)
                case Settle(entry=entry):
                    self._settle(entry)
                case Describe(entry=entry):
                    assert publication is not None
                    said = self._described_as(entry.name)
                    said |= publication.details | {"run": publication.run, "properties": dict(publication.properties)}
                    return self._describe(entry.name, said)
                case Delete(entry=entry):
                    self._delete(entry)
                    return None
            return after(step)

    def _upload(self, step: Upload, publication: Publication, stop: Stop, report: Callable[[int], None]) -> Entry:
        """Copy the file, flush it to disk, and hash what was written."""
        file = self._folder / f".{publication.name}.{publication.run}.{self._suffix}.staged"
        said = publication.details | {
            "id": step.id,
            "name": publication.name,
            "published": clock.now().isoformat(),
            "run": publication.run,
            "replaces": step.replaces,
            "properties": dict(publication.properties),
        }
        try:
            self._write(_beside(file), said)
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
            self._write(_beside(file), said | {"sha512": sha512, "size": done, **_note(file.stat())})
        except BaseException:
            self._discard(file, _beside(file))
            raise
        entry = self._staged(file)
        assert entry is not None
        return entry

    def _archive(self, step: Archive) -> None:
        """Describe the archive name, then link the file to it; the old name stays until `publish` takes it."""
        entry, name = step.entry, step.name
        file, link = self._file(entry.name), self._file(name)
        self._still(entry)
        if os.path.lexists(link) and not self._same_file(name, entry.name):
            raise self._conflict(link)
        said = self._described_as(entry.name) if entry.made else {"id": entry.id, "size": entry.size}
        said = {key: value for key, value in said.items() if key != "format" or entry.made}
        noted = said | {"name": name, "archives": entry.name, "successor": step.successor, **_note(file.stat())}
        self._write(self._sidecar(name), noted)
        if not os.path.lexists(link):
            os.link(file, link, follow_symlinks=False)

    def _publish(self, step: Publish) -> None:
        """Rename the file, then its description, over the old ones."""
        name, before, file = step.entry.target, step.before, self._staged_file(step.entry)
        if self._file(name).exists() and (before is None or not self._same_file(before.name, name)):
            raise self._conflict(self._file(name))
        marks = {"turn": step.turn, "replaces": before.id if before is not None else ""}
        self._write(_beside(file), self._read(_beside(file)) | marks)
        file.rename(self._file(name))
        _beside(file).rename(self._sidecar(name))
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

    def _settle(self, entry: Entry) -> None:
        """Give the file that has its name the description that goes with that."""
        if entry.archives:
            said = self._described_as(entry.name) | {"name": entry.name}
            self._write(self._sidecar(entry.name), said | _note(self._file(entry.name).stat()))
        for staged in self._staged_files(entry.name):
            if not staged.exists() and self._read(_beside(staged)).get("id") == entry.id:
                _beside(staged).rename(self._sidecar(entry.name))

    def _delete(self, entry: Entry) -> None:
        """Remove a staged or archived file and its description, if it is what it was."""
        if entry.target:
            file = self._staged_file(entry)
            self._discard(file, _beside(file))
            return
        self._still(entry)
        self._discard(self._file(entry.name), self._sidecar(entry.name))

    def _still(self, entry: Entry) -> None:
        """Raise CCImagesError if a name is another file's by now."""
        now = next((each for each in self.observe(_stem(entry)) if each.name == entry.name), None)
        if now is None or (now.id, now.size) != (entry.id, entry.size):
            raise self._conflict(self._file(entry.name))

    def _staged_file(self, entry: Entry) -> Path:
        for file in self._staged_files(entry.target):
            if (self._read(_beside(file)).get("id") or file.name) == entry.id:
                return file
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), entry.name)

    def _describe(self, name: str, said: Json) -> Entry | None:
        file = self._file(name)
        self._write(self._sidecar(name), said | _note(file.stat()))
        return self._entry(file)

    def _described_as(self, name: str) -> Json:
        """Return the description that is true for the file of a name."""
        file = self._file(name)
        candidates = [self._sidecar(name), *(_beside(staged) for staged in self._staged_files(name))]
        candidates += [self._sidecar(other) for other in self._others(name) if self._same_file(other, name)]
        for sidecar in candidates:
            if self._fits(said := self._read(sidecar), file.stat(), file):
                return {key: value for key, value in said.items() if key not in ("archives", "successor")}
        return {}

    def _same_file(self, one: str, other: str) -> bool:
        """Say whether two names are one file, or one symbolic link."""
        with suppress(FileNotFoundError):
            return os.path.samestat(self._file(one).lstat(), self._file(other).lstat())
        return False

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.{self._suffix}"

    def _sidecar(self, name: str) -> Path:
        suffix = "" if self._suffix == Format.QCOW2 else f".{self._suffix}"
        return self._folder / f"{name}{suffix}.json"

    def _write(self, sidecar: Path, description: Json) -> None:
        write_json(sidecar, description, _unfinished(sidecar))
        sidecar.chmod(0o644)

    def _discard(self, *paths: Path) -> None:
        for path in paths:
            _unfinished(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _read(self, sidecar: Path) -> Json:
        with suppress(OSError, ValueError, record_files.Newer):
            return record_files.load(sidecar, record_shapes.SidecarShape)
        return {}

    def _conflict(self, file: Path) -> CCImagesError:
        return CCImagesError(
            f"site {self._name}: {file} was changed meanwhile",
            hint="somebody else works in the folder; push again",
            reason=Reason.CONFLICT,
            temporary=True,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the file system refuses into an error of the site."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise CCImagesError(
                f"site {self._name}: {self._folder}: {error.strerror}",
                hint="free some space there" if full else "the site's directory must be writable and allow hard links",
                reason=Reason.DISK_FULL if full else Reason.SITE,
            ) from error


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _unfinished(sidecar: Path) -> Path:
    """Return the name that a description has while it is written; a kill may leave it."""
    return sidecar.with_name(f".{sidecar.name.lstrip('.')}.new")


def _note(status: os.stat_result) -> Json:
    """Return how a description notes which file it is about."""
    return {"inode": status.st_ino, "modified": status.st_mtime_ns}


def _moment(said: object) -> datetime | None:
    """Return a date of a description, in UTC where it says no zone; None where it is none."""
    if isinstance(said, str):
        with suppress(ValueError, OverflowError):
            found = datetime.fromisoformat(said)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    return None


def _written(file: Path) -> datetime:
    """Return when an upload was last written to."""
    for path in (file, _beside(file)):
        with suppress(OSError):
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return clock.now()


def _stem(entry: Entry) -> str:
    """Return the name of which an entry is the holder or a version."""
    return entry.archives or entry.name


def _follows(staged: Entry, archived: Entry) -> bool:
    """Say whether a file was archived to make room for an upload."""
    return archived.successor == mark(staged.sha512) != "" or staged.replaces == archived.id


def _flocked(descriptor: int) -> bool:
    """Lock an open folder, and say whether that could be; it cannot while another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        _log.warning("the folder's file system has no locks: two hosts that push there at once may meet")
    return True
