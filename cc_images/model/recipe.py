"""The recipe: everything that determines one build and nothing else, its key, and what differs between two of them.

Not in it: job count, sites, log level, paths, modification times, proxies, where the store is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from urllib.parse import unquote

from cc_images.model.catalog import Arch, Json

SCHEMA = 2
"""Part of every key: raised when cc-images itself builds differently from the same inputs."""

DECLARED = "(a declared secret)"
"""What stands in keys for the value of a variable that the catalogue says is a secret."""

LEAST_SECRET = 6
"""Characters below which a value is too common to be looked for in an image."""

LEAST_LINE = 20
"""Characters of a line of a secret below which it says nothing by itself."""

_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/@\s]*@", re.IGNORECASE)
_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?'\"]*)\?[^\s'\"]*", re.IGNORECASE)
_LOGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^/@\s]*@)", re.IGNORECASE)
_SIGNATURE = re.compile(r"[?&][^=&\s]*(?:sig|token|secret|key)[^=&\s]*=([^&\s'\"]+)", re.IGNORECASE)
_MORE_SENSITIVE = re.compile(r"SSH_KEY|ROOTPW|(?:^|_)PW(?:_|$)|LUKS|BEARER|PASSPHRASE", re.IGNORECASE)
"""Names that were not taken for secrets when keys were first made: keys go on without them."""

_KEY_FORMS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:ghp|gho|glpat|xox[bp])[_-][\w-]{16,}|\bAKIA[0-9A-Z]{16}\b"
)
_SENSITIVE = re.compile(r"PASS(?!WORDLESS)|PWD(?!LESS)|SECRET|TOKEN|CREDENTIAL|PRIVATE|AUTH|API_?KEY", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that determines one build, or one layer when `disk` is empty.

    `elements` maps a name to the digest of its files, `artifacts` a variable to what identifies its file, `files` a
    variable to what identifies the file or folder of this host that it names, `tools` likewise a program. `parent` is
    what was asked of the layer that the build starts from; `upstream` maps an address to the digest that was seen
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

    def as_json(self) -> Json:
        """Return the recipe as plain data, safe to store and show: sensitive values appear as digests."""
        return self._plain() | {"environment": redacted(self.environment, declared=self.secrets)}

    def _plain(self) -> Json:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "secrets"}

    def _for_key(self) -> Json:
        known = {name: value for name, value in self.environment.items() if name not in self.secrets}
        hidden = dict.fromkeys(self.environment.keys() & {*self.secrets}, DECLARED)
        return self._plain() | {"environment": redacted(known, more=False) | hidden}

    @property
    def key(self) -> str:
        """The recipe's name: sha256 of its canonical JSON, 64 hexadecimal digits."""
        return key_of(self._for_key())

    @property
    def asked(self) -> str:
        """The key without the upstream state: what was asked for, known before anything is built."""
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


def redacted(environment: Mapping[str, str], more: bool = True, declared: Collection[str] = ()) -> dict[str, str]:
    """Return the variables with every value that may be a secret, or holds one, replaced by its digest.

    Secret are those `declared`, and by name and form; without `more` by the rules by which keys are made, which stay as
    they were.
    """
    shown: dict[str, str] = {}
    for name, value in environment.items():
        secret = name in declared or _SENSITIVE.search(name) or (more and is_secret(name, value))
        clean = "" if secret else without_secrets(value)
        shown[name] = (
            value if clean == value else f"{clean} sha256:{hashlib.sha256(value.encode()).hexdigest()}".strip()
        )
    return shown


def is_secret(name: str, value: str) -> bool:
    """Say whether a value is a secret, by the name of its variable or by its own form."""
    return any(
        each is not None for each in (_SENSITIVE.search(name), _MORE_SENSITIVE.search(name), _KEY_FORMS.search(value))
    )


def secret_values(environment: Mapping[str, str], declared: Collection[str] = ()) -> tuple[str, ...]:
    """Return the values, and the parts of addresses, that may be secrets and are long enough to be looked for."""
    found: list[str] = []
    for name, value in environment.items():
        if name in declared or is_secret(name, value):
            found += [value, *(line for line in value.splitlines() if len(line) > LEAST_LINE)]
        found += [each[1].rstrip("@").rpartition("/")[2].rpartition(":")[2] for each in _LOGIN.finditer(value)]
        found += [each[1] for each in _SIGNATURE.finditer(value)]
    found += [unquote(value) for value in found]  # as programs that are given an address write it down
    return tuple(dict.fromkeys(value for value in found if len(value) >= LEAST_SECRET))


def without_secrets(text: str) -> str:
    """Return a text fit for a log: addresses in it lose user, password and the query, which may hold a signature."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


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
