"""The status of images: the newest build of each, whether that is fresh, and where it is. Uses no network.

Fresh means that a run would build nothing, as far as is known here: elements, sources and repositories as seen last.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from cc_images import clock
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Json
from cc_images.model.plan import Request
from cc_images.model.status import Hold, ImageStatus
from cc_images.model.target import Target
from cc_images.planner.selection import expanded, select
from cc_images.planner.snapshot import look
from cc_images.store.holds import Holds
from cc_images.store.published import Published
from cc_images.store.records import Store


def status(request: Request, config: Config) -> list[ImageStatus]:
    """Return how each image that a request names stands, in the catalog's order; those past their end included.

    Nothing is fetched and no site is asked. Raises UserError for an unknown tag.
    """
    store, now = Store(config.store), clock.now()
    tags = expanded(request.tags, config)
    chosen = [
        Target(image, arch)
        for tag, image in config.images.items()
        if not image.abstract and (tag in tags or "all" in tags)
        for arch in image.arches
        if not request.arches or arch in request.arches
    ]
    if named := tuple(tag for tag in tags if tag != "all"):
        select(Request(tags=named, arches=request.arches), config, now.date())  # says which tag is unknown
    reasons = _reasons(chosen, config, store, now)
    published, holds = Published(store.root).by_image(), Holds(store).by_image()
    standings: list[ImageStatus] = []
    for image, arch in chosen:
        said = reasons.get((image.tag, arch), {})
        serves = said.get("serves")
        newest = (store.build(image.tag, arch, serves) if serves else None) or store.in_force(image.tag, arch)
        fresh = None if "error" in said else said.get("serves") is not None
        why = [said["error"]] if "error" in said else said.get("changed", [])
        standings.append(
            ImageStatus(
                image=image,
                arch=arch,
                newest=newest,
                fresh=fresh if newest else False,
                why=tuple(why) if newest else (),
                put=published.get((image.tag, arch), {}),
                held=_held(holds.get((image.tag, arch), {}), newest),
            )
        )
    return standings


def _held(holds: Mapping[str, Hold], newest: Build | None) -> Hold | None:
    hold = holds.get(newest.version) if newest is not None else None
    return hold if hold is not None and not hold.released else None


def serving(config: Config, store: Store, now: datetime) -> dict[tuple[str, Arch], list[str]]:
    """Return the stored versions that serve the present inputs, by tag and architecture; no network is asked."""
    chosen = [Target(each, arch) for each in config.images.values() if not each.abstract for arch in each.arches]
    reasons = _reasons(chosen, config, store, now) if chosen else {}
    return {pair: [said["serves"]] for pair, said in reasons.items() if said.get("serves")}


def _reasons(chosen: list[Target], config: Config, store: Store, now: datetime) -> dict[tuple[str, Arch], Json]:
    """Return what `explain` says of each image that was built, all at once if that can be, else one by one."""
    built = [Target(image, arch) for image, arch in chosen if next(store.builds(image.tag, arch), None)]
    if not built:
        return {}
    arches = tuple(dict.fromkeys(arch for _, arch in built))
    found: dict[tuple[str, Arch], Json] = {}
    for arch in arches:
        tags = tuple(image.tag for image, each in built if each is arch)
        try:
            found |= _explained(tags, arch, config, store, now)
        except CCImagesError:
            for tag in tags:
                try:
                    found |= _explained((tag,), arch, config, store, now)
                except CCImagesError as error:
                    found[tag, arch] = {"error": error.message.partition("\n")[0]}
    return found


def _explained(
    tags: tuple[str, ...], arch: Arch, config: Config, store: Store, now: datetime
) -> dict[tuple[str, Arch], Json]:
    request = Request(tags=tags, arches=(arch,), build=True)
    seen = look(request, config, store, now=now, offline=True)
    pairs = [(each.image.tag, each.arch) for each in seen.image_states]
    return dict(zip(pairs, seen.reasons(), strict=True))
