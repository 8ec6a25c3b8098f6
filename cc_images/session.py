"""One run: reads the world, makes the plan, lets the engine carry it out, writes the journal.

Puts the parts together and decides nothing that another module could decide.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from cc_images import dib, engine, sandbox, sources
from cc_images.config import Config
from cc_images.errors import CCImagesError, UserError
from cc_images.model import Arch, Artifact, Format, Image, Json, Site
from cc_images.plan import BuildJob, Candidate, Plan, Request, Resource, Result, formats_for, make_plan
from cc_images.recipe import Recipe, differences
from cc_images.sites import open_site
from cc_images.sites.base import Entry
from cc_images.store import Run, Store
from cc_images.worker import Progress, Worker, local_paths

FETCHES, CONVERSIONS, PUSHES = 4, 2, 4
"""How many artifacts are fetched, disks converted and images pushed at a time."""

TMPFS_SHARE = 0.6
"""Part of the free memory that all builds together may use for their scratch folders."""

TMPFS_LEAST = 6 << 10
"""MiB below which a build's scratch folder lies on disk: a tree, its copy in the disk image, and packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The world as it was read for a request at the time `now`."""

    request: Request
    candidates: tuple[Candidate, ...]
    sites: tuple[Site, ...]
    recipes: Mapping[str, Json]
    folders: tuple[Path, ...]
    notes: tuple[str, ...]
    now: datetime

    def plan(self, version: str) -> Plan:
        """Return the plan that follows, for builds that get `version`."""
        return make_plan(self.request, self.candidates, self.sites, version=version, now=self.now, notes=self.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run did. `stopped`: it was asked to end early; `complaints`: what went wrong with its own books."""

    plan: Plan
    results: Mapping[str, Result]
    journal: Path
    seconds: float
    stopped: bool
    complaints: tuple[str, ...] = ()


def look(
    request: Request,
    config: Config,
    store: Store,
    *,
    now: datetime,
    offline: bool,
    stop: threading.Event | None = None,
) -> Outlook:
    """Read everything that the plan depends on. Changes nothing but the copies of element sources.

    A push of what is in the store needs no elements, so then nothing is fetched.

    Raises UserError for what the user can mend, all missing elements at once.
    """
    chosen, notes = select(request, config, now.date())
    sites = _sites(request, config)
    if not request.build and all(next(store.builds(image.tag, arch), None) for image, arch in chosen):
        candidates = [_stored_candidate(config, image, arch, store) for image, arch in chosen]
        stored = Outlook(
            request=request, candidates=tuple(candidates), sites=sites, recipes={}, folders=(), notes=(), now=now
        )
        return replace(stored, notes=(*config.notes, *notes))
    fetched = [sources.update(source, store, offline=offline, stop=stop) for source in config.sources]
    folders = (*config.elements, *(folder for folder, _ in fetched), dib.own_elements())
    elements = dib.Elements(folders)
    tools = dib.tools()
    candidates = []
    recipes: dict[str, Json] = {}
    problems: list[str] = []
    for image, arch in chosen:
        job = _job(config, image, arch)
        try:
            recipe = _recipe(job, elements, tools)
        except UserError as error:
            problems.append(f"{image.name}: {error.message}; {error.hint}")
            continue
        candidates.append(_candidate(image, arch, replace(job, key=recipe.key), recipe, store))
        recipes[recipe.key] = recipe.as_json()
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)), reason="missing-element")
    return Outlook(
        request=request,
        candidates=tuple(candidates),
        sites=sites,
        recipes=recipes,
        folders=folders,
        notes=(*config.notes, *notes),
        now=now,
    )


def select(request: Request, config: Config, today: date) -> tuple[list[tuple[Image, Arch]], list[str]]:
    """Return the images and architectures that a request names, parents first, and what the user should know of them.

    `all` is every image that is not past its end of life, for the architectures that it has.
    """
    every = "all" in request.tags
    for tag in request.tags:
        if tag != "all" and tag not in config.images:
            raise UserError(f"there is no image {tag}", hint=_suggest(tag, config.images), reason="unknown-image")
    wanted = request.arches or config.arches
    chosen: list[tuple[Image, Arch]] = []
    notes: list[str] = []
    for tag, image in config.images.items():
        ended = image.eol is not None and image.eol < today
        named = tag in request.tags
        if not named and (not every or ended):
            continue
        if ended:
            notes.append(f"{tag} is past its end of life ({image.eol})")
        lacking = [arch for arch in wanted if arch not in image.arches]
        if lacking and named:
            raise UserError(
                f"{tag} is not made for {', '.join(lacking)}",
                hint=f"it supports {', '.join(image.arches)}; leave -a out for all of them",
                reason="unknown-arch",
            )
        chosen += [(image, arch) for arch in image.arches if not wanted or arch in wanted]
    if not chosen:
        raise UserError("no image matches", hint="`cc-images list` shows what there is")
    return chosen, notes


def run(
    request: Request,
    config: Config,
    progress: Progress,
    *,
    announce: Callable[[Plan], None],
    observe: Callable[[Result], None],
    offline: bool = False,
) -> Outcome:
    """Carry out a request from the first look to the journal.

    `announce` is told the plan before anything runs, `observe` each result as it comes.
    """
    store = Store(config.store)
    began = time.monotonic()
    stop = threading.Event()
    complaints: list[str] = []
    with ExitStack() as ending:
        ending.enter_context(_stopped_by_signals(stop))
        store.reap(sandbox.remove)
        now = datetime.now(UTC).replace(microsecond=0)
        outlook = look(request, config, store, now=now, offline=offline, stop=stop)
        if any(isinstance(task.job, BuildJob) and not task.cached for task in outlook.plan("").tasks):
            sandbox.require_host()
        this_run = store.start_run(now)
        journal: Json = {"run": this_run.version, "began": now.isoformat()}
        ending.callback(_finish, store, this_run, journal, complaints)
        plan = outlook.plan(this_run.version)
        announce(plan)
        limits = _limits(request)
        worker = Worker(
            store=store,
            run=this_run,
            sites={site.name: site for site in outlook.sites},
            recipes=outlook.recipes,
            folders=outlook.folders,
            network=config.network,
            progress=progress,
            stop=stop,
            began=began,
            cores=max(1, len(os.sched_getaffinity(0)) // request.jobs),
            tmpfs_mib=_tmpfs_mib(request.jobs),
            offline=offline,
        )
        executors = {
            resource: ending.enter_context(ThreadPoolExecutor(limit, thread_name_prefix=resource))
            for resource, limit in limits.items()
        }
        results = engine.run(
            plan,
            worker.perform,
            executors,
            limits,
            observe=observe,
            stopping=stop.is_set,
            fail_fast=request.fail_fast,
        )
        seconds = time.monotonic() - began
        journal |= {
            "plan": plan.as_json(),
            "results": [result.as_json() for result in results.values()],
            "seconds": seconds,
            "interrupted": stop.is_set(),
        }
    return Outcome(
        plan=plan,
        results=results,
        journal=store.journal_path(this_run),
        seconds=seconds,
        stopped=stop.is_set(),
        complaints=tuple(complaints),
    )


def _finish(store: Store, this_run: Run, journal: Json, complaints: list[str]) -> None:
    """Close the run's books; a store without room must not hide what the run did."""
    try:
        store.finish_run(this_run, journal, sandbox.remove)
    except CCImagesError as error:
        complaints.append(f"the journal of the run is incomplete: {error.message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a site has of one image: the current entry, how many archived ones, or why it could not be asked."""

    site: str
    name: str
    current: Entry | None = None
    archived: int = 0
    error: str = ""


def standings(request: Request, config: Config, today: date) -> list[Standing]:
    """Ask the sites, all at once, what they have of the images that a request names."""
    chosen, _ = select(request, config, today)
    questions = [
        (site, image.published_name(arch), out)
        for site in _sites(request, config)
        for image, arch in chosen
        for out in formats_for(site, image)
    ]

    def ask(question: tuple[Site, str, Format]) -> Standing:
        site, name, out = question
        try:
            opened = open_site(site, out)
            found = opened.find(name)
            archived = len(opened.archived(name)) if found else 0
        except CCImagesError as error:
            return Standing(site=site.name, name=name, error=error.message)
        return Standing(site=site.name, name=name, current=found[0] if found else None, archived=archived)

    with ThreadPoolExecutor(PUSHES) as pool:
        return list(pool.map(ask, questions))


def _sites(request: Request, config: Config) -> tuple[Site, ...]:
    known = {site.name: site for site in config.sites}
    for name in request.sites:
        if name not in known:
            raise UserError(f"there is no site {name}", hint=_suggest(name, known), reason="unknown-site")
    if request.push and not known:
        raise UserError("no site is configured", hint=f"add one to {config.files['sites.yaml']}")
    return tuple(site for site in config.sites if not request.sites or site.name in request.sites)


def _suggest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word.lower(), known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known) or 'none'}"


def _job(config: Config, image: Image, arch: Arch) -> BuildJob:
    """Return the build of an image: its parents' content first, its own settings over theirs, the user's over all."""
    lineage = config.lineage(image)
    environment: dict[str, str] = {}
    artifacts: dict[str, Artifact] = {}
    for ancestor in lineage:
        environment |= ancestor.environment
        artifacts |= ancestor.artifacts
    return BuildJob(
        name=image.name,
        tag=image.tag,
        arch=arch,
        version="",
        key="",
        content=tuple(dict.fromkeys(element for ancestor in lineage for element in ancestor.elements)),
        disk=image.disk,
        environment=environment | dict(config.environment),
        packages=tuple(dict.fromkeys(package for ancestor in lineage for package in ancestor.packages)),
        artifacts={name: artifact for name, artifact in artifacts.items() if name not in config.environment},
        timeout=image.timeout,
    )


def _recipe(job: BuildJob, elements: dib.Elements, tools: Mapping[str, str]) -> Recipe:
    return Recipe(
        name=job.name,
        arch=job.arch,
        content=job.content,
        disk=job.disk,
        elements={name: elements.files(name) for name in elements.closure((*job.content, *job.disk))},
        environment=job.environment,
        packages=job.packages,
        artifacts={
            variable: f"{artifact.basename} {artifact.sha256 or artifact.identity}"
            for variable, artifact in job.artifacts.items()
        },
        files={variable: _stamp(path) for variable, path in local_paths(job.environment).items()}
        | {
            variable: _stamp(Path(urlsplit(artifact.url).path))
            for variable, artifact in job.artifacts.items()
            if artifact.url.startswith("file:") and not artifact.sha256
        },
        tools=tools,
    )


def _stored_candidate(config: Config, image: Image, arch: Arch, store: Store) -> Candidate:
    """Return an image of which only what is stored matters."""
    newest = next(store.builds(image.tag, arch))
    return Candidate(image=image, arch=arch, key="", job=_job(config, image, arch), match=None, newest=newest)


def _stamp(path: Path) -> str:
    """Return what identifies a file or folder of this host: it may be gigabytes, so sizes and times must do."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    seen = [(str(each.relative_to(path)), each.stat()) for each in files if each.exists()]
    text = "".join(f"{name} {status.st_size} {status.st_mtime_ns}\n" for name, status in seen)
    return f"{len(seen)} files {hashlib.sha256(text.encode()).hexdigest()}"


def _candidate(image: Image, arch: Arch, job: BuildJob, recipe: Recipe, store: Store) -> Candidate:
    builds = list(store.builds(image.tag, arch))
    newest = builds[0] if builds else None
    return Candidate(
        image=image,
        arch=arch,
        key=recipe.key,
        job=job,
        match=next((build for build in builds if build.key == recipe.key), None),
        newest=newest,
        changed=differences(newest.recipe, recipe.as_json()) if newest and newest.key != recipe.key else (),
    )


def _limits(request: Request) -> dict[Resource, int]:
    return {
        Resource.FETCH: FETCHES,
        Resource.BUILD: request.jobs,
        Resource.CONVERT: CONVERSIONS,
        Resource.PUSH: PUSHES,
    }


def _tmpfs_mib(jobs: int) -> int:
    """Return the size of each build's tmpfs in MiB, or 0 when there is not enough memory for it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            share = int(int(line.split()[1]) / 1024 * TMPFS_SHARE / jobs)
            return share if share >= TMPFS_LEAST else 0
    return 0


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT, SIGTERM or SIGHUP, and leave at once at the second.

    Leaving at once is safe: sandboxes die when their standard input closes, and the next run clears up.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # one that is ignored stays ignored: that is what nohup is for
    before = {number: signal.signal(number, handle) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
