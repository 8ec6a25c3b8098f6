"""The history of images: what people hold, what was put where, and which stored files have passed a boot test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cc_images.model.builds import Build
from cc_images.model.site import Site
from cc_images.model.status import Put
from cc_images.planner.image_state import ImageState
from cc_images.store.holds import Holds
from cc_images.store.published import Published
from cc_images.store.records import Store


def with_history(image_states: Iterable[ImageState], sites: Sequence[Site], store: Store) -> tuple[ImageState, ...]:
    """Return the states with what people hold; where sites have waves also with what was put there."""
    holds = Holds(store).by_image()
    puts = Published(store.root).by_image() if any(site.wave > 1 for site in sites) else {}
    found: list[ImageState] = []
    for each in image_states:
        own = puts.get((each.image.tag, each.arch), {})
        held = holds.get((each.image.tag, each.arch), {})
        found.append(replace(each, holds=held, puts=own, builds=_stored(each, own, store)))
    return tuple(found)


def _stored(state: ImageState, puts: Mapping[str, Put], store: Store) -> dict[str, Build]:
    versions = dict.fromkeys(put.version for put in puts.values())
    builds = (store.build(state.image.tag, state.arch, version) for version in versions)
    return {build.version: build for build in builds if build is not None}


def passes(image_states: Iterable[ImageState], store: Store) -> dict[str, str]:
    """Return the test keys of stored files that have passed a boot test, by digest."""
    builds = (build for each in image_states for build in (each.match, each.newest, *each.builds.values()))
    return store.passes({output.digest for build in builds if build is not None for output in build.outputs.values()})
