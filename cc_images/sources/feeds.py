"""Feeds of vulnerabilities: Debian's security tracker (its JSON), and OSV entries (JSON, JSON lines, a zip of them).

Both name source packages, and the version in which each release has a vulnerability mended.
Formats: the tracker's `data/json`, and https://ossf.github.io/osv-schema.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cc_images.errors import UserError

NUMBERS = {
    "buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "duke": "15",
    "focal": "20.04", "jammy": "22.04", "noble": "24.04", "resolute": "26.04",
}  # fmt: skip
"""The numbers of releases by their code names: OSV has numbers, Debian's tracker names."""

LARGEST = 1 << 30
"""Bytes above which a file is no feed."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A vulnerability: its number, and the version of the source package that mends it in a release."""

    number: str
    fixed: str


Feed = Mapping[tuple[str, str], list[Flaw]]
"""Vulnerabilities by release (code name, or number) and source package."""


def read(path: Path) -> Feed:
    """Return what a file has. Raises UserError for one that is no feed."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        found: dict[tuple[str, str], list[Flaw]] = {}
        for document in _documents(path):
            for release, package, flaw in _flaws(document):
                found.setdefault((release, package), []).append(flaw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(
            f"--feed {path}: {said}", hint="give the JSON of Debian's security tracker, or entries of OSV"
        ) from error
    if not found:
        raise UserError(f"--feed {path} names no vulnerability of a release of Debian or Ubuntu")
    return found


def _documents(path: Path) -> Iterator[Any]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    yield json.loads(archive.read(name))
        return
    text = path.read_text(encoding="utf-8")
    try:
        found = json.loads(text)
    except ValueError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    yield from found if isinstance(found, list) else [found]


def _flaws(document: Mapping[str, Any]) -> Iterable[tuple[str, str, Flaw]]:
    """Yield release, source package and vulnerability of one document of either kind."""
    return _of_osv(document) if "affected" in document or "id" in document else _of_tracker(document)


def _of_tracker(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Flaw]]:
    for package, numbers in document.items():
        for number, said in numbers.items():
            for release, state in said.get("releases", {}).items():
                fixed = state.get("fixed_version", "")
                if state.get("status") == "resolved" and fixed not in ("", "0"):
                    yield release, package, Flaw(number, fixed)


def _of_osv(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Flaw]]:
    number = next((each for each in document.get("aliases", []) if each.startswith("CVE-")), document["id"])
    for affected in document.get("affected", []):
        system, _, rest = affected["package"].get("ecosystem", "").partition(":")
        if system not in ("Debian", "Ubuntu"):
            continue
        release = next((part for part in rest.split(":") if part[:1].isdigit()), rest)
        for span in affected.get("ranges", []):
            for event in span.get("events", []):
                if "fixed" in event:
                    yield release, affected["package"]["name"], Flaw(number, event["fixed"])


def of(feed: Feed, release: str, source: str) -> list[Flaw]:
    """Return the vulnerabilities of a source package in a release, by its code name."""
    return [*feed.get((release, source), []), *feed.get((NUMBERS.get(release, ""), source), [])]
