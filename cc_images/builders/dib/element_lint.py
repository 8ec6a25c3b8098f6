"""Faults of an element before a build: hooks that dib passes over without a word, folders it ignores.

Rules: dib-run-parts (names of letters, digits, underscore and hyphen; executable) and dib's phases.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cc_images.builders.dib.element_modes import lost
from cc_images.model.phases import PHASES

HOOK = re.compile(r"[0-9A-Za-z_-]+\Z")
"""The names of hooks that dib runs."""

SOURCED = re.compile(r"[0-9A-Za-z_.-]+\Z")
"""The names of files in environment.d that dib reads."""

NO_HOOKS = re.compile(r"(?i)(readme.*|.*\.(md|rst|txt)|\..*|.*~|__pycache__)\Z")
"""Names that nobody takes for a hook."""

OTHER_FOLDERS = frozenset({"environment.d", "source-repository.d"})


class Lint:
    """Findings in the folders of elements; each folder is read once."""

    def __init__(self) -> None:
        self.ignored = functools.cache(lambda folder: tuple(ignored_hooks(folder)))
        self.odd = functools.cache(lambda folder: (*unknown_folders(folder), *lost(folder)))


def ignored_hooks(folder: Path) -> Iterator[str]:
    """Yield a sentence, with the remedy, for each file in a phase's folder that dib will not run."""
    for phase in (*PHASES, "environment"):
        place = folder / f"{phase}.d"
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            if NO_HOOKS.match(entry.name) or os.path.isdir(entry):
                continue
            where = f"{folder.name}/{place.name}/{entry.name}"
            if not os.path.exists(entry):
                yield f"{where} never runs, because it is a link that leads nowhere: remove it"
                continue
            if not (SOURCED if phase == "environment" else HOOK).match(entry.name):
                plain = re.sub(r"[^0-9A-Za-z_-]+.*", "", entry.name) or "50-name"
                yield f"{where} never runs, because of its name: rename it to {plain}"
            elif phase != "environment" and not os.access(entry, os.X_OK) and not entry.stat().st_mode & 0o111:
                yield f"{where} never runs, because it is not executable: chmod +x {entry.name}"


def unknown_folders(folder: Path) -> Iterator[str]:
    """Yield a sentence for each folder that looks like a phase's and is none."""
    known = {f"{phase}.d" for phase in PHASES} | OTHER_FOLDERS
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name.endswith(".d") and entry.name not in known:
            yield f"{folder.name}/{entry.name} is no phase of dib's: nothing in it runs"
