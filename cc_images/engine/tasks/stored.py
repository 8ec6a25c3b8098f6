"""Stored builds as tasks need them: by version, with the files of their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Format
from cc_images.model.plan import BootJob, ConvertJob, PushJob
from cc_images.store import notes
from cc_images.store.notes import Joined
from cc_images.store.run_context import RunContext


def version_of(job: ConvertJob | BootJob | PushJob, run: RunContext) -> str:
    """Return the version of a job: the planned one, or that of another run which made the same first."""
    if job.version != run.run.version:
        return job.version
    joined = notes.found(run.run.workspace(job.tag, job.arch) / "joined.json", Joined)
    return joined.version if joined is not None else job.version


def outputs_of(job: BootJob | PushJob, formats: Sequence[Format], run: RunContext) -> tuple[Build, list[Output]]:
    """Return the build of a job, and its outputs in some formats. Raises CCImagesError when they are gone."""
    version = version_of(job, run)
    build = run.stored(job.tag, job.arch, version)
    if build is None or any(each not in build.outputs for each in formats):
        raise gone(job.tag, version)
    return build, [build.outputs[each] for each in formats]


def intact(output: Output, run: RunContext) -> Path:
    """Return a name for an output's file that stays, after reading it. Raises CCImagesError for a damaged one."""
    with suppress(FileNotFoundError):
        name = run.run.use(run.store.blobs.path(output.digest))
        if run.store.blobs.is_intact(output.digest, name):
            return name
    raise CCImagesError(
        f"the stored {output.format} file {output.digest[:12]} was damaged and is in quarantine now",
        hint="build the image again with -b",
        reason=Reason.DAMAGED,
    )


def gone(tag: str, version: str) -> CCImagesError:
    """Return the error of a version that has left the store."""
    said = f"version {version} of {tag} is no longer in the store"
    return CCImagesError(said, hint="build it again with -b", reason=Reason.GONE)
