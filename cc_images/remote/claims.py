"""The attempts of a store by the chains that they are of: each claim is read once, however many there are."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from cc_images.errors import CCImagesError
from cc_images.model.attempt import ATTEMPT, Claim
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.store.records import Store

SETTLED = 2_000_000_000
"""Nanoseconds after which the time of a folder's last change tells whether there was another one."""


class Claims:
    """An index of attempts that grows. Safe for threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: set[str] = set()
        self._of: dict[str, list[tuple[AttemptFiles, Claim]]] = {}
        self._quiet_since = 0
        """The folder of runs was changed then, in ns, before the attempts were listed; 0: it may be changing."""
        self._lock = threading.Lock()

    def expect(self, attempt: str) -> None:
        """Leave it to `add` to bring an attempt that is about to be made."""
        with self._lock:
            self._known.add(attempt)

    def add(self, files: AttemptFiles, claim: Claim) -> None:
        """Add an attempt that was just made."""
        with self._lock:
            self._known.add(files.attempt)
            self._of.setdefault(claim.tasks[0], []).append((files, claim))

    def of(self, chain: str) -> list[tuple[AttemptFiles, Claim]]:
        """Return the attempts at a chain, by the id of its first task; those that cannot be read are left out."""
        names = self._listed()  # without the lock, for which all chains would wait
        with self._lock:
            for name in names:
                if name in self._known or not ATTEMPT.fullmatch(name):
                    continue
                self._known.add(name)
                with suppress(CCImagesError):
                    files = AttemptFiles(self._store, name)
                    claim = files.claim()
                    self._of.setdefault(claim.tasks[0], []).append((files, claim))
            return [*self._of.get(chain, ())]

    def _listed(self) -> list[str]:
        """Return the names of all attempts; none when no other run can have made one since they were listed last.

        A list of thousands for each of thousands of chains would be most of a run's work. A run that begins or ends
        changes the folder of runs, and one that dies leaves its own there.
        """
        work, folder = self._store.root / "work", self._store.root / "attempts"
        try:
            changed, runs = work.stat().st_mtime_ns, len(os.listdir(work))
        except OSError:
            changed, runs = 0, 0
        if changed and changed == self._quiet_since and runs == 1:
            return []
        self._quiet_since = changed if time.time_ns() - changed > SETTLED else 0
        return os.listdir(folder) if folder.is_dir() else []
