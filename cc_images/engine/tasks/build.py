"""Build a disk in the run's workspace, or take the build that another run has just made."""

from __future__ import annotations

import logging
from dataclasses import replace

from cc_images.engine.envelope import Envelope
from cc_images.engine.freshness import has_moved
from cc_images.engine.tasks import keeping
from cc_images.engine.tasks.layer import run_builder
from cc_images.host.root import remove
from cc_images.model.kept import LeftTree
from cc_images.model.plan import BuildJob, Result, Status
from cc_images.store import notes
from cc_images.store.notes import Evidence, Joined
from cc_images.store.run_context import TaskContext

_log = logging.getLogger(__name__)


def do(envelope: Envelope, context: TaskContext, result: Result) -> Result:
    """Build. The run holds the image's lease from now on until its conversion is over.

    A build that stops after a phase has none: its tree is kept, and nothing else of it.
    """
    job = envelope.job
    assert isinstance(job, BuildJob)
    run, spec = context.run, job.spec
    if job.until:
        return _until(job, envelope, context, result)
    run.lease_image(context.task, job.tag, job.arch)
    workspace = run.run.workspace(job.tag, job.arch)
    if not job.force:
        for build in context.store.builds(job.tag, job.arch):
            fits = build.recipe_key == spec.recipe_key and build.version not in job.known
            if fits and not has_moved(build, run):
                _log.info("reused: version %s of another run", build.version)
                notes.write(workspace / "joined.json", Joined(version=build.version))
                return replace(result, status=Status.CACHED, where=f"version {build.version} of another run")
    built = run_builder(job, envelope, context, workspace)
    evidence = Evidence(
        recipe_key=spec.recipe_key,
        file=str(built.file.relative_to(workspace)),
        parts={name: str(file.relative_to(workspace)) for name, file in built.parts.items()},
        timings=built.timings,
        packages=built.packages,
        upstream=built.upstream,
    )
    notes.write(workspace / "evidence.json", evidence)
    size = built.file.stat().st_blocks * 512
    return replace(result, size=size, timings=dict(built.timings), peaks=built.peaks)


def _until(job: BuildJob, envelope: Envelope, context: TaskContext, result: Result) -> Result:
    """Build as far as a phase, and keep the tree."""
    workspace = context.run.run.workspace(job.tag, job.arch)
    built = run_builder(job, envelope, context, workspace)
    size = built.file.stat().st_size
    keeping.place(job, LeftTree(file=built.file, phase=job.until), context, until=True)
    remove(workspace)
    where = f"stopped after {job.until}; {keeping.command(job)}"
    return replace(result, size=size, where=where, timings=dict(built.timings), peaks=built.peaks)
