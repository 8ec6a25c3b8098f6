"""Variants: the key `variants` of an entry of images.yaml, written out as further entries before they are read.

Knows no other key than `depends`: a mapping is merged key by key, everything else replaced. Nodes keep their positions,
so messages name the line that the user wrote.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cc_images.config.yaml_file import Document, Section
from cc_images.config.yaml_text import Node, is_mapping, is_null, is_text, list_at, listed, mapping_at, text_at
from cc_images.model.catalog import Arch

KEY = "variants"

DEEPEST = 8
"""Mappings in each other that are merged; deeper ones, and those that contain themselves, are replaced."""

_VARIANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")

Keys = Mapping[str, Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One image as it is written: the section of its keys, and of a variant the name of the entry it is made from."""

    section: Section
    family: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    """What an entry says of one variant: in a list nothing, and then it only follows a parent's."""

    node: Node
    keys: Keys
    listed: bool


def entries(document: Document, names: re.Pattern[str]) -> list[Entry]:
    """Return the entries of a catalogue, each followed by its variants; mistakes are noted in the document."""
    written = [each for each in document.sections(names) if not each.name.startswith("x-")]
    top = document.items(document.root, "") if document.root else {}
    bodies = {each.name: _items(document, top[each.name], each.name) for each in written}
    said = {name: _said(document, names, name, body[KEY]) for name, body in bodies.items() if KEY in body}
    if not said:
        return [Entry(section=each) for each in written]
    offered = {name.lower(): [*variants] for name, variants in said.items()}
    places = {each.name.lower(): each.name for each in written}
    found: list[Entry] = []
    for each in written:
        if each.name not in said:
            found.append(Entry(section=each))
            continue
        own = {key: node for key, node in bodies[each.name].items() if key != KEY}
        found.append(Entry(section=Section(document, each.name, each.name, mapping_at(own, top[each.name]))))
        for variant, what in said[each.name].items():
            name, path = f"{each.name}-{variant}", _path(each.name, variant)
            if wrong := _collision(name, places) or _unfounded(each.name, own, variant, what, offered):
                document.problem(what.node, path, wrong)
                continue
            places[name.lower()] = path
            body = _merged(document, (own, each.name), (what.keys, path))
            if "depends" not in what.keys and "depends" in own:
                body["depends"] = _followed(own["depends"], variant, offered)
            section = Section(document, name, path, mapping_at(body, what.node))
            found.append(Entry(section=section, family=each.name, variant=variant))
    return found


def once(problems: list[str], found: Sequence[Entry]) -> None:
    """Leave out what was noted of a variant and is a mistake of the entry itself."""
    variants: dict[str, list[str]] = {}
    for each in found:
        if each.variant:
            variants.setdefault(each.family, []).append(each.variant)
    told: dict[str, None] = {}
    for problem in problems:
        place, _, text = problem.partition(": ")
        family, _, rest = text.partition(f".{KEY}.")
        ours = next((each for each in variants.get(family, ()) if rest.startswith((f"{each}.", f"{each}:"))), "")
        plain = f"{place}: {family}{rest[len(ours) :]}" if ours else problem
        told.setdefault(problem if plain not in told else plain)
    problems[:] = told


def _path(name: str, variant: str) -> str:
    return f"{name}.{KEY}.{variant}"


def _said(document: Document, names: re.Pattern[str], name: str, node: Node) -> dict[str, _Variant]:
    """Read the key: a mapping of variants, or the names of those that follow a parent's."""
    found: dict[str, _Variant] = {}
    if is_mapping(node):
        for variant, value in document.items(node, f"{name}.{KEY}").items():
            keys = dict(document.items(value, _path(name, variant)))
            if KEY in keys:
                text = f"a variant has no {KEY}; write it beside {variant}"
                document.problem(keys.pop(KEY), f"{_path(name, variant)}.{KEY}", text)
            if is_null(value) or is_mapping(value):
                found[variant] = _Variant(node=value, keys=keys, listed=False)
    else:
        for item in listed(node):
            if is_text(item):
                found[item.value] = _Variant(node=item, keys={}, listed=True)
            else:
                document.problem(item, f"{name}.{KEY}", "must be one text")
    for variant in [*found]:
        if wrong := _misnamed(names, name, variant):
            document.problem(found.pop(variant).node, _path(name, variant), wrong)
    return found


def _misnamed(names: re.Pattern[str], name: str, variant: str) -> str:
    """Return why no variant may have a name, or an empty text."""
    if not _VARIANT.match(variant):
        return "is not a variant's name: lower-case letters, digits, dot, underscore and hyphen, 32 at most"
    if variant in {each.value for each in Arch}:
        return "is an architecture's name; choose another"
    if not names.match(f"{name}-{variant}"):
        return f"would be a name of {len(name) + 1 + len(variant)} characters, and 100 are the most"
    return ""


def _collision(name: str, places: Mapping[str, str]) -> str:
    """Return who has a variant's name already, or an empty text."""
    other = places.get(name.lower(), "")
    if f".{KEY}." in other:
        return f"would be the image {name}, and so would {other}; rename one of them"
    return f"would be the image {name}, and {other} is one already; rename one of them" if other else ""


def _unfounded(name: str, own: Keys, variant: str, what: _Variant, offered: Mapping[str, Sequence[str]]) -> str:
    """Return why a variant that only follows has nothing to follow, or an empty text."""
    parents = [str(item.value) for item in listed(own.get("depends")) if is_text(item)]
    theirs = [each for parent in parents for each in offered.get(parent.lower(), ())]
    if not what.listed or variant in theirs:
        return ""
    if not parents:
        return f"{name} has no parent whose variant it could follow; say what differs: {variant}: {{KEY: VALUE}}"
    close = difflib.get_close_matches(variant, theirs, n=1)
    hint = f"did you mean {close[0]}?" if close else f"{parents[0]} needs it first, or say here what differs"
    return f"no parent of {name} has this variant; {hint}"


def _followed(depends: Node, variant: str, offered: Mapping[str, Sequence[str]]) -> Node:
    """Return an entry's parents with those that have a variant replaced by it."""
    return list_at(
        [
            text_at(f"{item.value}-{variant}", item)
            if is_text(item) and variant in offered.get(_tag(item), ())
            else item
            for item in listed(depends)
        ],
        depends,
    )


def _tag(node: Node) -> str:
    return str(node.value).lower()


def _merged(
    document: Document, below: tuple[Keys, str], over: tuple[Keys, str], depth: int = DEEPEST
) -> dict[str, Node]:
    """Return keys with others over them, and so in mappings that both have; each with its path for messages."""
    (lower, lower_path), (upper, upper_path) = below, over
    merged = {**lower, **upper}
    for key in [each for each in upper if each in lower and depth]:
        one, other = lower[key], upper[key]
        if one is not other and is_mapping(one) and is_mapping(other):
            paths = f"{lower_path}.{key}", f"{upper_path}.{key}"
            inner = (document.items(one, paths[0]), paths[0]), (document.items(other, paths[1]), paths[1])
            merged[key] = mapping_at(_merged(document, *inner, depth - 1), other)
    return merged


def _items(document: Document, node: Node, path: str) -> Keys:
    """Return an entry's keys; whoever reads the entry reports what is no mapping."""
    return document.items(node, path) if is_mapping(node) else {}
