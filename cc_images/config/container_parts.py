"""How an image is run as a container: the section `container` of an entry of images.yaml, and how it is tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from cc_images.config.yaml_file import Section
from cc_images.model.catalog import Format, Image, Json

_USER = re.compile(r"[a-z_0-9][a-z0-9_-]*(:[a-z_0-9][a-z0-9_-]*)?\Z")
_FOLDER = re.compile(r"/[^\0]*\Z")
_PORT = re.compile(r"(\d{1,5})(/(tcp|udp|sctp))?\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")
_COMPRESSION = re.compile(r"(gzip|zstd)\Z")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


OF_DIB = (
    "elements",
    "environment",
    "packages",
    "artifacts",
    "without",
    "layer",
    "disk",
    "firmware",
    "assemble",
    "base",
)
"""Keys of images that dib makes."""

OF_CONTAINERS = (Format.OCI, Format.SIF, Format.TAR, Format.TAR_GZIP, Format.SQUASHFS)
"""Formats that can be made of an image for containers."""

_BUILDER = re.compile(r"(dib|containerfile|spack)\Z")
SPACKS = ("cc-spack-builder", "cc-spack-runtime")
"""The images that one made by Spack depends on where it says nothing else."""

_VERSION = re.compile(r"(?!latest)[A-Za-z0-9_][A-Za-z0-9._-]{0,60}\Z")


def builder_of(section: Section) -> str:
    """Read who makes an image."""
    return section.text("builder", _BUILDER, "dib, containerfile or spack") or "dib"


def parents_of(section: Section, builder: str) -> tuple[str, ...]:
    """Read the images that one builds on, by their tags; the one whose tree it starts from comes first.

    An image that Spack makes names the one with Spack first, and is nothing like that.
    """
    words = section.words("depends", default=SPACKS if builder == "spack" else ())
    found = tuple(word.lower() for word in words)
    if builder != "spack":
        return found
    if len(found) < 2:
        section.problem("depends", "needs two images: the one with Spack, and the one that the result starts from")
        return found
    return (found[1], found[0], *found[2:])


def version_of(section: Section) -> str:
    """Read an image's version in words of its own."""
    return section.text(
        "version",
        _VERSION,
        "a version of letters, digits, dots, dashes and underscores (a registry's tags have no others: write - for +), "
        "and not latest",
    )


def container_of(section: Section) -> Json:
    """Read the section; only what is said is in the result. What is wrong is noted in the section."""
    said: Json = {
        "user": section.text("user", _USER, "a user, or user:group"),
        "folder": section.text("folder", _FOLDER, "an absolute path"),
        "entrypoint": list(section.words("entrypoint")),
        "command": list(section.words("command")),
        "environment": section.mapping("environment", _VARIABLE, "a variable's name"),
        "labels": section.mapping("labels", _LABEL, "a label's name"),
        "ports": list(section.words("ports")),
        "volumes": list(section.words("volumes")),
        "compression": section.text("compression", _COMPRESSION, "gzip or zstd").removeprefix("gzip"),
    }
    for port in said["ports"]:
        found = _PORT.match(port)
        if not found or not 0 < int(found[1]) < 65536:
            section.problem("ports", f"{port!r} is no port, such as 8888 or 53/udp")
    for folder in said["volumes"]:
        if not _FOLDER.match(folder):
            section.problem("volumes", f"{folder!r} is no absolute path")
    said["ports"] = [port if "/" in port else f"{port}/tcp" for port in said["ports"]]
    section.close()
    return {key: value for key, value in said.items() if value}


def containerfile_of(section: Section) -> Json:
    """Read what a Containerfile's image says of its build; only what is said is in the result."""
    said: Json = {
        "context": section.text("context"),
        "build-args": section.mapping("build-args", _VARIABLE, "an argument's name"),
        "target": section.text("target", _TARGET, "the name or number of a stage"),
    }
    return {key: value for key, value in said.items() if value}


def with_labels(said: Json, section: Section) -> Json:
    """Return how an image is run with the labels that its entry has itself."""
    labels = section.mapping("labels", _LABEL, "a label's name")
    return {**said, "labels": {**said.get("labels", {}), **labels}} if labels else said


def tried(section: Section) -> Json:
    """Read how an image's container is tried before a push: keys of the image itself, which no child has from it."""
    words = section.words("try", default=_NOT_SAID)
    said: Json = {} if words is _NOT_SAID else {"try": list(words)}
    if section.flag("try-network"):
        said["try-network"] = True
    if seconds := section.number("try-timeout", 0, least=1, most=3600):
        said["try-timeout"] = seconds
    return said


TRIED = ("try", "try-network", "try-timeout")
_NOT_SAID = ("\0",)


def inherited(image: Image, parent: Image) -> Json:
    """Return how a child is run: as its parent, with what it says itself; variables and labels are added.

    An image from a Containerfile has all that from the image it starts from, and its file may say something else.
    """
    if image.builder != "dib":
        return image.container
    of_parent = {key: value for key, value in parent.container.items() if key not in TRIED}
    both = {**of_parent, **image.container}
    for key in ("environment", "labels"):
        if key in both:
            both[key] = {**parent.container.get(key, {}), **image.container.get(key, {})}
    return both


def without_dib(section: Section, image: Image, wrong: Sequence[str]) -> Image:
    """Return an image that is a container, of which `wrong` has the keys that say how dib makes one."""
    spack = image.builder == "spack"
    for key in wrong:
        instead = "the spack.yaml says what is in it" if spack else "a Containerfile has instructions instead"
        section.problem(key, f"is for images that dib makes; {instead}")
    for key in ("build-args", "target") if spack else ():
        if key in image.containerfile:
            section.problem(key, "is for builder: containerfile")
    if others := [each for each in image.formats if each not in OF_CONTAINERS]:
        makes = "Spack" if spack else "a Containerfile"
        section.problem("formats", f"{', '.join(others)}: {makes} makes {', '.join(OF_CONTAINERS)}")
    return replace(image, elements=())
