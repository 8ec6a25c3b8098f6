"""Verification: an image is built again from the inputs that its record names, and the two are compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cc_images import clock
from cc_images.api.inspect import Bench, looking, one_of, stored
from cc_images.api.outcome import Outcome
from cc_images.boottest import comparison, inspector
from cc_images.boottest.comparison import Comparison
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host.files import file_digest
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Image
from cc_images.model.plan import BuildJob, Request
from cc_images.planner.selection import names_images
from cc_images.planner.snapshot import look
from cc_images.store.records import Store
from cc_images.store.workspace import Run

Rebuild = Callable[[Request, Config], Outcome]
"""A run of a request with a configuration, whose store is empty: `api.run.run` with an observer."""

TAKEN = 50
"""Files that differ, of which both versions are taken out for a closer look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a verification: `title` names the image, `digest` is of its file."""

    title: str
    digest: str
    rebuilt: str
    """The digest of the file that was built again."""
    packages: tuple[str, ...] = ()
    """Packages in other versions than then: the archive has moved on."""
    comparison: Comparison | None = None
    """What differs of the two, where their files have other bytes."""
    taken: Path | None = None
    """The folder with files that differ, from both."""

    @property
    def identical(self) -> bool:
        """Whether both have the same bytes, or hold the same disk."""
        found = self.comparison
        return self.digest == self.rebuilt or (found is not None and not (found.regions or found.files))


def verify(
    config: Config,
    what: str,
    arches: Sequence[Arch],
    rebuild: Rebuild,
    *,
    extract: Path | None = None,
    bench: Bench | None = None,
) -> Verdict:
    """Build a stored image again in a store of its own and compare: a tag's build in force, or one's file.

    With `extract` the files that differ are put into that folder, as `then` and `now`.

    Raises UserError for a file that is no stored build's, and when the inputs are others now (reason `other-inputs`).
    """
    inspector.require_host()
    if extract is not None and extract.exists():
        raise UserError(f"{extract} exists", hint="name a folder that does not exist yet")
    with looking(config, bench) as (store, run, stop):
        image, build, output = _meant(config, store, what, arches)
        disks = tuple(each for each in image.formats if each.is_disk)[:1]  # without one its builds would be others
        entry = {image.tag: replace(image, formats=(*disks, output.format))}
        scratch = replace(config, store=run.work / "store", images={**config.images, **entry})
        request = Request(tags=(image.tag,), arches=(build.arch,), build=True)
        _require_same_inputs(request, config, scratch, build)
        made = _made(rebuild(request, scratch), Store(scratch.store, stop), image, build.arch)
        again = made.outputs[output.format]
        verdict = Verdict(
            title=f"{image.tag} {build.arch} {build.version}",
            digest=output.digest,
            rebuilt=again.digest,
            packages=_moved(store, build, Store(scratch.store), made),
        )
        if verdict.identical:
            return verdict
        files = (run.use(store.blobs.path(output.digest)), Store(scratch.store).blobs.path(again.digest))
        return _compared(verdict, files, run, extract, bench or Bench())


def _meant(config: Config, store: Store, what: str, arches: Sequence[Arch]) -> tuple[Image, Build, Output]:
    """Return the image, build and output that a tag or a file stands for. Raises UserError."""
    path = Path(what)
    if names_images(what, config) and not path.is_file():
        image, arch = one_of(config, what.lower(), arches)
        return image, *stored(store, image, arch, "")
    if not path.is_file():
        raise UserError(
            f"{what} is neither an image of the catalogue nor a file",
            hint="`cc-images list` shows the catalogue",
            reason=Reason.UNKNOWN_IMAGE,
        )
    digest = file_digest(path)
    for image in config.images.values():
        for arch in image.arches:
            for build in store.builds(image.tag, arch):
                for output in build.outputs.values():
                    if output.digest == digest:
                        return image, build, output
    raise UserError(
        f"no stored build has the bytes of {what}",
        hint="only a build that the store records can be built again from its inputs; was the file changed?",
        reason=Reason.NEVER_BUILT,
    )


def _require_same_inputs(request: Request, config: Config, scratch: Config, build: Build) -> None:
    """Raise UserError when the catalogue, the elements or the tools are not those of the build."""
    then = look(request, scratch, Store(scratch.store), now=clock.now(), offline=False)
    jobs = [each.job for each in then.plan(build.version).tasks if type(each.job) is BuildJob]
    if any(job.tag == build.tag and job.spec.recipe_key == build.recipe_key for job in jobs):
        return
    now = look(request, config, Store(config.store), now=clock.now(), offline=False)
    why = [reason for each in now.reasons() if each["newest"] == build.version for reason in each["changed"]]
    raise UserError(
        f"version {build.version} of {build.tag} was built from other inputs than those of today"
        + (f": {'; '.join(why)}" if why else ""),
        hint="check out the catalogue and elements of then, or build it with -b",
        reason=Reason.OTHER_INPUTS,
    )


def _made(outcome: Outcome, store: Store, image: Image, arch: Arch) -> Build:
    """Return the build that a run has made. Raises the error that kept it from that."""
    if outcome.refused:
        raise outcome.refused
    made = next(store.builds(image.tag, arch), None)
    if made is None:
        failed = [each for each in outcome.results.values() if each.error]
        said = failed[0] if failed else None
        raise CCImagesError(
            f"{image.tag} cannot be built again: {said.error if said else 'the run was stopped'}",
            hint=said.hint if said else "",
            reason=Reason.FAILED,
        )
    return made


def _moved(store: Store, build: Build, scratch: Store, made: Build) -> tuple[str, ...]:
    """Return the packages that the two do not have in the same version, a phrase each."""
    then, now = store.details(build).get("packages", {}), scratch.details(made).get("packages", {})
    return tuple(
        f"{name} {then.get(name, '-')} → {now.get(name, '-')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    )


def _compared(verdict: Verdict, files: tuple[Path, Path], run: Run, extract: Path | None, bench: Bench) -> Verdict:
    """Return a verdict with what differs between two files, by partition and path."""
    with run.log_path("verify").open("ab") as log:
        listed = partial(inspector.listed, guards=run.work / "guards", log=log, stop=bench.stop)
        lists = [listed(file, run.work / f"list-{number}") for number, file in enumerate(files)]
        for each in lists:
            inspector.require_system(each)
        found = comparison.compared(*lists)
        if extract is not None:
            paths = found.contents[:TAKEN]
            for file, name in zip(files, ("then", "now"), strict=True):
                listed(file, run.work / f"take-{name}", paths)
                _put(run.work / f"take-{name}" / "out", extract / name, paths)
    return replace(verdict, comparison=found, taken=extract)


def _put(taken: Path, folder: Path, paths: Sequence[str]) -> None:
    """Put files that were taken out into a folder, each at its path."""
    for number, path in enumerate(paths):
        source, target = taken / str(number), folder / path.lstrip("/")
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
