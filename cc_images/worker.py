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
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from cc_images import dib, formats, sources, upstream
from cc_images.blobs import Blob
from cc_images.caches import Caches, Generation
from cc_images.elements import Elements
from cc_images.errors import CCImagesError, Interrupted
from cc_images.files import clear_errors, wait_for_lock, write_json
from cc_images.layering import LAYER_ELEMENT, inherit, write_element
from cc_images.model import Artifact, Build, Format, Json, Layer, Output, Site
from cc_images.plan import Base, BuildJob, ConvertJob, FetchJob, LayerJob, PushJob, Result, Status, Task
from cc_images.process import CommandFailed
from cc_images.recipe import key_of, merged
from cc_images.sandbox import TOOLBOX, Sandbox, remove
from cc_images.sites import open_site
from cc_images.sites.base import Publication
from cc_images.sites.publish import publish
from cc_images.store import Run, Store

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
    layers: Mapping[str, LayerJob]
    """Every layer that a build may start from, by what is asked of it."""
    details: Callable[[str], Json]
    """What a build or layer of which this was asked is made of."""
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
            case LayerJob():
                return self._layer(task.id, task.job, result, log)
            case BuildJob():
                return self._build(task.id, task.job, result, log)
            case ConvertJob():
                return self._convert(task.id, task.job, result, log)
            case PushJob():
                return self._push(task.id, task.job, result)

    # -- one method per kind of task ------------------------------------------------------------------------------

    def _fetch(self, task: str, job: FetchJob, result: Result) -> Result:
        if job.artifact.sha256 and self.store.blobs.is_intact(job.artifact.sha256):
            known = self.store.blobs.path(job.artifact.sha256)
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
        note.write_text(str(self.run.use(blob)))
        self.store.note_artifact(blob.name, artifact.basename)

    def _fetched(self, artifact: Artifact) -> Path:
        """Return the note that says where this run has an artifact's blob."""
        return self.run.work / "fetched" / artifact.identity

    def _layer(self, task: str, job: LayerJob, result: Result, log: BinaryIO) -> Result:
        waiting = partial(self.progress.step, task, "waiting for another run's")
        with self.store.lock(f"layer {job.tag} {job.arch}", waiting, self.stop):
            if not job.force:
                for layer in self.store.layers(job.tag, job.arch):
                    if layer.asked == job.asked and layer.run not in job.known:
                        return replace(result, status=Status.CACHED, size=layer.size)
            workspace = self.run.workspace(f"layer.{job.tag}", job.arch)
            tree, timings, seen = self._make(task, job, workspace, log)
            sealed = self.store.blobs.seal(tree)
            details = self.details(job.asked) | {"timings": dict(timings)}
            layer = Layer(
                tag=job.tag,
                arch=job.arch,
                run=self.run.version,
                asked=job.asked,
                key=key_of(details["recipe"] | {"upstream": seen}),
                digest=sealed.digest,
                size=sealed.size,
                upstream=seen,
            )
            with self.store.lock("gc", shared=True):
                self.store.blobs.place(sealed)
                self.store.record_layer(layer, details)
            if job.force:
                self.store.forget(*(old for old in self.store.layers(job.tag, job.arch) if old.run != layer.run))
        return replace(result, size=sealed.size, timings=dict(timings))

    def _build(self, task: str, job: BuildJob, result: Result, log: BinaryIO) -> Result:
        lock = f"image {job.tag} {job.arch}"
        waiting = partial(self.progress.step, task, "waiting for another run's")
        self.run.keep(lock, wait_for_lock(self.store.lock_path(lock), waiting, self.stop))
        try:
            workspace = self.run.workspace(job.tag, job.arch)
            if not job.force:
                for build in self.store.builds(job.tag, job.arch):
                    if build.asked == job.asked and build.version not in job.known:
                        workspace.mkdir(parents=True, exist_ok=True)
                        (workspace / "joined").write_text(build.version)
                        return replace(result, status=Status.CACHED, where=f"version {build.version} of another run")
            disk, timings, seen = self._make(task, job, workspace, log)
            packages = dib.packages(disk.parent)
            evidence = {"asked": job.asked, "timings": dict(timings), "packages": packages, "upstream": seen}
            write_json(workspace / "evidence.json", evidence)
        except BaseException:
            self.run.let_go(lock)  # else the conversion does, once the build is recorded
            raise
        return replace(result, size=disk.stat().st_blocks * 512, timings=dict(timings))

    def _make(
        self, task: str, job: BuildJob, workspace: Path, log: BinaryIO
    ) -> tuple[Path, Mapping[str, float], dict[str, str]]:
        """Run dib for a disk or a tree; return the file, the seconds per hook, and the upstream state that it saw."""
        if (free := self.store.free_bytes()) < LEAST_FREE:
            raise CCImagesError(
                f"only {free >> 20} MiB are free at {self.store.root}; a build wants {LEAST_FREE >> 20} MiB",
                hint="run `cc-images prune`, or set CC_IMAGES_STORE to a folder on a larger file system",
                reason="disk-full",
            )
        artifacts = self._place_artifacts(job, workspace)
        folders, before = self.folders, None
        if job.base is not None:
            before, tree = self._foundation(task, job.base, job, log)
            elements = Elements(self.folders)
            (workspace / "elements").mkdir(parents=True)
            write_element(
                workspace / "elements" / LAYER_ELEMENT, elements, inherit(elements, job.base.content), TOOLBOX / "layer"
            )
            folders = (workspace / "elements", *folders)
        named = [*local_paths(job.environment).values(), *map(Path, artifacts.values())]
        sandbox = Sandbox(
            workspace=workspace,
            guards=self.run.work / "guards",
            visible=(
                *folders,
                *((tree,) if before else ()),
                *(place for path in named for place in dict.fromkeys((path, path.resolve()))),
            ),
            tmpfs_mib=self.tmpfs_mib,
            cores=self.cores,
            cache_seed=cache.path if (cache := self._downloads(job)) else None,
        )
        own = {"CC_IMAGES_NAME": job.name, "CC_IMAGES_VERSION": job.version, "CC_IMAGES_KEY": job.asked}
        order = dib.Order(
            arch=job.arch,
            elements=(*job.content, *job.disk),
            folders=folders,
            packages=job.packages,
            environment={**self.network, **job.environment, **artifacts, **({} if isinstance(job, LayerJob) else own)},
            timeout=job.timeout,
            offline=self.offline,
            layer=tree if before else None,
            tree=isinstance(job, LayerJob),
        )
        made, timings = dib.build(
            order, sandbox, log=log, stop=self.stop, report=lambda hook: self.progress.step(task, hook)
        )
        seen = merged(before.upstream if before else {}, upstream.seen(sandbox.out))
        with self.store.lock(f"cache {job.family}"):
            caches = Caches(self.store.root)
            name = f"{self.run.version}-{job.tag}{'-layer' if isinstance(job, LayerJob) else ''}"
            caches.promote(job.family, name, cache.path if cache else None, sandbox.out, remove)
        return made, timings, seen

    def _downloads(self, job: BuildJob) -> Generation | None:
        """Return what earlier builds of the family have downloaded; it stays until the run ends."""
        if (found := Caches(self.store.root).newest(job.family)) is not None:
            self.run.keep(f"cache {job.tag} {type(job).__name__}", found.descriptor)
        return found

    def _foundation(self, task: str, base: Base, job: BuildJob, log: BinaryIO) -> tuple[Layer, Path]:
        """Return the layer that a build starts from, and its file, read and found right; else make it anew."""
        for _ in range(2):
            for layer in self.store.layers(base.tag, job.arch):
                if layer.asked == base.asked and self.store.blobs.is_intact(layer.digest):
                    with suppress(FileNotFoundError):
                        file = self.run.use(self.store.blobs.path(layer.digest))
                        self.store.used(layer)
                        return layer, file
            self.progress.step(task, "its layer is missing or damaged: making it anew")
            again = replace(self.layers[base.asked], version=job.version)
            self._layer(task, again, Result(task=task, status=Status.DONE), log)
        raise CCImagesError(
            f"the layer of {base.tag} vanished twice while it was made",
            hint="look for what removes files from the store",
            reason="gone",
        )

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
        try:
            return self._converted(task, job, result, log)
        finally:
            self.run.let_go(f"image {job.tag} {job.arch}")

    def _converted(self, task: str, job: ConvertJob, result: Result, log: BinaryIO) -> Result:
        workspace = self.run.workspace(job.tag, job.arch)
        workspace.mkdir(parents=True, exist_ok=True)
        before = self.store.build(job.tag, job.arch, self._version(job))
        wanted = [each for each in job.formats if before is None or each not in before.outputs]
        if before is not None and not wanted:
            return replace(result, status=Status.CACHED, where=f"version {before.version}")
        if before is None:
            disk, disk_format = workspace / "out" / "disk.raw", Format.RAW
            virtual_size = disk.stat().st_size
        else:
            source = before.outputs.get(Format.QCOW2) or next(iter(before.outputs.values()))
            disk, disk_format, virtual_size = self._intact(source), source.format, source.virtual_size
        sealed: dict[Format, Blob] = {}
        for each in sorted(wanted, key=lambda out: out is Format.RAW):  # raw last: it is moved, not copied
            self.progress.step(task, f"to {each}")
            staged = workspace / f"staged.{each}"
            formats.convert(disk, staged, each, cores=self.cores, log=log, stop=self.stop, source_format=disk_format)
            sealed[each] = self.store.blobs.seal(staged)
        outputs = dict(before.outputs) if before else {}
        outputs |= {
            each: Output(format=each, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=virtual_size)
            for each, blob in sealed.items()
        }
        build, details = self._recorded(job, before, outputs, workspace)
        with self.store.lock("gc", shared=True):
            for blob in sealed.values():
                self.store.blobs.place(blob)
            self.store.record(build, details, job.published_name)
        if job.replaces:
            older = [old for old in self.store.builds(job.tag, job.arch) if old.version < build.version]
            self.store.forget(*older)
        size = sum(outputs[each].size for each in job.formats)
        where = str(self.store.image_link(job.published_name, job.formats[0]))
        return replace(result, size=size, where=where)

    def _version(self, job: ConvertJob | PushJob) -> str:
        """Return the version that a job is about: the planned one, or that of another run which made the same first."""
        joined = self.run.workspace(job.tag, job.arch) / "joined"
        return joined.read_text() if job.version == self.run.version and joined.is_file() else job.version

    def _intact(self, output: Output) -> Path:
        """Return a name for an output's file that stays, after reading it. Raises CCImagesError for a damaged one."""
        if self.store.blobs.is_intact(output.digest):
            with suppress(FileNotFoundError):
                return self.run.use(self.store.blobs.path(output.digest))
        raise CCImagesError(
            f"the stored {output.format} file {output.digest[:12]} was damaged and has been put aside",
            hint="build the image again with -b",
            reason="damaged",
        )

    def _recorded(
        self, job: ConvertJob, before: Build | None, outputs: Mapping[Format, Output], workspace: Path
    ) -> tuple[Build, Json]:
        if before is not None:
            return replace(before, outputs=outputs), self.store.details(before)
        evidence = json.loads((workspace / "evidence.json").read_text())
        details = self.details(evidence["asked"])
        build = Build(
            tag=job.tag,
            name=job.name,
            arch=job.arch,
            version=job.version,
            asked=evidence["asked"],
            key=key_of(details["recipe"] | {"upstream": evidence["upstream"]}),
            outputs=outputs,
            upstream=evidence["upstream"],
            packages=len(evidence["packages"]),
        )
        return build, details | {"timings": evidence["timings"], "packages": evidence["packages"]}

    def _push(self, task: str, job: PushJob, result: Result) -> Result:
        version = self._version(job)
        build = self.store.build(job.tag, job.arch, version)
        if build is None or job.format not in build.outputs:
            raise CCImagesError(
                f"version {version} of {job.tag} has left the store",
                hint="build it again with -b",
                reason="gone",
            )
        output = build.outputs[job.format]
        publication = Publication(
            name=job.name,
            path=self.run.use(self.store.blobs.path(output.digest)),
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
                "packages": build.packages,
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
