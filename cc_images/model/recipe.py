"""The recipe: everything that determines one build and nothing else, its key, and what differs between two of them.

Not in it: job count, sites, log level, paths, modification times, proxies, where the store is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from cc_images.model.catalog import Arch, Json
from cc_images.model.redaction import DECLARED, redacted

SCHEMA = 2
"""Part of every key: raised when cc-images itself builds differently from the same inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that determines one build, or one layer when `disk` is empty.

    `elements` maps a name to the digest of its files, `artifacts` a variable to what identifies its file, `files` a
    variable to what identifies the file or folder of this host that it names, `tools` likewise a program. `parent` is
    the recipe key of the layer that the build starts from; `upstream` maps an address to the digest that was seen
    there, and is known only once the build has run.
    """

    name: str
    arch: Arch
    content: tuple[str, ...]
    disk: tuple[str, ...]
    elements: Mapping[str, str]
    environment: Mapping[str, str]
    packages: tuple[str, ...]
    artifacts: Mapping[str, str]
    files: Mapping[str, str]
    tools: Mapping[str, str]
    parent: str = ""
    upstream: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA
    secrets: tuple[str, ...] = ()
    """Variables that are declared secrets: a new value is no new recipe."""
    container: Json = field(default_factory=dict)
    """How an image for containers is run; empty for others."""

    def as_json(self) -> Json:
        """Return the recipe as plain data, safe to store and show: sensitive values appear as digests."""
        return self._plain() | {"environment": redacted(self.environment, declared=self.secrets)}

    def _plain(self) -> Json:
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "secrets"}
        if not self.container:
            del plain["container"]
        return plain

    def _for_key(self) -> Json:
        known = {name: value for name, value in self.environment.items() if name not in self.secrets}
        hidden = dict.fromkeys(self.environment.keys() & {*self.secrets}, DECLARED)
        return self._plain() | {"environment": redacted(known, more=False) | hidden}

    @property
    def key(self) -> str:
        """The recipe's name: sha256 of its canonical JSON, 64 hexadecimal digits."""
        return key_of(self._for_key())

    @property
    def recipe_key(self) -> str:
        """The key without the upstream state, known before anything is built."""
        return key_of(self._for_key() | {"upstream": {}})


def key_of(recipe: Json) -> str:
    """Return the key of a recipe that is given as plain data."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def merged(*seen: Mapping[str, str]) -> dict[str, str]:
    """Return the upstream states that several steps of one build have seen, as one.

    A repository that moved between two steps gets a state that it will never be seen in again, so that a build which
    mixes two states is not taken for one of either.
    """
    together: dict[str, str] = {}
    for state in seen:
        for address, digest in state.items():
            known = together.setdefault(address, digest)
            if digest != known:
                together[address] = f"{known}+{digest}"
    return together


def differences(old: Json, new: Json) -> tuple[str, ...]:
    """Return one short phrase for each input in which two recipes differ; both as `Recipe.as_json` gives them."""
    return tuple(_compare("", old, json.loads(json.dumps(new))))


def _compare(path: str, old: object, new: object) -> Iterable[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            where = f"{path}/{name}" if path else name
            if name not in old:
                yield f"{where} is new"
            elif name not in new:
                yield f"{where} is gone"
            else:
                yield from _compare(where, old[name], new[name])
    elif isinstance(old, list) and isinstance(new, list):
        changes = [f"+{item}" for item in new if item not in old] + [f"-{item}" for item in old if item not in new]
        yield f"{path} {' '.join(changes) or 'in another order'}"
    elif _shows(old) and _shows(new):
        yield f"{path} {old} → {new}"
    else:
        yield f"{path} changed"


def _shows(value: object) -> bool:
    """Whether a value says something to a person: digests do not."""
    return isinstance(value, int) or (isinstance(value, str) and len(value) < 40)
