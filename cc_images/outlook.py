"""The outlook: the world as it is for one request, from which the plan follows.

Reads element trees, third-party sources, the store and the host's tools; decides nothing.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from cc_images import dib, sources
from cc_images.config import Config
from cc_images.errors import UserError
from cc_images.model import Arch, Artifact, Image, Json, Site
from cc_images.plan import BuildJob, Plan, Request
from cc_images.planning import Candidate, make_plan
from cc_images.recipe import Recipe, differences
from cc_images.store import Store
from cc_images.worker import local_paths


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
    outlook = partial(Outlook, request=request, sites=sites_of(request, config), notes=(*config.notes, *notes), now=now)
    if not request.build and all(next(store.builds(image.tag, arch), None) for image, arch in chosen):
        stored = tuple(_stored_candidate(config, image, arch, store) for image, arch in chosen)
        return outlook(candidates=stored, recipes={}, folders=())
    fetched = [sources.update(source, store, offline=offline, stop=stop) for source in config.sources]
    folders = (*config.elements, *(folder for folder, _ in fetched), dib.own_elements())
    elements = dib.Elements(folders)
    tools = dib.tools()
    candidates: list[Candidate] = []
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
    return outlook(candidates=tuple(candidates), recipes=recipes, folders=folders)


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


def sites_of(request: Request, config: Config) -> tuple[Site, ...]:
    """Return the sites that a request names, or all. Raises UserError for one that is not configured."""
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
