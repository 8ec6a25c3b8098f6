"""The indices of apt's repositories: what they say, which versions are later, and what an image lacks of them.

Formats: Debian's "repository format"; versions: Debian policy, 5.6.12.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cc_images.model.updates import Update

Offers = Mapping[str, str]
"""The newest version of each package that a part of a repository has, by name; empty for what others provide."""

SECURITY = re.compile(r"(^|[-_ ])security([-_ ]|$)")
"""What the label, suite or codename of a repository of security updates has, of Debian's as of Ubuntu's."""

_PART = re.compile(r"(\d+)|(\D+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A repository's own index: its components, the digest of each file by its name, whether apt avoids it.

    `security` says that it is one of security updates.
    """

    components: tuple[str, ...]
    files: Mapping[str, str]
    avoided: bool
    security: bool = False


def release(text: str) -> Release:
    """Return what an InRelease says."""
    fields = {name: value.strip() for name, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", text, re.MULTILINE)}
    listed = re.search(r"^SHA256:[ \t]*\n((?:[ \t].*\n?)+)", text, re.MULTILINE)
    words = (line.split() for line in (listed[1].splitlines() if listed else ()))
    return Release(
        components=tuple(each.rpartition("/")[2] for each in fields.get("Components", "").split()),
        files={line[2]: line[0] for line in words if len(line) == 3},
        avoided=fields.get("NotAutomatic", "").lower() == "yes",
        security=any(SECURITY.search(fields.get(each, "").lower()) for each in ("Label", "Suite", "Codename")),
    )


def offers(text: str) -> Offers:
    """Return what an index of packages has."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("Package: "):
            name = line[9:].strip()
        elif line.startswith("Version: ") and name:
            version = line[9:].strip()
            if not found.get(name) or is_later(version, found[name]):
                found[name] = version
            name = ""
        elif line.startswith("Provides: "):
            for each in line[10:].split(","):
                found.setdefault(each.split()[0] if each.split() else "", "")
    return found


def sources(text: str) -> Mapping[str, str]:
    """Return the source of each package in an index that has another name than the package."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("Package: "):
            name = line[9:].strip()
        elif line.startswith("Source: ") and name:
            found[name] = line[8:].split()[0]
    return found


def is_later(version: str, than: str) -> bool:
    """Say whether a version is later than another one, by the rules of Debian's policy."""
    pairs = zip(_order(version), _order(than), strict=True)
    parts = (both for one, other in pairs for both in itertools.zip_longest(one, other, fillvalue=END))
    return next((part > its for part, its in parts if part != its), False)


def _order(version: str) -> tuple[Parts, Parts, Parts]:
    """Return what orders a version: epoch, upstream version, revision."""
    epoch, _, rest = version.partition(":") if ":" in version else ("0", "", version)
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return ([([0], int(epoch) if epoch.isdecimal() else 0)], _parts(upstream), _parts(revision))


Parts = list[tuple[list[int], int]]

END: tuple[list[int], int] = ([0], 0)
"""The part that stands for all that a version has not; a number 0 without signs before it is no more."""


def _parts(text: str) -> Parts:
    """Return alternating parts without and with digits; letters sort before other signs, ~ before the end."""
    found: Parts = []
    signs: list[int] = []
    for number, other in _PART.findall(text):
        if other:
            signs = [-1 if sign == "~" else ord(sign) if sign.isalpha() else ord(sign) + 256 for sign in other]
        else:
            found.append(([*signs, 0], int(number)))
            signs = []
    if signs:
        found.append(([*signs, 0], 0))
    return found


def updates(installed: Mapping[str, str], offered: Iterable[tuple[Offers, bool]]) -> list[Update]:
    """Return the packages of which a later version is offered, given what components offer and whether for security."""
    found: dict[str, Update] = {}
    for part, security in offered:
        for name in installed.keys() & part.keys():
            has, now = installed[name], found.get(name)
            if not part[name] or not is_later(part[name], has):
                continue
            newest = part[name] if now is None or is_later(part[name], now.offered) else now.offered
            urgent = security or (now is not None and now.security)
            found[name] = Update(name=name, has=has, offered=newest, security=urgent)
    return [found[name] for name in sorted(found)]


def changed(installed: Mapping[str, str], offered: Iterable[Offers]) -> list[str]:
    """Return what apt would install differently now, a phrase each."""
    newest: dict[str, str] = {}
    for part in offered:
        for name in installed.keys() & part.keys():
            if name not in newest or is_later(part[name], newest[name]):
                newest[name] = part[name]
    found = [
        f"{name} {version} → {newest[name]}"
        for name, version in installed.items()
        if newest.get(name, version) != version
    ]
    return found + [f"{name} {version} is not offered" for name, version in installed.items() if name not in newest]
