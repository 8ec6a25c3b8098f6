"""Results from builder hosts: whether one counts, and what it leaves in the store of the head.

A builder host is believed in what only it can know: how a task ended, and what was found inside an image. Everything
that names something (tasks, tags, recipe keys, formats, digests) must be what the head has asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from msgspec import convert

from cc_images.engine.bills import documents
from cc_images.engine.envelope import Envelope
from cc_images.engine.tasks import convert as conversion
from cc_images.engine.tasks.stored import outputs_of
from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host import record_files
from cc_images.model.builds import Layer, Output
from cc_images.model.catalog import Json
from cc_images.model.plain_text import all_printable
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, Job, LayerJob, Result, Status
from cc_images.model.recipe import key_of
from cc_images.model.record_shapes import DetailsShape, LayerShape, PassShape
from cc_images.remote.lines import object_of, plain_text
from cc_images.remote.protocol import HOST_FAULTS
from cc_images.store import kept, notes
from cc_images.store.notes import Evidence
from cc_images.store.run_context import RunContext, TaskContext


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLayer:
    """A layer as a builder host has recorded it."""

    record: Json
    details: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a builder host has made of a chain; see `work.Work`."""

    results: tuple[Result, ...]
    layer: MadeLayer | None = None
    evidence: Evidence | None = None
    outputs: tuple[Output, ...] = ()
    passes: Mapping[str, str] = field(default_factory=dict)
    looked: Mapping[str, Json] = field(default_factory=dict)
    level: str = ""

    @property
    def fault(self) -> str:
        """Why the host itself could not do a task; empty for a task that fails wherever it is done."""
        failed = next((each for each in self.results if not each.status.good), None)
        return failed.error if failed is not None and failed.reason in HOST_FAULTS else ""


LOOKED = ("boot", "contents")
"""What was seen inside of an image, by its names in the details of a build."""

TAIL = 200
"""Lines of a failed task that the head shows."""


class Wrong(Exception):
    """A result does not count, and why."""


def read(plain: Json, envelopes: Sequence[Envelope], context: RunContext) -> Brought:
    """Return what an attempt has made of the tasks in these envelopes. Raises Wrong."""
    try:
        brought = convert(plain.get("made"), Brought)
    except ValueError as error:
        raise Wrong(f"it cannot be read: {error}") from None
    _require_tasks(brought.results, [each.task for each in envelopes])
    first = envelopes[0].job
    named: dict[str, int] = {}
    for envelope, result in zip(envelopes, brought.results, strict=False):
        if result.status is Status.DONE:
            named |= _files(envelope.job, first, brought, context)
        elif result.status.good and not isinstance(envelope.job, BootJob):
            raise Wrong(f"{envelope.task} was made before, and nothing of that counts here")
    if named != plain["blobs"]:
        raise Wrong("its files are not those of its records")
    for each in brought.outputs:
        _require_sha512(each, context)
    _require_shapes(brought)
    return replace(brought, looked=all_printable(dict(brought.looked)), level=plain_text(brought.level))


def _files(job: Job, first: Job, brought: Brought, context: RunContext) -> dict[str, int]:
    """Return digests and sizes of the files that a task has made; `first` is that of the chain. Raises Wrong."""
    if isinstance(job, LayerJob):
        layer = _layer(job, brought, context)
        return {layer.digest: layer.size}
    if not isinstance(job, ConvertJob):
        return {}
    if not isinstance(first, BuildJob) or brought.evidence is None:
        raise Wrong("it does not say of what it was made")
    if brought.evidence.recipe_key != first.spec.recipe_key:
        raise Wrong("its build is of another recipe")
    if sorted(each.format for each in brought.outputs) != sorted(job.formats):
        raise Wrong("it has other formats than were asked for")
    return {each.digest: each.size for each in brought.outputs}


def _require_tasks(results: Sequence[Result], asked: Sequence[str]) -> None:
    """Raise Wrong unless the results are those of the tasks that were asked for, up to the first that failed."""
    if not results or [each.task for each in results] != list(asked[: len(results)]):
        raise Wrong("it is of other tasks")
    if not all(each.status.good for each in results[:-1]) or (len(results) < len(asked) and results[-1].status.good):
        raise Wrong("tasks are missing")


def _layer(job: LayerJob, brought: Brought, context: RunContext) -> Layer:
    """Return the layer that was made. Raises Wrong."""
    if brought.layer is None:
        raise Wrong("it has no layer")
    try:
        record = record_files.parsed(json.dumps(brought.layer.record).encode(), LayerShape, "the record")
        layer = record_files.decoded_layer(record)
    except (record_files.Damaged, record_files.Newer) as error:
        raise Wrong(f"its layer cannot be read: {error}") from None
    asked = (job.tag, job.arch, context.run.version, job.spec.recipe_key)
    if (layer.tag, layer.arch, layer.run, layer.recipe_key) != asked:
        raise Wrong("its layer is another one")
    recipe = context.details(job.spec.recipe_key)["recipe"]
    if layer.key != key_of(recipe | {"upstream": dict(layer.upstream)}):
        raise Wrong("the key of its layer is another one")
    return layer


def _require_sha512(output: Output, context: RunContext) -> None:
    """Raise Wrong unless a file has its second digest, which sites get to know; the first one was verified."""
    with context.store.blobs.path(output.digest).open("rb") as file:
        if hashlib.file_digest(file, "sha512").hexdigest() != output.sha512:
            raise Wrong("a digest in it is wrong")


def _require_shapes(brought: Brought) -> None:
    """Raise Wrong for what no record of this store could have."""
    told = {name: brought.looked[name] for name in LOOKED if name in brought.looked}
    details = _details(brought.layer.details) if brought.layer else {}
    if not record_files.fits({"format": 1, **told, **details}, DetailsShape):
        raise Wrong("what was seen inside, or its details, cannot be in a record")
    for text in brought.passes.values():
        if not record_files.fits({"asked": "", **object_of(text)}, PassShape):
            raise Wrong("what is wrong with its contracts cannot be in a record")


def _details(told: Json) -> Json:
    """Return those of a layer's details that only its builder host knows."""
    return {name: told.get(name, {}) for name in ("timings", "packages")}


def hold(plain: Json, context: RunContext) -> None:
    """Keep the files of a result readable until the run ends, whatever becomes of its attempt."""
    for digest in plain["blobs"]:
        context.run.use(context.store.blobs.path(digest))


def take(envelope: Envelope, brought: Brought, context: TaskContext, result: Result) -> Result:
    """Do at the head what is left to do of a task that a builder host has done; return its result.

    Raises CCImagesError for a task that failed there.
    """
    job = envelope.job
    said = next((each for each in brought.results if each.task == envelope.task), None)
    assert said is not None, "the tasks before it succeeded"
    result = with_measures(result, said)
    if isinstance(job, BootJob) and brought.outputs:
        _note_look(job, brought, context.run)
    if not said.status.good:
        raise _failure(said)
    if isinstance(job, LayerJob):
        return _take_layer(job, brought, context, result)
    if isinstance(job, ConvertJob):
        return _take_build(job, brought, context, result)
    if isinstance(job, BootJob):
        return _take_boot(job, said, brought, context, result)
    return result


def with_measures(result: Result, said: Result) -> Result:
    """Return a result with what a builder host has measured; the time of waiting for it does not count."""
    return replace(result, size=said.size, timings=dict(said.timings), peaks=said.peaks, seconds=said.seconds)


def _failure(said: Result) -> CCImagesError:
    """Return the error of a task that failed on a builder host."""
    if said.status is Status.INTERRUPTED:
        return Interrupted()
    known = said.reason in [each.value for each in Reason]
    return CCImagesError(
        plain_text(said.error),
        hint=plain_text(said.hint),
        reason=Reason(said.reason) if known else Reason.BUILDER,
        tail=[plain_text(line) for line in said.tail[:TAIL]],
    )


def _take_layer(job: LayerJob, brought: Brought, context: TaskContext, result: Result) -> Result:
    run, store = context.run, context.store
    layer = _layer(job, brought, run)
    assert brought.layer is not None
    details = run.details(job.spec.recipe_key) | _details(brought.layer.details)
    with store.lock("gc", shared=True):
        restore(layer.digest, run)
        store.record_layer(layer, details)
    kept.forget(store.root, job.tag, job.arch, context.task)
    if job.force:
        store.forget(*(old for old in store.layers(job.tag, job.arch) if old.run != layer.run))
    return replace(result, size=layer.size)


def _take_build(job: ConvertJob, brought: Brought, context: TaskContext, result: Result) -> Result:
    run = context.run
    assert brought.evidence is not None
    workspace = run.run.workspace(job.tag, job.arch)
    notes.write(workspace / "evidence.json", brought.evidence)
    with context.store.lock("gc", shared=True):
        for each in brought.outputs:
            restore(each.digest, run)
    return conversion.take(job, {each.format: each for each in brought.outputs}, run, result)


def _take_boot(job: BootJob, said: Result, brought: Brought, context: TaskContext, result: Result) -> Result:
    build, outputs = outputs_of(job, job.formats, context.run)
    for each in outputs:
        known: Json = object_of(brought.passes.get(each.digest, "{}"))
        note: Json = {"asked": job.test_key, "tag": job.tag, "version": build.version}
        if broken := known.get("broken"):
            note["broken"] = broken
        context.store.note_pass(each.digest, note)
    documents(context.store, build, job.name)
    return replace(result, where=plain_text(said.where), version=build.version)


def _note_look(job: BootJob, brought: Brought, run: RunContext) -> None:
    """Record what was found out about a build when it was started."""
    build, _ = outputs_of(job, job.formats, run)
    if "boot" in brought.looked:
        run.store.note_boot(build, brought.level, brought.looked["boot"], brought.looked.get("contents", {}))


def restore(digest: str, run: RunContext) -> None:
    """Make a blob again of the name that the run has, after another process removed it."""
    blob = run.store.blobs.path(digest)
    if not blob.exists():
        blob.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.link(run.run.use(blob), blob)
