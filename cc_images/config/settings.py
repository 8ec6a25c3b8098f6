"""The settings of a user or a host: mirrors, the store, defaults of options, what is built on a schedule.

`~/.config/cc-images/settings.yaml`, and for what that does not say `/etc/cc-images/settings.yaml`. Variables of the
environment and words of the command line win over both.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cc_images.errors import ConfigError
from cc_images.model.workflow import NO_WORKFLOWS, Workflows

TYPE_CHECKING = False  # YAML is read where there are settings
if TYPE_CHECKING:
    from cc_images.config.yaml_file import Section

VARIABLE = "CC_IMAGES_SETTINGS"
"""Names the one file that is read instead; empty: none is."""

OF_THE_HOST = Path("/etc/cc-images/settings.yaml")

NETWORK = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

OPTIONS = frozenset(
    {"architecture", "fail-fast", "if-busy", "keep", "max-age", "max-size", "metrics", "no-boot-test", "notify"}
    | {"offline", "quiet", "site", "tasks", "verbose"}
)
"""Options whose defaults can be set."""

SERVE = frozenset({"account-bytes", "database", "keep-days", "listen", "runs", "sign-up", "tls-certificate", "tls-key"})
"""Options of the service whose defaults can be set, below `serve`."""

OF_THE_SERVICE = ("serve", "account")
"""Verbs that take them."""

OF_THE_ENVIRONMENT = {
    "architecture": ("ARCH",),
    "database": ("CC_IMAGES_DATABASE", "CC_IMAGES_DATABASE_FILE"),
    "metrics": ("CC_IMAGES_METRICS",),
    "notify": ("CC_IMAGES_NOTIFY",),
}
"""The variables that win over some of them."""

_SET = re.compile(rf"(DIB_[A-Za-z0-9_]+|{'|'.join(NETWORK)})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The contents of the files; `sources` has the file of each setting."""

    store: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    serve: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Defaults of the options of the service."""
    places: Mapping[str, str] = field(default_factory=dict)
    """File, line and key of each of these defaults, by option, for messages."""
    scheduled: tuple[str, ...] = ()
    sign: str = ""
    """The key that signs what is published: an ssh key's file, or `gpg:FINGERPRINT`."""
    trusted: str = ""
    """The file of keys whose signatures count."""
    workflows: Workflows = NO_WORKFLOWS
    """Where the workflows of requests are from."""
    contexts: Mapping[str, str] = field(default_factory=dict)
    """Folders by the variables that name them in `contexts` of the catalogue."""
    sources: Mapping[str, Path] = field(default_factory=dict)


def read(environ: Mapping[str, str]) -> Settings:
    """Return the settings that are in force. Raises ConfigError with every mistake."""
    if environ.get(VARIABLE) and not Path(environ[VARIABLE]).is_file():
        raise ConfigError([f"environment: {VARIABLE}: {environ[VARIABLE]} is not a file; correct it, or unset it"])
    files = [file for file in places(environ) if os.path.lexists(file)]
    if odd := next((file for file in files if not file.is_file()), None):
        raise ConfigError([f"{odd}: is not a file, or a link that leads nowhere"])
    if not files:
        return Settings()
    problems: list[str] = []
    found = [_read(file, problems) for file in files]
    if problems:
        raise ConfigError(problems)
    mine, hosts = found[0], found[-1]
    return Settings(
        store=mine.store or hosts.store,
        environment={**hosts.environment, **mine.environment},
        options={**hosts.options, **mine.options},
        serve={**hosts.serve, **mine.serve},
        places={**hosts.places, **mine.places},
        scheduled=mine.scheduled or hosts.scheduled,
        sign=mine.sign or hosts.sign,
        trusted=mine.trusted or hosts.trusted,
        workflows=mine.workflows if mine.workflows != NO_WORKFLOWS else hosts.workflows,
        contexts={**hosts.contexts, **mine.contexts},
        sources={**hosts.sources, **mine.sources},
    )


def places(environ: Mapping[str, str]) -> list[Path]:
    """Return where settings may be; the first file wins."""
    if VARIABLE in environ:
        return [Path(environ[VARIABLE])] if environ[VARIABLE] else []
    home = Path(environ.get("HOME", "/root"))
    return [Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "cc-images/settings.yaml", OF_THE_HOST]


def _read(file: Path, problems: list[str]) -> Settings:
    from cc_images.config import contexts
    from cc_images.config.workflows import workflows_of
    from cc_images.config.yaml_file import Document

    section = Document(file, problems, str(file)).whole()
    if section is None:
        return Settings()
    places: dict[str, str] = {}
    said = _defaults(section, "options", OPTIONS, places)
    serve = _defaults(section, "serve", SERVE, places)
    store = section.text("store")
    if store and not (store.startswith(("/", "~/"))):
        section.problem("store", f"{store} must begin with / or ~/")
    keys = section.child("keys")
    sign, trusted = keys.text("sign"), keys.text("trusted")
    for name, said_of_it in (("sign", sign), ("trusted", trusted)):
        if said_of_it and not said_of_it.startswith(("/", "~/", *(("gpg:",) if name == "sign" else ()))):
            keys.problem(name, f"{said_of_it} must begin with / or ~/" + (", or be gpg:FINGERPRINT" * (name == "sign")))
    keys.close()
    found = Settings(
        store=store,
        sign=sign,
        trusted=trusted,
        environment=section.mapping("environment", _SET, "DIB_* or a proxy's variable"),
        options=said,
        serve=serve,
        places=places,
        scheduled=section.words("scheduled"),
        workflows=workflows_of(section.child("workflows")),
        contexts=contexts.folders_of(section),
    )
    section.close()
    things = [*found.environment, *found.contexts, *(f"--{name}" for name in said)]  # for messages
    things += [name for name in ("store", "scheduled") if getattr(found, name)]
    return replace(found, sources=dict.fromkeys(things, file))


def _defaults(whole: Section, key: str, known: Collection[str], places: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the defaults of options that stand at a key, and note where each stands."""
    from cc_images.config.yaml_text import choice

    section, said = whole.child(key), dict[str, tuple[str, ...]]()
    for name in section.names:
        if name not in known:
            section.problem(name, choice(name, sorted(known)))
            continue
        said[name], places[name] = section.words(name), section.place(name)
    return said


def apply(settings: Settings, parser: argparse.ArgumentParser, environ: Mapping[str, str], verb: str = "") -> None:
    """Make defaults of a parser's options what the settings say. Raises ConfigError for values that are none."""
    spoken = {name for name, variables in OF_THE_ENVIRONMENT.items() if any(map(environ.get, variables))}
    home = environ.get("HOME", "/root")
    known = {word[2:]: action for action in parser._actions for word in action.option_strings if word[:2] == "--"}
    problems: list[str] = []
    service = settings.serve if verb in OF_THE_SERVICE else {}
    for name, words in {**settings.options, **service}.items():
        action = known.get(name)
        if action is None or name in spoken or (name == "keep" and action.nargs == 0):  # another one, of `boot`
            continue
        try:
            value = _value(action, words)
            if name == "metrics" and str(value).startswith("~/"):
                value = f"{home}{str(value)[1:]}"
            parser.set_defaults(**{action.dest: value})
        except (argparse.ArgumentTypeError, ValueError) as error:
            problems.append(f"{settings.places[name]}{error}")
    if problems:
        raise ConfigError(problems)


def _value(action: argparse.Action, words: tuple[str, ...]) -> object:
    if action.nargs == 0:
        if words not in (("true",), ("yes",), ("false",), ("no",)):
            raise ValueError(f"{' '.join(words)} is not true or false")
        return words[0] in ("true", "yes")
    if isinstance(action.default, list):
        return list(words)
    text = ",".join(words)
    if action.choices is not None and text not in action.choices:
        raise ValueError(f"{text} is none of {', '.join(action.choices)}")
    return action.type(text) if callable(action.type) else text
