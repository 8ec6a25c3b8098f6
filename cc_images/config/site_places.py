"""Where sites are: whole paths of folders and programs, families of registries, and two sites at one place."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cc_images.model.catalog import Image
from cc_images.model.site import Site


def at_one_place(sites: Iterable[Site], home: Path, file: Path) -> list[str]:
    """Return a sentence for each site that is at the place of another one."""
    found: list[str] = []
    for which in ("cloud", "directory", "catalogue", "registry"):
        seen: dict[str, str] = {}
        for site in sites:
            place = getattr(site, which)
            if which not in ("cloud", "registry") and place and "\0" not in place:
                scope = site.scope if which == "catalogue" else ""
                whole = os.path.realpath(absolute(place, home, file)) if site.folder else place
                place = os.path.join(whole, scope)
            if place and seen.setdefault(place, site.name) != site.name:
                found.append(f"sites.yaml: {site.name}.{which}: {place} is also that of {seen[place]}")
    return found


def absolute(directory: str, home: Path, file: Path) -> str:
    """Return the whole path of a folder that a file names: from the home, from the root, or from beside the file."""
    if not directory:
        return ""
    expanded = home / directory[2:] if directory == "~" or directory.startswith("~/") else Path(directory)
    return str((file.parent / expanded).absolute())


def with_families(site: Site, images: Iterable[Image]) -> Site:
    """Return a registry with the families of variants, by the names under which these are published."""
    if not site.registry:
        return site
    names = {
        image.published_name(arch): (replace(image, name=image.family).published_name(arch), image.variant)
        for image in images
        for arch in image.arches
        if image.variant
    }
    return replace(site, families=names)


def placed(site: Site, home: Path, file: Path) -> Site:
    """Return a site whose folder and program have whole paths; they begin where the file is."""
    program, separator, rest = site.health.partition(" ")
    if program.startswith(("./", "../", "~/")):
        program = shlex.quote(absolute(program, home, file))
    return replace(
        site,
        directory=absolute(site.directory, home, file),
        catalogue=absolute(site.catalogue, home, file) if site.folder else site.catalogue.rstrip("/"),
        health=program + separator + rest,
    )
