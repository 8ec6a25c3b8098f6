"""Boot-test a version of an image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from cc_images.boottest.gate import Gate
from cc_images.engine.envelope import Envelope
from cc_images.engine.tasks.stored import intact, outputs_of
from cc_images.model.plan import BootJob, Result, Status
from cc_images.store.run_context import TaskContext

JOB = BootJob


def do(envelope: Envelope, context: TaskContext, result: Result) -> Result:
    """Let the outputs pass that have passed before, and test the others."""
    job = envelope.job
    assert isinstance(job, BootJob)
    build, outputs = outputs_of(job, job.formats, context.run)
    with context.run.lock(context.task, f"boot {job.tag} {job.arch}"):
        gate = Gate(
            context=context,
            job=job,
            build=build,
            variables=envelope.variables,
            declared=envelope.declared,
            intact=partial(intact, run=context.run),
        )
        verdict = gate.admit(outputs)
    if verdict is None:
        return replace(result, status=Status.CACHED, where="the same disk has passed", version=build.version)
    slowest = max(max(each.levels.values()) for each in verdict.climbs.values())
    where = f"{verdict.level} after {slowest:.0f} s"
    return replace(result, where=where, version=build.version, timings=verdict.timings)
