"""Named contexts: folders besides its context of which a Containerfile copies files, the key `contexts` of images.yaml.

A place is a folder, a commit of a git repository, or either of these with a variable whose folder wins over it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from cc_images.config.yaml_file import Section
from cc_images.model.catalog import Image, Json

VARIABLE = re.compile(r"CC_IMAGES_[A-Z0-9_]+\Z")

OF_SPACK = {
    "root": "CC_IMAGES_SPACK",
    "packages": "CC_IMAGES_SPACK_PACKAGES",
    "wheels": "CC_IMAGES_SPACK_WHEELS",
}
"""The variables of the catalogue's image with Spack, by the keys of the setting `spack`."""

_NAME = re.compile(r"(?!cc-)[a-z][a-z0-9._-]*\Z")
_OF_PLACES = ("folder", "git", "commit")
"""Keys that say where a context is; a variable takes the place of all of them."""

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


def contexts_of(section: Section) -> Json:
    """Read the key, if it is there: places by name, each with those of the keys of `_place` that it has."""
    found: Json = {}
    for name, said in section.named("contexts").items():
        if not _NAME.match(name):
            section.problem(f"contexts.{name}", "is no name of a context: lower case, and not cc-…")
        elif isinstance(said, Section):
            found[name] = _place(said)
        elif said:
            found[name] = {"folder": said}
        else:
            section.problem(f"contexts.{name}", "names no folder")
    return {"contexts": found} if found else {}


def _place(section: Section) -> Json:
    said: Json = {
        "folder": section.text("folder"),
        "git": section.text("git"),
        "commit": section.text("commit", _COMMIT, "40 hexadecimal digits"),
        "variable": section.text("variable", VARIABLE, "a variable CC_IMAGES_…"),
        "ignore": list(section.words("ignore")),
    }
    if bool(said["git"]) != bool(said["commit"]):
        section.problem("", "git and commit go together: an address, and 40 hexadecimal digits")
    if not (said["git"] or said["folder"] or said["variable"]):
        section.problem("", "says neither folder, nor git, nor variable")
    try:
        address = urlsplit(said["git"])
    except ValueError as error:
        section.problem("git", f"is no address: {error}")
        address = urlsplit("")
    if address.password or (address.username and address.scheme in ("http", "https")):
        section.problem("git", "has a login in its address: leave it to git's credential helpers")
    below = Path(said["folder"])
    if said["git"] and (below.is_absolute() or ".." in below.parts):
        section.problem("folder", f"{below} leads out of the repository")
    section.close()
    return {key: value for key, value in said.items() if value}


def placed(
    images: Mapping[str, Image], variables: Mapping[str, str], folder: Path, home: Path, cwd: Path
) -> dict[str, Image]:
    """Return the images with whole paths of their contexts' folders, and with those that variables name.

    `folder` is that of images.yaml, where relative ones begin; those of variables begin in `cwd`.
    """

    def place(said: Json) -> Json:
        if value := variables.get(said.get("variable", "")):
            where: Json = {"folder": _whole(value, home, cwd)}
        elif "folder" in said and "git" not in said:
            where = {"folder": _whole(said["folder"], home, folder)}
        else:
            return said
        return {key: each for key, each in said.items() if key not in _OF_PLACES} | where

    return {
        tag: replace(image, containerfile={**image.containerfile, "contexts": {n: place(s) for n, s in named.items()}})
        if (named := image.containerfile.get("contexts"))
        else image
        for tag, image in images.items()
    }


def variables(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return the folders of variables: of the environment, and for what that does not say of the settings."""
    return {**settings, **{name: value for name, value in environ.items() if VARIABLE.match(name) and value}}


def spack_checkouts(image: Image) -> dict[str, str]:
    """Return the repositories from which Spack is fetched for an image, by the keys that would name checkouts."""
    places: Json = image.containerfile.get("contexts", {})
    found = {place.get("variable"): place["git"] for place in places.values() if "git" in place}
    return {key: found[variable] for key, variable in OF_SPACK.items() if variable in found}


def folders_of(settings: Section) -> dict[str, str]:
    """Read the folders of variables that settings name: `contexts`, and `spack` with shorter names for its own."""
    found = settings.mapping("contexts", VARIABLE, "a variable CC_IMAGES_…")
    for name, value in found.items():
        _require_whole(settings, f"contexts.{name}", value)
    spack = settings.child("spack")
    for key, variable in OF_SPACK.items():
        value = spack.text(key)
        if value and variable in found:
            spack.problem(key, f"{variable} is among contexts, too; remove one of them")
        elif value:
            _require_whole(spack, key, value)
            found[variable] = value
    spack.close()
    return found


def _require_whole(section: Section, key: str, value: str) -> None:
    """Report a folder that would depend on where a command runs."""
    if not value.startswith(("/", "~/")):
        section.problem(key, f"{value} must begin with / or ~/")


def _whole(said: str, home: Path, folder: Path) -> str:
    return str(home / said[2:] if said.startswith("~/") else (folder / said).absolute())
