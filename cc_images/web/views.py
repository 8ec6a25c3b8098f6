"""What callers see of builds and images: the answers of the interface, which pages show, too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from cc_images import clock
from cc_images.api.launch import last_lines, observe
from cc_images.api.stored_images import StoredFile, stored_files
from cc_images.model.catalog import Json
from cc_images.web import commands
from cc_images.web.catalogue import Catalogue
from cc_images.web.decisions import Status
from cc_images.web.progress import Progress, Watcher
from cc_images.web.queue import Entry
from cc_images.web.tables import OVER, RUNNING
from cc_images.web.value import Value

Version = tuple[str, str, str]
"""A version of an image: tag, architecture, version."""

Files = Mapping[Version, Sequence[str]]
"""The names of the files of versions."""

TAIL = 20
"""Lines of a log after a failure."""


class Made(BaseModel):
    """A version of an image that a build has made, or found to be up to date."""

    image: str
    architecture: str
    version: str
    files: list[str] = Field(description="Names for /images/download/{name}; empty when they have left the store.")


class BuildView(BaseModel):
    """A build as one account sees it."""

    id: str
    number: int
    status: Status
    message: str
    kind: str
    request: dict[str, Any]
    requested: datetime
    ended: datetime | None = None
    image_id: str | None = Field(
        default=None, description="The first image that was made: TAG@VERSION, or NAME:VERSION of one for a machine."
    )
    filename: str | None = Field(
        default=None, description="The first file that was made; for a machine the SIF file, if its engine takes one."
    )
    images: list[Made] = []
    queue_position: int | None = Field(default=None, description="From 1, while it waits.")
    estimate: float | None = Field(default=None, description="Seconds that it will still take, if that is known.")
    log_removed: datetime | None = Field(default=None, description="When its log was removed; see /build/{id}/log.")
    run: str | None = None
    tasks: dict[str, str] = Field(default={}, description="What became of each task that has begun, by its id.")
    exit_code: int | None = Field(default=None, description="When it is over, that of its run, if it has said one.")
    log_tail: list[str] = Field(default=[], description="After a failure the last lines of the log.")
    requesters: list[str] | None = Field(default=None, description="For administrators.")


class FileView(BaseModel):
    """A file of a stored version."""

    file: str
    image: str
    name: str
    architecture: str
    version: str
    format: str
    size: int
    sha256: str
    sha512: str
    created: datetime
    packages: int
    boot: str = Field(description="The level that it reached in its newest boot test; empty: it was not tested.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Makes views. The folders of builds are below `folder`."""

    catalogue: Catalogue
    watcher: Watcher
    folder: Path

    def log(self, entry: Entry) -> Path:
        """Return the log of a build: what its run prints."""
        return self.folder / entry.build.id / "log"

    def builds(self, entries: Sequence[Entry]) -> list[BuildView]:
        """Return builds with the names of their files, for which the store is asked once."""
        versions = {each for entry in entries if not entry.withdrawn for each in _versions(entry)}
        files = self._files(versions)
        return [self.build(entry, whole=False, files=files) for entry in entries]

    def build(self, entry: Entry, *, whole: bool, files: Files | None = None) -> BuildView:
        """Return a build; `whole` with the names of its files, its tasks, and after a failure the end of its log.

        `files` are names that are known already.
        """
        build, run = entry.build, entry.run
        progress = self.watcher.of(build, run) if whole or build.state == RUNNING else None
        status, message = status_of(entry, progress)
        if files is None:
            files = self._files(_versions(entry)) if whole else {}
        made = _made(entry, files) if not entry.withdrawn else []
        failed = whole and status is Status.FAILED
        return BuildView(
            id=build.id,
            number=build.number,
            status=status,
            message=message,
            kind=build.kind,
            request=json.loads(build.value),
            requested=entry.mine.requested if entry.mine is not None else build.created,
            ended=build.ended,
            **_names(build.kind, json.loads(build.value), made),
            images=made,
            queue_position=entry.position if entry.position and not entry.withdrawn else None,
            estimate=_estimate(entry),
            log_removed=build.removed,
            run=run.name if run is not None and run.name else None,
            tasks=progress.logs if progress is not None else {},
            exit_code=observe(self.folder / build.id).note.exit_code if whole and build.state == OVER else None,
            log_tail=last_lines(self.folder / build.id, TAIL) if failed else [],
            requesters=list(entry.requesters) if entry.requesters else None,
        )

    def _files(self, versions: Set[Version]) -> Files:
        """Return the names of the files of versions."""
        files: dict[Version, list[str]] = {}
        for file in stored_files(self.catalogue.config, versions) if versions else ():
            files.setdefault((file.tag, str(file.arch), file.version), []).append(file.file_name)
        return files


def _versions(entry: Entry) -> set[Version]:
    return {(each.tag, each.arch, each.version) for each in entry.products}


def _made(entry: Entry, files: Files) -> list[Made]:
    return [
        Made(image=tag, architecture=arch, version=version, files=list(files.get((tag, arch, version), ())))
        for tag, arch, version in sorted(_versions(entry))
    ]


def _names(kind: str, content: Json, made: Sequence[Made]) -> dict[str, str | None]:
    """Return what the first image that was made is called."""
    if not made:
        return {}
    first = made[0]
    names = commands.names(Value(kind=kind, content=content), first.image, first.version, first.files)
    return {"image_id": names.image_id, "filename": names.filename}


def _estimate(entry: Entry) -> float | None:
    build, run = entry.build, entry.run
    if build.state != RUNNING or run is None or run.planned is None or run.expected is None:
        return None
    return max(0.0, run.expected - (clock.now() - run.planned).total_seconds())


def status_of(entry: Entry, progress: Progress | None) -> tuple[Status, str]:
    """Return the status of a build for the account of an entry, and a sentence."""
    build = entry.build
    if entry.withdrawn:
        return Status.CANCELLED, ""
    if build.state == OVER:
        return Status(build.status), build.message
    if progress is None:
        return (Status.PENDING, "") if build.state != RUNNING else (Status.STARTED, "")
    return progress.status, "it is being cancelled" if build.cancelled else progress.message


def file_view(file: StoredFile) -> FileView:
    """Return a file."""
    return FileView(
        file=file.file_name,
        image=file.tag,
        name=file.name,
        architecture=file.arch,
        version=file.version,
        format=file.format,
        size=file.size,
        sha256=file.digest,
        sha512=file.sha512,
        created=file.created,
        packages=file.packages,
        boot=file.boot,
    )
