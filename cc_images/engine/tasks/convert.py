"""Make the outputs of a build and record it, or add outputs to a stored build."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from cc_images import clock
from cc_images.engine.envelope import Envelope
from cc_images.engine.tasks.material import Materials, built, in_order, stored
from cc_images.engine.tasks.stored import gone, version_of
from cc_images.host.root import remove
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Format, Json
from cc_images.model.plan import ConvertJob, Result, Status
from cc_images.model.recipe import key_of
from cc_images.outputs import disk
from cc_images.store import kept, notes
from cc_images.store.blobs import Blob
from cc_images.store.notes import Evidence, Joined
from cc_images.store.run_context import RunContext, TaskContext


def do(envelope: Envelope, context: TaskContext, result: Result) -> Result:
    """Convert and record."""
    job, run = envelope.job, context.run
    assert isinstance(job, ConvertJob)
    run.lease_image(context.task, job.tag, job.arch)  # it is there, unless a stored build gets one more format
    workspace = run.run.workspace(job.tag, job.arch)
    workspace.mkdir(parents=True, exist_ok=True)
    before = run.stored(job.tag, job.arch, version_of(job, run))
    wanted = [each for each in job.formats if before is None or each not in before.outputs]
    if before is not None and not wanted:
        return replace(result, status=Status.CACHED, where=f"version {before.version}", version=before.version)
    if before is None and job.version != run.run.version:
        raise gone(job.tag, job.version)
    found = built(job.makes, workspace) if before is None else stored(before, run, workspace)
    sealed = _sealed(
        job, wanted, replace(found, seed=partial(_seed, job, run), run=(job.container, job.arch)), workspace, context
    )
    made = {
        each: Output(
            format=each,
            digest=blob.digest,
            sha512=blob.sha512,
            size=blob.size,
            virtual_size=found.source.virtual_size if each.is_disk else 0,
        )
        for each, blob in sealed.items()
    }
    recorded = _kept(job, before, made, sealed, run, result)
    found.clear_up()
    if before is None:
        _remove_source(found.source.file, workspace)
    return recorded


def _remove_source(file: Path, workspace: Path) -> None:
    """Remove a disk or tree, which is of no more use: others may want its room. Notes of the workspace stay."""
    remove(file if file.parent == workspace else file.parent)


def take(job: ConvertJob, made: Mapping[Format, Output], run: RunContext, result: Result) -> Result:
    """Record outputs that another host has made of the run's own build; their files are in the store."""
    return _kept(job, None, made, {}, run, result)


def _kept(
    job: ConvertJob,
    before: Build | None,
    made: Mapping[Format, Output],
    sealed: Mapping[Format, Blob],
    run: RunContext,
    result: Result,
) -> Result:
    """Place files, and record outputs; `before` is the stored build that gets some more."""
    store, workspace = run.store, run.run.workspace(job.tag, job.arch)
    build, details = _recorded(job, before, made, run)
    again = before is None and build.version != job.version
    if again:
        sealed = {each: blob for each, blob in sealed.items() if blob.digest == build.outputs[each].digest}
        notes.write(workspace / "joined.json", Joined(version=build.version))
    with store.lock("gc", shared=True):
        for blob in sealed.values():
            store.blobs.place(blob)
        store.record(build, details, job.published_name)
    if job.replaces:
        store.forget(*(old for old in store.builds(job.tag, job.arch) if old.version != build.version))
    if before is None:
        kept.forget(store.root, job.tag, job.arch)
    size = sum(build.outputs[each].size for each in job.formats)
    where = str(store.image_link(job.published_name, job.formats[0]))
    where = f"rebuilt, identical: version {build.version} stays" if again else where
    peaks = {"disk": sum(output.size for output in made.values()) >> 20}
    return replace(result, size=size, where=where, version=build.version, peaks=peaks)


def _sealed(
    job: ConvertJob, wanted: list[Format], materials: Materials, workspace: Path, context: TaskContext
) -> Mapping[Format, Blob]:
    """Make a file in each format."""
    sealed: dict[Format, Blob] = {}
    for each in sorted(wanted, key=partial(in_order, materials.source.format)):
        context.step(f"to {each}")
        staged = workspace / f"staged.{each}"
        written = materials.write(each, staged, context)
        sealed[each] = context.store.blobs.seal(staged, written=written)
    return sealed


def _seed(job: ConvertJob, run: RunContext, wanted: Format) -> Path | None:
    """Return the newest stored file of an image in a format, if the writer of now has written it; it is not read."""
    newest = next(run.store.builds(job.tag, job.arch), None)
    output = newest.outputs.get(wanted) if newest is not None else None
    if newest is None or output is None or wanted not in disk.WRITER_NAMES:
        return None
    if run.store.details(newest).get("writers", {}).get(wanted) != disk.WRITER_NAMES[wanted]:
        return None
    with suppress(FileNotFoundError):
        return run.run.use(run.store.blobs.path(output.digest))
    return None


def _recorded(
    job: ConvertJob, before: Build | None, made: Mapping[Format, Output], run: RunContext
) -> tuple[Build, Json]:
    """Return the build as it is to be recorded, and its details.

    A new build of the same disk as the newest stored one is none: that one was made again, of these inputs.
    """
    if before is not None:
        return replace(before, outputs={**before.outputs, **made}), run.store.details(before)
    evidence = notes.read(run.run.workspace(job.tag, job.arch) / "evidence.json", Evidence)
    details = run.details(evidence.recipe_key)
    build = Build(
        tag=job.tag,
        name=job.name,
        arch=job.arch,
        version=job.version,
        recipe_key=evidence.recipe_key,
        key=key_of(details["recipe"] | {"upstream": dict(evidence.upstream)}),
        outputs=made,
        upstream=evidence.upstream,
        packages=len(evidence.packages),
    )
    details = details | {
        "finished": clock.now().isoformat(timespec="seconds"),
        "timings": dict(evidence.timings),
        "packages": dict(evidence.packages),
        "writers": {each: disk.WRITER_NAMES[each] for each in made if each in disk.WRITER_NAMES},
    }
    newest = next(run.store.builds(job.tag, job.arch), None)
    if newest is None or not is_same(newest, made):
        return build, details
    same = replace(
        newest,
        recipe_key=build.recipe_key,
        key=build.key,
        upstream=build.upstream,
        outputs={**made, **newest.outputs},
        again=job.version,
    )
    known = run.store.details(newest)
    return same, known | details | ({"finished": known["finished"]} if "finished" in known else {})


def is_same(build: Build, made: Mapping[Format, Output]) -> bool:
    """Say whether a stored build has what was made: the same bytes in each format that has equal ones for equal inputs.

    Of a disk its own formats must be among them: a tree says nothing of the layout, or of the boot loader.
    """
    both = [each for each in made if each in build.outputs and (each in disk.EXACT or not each.is_disk)]
    has_disk = any(each.is_disk for each in made)
    telling = any(each.is_disk for each in both) if has_disk else bool(both)
    return telling and all(build.outputs[each].digest == made[each].digest for each in both)
