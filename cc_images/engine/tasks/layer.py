"""Make a layer, or take the one that another run has just made."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cc_images.builders.base import LEAST_FREE, BuildInputs, Built, builder
from cc_images.engine.envelope import Envelope
from cc_images.engine.freshness import has_moved
from cc_images.engine.tasks import keeping
from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host.root import remove
from cc_images.model.builds import Layer
from cc_images.model.kept import LeftTree
from cc_images.model.plan import BuildJob, LayerJob, Result, Status
from cc_images.model.recipe import key_of
from cc_images.store import kept
from cc_images.store.run_context import TaskContext

PAUSES = (30.0, 120.0)
"""Seconds before a build that failed for a passing reason is tried again."""

_log = logging.getLogger(__name__)


def do(envelope: Envelope, context: TaskContext, result: Result) -> Result:
    """Make the layer of an envelope."""
    assert isinstance(envelope.job, LayerJob)
    layer, built = made(envelope.job, envelope, context)
    if built is None:
        return replace(result, status=Status.CACHED, size=layer.size)
    return replace(result, size=layer.size, timings=dict(built.timings), peaks=built.peaks)


def made(job: LayerJob, envelope: Envelope, context: TaskContext) -> tuple[Layer, Built | None]:
    """Make a layer and keep it in the store; return it, and None when another run has just made it."""
    run, store, spec = context.run, context.store, job.spec
    with run.lock(context.task, f"layer {job.tag} {job.arch}"):
        if not job.force:
            for layer in store.layers(job.tag, job.arch):
                fits = layer.recipe_key == spec.recipe_key and layer.run not in job.known
                if fits and not has_moved(layer, run):
                    _log.info("reused: layer %s of another run", layer.run)
                    return layer, None
        workspace = run.run.workspace(f"layer.{job.tag}", job.arch)
        built = run_builder(job, envelope, context, workspace)
        sealed = store.blobs.seal(built.file, sha512=False)
        details = run.details(spec.recipe_key) | {"timings": dict(built.timings), "packages": dict(built.packages)}
        layer = Layer(
            tag=job.tag,
            arch=job.arch,
            run=run.run.version,
            recipe_key=spec.recipe_key,
            key=key_of(details["recipe"] | {"upstream": dict(built.upstream)}),
            digest=sealed.digest,
            size=sealed.size,
            upstream=built.upstream,
        )
        with store.lock("gc", shared=True):
            run.run.use(store.blobs.place(sealed))
            store.record_layer(layer, details)
        kept.forget(store.root, job.tag, job.arch, context.task)
        if job.force:
            store.forget(*(old for old in store.layers(job.tag, job.arch) if old.run != layer.run))
        remove(workspace)
    return layer, built


def run_builder(job: BuildJob, envelope: Envelope, context: TaskContext, workspace: Path) -> Built:
    """Run a spec's builder; one that failed for a passing reason is run again, twice at most, after longer waits.

    With `--keep-failed` the tree that it leaves at last goes into the store, and the error says so.
    """
    trees: list[LeftTree] = []
    try:
        return _tried(job, envelope, context, workspace, trees)
    except Interrupted:
        raise
    except CCImagesError as error:
        if not trees:
            raise
        raise keeping.failed(job, trees, error, context) from error


def _tried(job: BuildJob, envelope: Envelope, context: TaskContext, workspace: Path, trees: list[LeftTree]) -> Built:
    """Run a spec's builder until it succeeds, or fails for good; `trees` gets those that it leaves."""
    for seconds in PAUSES:
        try:
            return _built(job, envelope, context, workspace, trees)
        except CCImagesError as error:
            if context.run.settings.debug or not (error.temporary and error.reason is Reason.DIB):
                raise
            said = f"{error.message}; again in {seconds:.0f} s"
            _log.warning("%s: %s", context.task, said)
            context.log.write(f"{said}\n".encode())
            context.step(f"failed for a passing reason; again in {seconds:.0f} s")
            if context.stop.wait(seconds):
                raise Interrupted from error
    return _built(job, envelope, context, workspace, trees)


def _built(job: BuildJob, envelope: Envelope, context: TaskContext, workspace: Path, trees: list[LeftTree]) -> Built:
    """Run a spec's builder with the layers and downloads that the spec names, in a workspace that is emptied first."""
    _require_room(context)
    layers = {key: _stored(key, job, envelope, context) for key in job.spec.relies_on}
    remove(workspace)  # of an attempt before this one
    trees.clear()
    downloads = {name: Path(context.run.fetched(each).path) for name, each in job.spec.artifacts.items()}
    inputs = BuildInputs(
        version=job.version,
        workspace=workspace,
        layers=layers,
        downloads=downloads,
        keep=trees.append if context.run.settings.keep_failed else None,
        until=job.until,
    )
    return builder(job.spec.builder).build(job.spec, inputs, context)


def _stored(recipe_key: str, job: BuildJob, envelope: Envelope, context: TaskContext) -> tuple[Layer, Path]:
    """Return a layer that a build relies on, and its file, read and found right; a damaged one is made again.

    Of stored ones those serve that the plan found fresh, and those that were made since.
    """
    wanted, store = envelope.layers[recipe_key], context.store
    for _ in range(2):
        for layer in store.layers(wanted.tag, wanted.arch):
            stale = layer.run in wanted.known and layer.run != wanted.serves
            if layer.recipe_key != recipe_key or stale:
                continue
            with suppress(FileNotFoundError):
                file = context.run.run.use(store.blobs.path(layer.digest))
                if store.blobs.is_intact(layer.digest, file):
                    store.used(layer)
                    return layer, file
        _log.info("no stored layer of %s serves: building it", wanted.tag)
        context.step("its layer is missing or damaged: building it again")
        made(replace(wanted, version=job.version, force=False), envelope, context)
    raise CCImagesError(
        f"the layer of {wanted.tag} disappeared twice during its build",
        hint="find the program that removes files from the store",
        reason=Reason.GONE,
    )


def _require_room(context: TaskContext) -> None:
    store = context.store
    if (free := store.free_bytes()) < LEAST_FREE:
        raise CCImagesError(
            f"only {free >> 20} MiB are free at {store.root}; a build needs {LEAST_FREE >> 20} MiB",
            hint="run `cc-images prune`, or set CC_IMAGES_STORE to a folder on a larger file system",
            reason=Reason.DISK_FULL,
        )
