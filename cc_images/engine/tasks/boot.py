"""Boot-test a version of an image."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

from cc_images.boottest import acceleration, inspector
from cc_images.boottest.boot_test import BootTest
from cc_images.boottest.container_test import ContainerTest
from cc_images.boottest.gate import Gate
from cc_images.boottest.verdict import BootTestResult
from cc_images.engine.bills import documents
from cc_images.engine.envelope import Envelope
from cc_images.engine.tasks.stored import intact, outputs_of
from cc_images.model.catalog import CONTAINERS, Format
from cc_images.model.plan import BootJob, Result, Status
from cc_images.model.redaction import secret_values
from cc_images.store.run_context import TaskContext

_log = logging.getLogger(__name__)


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
            examine=partial(_examined, job=job, envelope=envelope, context=context),
        )
        verdict = gate.admit(outputs)
    if lacking := documents(context.store, build, job.name).lacking:
        _log.info(lacking)
    if verdict is None:
        return replace(result, status=Status.CACHED, where="the same disk has passed", version=build.version)
    slowest = max((max(each.levels.values()) for each in verdict.climbs.values() if each.levels), default=0.0)
    where = "; ".join((f"{verdict.level} after {slowest:.0f} s", *verdict.advice))
    return replace(result, where=where, version=build.version, timings=verdict.timings)


def _examined(
    file: Path, disk_format: Format, *, job: BootJob, envelope: Envelope, context: TaskContext
) -> BootTestResult:
    """Put one file through its boot test."""
    if disk_format in CONTAINERS:
        return _started(file, disk_format, job, envelope, context)
    run, settings = context.run.run, context.run.settings
    kernel = None
    if disk_format is Format.INITRAMFS:
        _, (output,) = outputs_of(job, (Format.KERNEL,), context.run)
        kernel = intact(output, context.run)
    memory = context.store.root / acceleration.MEMORY
    test = BootTest(
        job=job,
        image=file,
        kernel=kernel,
        disk_format=disk_format,
        folder=run.work / f"boot-{job.tag}-{job.arch}",
        guards=run.work / "guards",
        serial_log=lambda firmware: run.log_path(f"{context.task} {firmware} serial"),
        secrets=secret_values({**envelope.variables, **context.run.network}, envelope.declared),
        admitted=inspector.admitted_keys(envelope.variables),
        accelerated=acceleration.acceleration(job.arch, memory).runs,
        cores=settings.guest_cores,
        at_once=settings.guests_at_once,
        log=context.log,
        stop=context.stop,
        report=context.step,
        distrust=partial(acceleration.distrust, job.arch, memory),
    )
    return test.run()


def _started(file: Path, disk_format: Format, job: BootJob, envelope: Envelope, context: TaskContext) -> BootTestResult:
    """Put one container through its test."""
    run = context.run.run
    test = ContainerTest(
        job=job,
        image=file,
        form=disk_format,
        folder=run.work / f"start-{job.tag}-{job.arch}-{disk_format}",
        guards=run.work / "guards",
        secrets=secret_values({**envelope.variables, **context.run.network}, envelope.declared),
        admitted=inspector.admitted_keys(envelope.variables),
        log=context.log,
        stop=context.stop,
        report=context.step,
    )
    return test.run()
