"""A YAML file with positions: typed getters that note every mistake with file, line, key and what to do.

Owns how a file is read; `loader`, `images` and `settings` own the meaning of its keys. Values keep the text that the
user wrote.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import yaml

from cc_images.config.yaml_text import choice, constructed, is_mapping, is_null, line_of, mapping_at, read_text
from cc_images.model.redaction import without_logins

LISTED = 20
"""Mistakes of one kind that are listed."""

_OF = "letters, digits, dot, underscore, plus and hyphen"
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_LOADER: Callable[[str], Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document:
    """One YAML file whose top is a mapping; an empty file is an empty mapping."""

    columns = False
    """Whether the place of a mistake has its column, too."""

    def __init__(self, file: Path, problems: list[str], title: str = "", text: str | None = None) -> None:
        self.file = file
        self.title = title or file.name
        self.notes: list[str] = []
        self._problems = problems
        self.root: yaml.Node | None = None
        self._mappings: dict[int, dict[str, yaml.Node]] = {}
        try:
            self._loader = _LOADER(read_text(file) if text is None else text)
            self.root = self._loader.get_single_node()
        except OSError as error:
            problems.append(f"{file}: cannot be read: {error.strerror}")
        except RecursionError:
            problems.append(f"{self.title}: is nested too deeply")
        except UnicodeDecodeError:
            problems.append(f"{self.title}: is not a text in UTF-8; save it as one")
        except ValueError as error:
            problems.append(f"{file}: {error}")
        except yaml.YAMLError as error:
            at = line_of(getattr(error, "problem_mark", None), self.columns)
            problems.append(f"{self.title}{at}: is not YAML: {getattr(error, 'problem', None) or error}")

    def sections(self, names: re.Pattern[str], of: str = _OF) -> Iterable[Section]:
        """Yield the entries of the top mapping, whose names match, which are made of what `of` says."""
        if self.root is None:
            return
        for name, node in self.items(self.root, "").items():
            if names.match(name):
                yield Section(self, name, name, node)
            else:
                self.problem(node, name, f"is not a name: {of}")

    def whole(self) -> Section | None:
        """Return the top mapping as one section, or None for an empty file."""
        return None if self.root is None else Section(self, "", "", self.root)

    def items(self, node: yaml.Node, path: str) -> dict[str, yaml.Node]:
        """Return a mapping's entries by key; report what is not a mapping, and keys that stand twice."""
        if is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode) or not is_mapping(node):
            self.problem(node, path, "must be a mapping (key: value)")
            return {}
        if id(node) in self._mappings:  # an alias: the same node again
            return self._mappings[id(node)]
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(key, path, "a key must be one text")
                return {}
            if key.value in seen:
                self.problem(key, f"{path}.{key.value}".lstrip("."), "stands twice")
            seen.add(key.value)
        try:
            self._loader.flatten_mapping(node)
        except yaml.YAMLError as error:
            self.problem(node, path, str(getattr(error, "problem", error)))
            return {}
        self._mappings[id(node)] = {str(key.value): value for key, value in node.value}
        return self._mappings[id(node)]

    def problem(self, node: yaml.Node, path: str, text: str) -> None:
        """Note a mistake at a node; its text loses the logins of addresses."""
        self._problems.append(self.place(node, path) + without_logins(text))

    def place(self, node: yaml.Node, path: str) -> str:
        """Return how a message about a node begins: with file, line and key; the top of the file itself has no key."""
        return f"{self.title}{line_of(node.start_mark, self.columns)}: " + f"{path.lstrip('.')}: ".removeprefix(": ")

    def construct(self, node: yaml.Node) -> Any:
        """Return a node as plain data. Raises ValueError."""
        return constructed(self._loader, node)


class Section:
    """One mapping of a document. Every getter takes its key out; `close` reports the keys that are left."""

    def __init__(self, document: Document, name: str, path: str, node: yaml.Node) -> None:
        self.name = name
        self._document = document
        self._path = path
        self._node = node
        self._left = dict(document.items(node, path))
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._left

    @property
    def names(self) -> list[str]:
        """The keys that no getter has taken yet."""
        return list(self._left)

    def problem(self, key: str, text: str) -> None:
        """Note a mistake at one of the section's keys, or at `key.name` for a name in the mapping at a key."""
        self._document.problem(self._nearest(key), f"{self._path}.{key}" if key else self._path, text)

    def place(self, key: str) -> str:
        """Return how a message about one of the section's keys begins: with file, line and key."""
        return self._document.place(self._nearest(key), f"{self._path}.{key}")

    def _nearest(self, key: str) -> yaml.Node:
        """Return the node nearest to a key; names in mappings may have dots themselves."""
        node, rest = self._node, key
        while isinstance(node, yaml.MappingNode):
            names = {str(name.value): value for name, value in node.value}
            found = next((each for each in names if rest == each or rest.startswith(f"{each}.")), None)
            if found is None:
                break
            node, rest = names[found], rest[len(found) + 1 :]
        return node

    def kind(self, key: str) -> str:
        """Return whether a key has a `mapping`, a `list`, a `text`, or nothing, which an empty text is, too."""
        node = self._left.get(key)
        kinds: dict[type[yaml.Node], str] = {yaml.MappingNode: "mapping", yaml.SequenceNode: "list"}
        return "" if node is None or is_null(node) or node.value == "" else kinds.get(type(node), "text")

    def close(self) -> None:
        """Report the keys that are not in the schema."""
        for number, (key, node) in enumerate(self._left.items()):
            if number == LISTED:
                self._document.problem(node, self._path, f"{len(self._left) - LISTED} more keys are unknown")
                return
            close = difflib.get_close_matches(key, self._known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(self._known)}"
            self._document.problem(node, f"{self._path}.{key}", f"unknown key; {hint}")

    def ignore(self, key: str, why: str) -> None:
        """Accept a key of older files without using it."""
        if self._take(key) is not None:
            self.unused(key, why)

    def unused(self, key: str, why: str) -> None:
        """Note that a key which was read has no effect."""
        self._document.notes.append(f"{self._document.file.name}: {self._path}.{key} is not used: {why}")

    def text(self, key: str, pattern: re.Pattern[str] | None = None, what: str = "") -> str:
        """Return a scalar as the user wrote it; empty when it is not there."""
        node = self._take(key)
        text = "" if node is None else self._scalar(node, key)
        if text and pattern and not pattern.match(text):
            assert node is not None
            self._wrong(node, key, f"{text!r} is not {what}")
            return ""
        return text

    def words(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of scalars; one scalar is a list of one."""
        node = self._take(key)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._scalar(item, f"{key}[{number}]") for number, item in enumerate(node.value))
        return default if node is None else (self._scalar(node, key),)

    def choices(self, key: str, kind: type[E], others: Mapping[str, str] = MappingProxyType({})) -> tuple[E, ...]:
        """Return a list of an enumeration's values, without repetitions; `others` has words that mean one of them."""
        return tuple(map(kind, self.chosen(key, [member.value for member in kind], others)))

    def chosen(
        self, key: str, known: Sequence[str], others: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[str, ...]:
        """Return a list of known words, as `choices` does."""
        node = self._left.get(key)
        words = dict.fromkeys(self.words(key))
        if isinstance(node, yaml.SequenceNode) and not words:
            self._wrong(node, key, f"names none of {', '.join(known)}; without the key it is the default")
        for word in words:
            if word not in known:
                assert node is not None
                meant = others.get(word.lower())
                hint = f"{word!r} is none of {', '.join(known)} (did you mean {meant}?)"
                self._wrong(node, key, hint if meant else choice(word, known))
        return tuple(word for word in words if word in known)

    def flag(self, key: str, default: bool = False) -> bool:
        """Return true or false."""
        return self._typed(key, bool, default, "true or false")

    def number(self, key: str, default: int, *, least: int, most: int = 1_000_000) -> int:
        """Return a whole number of at least `least` and at most `most`."""
        node = self._left.get(key)
        number = self._typed(key, int, default, "a whole number")
        if node is not None and number < least:
            self._wrong(node, key, f"{number} is less than {least}")
        if node is not None and number > most:
            self._wrong(node, key, f"{str(number)[:20]} is more than {most}")
            return default
        return number

    def day(self, key: str) -> date | None:
        """Return a date."""
        return self._typed(key, date, None, "a date such as 2030-06-30")

    def mapping(self, key: str, names: re.Pattern[str], what: str) -> dict[str, str]:
        """Return a mapping of texts."""
        node = self._take(key)
        if node is None:
            return {}
        items = self._document.items(node, f"{self._path}.{key}")
        for name in items:
            if not names.match(name):
                self._wrong(items[name], f"{key}.{name}", f"is not {what}")
        return {name: self._scalar(value, f"{key}.{name}") for name, value in items.items()}

    def children(self, key: str, names: re.Pattern[str]) -> Iterable[Section]:
        """Yield the mappings of a mapping."""
        node = self._take(key)
        for name, child in (self._document.items(node, f"{self._path}.{key}") if node else {}).items():
            if not names.match(name):
                self._wrong(child, f"{key}.{name}", "is not a variable's name")
            yield Section(self._document, name, f"{self._path}.{key}.{name}", child)

    def child(self, key: str) -> Section:
        """Return the mapping at a key; an empty one when there is none."""
        node = self._take(key)
        return Section(self._document, key, f"{self._path}.{key}", mapping_at({}, self._node) if node is None else node)

    def named(self, key: str) -> dict[str, str | Section]:
        """Return a list of names, or a mapping of names to texts or mappings; a name alone has an empty text."""
        node = self._take(key)
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            names = node.value if isinstance(node, yaml.SequenceNode) else [node]
            return {self._scalar(each, key): "" for each in names}
        found: dict[str, str | Section] = {}
        for name, value in self._document.items(node, f"{self._path}.{key}").items():
            if isinstance(value, yaml.MappingNode):
                found[name] = Section(self._document, name, f"{self._path}.{key}.{name}", value)
            else:
                found[name] = "" if is_null(value) else self._scalar(value, f"{key}.{name}")
        return found

    def _take(self, key: str) -> yaml.Node | None:
        self._known.append(key)
        node = self._left.pop(key, None)
        return None if node is None or is_null(node) else node

    def _typed(self, key: str, kind: type[Any], default: T, what: str) -> T:
        node = self._take(key)
        if node is None:
            return default
        found: Any = None
        with suppress(ValueError):
            found = self._document.construct(node)
        if type(found) is not kind:
            self._wrong(node, key, f"{getattr(node, 'value', '?')!r} is not {what}")
            return default
        return cast(T, found)

    def _scalar(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._wrong(node, key, "must be one text")
        elif wrong := next((each for each in str(node.value) if each == "\0" or "\ud800" <= each <= "\udfff"), ""):
            self._wrong(node, key, f"has a character that no text may have ({wrong!r})")
        else:
            return str(node.value)
        return ""

    def _wrong(self, node: yaml.Node, key: str, text: str) -> None:
        self._document.problem(node, f"{self._path}.{key}", text)
