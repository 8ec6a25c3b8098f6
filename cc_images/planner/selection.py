"""The selection: which images, architectures and sites a request names."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from datetime import date

from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.model.plan import Request
from cc_images.model.site import Site
from cc_images.model.target import Target

SCHEDULED = "scheduled"
"""The word for the tags that the settings list."""


def select(request: Request, config: Config, today: date) -> tuple[list[Target], list[str]]:
    """Return the images and architectures that a request names, parents first, and what the user should know of them.

    `all` is every image that is not past its end of life, for the architectures that it has.
    """
    tags = expanded(request.tags, config)
    every = "all" in tags
    for tag in tags:
        if tag in config.images and config.images[tag].abstract:
            raise UserError(
                f"{tag} is abstract: other images build on it, and it is not built itself",
                hint=f"name one that builds on it: {', '.join(_children(tag, config))}",
                reason=Reason.ABSTRACT,
            )
        if tag != "all" and tag not in config.images:
            unasked = tag in config.scheduled and tag not in request.tags
            listed = " (settings.yaml lists it as scheduled)" if unasked else ""
            raise UserError(
                f"there is no image {tag}{listed}", hint=_suggest(tag, config.images), reason=Reason.UNKNOWN_IMAGE
            )
    wanted = request.arches or config.arches
    chosen: list[Target] = []
    notes: list[str] = []
    for tag, image in config.images.items():
        ended = image.eol is not None and image.eol < today
        named = tag in tags
        if image.abstract or (not named and (not every or ended)):
            continue
        if ended:
            notes.append(f"{tag} is past its end of life ({image.eol})")
        lacking = [arch for arch in wanted if arch not in image.arches]
        if lacking and named:
            raise UserError(
                f"{tag} is not made for {', '.join(lacking)}",
                hint=f"it supports {', '.join(image.arches)}, all are meant without -a, ARCH and an architecture in "
                "settings.yaml",
                reason=Reason.UNKNOWN_ARCH,
            )
        chosen += [Target(image, arch) for arch in image.arches if not wanted or arch in wanted]
    if not chosen:
        raise UserError("no image matches", hint="`cc-images list` shows all images")
    return chosen, notes


def _children(tag: str, config: Config) -> list[str]:
    return [each for each, image in config.images.items() if tag in image.depends]


def expanded(tags: Sequence[str], config: Config) -> tuple[str, ...]:
    """Return tags with patterns such as cc-ubuntu* in their place; a pattern that fits nothing stays, to be named."""
    found: dict[str, None] = {}
    if SCHEDULED in tags:
        if not config.scheduled:
            raise UserError(
                "no images are scheduled",
                hint="list them in settings.yaml, scheduled: [cc-debian12]; `make schedule` writes such a list",
                reason=Reason.NOTHING_SCHEDULED,
            )
        tags = (*(each for each in tags if each != SCHEDULED), *config.scheduled)
    for tag in tags:
        fitting: list[str] = []
        if any(letter in tag for letter in "*?["):
            fitting = fnmatch.filter([each for each, image in config.images.items() if not image.abstract], tag)
        found.update(dict.fromkeys(fitting or [tag]))
    return tuple(found)


def sites_of(request: Request, config: Config) -> tuple[Site, ...]:
    """Return the sites that a request names, or all. Raises UserError for one that is not configured."""
    known = {site.name: site for site in config.sites}
    for name in request.sites:
        if name not in known:
            raise UserError(f"there is no site {name}", hint=_suggest(name, known), reason=Reason.UNKNOWN_SITE)
    if request.push and not known:
        raise UserError("no site is configured", hint=f"add one to {config.files['sites.yaml']}")
    return tuple(site for site in config.sites if not request.sites or site.name in request.sites)


def _suggest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word.lower(), known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known) or 'none'}"
