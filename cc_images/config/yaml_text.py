"""Texts and nodes of YAML files: read with a limit, quoted, put where the user wrote others; words near to others."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import yaml

Node = yaml.Node

LARGEST = 32 << 20
"""Bytes above which a file is no configuration."""

MOST = 1_000_000
"""Values of plain data: with aliases a few lines have more."""


def choice(word: str, known: Iterable[str]) -> str:
    """Return the sentence about a word that is not one of the known ones."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"{word!r} is none of {', '.join(known)}" + (f" (did you mean {close[0]}?)" if close else "")


def read_text(file: Path) -> str:
    """Return what a file has. Raises OSError, and ValueError for what is no file of a sensible size."""
    status = file.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    if status.st_size > LARGEST:
        raise ValueError(f"has more than {LARGEST >> 20} MiB")
    return file.read_text()


def quoted(value: str) -> str:
    """Return a string as YAML has it: in quotes only where it would be something else without."""
    return yaml.safe_dump(value).splitlines()[0]


def plain(text: str) -> Any:
    """Return a YAML text of a foreign schema as plain data. Raises ValueError for what is none."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error


def constructed(loader: Any, node: Node) -> Any:
    """Return a node as plain data. Raises ValueError for a value that its tag cannot have, and for too many values."""
    try:
        if _count(node, {}) > MOST:
            raise ValueError(f"has more than {MOST:,} values")
        return loader.construct_object(node, deep=True)
    except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, yaml.YAMLError) as error:
        raise ValueError(str(getattr(error, "problem", None) or error)) from error


def _count(node: Node, known: dict[int, int]) -> int:
    """Return how many values a node has when its aliases are written out; one that has itself has too many."""
    if id(node) not in known:
        known[id(node)] = MOST + 1
        pairs = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else []
        parts = node.value if isinstance(node, yaml.SequenceNode) else pairs
        known[id(node)] = 1 + sum(_count(each, known) for each in parts)
    return known[id(node)]


def as_written(text: str) -> Any:
    """Return a YAML text as plain data in which all but flags and empty values is text, as it was written.

    So the version 1.10 stays what it is. Raises ValueError for what is none, and for keys that are there twice.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return _written(node) if node is not None else None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _written(node: Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_written(each) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                raise ValueError(f"{name} is there twice, again in line {key.start_mark.line + 1}")
            found[name] = _written(value)
        return found
    if is_null(node):
        return None
    if node.tag == "tag:yaml.org,2002:bool":
        return node.value.lower() in ("true", "yes", "on")
    return node.value


def beyond_json(text: str) -> tuple[int, int, str] | None:
    """Return line, column and name of the first thing in a YAML text that JSON has not: anchor, alias or tag.

    None, too, for what is no YAML: reading it says so.
    """
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            named = isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)
            if named or getattr(event, "tag", None):
                at: Any = event.start_mark
                return at.line + 1, at.column + 1, "an anchor or alias (& or *)" if named else "a tag (!)"
    except (yaml.YAMLError, RecursionError):
        return None
    return None


def is_null(node: Node) -> bool:
    """Say whether a node is an empty value."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def is_mapping(node: Node) -> bool:
    """Say whether a node is a mapping, and no set."""
    return isinstance(node, yaml.MappingNode) and node.tag != "tag:yaml.org,2002:set"


def is_text(node: Node) -> TypeGuard[yaml.ScalarNode]:
    """Say whether a node is one text."""
    return isinstance(node, yaml.ScalarNode) and not is_null(node)


def listed(node: Node | None) -> list[Node]:
    """Return the nodes of a list; one that is no list is a list of one, and an empty value has none."""
    if node is None or is_null(node):
        return []
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def text_at(text: str, place: Node) -> yaml.ScalarNode:
    """Return the node of a text, where the user wrote another one."""
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, place.start_mark, place.end_mark)


def list_at(nodes: Sequence[Node], place: Node) -> yaml.SequenceNode:
    """Return the node of a list, where the user wrote another one."""
    return yaml.SequenceNode("tag:yaml.org,2002:seq", list(nodes), place.start_mark, place.end_mark)


def mapping_at(keys: Mapping[str, Node], place: Node) -> yaml.MappingNode:
    """Return the node of a mapping, where the user wrote another one."""
    pairs = [(text_at(key, node), node) for key, node in keys.items()]
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, place.start_mark, place.end_mark)


def line_of(mark: yaml.Mark | None, columns: bool) -> str:
    """Return where a mistake is, as it stands behind the name of its file: `:LINE`, or `:LINE:COLUMN`."""
    return f":{mark.line + 1}" + (f":{mark.column + 1}" if columns else "") if mark else ""
