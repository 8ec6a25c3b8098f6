"""The worker: does one task.

Owns the task boundary: `perform` turns whatever happens into a Result, and is the only place that catches everything.
What a task leaves for a later one lies in the run's workspace or in the store, never in memory.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from cc_images.boottest.gate import Gate
from cc_images.builders.dib import command
from cc_images.builders.dib.build import Workshop
from cc_images.errors import CCImagesError, Interrupted
from cc_images.host.files import clear_errors, write_json
from cc_images.host.sandbox import remove
from cc_images.model.catalog import Build, Download, Format, Json, Level, Output, Site
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, FetchJob, Job, LayerJob, PushJob, Result, Status, Task
from cc_images.model.recipe import key_of
from cc_images.outputs import disk
from cc_images.sites import open_site
from cc_images.sites.base import Publication
from cc_images.sites.publish import publish
from cc_images.sources import artifacts
from cc_images.store.blobs import Blob
from cc_images.store.published import Published

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Who does the tasks of one run, which began at `began` on the monotonic clock."""

    shop: Workshop
    sites: Mapping[str, Site]
    began: float = field(default_factory=time.monotonic)

    def perform(self, task: Task) -> Result:
        """Do a task and say how it ended; never raises."""
        started = time.monotonic()
        path = self.shop.run.log_path(task.id)
        result = Result(task=task.id, status=Status.DONE, started=started - self.began)
        tail: tuple[str, ...] = ()
        try:
            self.shop.progress.started(task.id)
            with clear_errors(self.shop.store.root), path.open("wb") as log:
                result = self._do(task, result, log)
        except CCImagesError as error:
            status = Status.INTERRUPTED if isinstance(error, Interrupted) else Status.FAILED
            tail = error.tail
            result = replace(result, status=status, error=error.message, hint=error.hint, reason=error.reason)
        except Exception as error:  # noqa: BLE001 - the task boundary
            said = traceback.format_exc()
            tail = tuple(said.splitlines())
            result = replace(result, status=Status.FAILED, error=f"{type(error).__name__}: {error}", reason="bug",
                             hint="this is a bug in cc-images; please report it with the log")  # fmt: skip
            _append(path, said)
        if isinstance(task.job, ConvertJob) or not result.status.good:
            self.shop.run.let_go(_lock(task.job))
        return replace(result, log=str(path), tail=tail, seconds=time.monotonic() - started)

    def over(self, conversion: Task, ended: Container[str]) -> None:
        """Let go of the image once build and conversion have ended; that may be given up while the build is running."""
        if all(each in ended for each in (conversion.id, *conversion.needs)):
            self.shop.run.let_go(_lock(conversion.job))

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
            case BootJob():
                return self._boot(task.id, task.job, result, log)
            case PushJob():
                return self._push(task.id, task.job, result)

    # -- one method per kind of task ------------------------------------------------------------------------------

    def _fetch(self, task: str, job: FetchJob, result: Result) -> Result:
        if job.artifact.sha256:
            known = self.shop.store.blobs.path(job.artifact.sha256)
            with suppress(FileNotFoundError):
                name = self.shop.run.use(known)
                if self.shop.store.blobs.is_intact(job.artifact.sha256, name):
                    self._remember(job.artifact, known)
                    return replace(result, status=Status.CACHED, size=name.stat().st_size, where=str(known))
        blob = artifacts.fetch(
            job.artifact,
            self.shop.store,
            self.shop.clouds,
            stop=self.shop.stop,
            report=lambda done, total: self.shop.progress.bytes(task, done, total),
        )
        self._remember(job.artifact, blob.path)
        return replace(result, size=blob.size, where=str(blob.path))

    def _remember(self, artifact: Download, blob: Path) -> None:
        note = self.shop.note(artifact)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(self.shop.run.use(blob)))
        self.shop.store.note_artifact(blob.name, artifact.basename)

    def _layer(self, task: str, job: LayerJob, result: Result, log: BinaryIO) -> Result:
        layer, made = self.shop.layer(task, job, log)
        if made is None:
            return replace(result, status=Status.CACHED, size=layer.size)
        return replace(result, size=layer.size, timings=dict(made.timings), peaks=made.peaks)

    def _build(self, task: str, job: BuildJob, result: Result, log: BinaryIO) -> Result:
        self.shop.keep_lock(task, _lock(job))  # the conversion lets go of it, once the build is recorded
        workspace = self.shop.run.workspace(job.tag, job.arch)
        if not job.force:
            for build in self.shop.store.builds(job.tag, job.arch):
                if build.asked == job.asked and build.version not in job.known and not self.shop.moved(build):
                    workspace.mkdir(parents=True, exist_ok=True)
                    (workspace / "joined").write_text(build.version)
                    return replace(result, status=Status.CACHED, where=f"version {build.version} of another run")
        made = self.shop.make(task, job, workspace, log)
        evidence = {
            "asked": job.asked,
            "timings": dict(made.timings),
            "packages": command.packages(made.file.parent),
            "upstream": dict(made.upstream),
        }
        write_json(workspace / "evidence.json", evidence)
        size = made.file.stat().st_blocks * 512
        return replace(result, size=size, timings=dict(made.timings), peaks=made.peaks)

    def _convert(self, task: str, job: ConvertJob, result: Result, log: BinaryIO) -> Result:
        if not self.shop.run.holds(_lock(job)):  # what is stored gets one more format
            self.shop.keep_lock(task, _lock(job))
        return self._converted(task, job, result, log)

    def _converted(self, task: str, job: ConvertJob, result: Result, log: BinaryIO) -> Result:
        workspace = self.shop.run.workspace(job.tag, job.arch)
        workspace.mkdir(parents=True, exist_ok=True)
        before = self.shop.stored(job.tag, job.arch, self._version(job))
        wanted = [each for each in job.formats if before is None or each not in before.outputs]
        if before is not None and not wanted:
            return replace(result, status=Status.CACHED, where=f"version {before.version}", version=before.version)
        if before is None:
            if job.version != self.shop.run.version:
                raise _gone(job.tag, job.version)
            source_disk, disk_format = workspace / "out" / "disk.raw", Format.RAW
            virtual_size = source_disk.stat().st_size
        else:
            source = before.outputs.get(Format.QCOW2) or next(iter(before.outputs.values()))
            source_disk, disk_format, virtual_size = self._intact(source), source.format, source.virtual_size
        sealed: dict[Format, Blob] = {}
        for each in sorted(wanted, key=lambda out: out is Format.RAW):  # raw last: it is moved, not copied
            self.shop.progress.step(task, f"to {each}")
            staged = workspace / f"staged.{each}"
            disk.convert(
                source_disk,
                staged,
                each,
                cores=self.shop.cores,
                log=log,
                stop=self.shop.stop,
                source_format=disk_format,
            )
            sealed[each] = self.shop.store.blobs.seal(staged)
        outputs = dict(before.outputs) if before else {}
        outputs |= {
            each: Output(format=each, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=virtual_size)
            for each, blob in sealed.items()
        }
        build, details = self._recorded(job, before, outputs, workspace)
        with self.shop.store.lock("gc", shared=True):
            for blob in sealed.values():
                self.shop.store.blobs.place(blob)
            self.shop.store.record(build, details, job.published_name)
        if job.replaces:
            older = [old for old in self.shop.store.builds(job.tag, job.arch) if old.version != build.version]
            self.shop.store.forget(*older)
        if before is None:
            remove(workspace / "out")  # the raw disk is of no more use, and others may want its room
        size = sum(outputs[each].size for each in job.formats)
        where = str(self.shop.store.image_link(job.published_name, job.formats[0]))
        peaks = {"disk": sum(blob.size for blob in sealed.values()) >> 20}
        return replace(result, size=size, where=where, version=build.version, peaks=peaks)

    def _boot(self, task: str, job: BootJob, result: Result, log: BinaryIO) -> Result:
        build, outputs = self._outputs(job)
        with self.shop.lock(task, f"boot {job.tag} {job.arch}"):
            gate = Gate(shop=self.shop, job=job, build=build, intact=self._intact)
            verdict = gate.admit(task, outputs, log)
        if verdict is None:
            return replace(result, status=Status.CACHED, where="the same disk has passed", version=build.version)
        slowest = max(max(climb.levels.values()) for climb in verdict.climbs.values())
        where = f"{verdict.level} after {slowest:.0f} s"
        return replace(result, where=where, version=build.version, timings=verdict.timings)

    def _outputs(self, job: BootJob | PushJob) -> tuple[Build, list[Output]]:
        """Return the build that a job is about, and the outputs that it wants."""
        version = self._version(job)
        build = self.shop.stored(job.tag, job.arch, version)
        wanted = job.formats if isinstance(job, BootJob) else (job.format,)
        if build is None or any(each not in build.outputs for each in wanted):
            raise _gone(job.tag, version)
        return build, [build.outputs[each] for each in wanted]

    def _version(self, job: ConvertJob | BootJob | PushJob) -> str:
        """Return the version that a job is about: the planned one, or that of another run which made the same first."""
        joined = self.shop.run.workspace(job.tag, job.arch) / "joined"
        return joined.read_text() if job.version == self.shop.run.version and joined.is_file() else job.version

    def _intact(self, output: Output) -> Path:
        """Return a name for an output's file that stays, after reading it. Raises CCImagesError for a damaged one."""
        with suppress(FileNotFoundError):
            name = self.shop.run.use(self.shop.store.blobs.path(output.digest))
            if self.shop.store.blobs.is_intact(output.digest, name):
                return name
        raise CCImagesError(
            f"the stored {output.format} file {output.digest[:12]} was damaged and has been put aside",
            hint="build the image again with -b",
            reason="damaged",
        )

    def _recorded(
        self, job: ConvertJob, before: Build | None, outputs: Mapping[Format, Output], workspace: Path
    ) -> tuple[Build, Json]:
        if before is not None:
            return replace(before, outputs=outputs), self.shop.store.details(before)
        evidence = json.loads((workspace / "evidence.json").read_text())
        details = self.shop.details(evidence["asked"])
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
        build, (output,) = self._outputs(job)
        passed = self.shop.store.passes([output.digest]).get(output.digest) == job.asked
        publication = Publication(
            name=job.name,
            path=self.shop.run.use(self.shop.store.blobs.path(output.digest)),
            sha512=output.sha512,
            size=output.size,
            properties={
                "min_disk": str(-(-output.virtual_size // GIB)),
                **job.properties,
                "build-version": build.version,
                "build-key": build.key,
                "build-boot": Level.CHECKS if passed else build.boot or "not tested",
            },
            run=self.shop.run.name,
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
        with self.shop.lock(task, f"push {self.sites[job.site].cloud or job.site} {job.name}"):
            site = open_site(self.sites[job.site], job.format)
            try:
                outcome = publish(
                    site,
                    publication,
                    stop=self.shop.stop,
                    report=lambda done: self.shop.progress.bytes(task, done, output.size),
                    keep=self.sites[job.site].keep,
                    ours=self.shop.store.knows,
                    insist=job.insist,
                    before=self._was_last(job, build.version, site.place()),
                    say=lambda text: self.shop.progress.step(task, text),
                )
                place = site.place()
            except CCImagesError:
                self._intact(output)  # a damaged blob explains the failure, and must not be the next one's cause too
                raise
        status = Status.DONE if outcome.changed else Status.CACHED
        note = f" (the old one is {outcome.archived} now)" if outcome.archived else ""
        note += f" (removed {', '.join(outcome.removed)})" if outcome.removed else ""
        peaks = {"disk": output.size >> 20} if self.sites[job.site].directory and outcome.changed else {}
        note += "".join(f" ({text})" for text in (outcome.kept, *outcome.notes) if text)
        version = "" if outcome.kept and not outcome.same else build.version
        return replace(
            result,
            status=status,
            size=output.size,
            where=outcome.address + note,
            version=version,
            place=place,
            peaks=peaks,
        )

    def _was_last(self, job: PushJob, version: str, place: str) -> bool:
        """Say whether this store's last publication in this place was this very build."""
        last = Published(self.shop.store.root).last(job.site, job.name, job.format)
        return last is not None and (last.version, last.place) == (version, place) and bool(place)


def _lock(job: Job) -> str:
    """Return the lock of the image that a job is at work on: a build takes it, the conversion lets go of it."""
    match job:
        case LayerJob():
            return ""
        case BuildJob() | ConvertJob():
            return f"image {job.tag} {job.arch}"
    return ""


def _gone(tag: str, version: str) -> CCImagesError:
    return CCImagesError(f"version {version} of {tag} has left the store", hint="build it again with -b", reason="gone")


def _append(path: Path, text: str) -> None:
    with suppress(OSError), path.open("a") as log:
        log.write(text)
