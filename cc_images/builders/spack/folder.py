"""The folder of a Spack image: its spack.yaml, what that includes, a lock, and lines of a Containerfile."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cc_images.builders.containerfile import context
from cc_images.builders.containerfile.context import Entry
from cc_images.builders.spack.generated import CONFIGURATION, EPILOGUE, LOCK, OURS
from cc_images.config.spack_file import REACHING, environment_of
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder as it was read once; or a spack.yaml alone, which may have another name."""

    path: Path
    entries: tuple[Entry, ...]
    plain: Json
    epilogue: str = ""

    @property
    def has_lock(self) -> bool:
        """Whether there is a lock beside the spack.yaml."""
        return any(each.name == LOCK for each in self.entries)

    def reached(self, *, without_lock: bool) -> list[Entry]:
        """Return the files that a concretization may read: the lock, and if the spack.yaml names others, all."""
        return reached(self.entries, self.plain, without_lock=without_lock)


def read(path: Path, beside: Path) -> Folder:
    """Read a folder, or a file. Raises UserError for what is missing or wrong in it; `beside` is the catalogue's."""
    file = path / CONFIGURATION if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{_title(file, beside)} is not there",
            hint=f"write it, or say `context:` with the folder that has a {CONFIGURATION}",
            reason=Reason.MISSING_FILE,
        )
    plain = environment_of(file, _title(file, beside))
    found = entries(path)
    if any(each.name.partition("/")[0] == OURS for each in found):
        raise UserError(f"{path} has {OURS}", hint="give it another name: builds have that", reason=Reason.VALUE)
    if any(each.name == LOCK and each.kind != "file" for each in found):
        raise UserError(f"{path / LOCK} is no regular file", hint="put the file itself there", reason=Reason.ODD_FILE)
    return Folder(path=path, entries=tuple(found), plain=plain, epilogue=_epilogue(path))


def _epilogue(path: Path) -> str:
    file = path / EPILOGUE
    try:
        return file.read_text() if path.is_dir() and file.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}", hint="correct it", reason=Reason.MISSING_FILE) from error


def write(place: Path, texts: Mapping[str, str]) -> None:
    """Write texts into the copy of a folder; what the user has there by such a name is replaced, no link followed."""
    for name, text in texts.items():
        file = place / name
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def entries(path: Path) -> list[Entry]:
    """Return the files of a folder, as its ignore file leaves them; a file alone is the spack.yaml."""
    if path.is_dir():
        return context.entries(path)
    return [Entry(name=CONFIGURATION, path=path, kind="file", size=path.stat().st_size)]


def reached(found: Sequence[Entry], plain: Json, *, without_lock: bool) -> list[Entry]:
    """Return those of a folder's files that a concretization may read, besides the spack.yaml itself."""
    names_others = any(plain.get(key) or plain.get(f"{key}:") for key in REACHING)
    left_out = {CONFIGURATION, EPILOGUE, *([LOCK] if without_lock else [])}
    return [each for each in found if each.name not in left_out and (names_others or each.name == LOCK)]


def _title(file: Path, beside: Path) -> str:
    return str(file.relative_to(beside)) if file.is_relative_to(beside) else str(file)
