"""A folder of image files and their descriptions: `<Name>.<suffix>` beside `<Name>.json`.

Owns how files, descriptions and uploads are named, and which description belongs to which file; `directory` changes
them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cc_images import clock
from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.host.files import write_json
from cc_images.model import site_shapes
from cc_images.model.catalog import Format, Json
from cc_images.model.site import Site
from cc_images.sites.entry import Entry, concerns, mark, staged_name
from cc_images.sites.folder import translated


class ImageFolder:
    """One folder, for files of one format."""

    _suffix = ""
    """The ending of its files, where it is not the format's."""
    _noted = ("sha512", "size")
    """The keys of a description that are about the file itself: digest and size."""

    def __init__(self, site: Site, disk_format: Format) -> None:
        self._folder = Path(site.directory).expanduser()
        self._name = site.name
        self._suffix = self._suffix or disk_format.suffix
        self._locked = False
        self._digests: dict[tuple[int, int, int], str] = {}

    # -- observe ----------------------------------------------------------------------------------------------------

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return every file that concerns the name; a look without the lock never reads a file's bytes."""
        with self._translated():
            names = self._names()
            staged = [entry for entry in map(self._staged, self._staged_files(name, names)) if entry is not None]
            others = [self._entry(self._file(other)) for other in self._others(name, names)]
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
            if not staged.exists() and (made := self._described(file, name, beside(staged))) is not None and made.made:
                return replace(made, target=name)
        twin = next((each for each in found if each.made and self._same_file(each.name, name)), None)
        return replace(twin, name=name) if twin is not None else entry

    def _staged_files(self, name: str, names: Sequence[str] | None = None) -> list[Path]:
        """Return the names of uploads, also of those of which only the description is left; `names`: of all files."""
        ending = f".{self._suffix}.staged"
        hidden = [path for path in names or self._names() if path.startswith(f".{name}.")]
        described = {path.removesuffix(".new").removesuffix(".json") for path in hidden}
        files = {path for path in described if path.endswith(ending)}
        return [self._folder / file for file in sorted(files) if self._belongs(self._folder / file, name)]

    def _belongs(self, staged: Path, name: str) -> bool:
        """Say whether an upload is for a name, not for a longer one."""
        said = self._read(beside(staged)).get("name", name)
        return bool(said == name)

    def _staged(self, file: Path) -> Entry | None:
        """Return an upload, or None for a description whose file has got its name already."""
        run = file.name.removesuffix(f".{self._suffix}.staged")
        said = self._read(beside(file))
        name = said.get("name") or run[1:].partition(".")[0]
        run = said.get("run") or run.removeprefix(f".{name}").removeprefix(".")
        made = self._described(file, staged_name(name, run), beside(file)) if file.exists() else None
        if made is not None and made.made:
            return replace(made, target=name, run=run)
        holder = self._file(name)
        recalled = not file.exists() and said.get("recalled", False)  # it is in the archive still
        if not (file.exists() or recalled) and holder.exists() and self._fits(said, holder.stat(), holder):
            return None
        return Entry(
            id=(said.get("id") if not recalled else "") or file.name,
            name=staged_name(name, run), sha512="", size=0, status="queued", made=True,
            created=_written(file), target=name, run=run, replaces=said.get("replaces", ""),
        )  # fmt: skip

    def _others(self, name: str, names: Sequence[str]) -> list[str]:
        ending = f".{self._suffix}"
        return [each.removesuffix(ending) for each in names if each.startswith(f"{name}-") and each.endswith(ending)]

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
            size=said.get("size") or status.st_size,
            created=_moment(said.get("published")) or datetime.fromtimestamp(status.st_mtime, UTC),
            properties=said.get("properties", {}),
            made="sha512" in said,
            made_for=said.get("name", ""),
            turn=said.get("turn", 0),
            recalled=said.get("recalled", False),
            **{each: said.get(each, "") for each in ("run", "replaces", "archives", "successor")},
        )

    def _fits(self, said: Json, status: os.stat_result, file: Path, sidecar: Path | None = None) -> bool:
        """Say whether a description is that of a file: by its note of it, else by the bytes, and then it is noted."""
        digest, size = self._noted
        if said.get(size) != status.st_size or not (digest in said or said.get("archives")):
            return False
        if note(status).items() <= said.items():
            return True
        if digest not in said:
            return False
        if not self._locked:
            return not said.get("inode")  # written by a version that made no note
        fits = bool(self.hashed(file, status) == said[digest])
        if fits and sidecar is not None:
            self._write(sidecar, said | note(status))
        return fits

    def hashed(self, file: Path, status: os.stat_result) -> str:
        """Return a file's sha512; it is read once for as long as it is not changed."""
        key = (status.st_ino, status.st_mtime_ns, status.st_size)
        if key not in self._digests:
            with file.open("rb") as opened:
                self._digests[key] = hashlib.file_digest(opened, "sha512").hexdigest()
        return self._digests[key]

    # -- files ------------------------------------------------------------------------------------------------------

    def _described_as(self, name: str) -> Json:
        """Return the description that is true for the file of a name."""
        file = self._file(name)
        candidates = [self._sidecar(name), *(beside(staged) for staged in self._staged_files(name))]
        candidates += [
            self._sidecar(other) for other in self._others(name, self._names()) if self._same_file(other, name)
        ]
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
            return record_files.load(sidecar, site_shapes.SidecarShape)
        return {}

    def _conflict(self, file: Path) -> CCImagesError:
        return CCImagesError(
            f"site {self._name}: {file} was changed meanwhile",
            hint="somebody else works in the folder; push again",
            reason=Reason.CONFLICT,
            temporary=True,
        )

    def _translated(self) -> AbstractContextManager[None]:
        """Turn what the file system refuses into an error of the site."""
        return translated(self._name, self._folder)


def beside(file: Path) -> Path:
    """Return where the description of an upload is."""
    return file.with_name(f"{file.name}.json")


def _unfinished(sidecar: Path) -> Path:
    """Return the name that a description has while it is written; a kill may leave it."""
    return sidecar.with_name(f".{sidecar.name.lstrip('.')}.new")


def note(status: os.stat_result) -> Json:
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
    for path in (file, beside(file)):
        with suppress(OSError):
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return clock.now()


def stem(entry: Entry) -> str:
    """Return the name of which an entry is the holder or a version."""
    return entry.archives or entry.name


def _follows(staged: Entry, archived: Entry) -> bool:
    """Say whether a file was archived to make room for an upload."""
    return archived.successor == mark(staged.sha512) != "" or staged.replaces == archived.id
