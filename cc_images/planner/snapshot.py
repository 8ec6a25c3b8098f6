"""The snapshot: the world as it is for one request, from which the plan follows.

Reads element trees, third-party sources, the store and the host's tools; decides nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from cc_images.builders.resolved import Resolved, Resolver
from cc_images.builders.resolver import image_builder
from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.host.facts import HostFacts
from cc_images.model.builds import Build, Layer
from cc_images.model.catalog import Arch, Image, Json, Material
from cc_images.model.plan import BuildJob, LayerJob, Plan, Request
from cc_images.model.site import Site
from cc_images.model.spec import BuildSpec
from cc_images.model.target import Target
from cc_images.planner import remarks
from cc_images.planner.freshness import World, serving
from cc_images.planner.history import passes, with_history
from cc_images.planner.image_state import ImageState
from cc_images.planner.in_force import changes, to_push
from cc_images.planner.layers import LayerState, too_old
from cc_images.planner.planner import make_plan
from cc_images.planner.selection import select, sites_of
from cc_images.store.records import Store

LISTED = 5
"""Images that a message names; of more it tells how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The world as it was read for a request at the time `now`."""

    request: Request
    image_states: tuple[ImageState, ...]
    layer_states: Mapping[str, LayerState]
    fleet: tuple[Site, ...]
    """All sites that are configured."""
    notes: tuple[str, ...]
    now: datetime
    left_out: tuple[str, ...] = ()
    """Images that cannot be planned and that nobody named, with the reason."""
    passes: Mapping[str, str] = field(default_factory=dict)
    """The test keys of stored files that have passed a boot test, by digest."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    """The state of upstream: address → digest, as far as it is known."""
    details: Callable[[str], Json] = lambda recipe_key: {}
    """Recipe, element digests and source commits for a recipe key."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that are asked for."""
        return tuple(site for site in self.fleet if not self.request.sites or site.name in self.request.sites)

    def reasons(self) -> list[Json]:
        """Return for each image and architecture its newest build and what differs from it now, a phrase each."""
        found: list[Json] = []
        for each in self.image_states:
            old = too_old(each.match.last_made, each.unsure, self.request, self.now) if each.match else ""
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
        plan = make_plan(
            self.request,
            self.image_states,
            self.fleet,
            version=version,
            now=self.now,
            layer_states=self.layer_states,
            passes=self.passes,
        )
        return replace(plan, notes=self.notes, left_out=self.left_out)


def look(
    request: Request,
    config: Config,
    store: Store,
    *,
    now: datetime,
    offline: bool,
    stop: threading.Event | None = None,
    host: HostFacts | None = None,
) -> Snapshot:
    """Read everything that the plan depends on. Changes nothing but the copies of element sources.

    Without `host` the plan is made for this one.
    A push of what is in the store needs no elements, so then nothing is fetched.

    Raises UserError for what the user can correct, all missing elements at once.
    """
    chosen, notes = select(request, config, now.date())
    sites_of(request, config)  # which says what is wrong with their names
    images = image_builder()
    host = host or images.host_facts({arch for _, arch in chosen})
    chosen, foreign = _buildable(chosen, request, config, store, host)
    notes += foreign
    if not request.build:
        resolver = images.resolver(config, store, host, fetch=False)
        stored = [to_push(image, arch, request, store, resolver, serving) for image, arch in chosen]
        if all(stored):
            states, unclaimed = _of_stored(chosen, stored, resolver)
            image_states = with_history(states, config.sites, store)
            return Snapshot(
                request=request,
                image_states=image_states,
                layer_states={},
                fleet=config.sites,
                notes=(*config.notes, *notes, *unclaimed, *_told(image_states, request, store)),
                now=now,
                passes=passes(image_states, store),
            )
    resolver = images.resolver(config, store, host, fetch=True, offline=offline, stop=stop)
    resolved, left_out = _resolved(resolver, chosen, request.tags)
    resolved = _with_claims(resolver, resolved)
    layers = {each.spec.recipe_key: each for _, _, one in resolved for each in resolver.layers(one)}
    world = _world(store, (each for _, _, each in resolved), layers.values())
    world.ask(offline, stop)
    recipes = {each.spec.recipe_key: each.recipe for each in (*layers.values(), *(one for _, _, one in resolved))}
    image_states = with_history((_image_state(*each, world, store, resolver) for each in resolved), config.sites, store)
    told = [*_told(image_states, request, store), *resolver.remarks(resolved, world), *world.notes()]
    resolver.close()
    return Snapshot(
        request=request,
        image_states=image_states,
        layer_states={key: _layer_state(layer, world) for key, layer in layers.items()},
        fleet=config.sites,
        notes=(*config.notes, *notes, *told),
        now=now,
        left_out=left_out,
        passes=passes(image_states, store),
        upstream=world.state,
        details=lambda recipe_key: resolver.details(recipes[recipe_key]),
    )


def _world(store: Store, images: Iterable[Resolved], layers: Iterable[Resolved]) -> World:
    """Return what the store has of the recipes of images and layers."""
    world = World(store)
    for each in images:
        tag, arch = each.spec.tag, each.spec.arch
        world.remember(each.spec.recipe_key, store.builds(tag, arch), store.current(tag, arch))
    for layer in layers:
        world.remember(layer.spec.recipe_key, store.layers(layer.spec.tag, layer.spec.arch))
    return world


def _of_stored(
    chosen: Sequence[Target], stored: Sequence[Build | None], resolver: Resolver
) -> tuple[tuple[ImageState, ...], list[str]]:
    """Return the states of images of which stored builds are pushed: nothing has to be built."""
    chosen, unclaimed = resolver.with_claims(chosen)
    states = tuple(
        ImageState(image=image, arch=arch, job=_nothing_to_build(image, arch), match=None, newest=build)
        for (image, arch), build in zip(chosen, stored, strict=True)
    )
    return states, unclaimed


def _told(image_states: Sequence[ImageState], request: Request, store: Store) -> list[str]:
    return [
        *remarks.of_request(request),
        *remarks.hard_to_read(image_states),
        *remarks.damaged(image_states, store),
        *remarks.held(image_states, request),
    ]


def _nothing_to_build(image: Image, arch: Arch) -> BuildJob:
    """Return a placeholder job that never runs, for an image of which only the stored builds matter."""
    return BuildJob(
        spec=BuildSpec(
            builder="",
            makes=Material.DISK,
            name=image.name,
            tag=image.tag,
            arch=arch,
            recipe_key="",
            timeout=image.timeout,
        )
    )


def _buildable(
    chosen: list[Target], request: Request, config: Config, store: Store, host: HostFacts
) -> tuple[list[Target], list[str]]:
    """Leave out, with a note, unnamed architectures that the host cannot build: foreign ones without emulation."""
    if request.arches or config.arches:
        return chosen, []
    kept: list[Target] = []
    left: dict[Arch, None] = {}
    for image, arch in chosen:
        if arch in host.runs or (not request.build and any(store.builds(image.tag, arch))):
            kept.append(Target(image, arch))
        else:
            left[arch] = None
    if not kept:
        return chosen, []
    return kept, [f"{arch} is left out: {host.why_not}" for arch in left]


def _resolved(
    resolver: Resolver, chosen: Sequence[Target], named: Sequence[str]
) -> tuple[list[tuple[Image, Arch, Resolved]], tuple[str, ...]]:
    """Return images with their specs, and which have none and why.

    Raises UserError with all that is wrong with images that are named by their tags, and where nothing is left: an
    image that only `all` or a pattern means is no reason not to plan the others.
    """
    found: list[tuple[Image, Arch, Resolved]] = []
    problems: dict[tuple[str, Reason], dict[str, str]] = {}
    for image, arch in chosen:
        try:
            resolved = resolver.resolve(image, arch)
            resolver.require_sound(image, arch)
            found.append((image, arch, resolved))
        except UserError as error:
            message = f"{error.message}; {error.hint}" if error.hint else error.message
            problems.setdefault((message, error.reason), {})[image.name] = image.tag
    wrong = {problem: tags for problem, tags in problems.items() if not found or {*tags.values()} & {*named}}
    if wrong:
        reason = next(iter(wrong))[1]
        raise UserError("\n".join(_problem(message, [*tags]) for (message, _), tags in wrong.items()), reason=reason)
    return found, tuple(_problem(message, [*tags]) for (message, _), tags in problems.items())


def _with_claims(
    resolver: Resolver, resolved: Sequence[tuple[Image, Arch, Resolved]]
) -> list[tuple[Image, Arch, Resolved]]:
    """Return images with what their elements say of them."""
    complete, _ = resolver.with_claims([Target(image, arch) for image, arch, _ in resolved])
    return [(image, arch, each) for (image, arch), (_, _, each) in zip(complete, resolved, strict=True)]


def _problem(message: str, images: Sequence[str]) -> str:
    more = len(images) - LISTED
    return f"{', '.join(images[:LISTED])}{f' and {more} more' if more > 0 else ''}: {message}"


def _image_state(
    image: Image, arch: Arch, resolved: Resolved, world: World, store: Store, resolver: Resolver
) -> ImageState:
    recipe, key = resolved.recipe, resolved.spec.recipe_key
    match, unsure = world.match(key)
    newest = world.newest(key)
    assert match is None or isinstance(match, Build)
    assert newest is None or isinstance(newest, Build)
    changed: tuple[str, ...] = ()
    if match is None and newest is not None:
        own = changes(store.details(newest), recipe, resolver) if newest.recipe_key != key else ()
        changed = (*own, *world.news(newest))
    serves = match.version if match is not None else ""
    return ImageState(
        image=image,
        arch=arch,
        job=BuildJob(spec=resolved.spec, known=world.known(key), serves=serves),
        match=match,
        newest=newest,
        on_parent=resolved.on_parent,
        unsure=unsure,
        changed=changed,
        quiet=world.quiet(match) if match is not None else "",
    )


def _layer_state(layer: Resolved, world: World) -> LayerState:
    key = layer.spec.recipe_key
    match, unsure = world.match(key)
    assert match is None or isinstance(match, Layer)
    job = LayerJob(spec=layer.spec, known=world.known(key), serves=match.run if match is not None else "")
    if match is not None:
        return LayerState(job=job, match=match, unsure=unsure)
    newest = world.newest(key)
    if newest is None:
        changed = "never made"
    elif newest.recipe_key != key:
        changed = "its recipe has changed"
    else:
        changed = ", ".join(world.news(newest)[:3])
    return LayerState(job=job, match=None, changed=changed)
