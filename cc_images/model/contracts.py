"""Contracts: rules that a site wants of all its containers, judged by what is known of one.

To add a rule: a function that returns "" where it is kept, what is wrong, or None where nobody can tell, and its line
in a contract of CONTRACTS. Pure; `boottest.container_verdict` says what an image shows, `api.check` what files say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

USER_ID = 1000
FOLDERS = ("datasets", "persistent-home", "persistent-shared-folder")
"""Folders in the home at which users find their data."""

README: Mapping[str, str] = {"description": "Description", "usage": "Usage", "license": "License"}
"""Labels with sections of a README, by the section's heading."""

LICENCES = ("org.opencontainers.image.licenses", "license", "licenses")
LEAST_ADVICE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom the entry point runs as, and what lets that account become root."""

    uid: int
    gid: int
    home: str
    sudo: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """What two starts have made of a password or token."""

    is_name: bool = False
    """Whether it is the account's name after a start."""
    same: bool = False
    """Whether both starts have the same one."""
    built_in: bool = False
    """Whether it is the one that stands in a layer."""
    printed: bool = False
    missing: bool = False
    """Whether a server asks for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of a container; None: nobody can tell. `sif`: it runs as whoever starts it, in that user's folder.

    `folders` are whose FOLDERS are after a start (uid and gid, None: not there), `mounted` the same with volumes.
    """

    sif: bool = False
    user: str | None = None
    folder: str | None = None
    entrypoint: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    script: str = ""
    """The text of the entry point, if it is a shell's script."""
    account: Account | None = None
    folders: Mapping[str, tuple[int, int] | None] | None = None
    mounted: Mapping[str, tuple[int, int] | None] | None = None
    passwords: Mapping[str, Passwords] | None = None
    """The account's password, and those of servers, by what they are."""
    stops: str | None = None
    """Why SIGTERM does not end it while it listens; empty where it does."""
    readme: Mapping[str, str] = field(default_factory=dict)
    """Labels that the sections of a README become."""
    partial: bool = False
    """Whether there may be other labels: those of what it starts from, and those that a catalogue gives it."""


Rule = Callable[[Subject], str | None]


def _user(image: Subject) -> str | None:
    if image.sif or image.user is None:
        return "" if image.sif else None
    return "USER is not set: it runs as root" if image.user.partition(":")[0] in ("", "root", "0") else ""


def _uid(image: Subject) -> str | None:
    if image.sif or image.account is None:
        return "" if image.sif else None
    return "" if image.account.uid == USER_ID else f"it runs as uid {image.account.uid}, not {USER_ID}"


def _gid(image: Subject) -> str | None:
    if image.sif or image.account is None:
        return "" if image.sif else None
    return "" if image.account.gid == USER_ID else f"it runs as gid {image.account.gid}, not {USER_ID}"


def _sudo(image: Subject) -> str | None:
    if image.account is None:
        return None
    return f"its user may become root by {', '.join(image.account.sudo)}" if image.account.sudo else ""


def _home(image: Subject) -> str | None:
    if image.sif:
        return ""
    if image.account is None or image.folder is None:
        return None
    home = image.account.home
    return "" if image.folder == home else f"its working folder is {image.folder}, not its home {home}"


def _folders(image: Subject) -> str | None:
    if image.account is None or image.folders is None:
        return None
    wrong = _not_own(image.folders, image.account)
    if not wrong and image.mounted is not None and not image.sif:
        wrong = [f"{each} once its volumes are mounted" for each in _not_own(image.mounted, image.account)]
    return f"in its home {'; '.join(wrong)}" if wrong else ""


def _not_own(folders: Mapping[str, tuple[int, int] | None], account: Account) -> list[str]:
    found = []
    for name, owner in folders.items():
        if owner is None:
            found.append(f"{name} is not there")
        elif owner[0] != account.uid:
            found.append(f"{name} is of uid {owner[0]}, not its own")
    return found


def _label(name: str) -> Rule:
    def rule(image: Subject) -> str | None:
        return None if image.labels is None else "" if _said(image.labels, (name,)) else f"it has no label {name}"

    return rule


def _authorization(image: Subject) -> str | None:
    if image.labels is None:
        return None
    if _said(image.labels, ("authorization",)) or _said({**image.readme, **image.labels}, LICENCES):
        return ""
    return "it names no licence, and no label `authorization` says who lets it be handed on"


def _readme(image: Subject) -> str | None:
    if image.labels is None:
        return None
    known = {**image.readme, **image.labels}
    missing = [f"{each} ({name})" for name, each in README.items() if not _said(known, (name,))]
    return f"no label has the README's section {', '.join(missing)}" if missing else ""


def _password(image: Subject) -> str | None:
    if image.sif or image.passwords is None:
        return "" if image.sif else None
    return "; ".join(filter(None, (_unchanged(place, found) for place, found in image.passwords.items())))


def _unchanged(place: str, found: Passwords) -> str:
    """Return what is wrong with one password or token, or nothing."""
    if found.missing:
        return f"{place} asks for no password"
    if found.is_name:
        return f"after its start {place} is still the user's name"
    if found.built_in:
        return f"after its start {place} is still that of a layer"
    if found.printed:
        return f"it prints {place}"
    return f"{place} is the same after two starts" if found.same else ""


def _words(image: Subject) -> str | None:
    if image.entrypoint is None:
        return None
    if image.sif:
        return "" if image.entrypoint else "it has no run script that could get words"
    if not image.entrypoint:
        return "it has no ENTRYPOINT that words after -- could reach: they would take the place of its command"
    entry = image.entrypoint
    shell = entry[0].rpartition("/")[2] in ("sh", "bash", "dash", "ash")
    if shell and entry[1:2] == ("-c",) and len(entry) == 3:
        return "its ENTRYPOINT is one command of a shell, as it is without brackets: words after -- are dropped"
    if image.script and (wrong := _dropped(image.script)):
        return wrong
    return ""


def _dropped(script: str) -> str:
    """Return what a shell's script does to its words."""
    plain = re.sub(r"(?m)(^|\s)#.*$", "", script)
    if re.search(r'"\$@"|"\$\{@(:-?[^}]*)?\}"|\$\{?1\b', plain):
        return ""
    if re.search(r"\$[@*]|\$\{[@*]", plain):
        return 'its entry point breaks words with spaces: write "$@", with the quotes'
    return "its entry point is a script that never looks at its words"


def _stops(image: Subject) -> str | None:
    return image.stops


def _said(labels: Mapping[str, str], names: Sequence[str]) -> str:
    return next((labels[name].strip() for name in names if labels.get(name, "").strip()), "")


CONTRACTS: Mapping[str, Mapping[str, Rule]] = {
    "workstation": {
        "user": _user,
        "uid": _uid,
        "gid": _gid,
        "sudo": _sudo,
        "home": _home,
        "folders": _folders,
        "name": _label("name"),
        "version": _label("version"),
        "authorization": _authorization,
        "readme": _readme,
        "password": _password,
        "words": _words,
        "stops": _stops,
    },
}
"""Contracts by name: the rules of each by name."""


def judged(contract: str, image: Subject) -> dict[str, str | None]:
    """Return by rule what is wrong: "" where it is kept, None where nobody can tell."""
    return {name: rule(image) for name, rule in CONTRACTS[contract].items()}


def broken(contracts: Sequence[str], image: Subject) -> dict[str, list[str]]:
    """Return the messages of rules that are not kept, by contract; a contract that is kept has none."""
    return {
        each: [f"{each}.{name}: {wrong}" for name, wrong in judged(each, image).items() if wrong] for each in contracts
    }


def advice(layers: Sequence[Mapping[str, int]]) -> list[str]:
    """Return what the layers have that only a build has use for, a phrase each."""
    return [
        f"layer {number} has {size / (1 << 20):.0f} MiB of {kind}"
        for number, found in enumerate(layers, start=1)
        for kind, size in sorted(found.items())
        if size >= LEAST_ADVICE
    ]


def readme_labels(text: str) -> dict[str, str]:
    """Return the labels that the sections of a README become: its headings are those of README, at any level."""
    found: dict[str, str] = {}
    parts = re.split(r"(?m)^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", text)
    headings = {heading.lower(): name for name, heading in README.items()} | {"licence": "license"}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if (name := headings.get(heading.strip().lower())) and body.strip():
            found.setdefault(name, body.strip())
    return found
