"""The selection: which images, architectures and sites a request names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date

from cc_images.config import Config
from cc_images.errors import UserError
from cc_images.model import Arch, Image, Site
from cc_images.plan import Request


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
                hint=f"it supports {', '.join(image.arches)}; leave -a out, and ARCH unset, for all of them",
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
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known) or 'none'}"
