"""What the last stage of a Containerfile says of how its image is run, as far as its own text tells.

It looks at whole instructions only, and knows neither arguments nor what a base brings.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace

from cc_images.builders.containerfile.instructions import instructions, words_in
from cc_images.model.contracts import Subject


def subject(text: str, readme: Mapping[str, str]) -> Subject:
    """Return what is known of the image that a Containerfile makes; `readme` are labels with sections of its README."""
    start = Subject(labels={}, readme=dict(readme), partial=True)
    found = start
    for each in instructions(text):
        word, rest = each.word, each.rest
        if word == "FROM":
            found = start
        elif word == "LABEL":
            found = replace(found, labels={**(found.labels or {}), **pairs(rest)})
        elif word == "USER":
            found = replace(found, user=rest)
        elif word == "ENTRYPOINT":
            found = replace(found, entrypoint=words(rest))
    return found


def pairs(rest: str) -> dict[str, str]:
    """Return the labels of an instruction: `name=value …`, or the old `name value`."""
    try:
        parts = shlex.split(rest)
    except ValueError:
        return {}
    if parts and "=" not in parts[0]:
        return {parts[0]: " ".join(parts[1:])}
    return dict(each.partition("=")[::2] for each in parts if "=" in each)


def words(rest: str) -> tuple[str, ...]:
    """Return the words of an entry point, by a shell unless it is a JSON list."""
    if (said := words_in(rest)) is not None:
        return tuple(said)
    return ("/bin/sh", "-c", rest) if rest else ()
