"""The worker: does one task.

Owns the task boundary: `perform` turns whatever happens into a Result, and is the only place that catches everything.
What a task leaves for a later one lies in the run's workspace or in the store, never in memory.
"""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from cc_images import dib, formats, sources
from cc_images.errors import CCImagesError, Interrupted
from cc_images.model import Artifact, Build, Format, Json, Output, Site
from cc_images.plan import BuildJob, ConvertJob, FetchJob, PushJob, Result, Status, Task
from cc_images.process import CommandFailed
from cc_images.sandbox import Sandbox
from cc_images.sites import open_site
from cc_images.sites.base import Publication
from cc_images.sites.publish import publish
from cc_images.store import Run, Store, clear_errors, write_json

LEAST_FREE = 3 << 30
"""Bytes that a build wants free in the store before it starts: a raw disk, its conversion, and some air."""


GIB = 1 << 30


class Progress(Protocol):
    """Who is told how far a task is."""

    def started(self, task: str) -> None:
        """Hear that a task has begun."""

    def step(self, task: str, doing: str) -> None:
        """Hear what a task does now."""

    def bytes(self, task: str, done: int, total: int) -> None:
        """Hear that a task has moved `done` of `total` bytes (0: not known)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What tasks need to know of their run. `cores` and `tmpfs_mib` are per task."""

    store: Store
    run: Run
    sites: Mapping[str, Site]
    recipes: Mapping[str, Json]
    """Recipes by key."""
    folders: tuple[Path, ...]
    """Where elements are, the first one wins."""
    network: Mapping[str, str]
    progress: Progress
    stop: threading.Event
    began: float = field(default_factory=time.monotonic)
    cores: int = 1
    tmpfs_mib: int = 0
    offline: bool = False

    def perform(self, task: Task) -> Result:
        """Do a task and say how it ended; never raises."""
        started = time.monotonic()
        path = self.run.log_path(task.id)
        result = Result(task=task.id, status=Status.DONE, started=started - self.began)
        tail: tuple[str, ...] = ()
        try:
            self.progress.started(task.id)
            with clear_errors(self.store.root), path.open("wb") as log:
                result = self._do(task, result, log)
        except CCImagesError as error:
            status = Status.INTERRUPTED if isinstance(error, Interrupted) else Status.FAILED
            if isinstance(error, CommandFailed):
                tail = error.tail
            result = replace(result, status=status, error=error.message, hint=error.hint, reason=error.reason)
        except Exception as error:  # noqa: BLE001 - the task boundary
            said = traceback.format_exc()
            tail = tuple(said.splitlines())
            result = replace(result, status=Status.FAILED, error=f"{type(error).__name__}: {error}", reason="bug",
                             hint="this is a bug in cc-images; please report it with the log")  # fmt: skip
            _append(path, said)
        return replace(result, log=str(path), tail=tail, seconds=time.monotonic() - started)

    def _do(self, task: Task, result: Result, log: BinaryIO) -> Result:
        match task.job:
            case FetchJob():
                return self._fetch(task.id, task.job, result)
            case BuildJob():
                return self._build(task.id, task.job, result, log)
            case ConvertJob():
                return self._convert(task.id, task.job, result, log)
            case PushJob():
                return self._push(task.id, task.job, result)

    # -- one method per kind of task ------------------------------------------------------------------------------

    def _fetch(self, task: str, job: FetchJob, result: Result) -> Result:
        known = self.store.blob_path(job.artifact.sha256)
        if job.artifact.sha256 and known.is_file() and sources.file_digest(known) == job.artifact.sha256:
            self._remember(job.artifact, known)
            return replace(result, status=Status.CACHED, size=known.stat().st_size, where=str(known))
        blob = sources.fetch(
            job.artifact,
            self.store,
            self.run.work / "fetch" / job.artifact.identity,
            stop=self.stop,
            report=lambda done, total: self.progress.bytes(task, done, total),
        )
        self._remember(job.artifact, blob.path)
        return replace(result, size=blob.size, where=str(blob.path))

    def _remember(self, artifact: Artifact, blob: Path) -> None:
        note = self._fetched(artifact)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(blob))

    def _fetched(self, artifact: Artifact) -> Path:
        """Return the note that says where this run has an artifact's blob."""
        return self.run.work / "fetched" / artifact.identity

    def _build(self, task: str, job: BuildJob, result: Result, log: BinaryIO) -> Result:
        if (free := self.store.free_bytes()) < LEAST_FREE:
            raise CCImagesError(
                f"only {free >> 20} MiB are free at {self.store.root}; a build wants {LEAST_FREE >> 20} MiB",
                hint="free some space there, or set CC_IMAGES_STORE to a folder on a larger file system",
                reason="disk-full",
            )
        workspace = self.run.workspace(job.tag, job.arch)
        artifacts = self._place_artifacts(job, workspace)
        named = [*local_paths(job.environment).values(), *map(Path, artifacts.values())]
        sandbox = Sandbox(
            workspace=workspace,
            guards=self.run.work / "guards",
            visible=(*self.folders, *(place for path in named for place in dict.fromkeys((path, path.resolve())))),
            tmpfs_mib=self.tmpfs_mib,
            cores=self.cores,
        )
        order = dib.Order(
            arch=job.arch,
            elements=(*job.content, *job.disk),
            folders=self.folders,
            packages=job.packages,
            environment={
                **self.network,
                **job.environment,
                **artifacts,
                "CC_IMAGES_NAME": job.name,
                "CC_IMAGES_VERSION": job.version,
                "CC_IMAGES_KEY": job.key,
            },
            timeout=job.timeout,
            offline=self.offline,
        )
        disk, timings = dib.build(
            order, sandbox, log=log, stop=self.stop, report=lambda hook: self.progress.step(task, hook)
        )
        packages = dib.packages(sandbox.out)
        write_json(workspace / "evidence.json", {"key": job.key, "timings": dict(timings), "packages": packages})
        return replace(result, size=disk.stat().st_blocks * 512, timings=dict(timings))

    def _place_artifacts(self, job: BuildJob, workspace: Path) -> dict[str, str]:
        """Name the build's artifacts in its workspace by links to the blobs, which the sandbox sees read-only."""
        places: dict[str, str] = {}
        for variable, artifact in job.artifacts.items():
            blob = Path(self._fetched(artifact).read_text())
            place = workspace / "artifacts" / variable / artifact.basename
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(blob)
            places[variable] = str(place)
        return places

    def _convert(self, task: str, job: ConvertJob, result: Result, log: BinaryIO) -> Result:
        workspace = self.run.workspace(job.tag, job.arch)
        workspace.mkdir(parents=True, exist_ok=True)
        before = self.store.build(job.tag, job.arch, job.version)
        if job.source is None:
            disk, disk_format = workspace / "out" / "disk.raw", Format.RAW
            virtual_size = disk.stat().st_size
        else:
            disk, disk_format = self.store.blob_path(job.source.digest), job.source.format
            virtual_size = job.source.virtual_size
        outputs = dict(before.outputs) if before else {}
        for wanted in sorted(job.formats, key=lambda out: out is Format.RAW):  # raw last: it is moved, not copied
            self.progress.step(task, f"to {wanted}")
            staged = workspace / f"staged.{wanted}"
            formats.convert(disk, staged, wanted, cores=self.cores, log=log, stop=self.stop, source_format=disk_format)
            blob = self.store.add(staged)
            outputs[wanted] = Output(
                format=wanted, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=virtual_size
            )
        build = replace(before, outputs=outputs) if before else self._new_build(job, outputs, workspace)
        self.store.record(build, job.published_name)
        if job.replaces:
            for old in list(self.store.builds(job.tag, job.arch)):
                if old.version < job.version:
                    self.store.forget(old)
        size = sum(outputs[wanted].size for wanted in job.formats)
        where = str(self.store.image_link(job.published_name, job.formats[0]))
        return replace(result, size=size, where=where)

    def _new_build(self, job: ConvertJob, outputs: Mapping[Format, Output], workspace: Path) -> Build:
        evidence = json.loads((workspace / "evidence.json").read_text())
        return Build(
            tag=job.tag,
            name=job.name,
            arch=job.arch,
            version=job.version,
            key=evidence["key"],
            outputs=outputs,
            recipe=self.recipes[evidence["key"]],
            timings=evidence["timings"],
            packages=evidence["packages"],
        )

    def _push(self, task: str, job: PushJob, result: Result) -> Result:
        build = self.store.build(job.tag, job.arch, job.version)
        if build is None or job.format not in build.outputs:
            raise CCImagesError(
                f"version {job.version} of {job.tag} has left the store",
                hint="build it again with -b",
                reason="gone",
            )
        output = build.outputs[job.format]
        publication = Publication(
            name=job.name,
            path=self.store.blob_path(output.digest),
            sha512=output.sha512,
            size=output.size,
            properties={
                "min_disk": str(-(-output.virtual_size // GIB)),
                **job.properties,
                "build-version": build.version,
                "build-key": build.key,
            },
            run=self.run.version,
            details={
                "version": build.version,
                "key": build.key,
                "arch": job.arch,
                "format": job.format,
                "sha256": output.digest,
                "virtual_size": output.virtual_size,
                "packages": len(build.packages),
            },
        )
        with self.store.lock(
            f"push {self.sites[job.site].cloud or job.site} {job.name}",
            lambda: self.progress.step(task, "waiting for another run's push"),
            self.stop,
        ):
            outcome = publish(
                open_site(self.sites[job.site], job.format),
                publication,
                stop=self.stop,
                report=lambda done: self.progress.bytes(task, done, output.size),
                keep=self.sites[job.site].keep,
                ours=self.store.knows,
            )
        status = Status.DONE if outcome.changed else Status.CACHED
        note = f" (the old one is {outcome.archived} now)" if outcome.archived else ""
        note += f" (removed {', '.join(outcome.removed)})" if outcome.removed else ""
        return replace(result, status=status, size=output.size, where=outcome.address + note)


def local_paths(environment: Mapping[str, str]) -> dict[str, Path]:
    """Return the variables whose value is a file or folder of this host."""
    return {name: Path(value) for name, value in environment.items() if value[:1] == "/" and os.path.exists(value)}


def _append(path: Path, text: str) -> None:
    with suppress(OSError), path.open("a") as log:
        log.write(text)
