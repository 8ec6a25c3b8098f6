"""The selection: which images, architectures and sites a request names."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from datetime import date

from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Arch
from cc_images.model.plan import Request
from cc_images.model.site import Site
from cc_images.model.target import Target

_WILD = "*?[]"
"""Letters that make a word a pattern."""

NAMED = 6
"""Images that the message about a pattern names."""

SCHEDULED = "scheduled"
"""The word for the tags that the settings list."""


def select(request: Request, config: Config, today: date) -> tuple[list[Target], list[str]]:
    """Return the images and architectures that a request names, parents first, and what the user should know of them.

    `all` is every image that is not past its end of life, and does not say `in-all: false`, for the architectures that
    it has. A pattern is every image that it fits, for the architectures that it has; a pattern that fits nothing is an
    unknown tag.
    """
    tags = expanded(request.tags, config)
    by_name = {*request.tags, *(config.scheduled if SCHEDULED in request.tags else ())}
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
            hint = _suggest(tag, [each for each, image in config.images.items() if not image.abstract])
            raise UserError(f"there is no image {tag}{listed}", hint=hint, reason=Reason.UNKNOWN_IMAGE)
    wanted = request.arches or config.arches
    chosen: list[Target] = []
    notes: list[str] = []
    for tag, image in config.images.items():
        ended = image.eol is not None and image.eol < today
        named = tag in tags
        if image.abstract or (not named and (not every or ended or not image.in_all)):
            continue
        if ended:
            notes.append(f"{tag} is past its end of life ({image.eol})")
        lacking = [arch for arch in wanted if arch not in image.arches]
        if lacking and tag in by_name:
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


def select_one(tag: str, arches: Sequence[Arch], config: Config) -> list[Target]:
    """Return one image, for each architecture. Raises UserError for an unknown tag, and a pattern that fits several."""
    chosen, _ = select(Request(tags=(tag,), arches=tuple(arches)), config, date.max)
    tags = list(dict.fromkeys(each.image.tag for each in chosen))
    if len(tags) > 1:
        listed = ", ".join(tags[:NAMED]) + ", …" * (len(tags) > NAMED)
        raise UserError(f"{tag} fits {len(tags)} images: {listed}", hint="name one of them")
    return chosen


def _children(tag: str, config: Config) -> list[str]:
    return [each for each, image in config.images.items() if tag in image.depends]


def expanded(tags: Sequence[str], config: Config) -> tuple[str, ...]:
    """Return tags, with what patterns such as ws-* fit in their place; one that fits nothing stays, to be named."""
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
        found.update(dict.fromkeys(fitting(tag, config) or [tag]))
    return tuple(found)


def fitting(tag: str, config: Config) -> list[str]:
    """Return the tags that a pattern fits; none for what is no pattern."""
    if not any(letter in tag for letter in _WILD):
        return []
    return fnmatch.filter([each for each, image in config.images.items() if not image.abstract], tag)


def names_images(word: str, config: Config) -> bool:
    """Say whether a word that may also be a file's name is a tag, or a pattern that fits some."""
    return word.lower() in config.images or bool(fitting(word.lower(), config))


def sites_of(request: Request, config: Config) -> tuple[Site, ...]:
    """Return the sites that a request names, or all. Raises UserError for one that is not configured."""
    known = {site.name: site for site in config.sites}
    for name in request.sites:
        if name not in known:
            raise UserError(f"there is no site {name}", hint=_suggest(name, known), reason=Reason.UNKNOWN_SITE)
    if request.push and not known:
        raise UserError("no site is configured", hint=f"add one to {config.files['sites.yaml']}")
    return tuple(site for site in config.sites if not request.sites or site.name in request.sites)


def _suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the names nearest to a word; a pattern's letters are compared with how names begin."""
    plain = "".join(letter for letter in word.lower() if letter not in _WILD)
    begins: dict[str, list[str]] = {}
    for name in known:
        begins.setdefault(name if plain == word.lower() else name[: len(plain)], []).append(name)
    close = [name for each in difflib.get_close_matches(plain, begins, n=3) for name in begins[each]][:3]
    listed = [name for names in begins.values() for name in names]
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(listed) or 'none'}"
