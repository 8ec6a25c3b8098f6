"""Images of the catalog: what they are resolved to, and which versions are stored."""

from __future__ import annotations

from collections.abc import Sequence

from cc_images import clock
from cc_images.api.resolution import resolution
from cc_images.config.loader import Config
from cc_images.model.catalog import Arch, Json
from cc_images.model.plan import Request
from cc_images.planner.selection import fitting, select
from cc_images.store.records import Store


def resolved(config: Config, tag: str, arches: Sequence[Arch] = ()) -> list[Json]:
    """Return what an image is resolved to, for each architecture. Raises UserError for an unknown tag or element."""
    chosen, _ = select(Request(tags=(tag,), arches=tuple(arches)), config, clock.now().date())
    store = Store(config.store)
    return [resolution(config, store, image, arch) for image, arch in chosen]


def named(config: Config, words: Sequence[str]) -> set[str]:
    """Return words, and the tags that those of them fit that are patterns."""
    return {each for word in words for each in (word, *fitting(word.lower(), config))}


def versions(config: Config, tag: str) -> dict[str, Arch]:
    """Return the stored versions of an image, newest first; none for an unknown tag."""
    image, store = config.images.get(tag), Store(config.store)
    if image is None:
        return {}
    found = {build.version: arch for arch in image.arches for build in store.builds(tag, arch)}
    return dict(sorted(found.items(), reverse=True))
