"""The outlook: the world as it is for one request, from which the plan follows.

Reads element trees, third-party sources, the store and the host's tools; decides nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cc_images.builders.dib import element_path
from cc_images.builders.dib.elements import Elements, own_elements
from cc_images.builders.dib.recipes import Blueprint, Blueprints, nothing_to_build
from cc_images.config.loader import Config
from cc_images.errors import UserError
from cc_images.host import user_emulation
from cc_images.model.catalog import Arch, Build, Image, Json, Layer, Site
from cc_images.model.plan import LayerJob, Plan, Request
from cc_images.model.recipe import Recipe, differences
from cc_images.planner import remarks
from cc_images.planner.freshness import World
from cc_images.planner.layers import LayerState, too_old
from cc_images.planner.planner import ImageState, make_plan
from cc_images.planner.selection import select, sites_of
from cc_images.store.records import Store

LISTED = 5
"""Images that a message names; of more it tells how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The world as it was read for a request at the time `now`."""

    request: Request
    candidates: tuple[ImageState, ...]
    foundations: Mapping[str, LayerState]
    sites: tuple[Site, ...]
    folders: tuple[Path, ...]
    notes: tuple[str, ...]
    now: datetime
    left_out: tuple[str, ...] = ()
    """What nobody named, and cannot be planned, with the reason."""
    passes: Mapping[str, str] = field(default_factory=dict)
    """The digests of stored files that have passed a boot test, and what was asked of them."""
    moved: Callable[[Build | Layer], list[str]] = lambda made: []
    """Which addresses hold something else now than when a build or layer was made."""
    details: Callable[[str], Json] = lambda asked: {}
    """What a build or layer of which this was asked is made of: its recipe, and the files of its elements."""

    def reasons(self) -> list[Json]:
        """Return for each image and architecture its newest build and what differs from it now, a phrase each."""
        found: list[Json] = []
        for each in self.candidates:
            old = too_old(each.match.created, each.unsure, self.request, self.now) if each.match else ""
            found.append(
                {
                    "image": each.label,
                    "newest": each.newest.version if each.newest else None,
                    "serves": each.match.version if each.match and not old else None,
                    "unsure": each.unsure,
                    "quiet": each.quiet,
                    "changed": [*each.changed, *([f"it {old}"] if old else [])],
                }
            )
        return found

    def plan(self, version: str) -> Plan:
        """Return the plan that follows, for builds that get `version`."""
        return make_plan(
            self.request,
            self.candidates,
            self.sites,
            version=version,
            now=self.now,
            foundations=self.foundations,
            passes=self.passes,
            notes=self.notes,
            left_out=self.left_out,
        )


def look(
    request: Request,
    config: Config,
    store: Store,
    *,
    now: datetime,
    offline: bool,
    stop: threading.Event | None = None,
) -> Snapshot:
    """Read everything that the plan depends on. Changes nothing but the copies of element sources.

    A push of what is in the store needs no elements, so then nothing is fetched.

    Raises UserError for what the user can mend, all missing elements at once.
    """
    chosen, notes = select(request, config, now.date())
    chosen, foreign = _buildable(chosen, request, config, store)
    notes += foreign
    if not request.build:
        elements = Elements(element_path.known_folders(config, store))
        stored = [_to_push(image, arch, request, store, Blueprints(config, elements)) for image, arch in chosen]
        if all(stored):
            chosen, unclaimed = element_path.with_claims(chosen, config, elements)
            candidates = tuple(
                ImageState(image=image, arch=arch, job=nothing_to_build(image, arch), match=None, newest=build)
                for (image, arch), build in zip(chosen, stored, strict=True)
            )
            sites = sites_of(request, config)
            told = (*config.notes, *notes, *unclaimed, *remarks.untested(request), *remarks.damaged(candidates, store))
            return Snapshot(
                request=request,
                candidates=candidates,
                foundations={},
                sites=sites,
                folders=(),
                notes=told,
                now=now,
                passes=_passes(candidates, store),
            )
    third = element_path.third_party(config, store, offline=offline, stop=stop)
    folders = (*config.elements, *(each.folder for each in third.values()), own_elements())
    elements = Elements(folders, store.root / "elements.json")
    blueprints = Blueprints(config, elements)
    drawn, left_out = _draw(config, elements, blueprints, chosen, request.tags)
    chosen = [(image, arch) for image, arch, _ in drawn]
    lint = element_path.linted(chosen, config, elements)
    elements.keep()
    complete, _ = element_path.with_claims(chosen, config, elements)
    drawn = [(image, arch, drawn) for (image, arch), (_, _, drawn) in zip(complete, drawn, strict=True)]
    layers = {each.job.asked: each for _, _, blueprint in drawn for each in blueprints.foundations(blueprint)}
    world = World(store)
    for _, _, blueprint in drawn:
        tag, arch = blueprint.job.tag, blueprint.job.arch
        world.remember(blueprint.job.asked, store.builds(tag, arch), store.current(tag, arch))
    for layer in layers.values():
        world.remember(layer.job.asked, store.layers(layer.job.tag, layer.job.arch))
    world.ask(offline, stop)
    recipes = {each.job.asked: each.recipe for each in (*layers.values(), *(blueprint for _, _, blueprint in drawn))}

    def details(asked: str) -> Json:
        recipe = recipes[asked]
        used = {elements.path(name).parent for name in recipe.elements}
        commits = {name: each.commit for name, each in third.items() if each.folder in used}
        return {"recipe": recipe.as_json(), "files": blueprints.files(recipe), "sources": commits}

    candidates = tuple(_candidate(image, arch, blueprint, world, store, blueprints) for image, arch, blueprint in drawn)
    return Snapshot(
        request=request,
        candidates=candidates,
        foundations={asked: _foundation(layer, world) for asked, layer in layers.items()},
        sites=sites_of(request, config),
        folders=folders,
        notes=(
            *config.notes,
            *notes,
            *remarks.untested(request),
            *element_path.as_of(third, offline),
            *lint,
            *remarks.files_that_are_not_here(chosen, config),
            *remarks.in_one_go(drawn),
            *remarks.without_base(drawn, world, config),
            *remarks.called_addresses(drawn),
            *remarks.not_offered(drawn, world),
            *remarks.slowly(drawn),
            *remarks.lacking_programs(drawn),
            *remarks.damaged(candidates, store),
            *world.notes(),
        ),
        now=now,
        left_out=left_out,
        passes=_passes(candidates, store),
        moved=world.moved,
        details=details,
    )


def _to_push(image: Image, arch: Arch, request: Request, store: Store, blueprints: Blueprints) -> Build | None:
    """Return the stored build that a push takes: the named version, or the one that serves the present inputs.

    None for an image that was never built. Nothing is asked: what upstream held is taken from the last look. Raises
    UserError when what is stored is of other inputs: after a change, of another catalogue.
    """
    builds = list(store.builds(image.tag, arch))
    if request.version:
        if (named := next((each for each in builds if each.version == request.version), None)) is None:
            known = ", ".join(each.version for each in builds) or "none"
            raise UserError(
                f"there is no version {request.version} of {image.tag} for {arch}", hint=f"the store has {known}"
            )
        return named
    if not builds:
        return None
    try:
        blueprint = blueprints.build(image, arch)
    except UserError:  # its elements are not here, so nobody can say what the inputs are
        return store.in_force(image.tag, arch)
    world = World(store)
    world.remember(blueprint.job.asked, builds, store.current(image.tag, arch))
    world.ask(offline=True, stop=None)
    if (match := world.of_recipe(blueprint.job.asked)) is None:
        newest = store.in_force(image.tag, arch) or builds[0]
        if "recipe" not in store.details(newest):
            return newest
        own = ", ".join(changes(store.details(newest), blueprint.recipe, blueprints)[:3])
        raise UserError(
            f"no stored build of {image.tag} for {arch} serves the present inputs; since {newest.version}: {own}",
            hint=f"-b -p builds and pushes it; -p --version {newest.version} pushes what is there",
            reason="not-in-force",
        )
    assert isinstance(match, Build)
    return match


def _buildable(
    chosen: list[tuple[Image, Arch]], request: Request, config: Config, store: Store
) -> tuple[list[tuple[Image, Arch]], list[str]]:
    """Leave out, and say so, what this host cannot build and nobody named: another architecture without emulation."""
    if request.arches or config.arches:
        return chosen, []
    kept: list[tuple[Image, Arch]] = []
    left: dict[Arch, None] = {}
    for image, arch in chosen:
        if user_emulation.runs_programs(arch) or (not request.build and any(store.builds(image.tag, arch))):
            kept.append((image, arch))
        else:
            left[arch] = None
    if not kept:
        return chosen, []
    return kept, [
        f"{arch} is left out: this host cannot run its programs; `cc-images doctor` says what it takes" for arch in left
    ]


def _draw(
    config: Config,
    elements: Elements,
    blueprints: Blueprints,
    chosen: Sequence[tuple[Image, Arch]],
    named: Sequence[str],
) -> tuple[list[tuple[Image, Arch, Blueprint]], tuple[str, ...]]:
    """Return the blueprints of images, and which have none and why.

    Raises UserError with all that is wrong with the elements of images that are named by their tags, and where nothing
    is left: an image that only `all` or a pattern means is no reason not to plan the others.
    """
    drawn: list[tuple[Image, Arch, Blueprint]] = []
    problems: dict[tuple[str, str], dict[str, str]] = {}
    for image, arch in chosen:
        try:
            blueprint = blueprints.build(image, arch)
            element_path.require_sound(image, arch, config, elements)
            drawn.append((image, arch, blueprint))
        except UserError as error:
            message = f"{error.message}; {error.hint}" if error.hint else error.message
            problems.setdefault((message, error.reason), {})[image.name] = image.tag
    wrong = {found: tags for found, tags in problems.items() if not drawn or {*tags.values()} & {*named}}
    if wrong:
        reason = next(iter(wrong))[1]
        raise UserError("\n".join(_problem(message, [*tags]) for (message, _), tags in wrong.items()), reason=reason)
    return drawn, tuple(_problem(message, [*tags]) for (message, _), tags in problems.items())


def _problem(message: str, images: Sequence[str]) -> str:
    more = len(images) - LISTED
    return f"{', '.join(images[:LISTED])}{f' and {more} more' if more > 0 else ''}: {message}"


def _passes(candidates: Iterable[ImageState], store: Store) -> dict[str, str]:
    builds = [build for each in candidates for build in (each.match, each.newest) if build is not None]
    return store.passes({output.digest for build in builds for output in build.outputs.values()})


def _candidate(
    image: Image, arch: Arch, blueprint: Blueprint, world: World, store: Store, blueprints: Blueprints
) -> ImageState:
    recipe = blueprint.recipe
    match, unsure = world.match(blueprint.job.asked)
    newest = world.newest(blueprint.job.asked)
    assert match is None or isinstance(match, Build)
    assert newest is None or isinstance(newest, Build)
    changed: tuple[str, ...] = ()
    if match is None and newest is not None:
        own = changes(store.details(newest), recipe, blueprints) if newest.asked != blueprint.job.asked else ()
        changed = (*own, *world.news(newest))
    return ImageState(
        image=image,
        arch=arch,
        job=replace(
            blueprint.job, known=world.known(blueprint.job.asked), serves=match.version if match is not None else ""
        ),
        match=match,
        newest=newest,
        on_parent=blueprint.on_parent,
        unsure=unsure,
        changed=changed,
        quiet=world.quiet(match) if match is not None else "",
    )


def changes(details: Json, recipe: Recipe, blueprints: Blueprints) -> tuple[str, ...]:
    """Return the inputs in which a recipe differs from what a stored build was made of, one short phrase each."""
    if "recipe" not in details:
        return ("its record does not say what it was made of",)
    old = dict(details["recipe"]) | {"elements": details.get("files", {}), "upstream": {}}
    new = recipe.as_json() | {"elements": blueprints.files(recipe), "upstream": {}}
    found = differences(old, new)
    # what its parent's layer was asked says nothing that the elements and variables do not say
    return tuple(each for each in found if not each.startswith("parent ")) or found


def _foundation(layer: Blueprint, world: World) -> LayerState:
    assert isinstance(layer.job, LayerJob)
    match, unsure = world.match(layer.job.asked)
    assert match is None or isinstance(match, Layer)
    job = replace(layer.job, known=world.known(layer.job.asked), serves=match.run if match is not None else "")
    if match is not None:
        return LayerState(job=job, match=match, unsure=unsure)
    newest = world.newest(layer.job.asked)
    if newest is None:
        changed = "never made"
    elif newest.asked != layer.job.asked:
        changed = "its recipe has changed"
    else:
        changed = ", ".join(world.news(newest)[:3])
    return LayerState(job=job, match=None, changed=changed)
