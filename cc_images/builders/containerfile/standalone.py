"""A Containerfile on its own: which images of a catalogue it begins with. Pure."""

from __future__ import annotations

from collections.abc import Collection

from cc_images.builders.containerfile.containerfile import Containerfile, images, parsed
from cc_images.builders.containerfile.instructions import declared
from cc_images.builders.containerfile.recipes import BASE
from cc_images.model.catalog import Arch


def parents(text: str, arch: Arch, tags: Collection[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the images of a catalogue that a text names, the one it starts from first, and arguments for its build.

    Raises UserError for what is no Containerfile.
    """
    file = parsed(text, {}, arch.value)
    target = file.target("")
    named = (file.begins(target), *images(file.needed(target)))
    base = _base(file)
    return tuple(dict.fromkeys(each.lower() for each in named if each.lower() in tags)), {BASE: base} if base else {}


def _base(file: Containerfile) -> str:
    """Return the value that the file itself gives the argument by which a catalogue names the parent."""
    found = (value for each in file.head if each.word == "ARG" for name, value in declared(each.rest) if name == BASE)
    return next((value for value in found if value), "")
