"""Chains that wait for a place on a builder host: a note each, which ends with the wait, or with its run.

    work/<run>/queue/<chain>.json

All runs of a store wait in one line: a place is for the chain that has waited longest for its host.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from cc_images.host import environment, record_files
from cc_images.host.files import write_json
from cc_images.model.attempt import Waiting
from cc_images.model.attempt_shapes import WaitingShape
from cc_images.remote.placement import Placed
from cc_images.store.records import Store
from cc_images.store.workspace import Run

AGAIN = 0.5
"""Seconds between two looks at the notes of other runs."""


class Queue:
    """The chains of one run that wait, among those of others; without a run there are no others.

    Its callers take turns. A store that is full costs notes, and ends no wait.
    """

    def __init__(self, store: Store | None = None, run: Run | None = None) -> None:
        self._store, self._run = store, run
        self._own: dict[str, Waiting] = {}
        self._others: list[Waiting] = []
        self._looked = -AGAIN

    def enter(self, chain: str, placed: Placed) -> None:
        """Let a chain wait for hosts; again and again, it keeps its place in the line."""
        before = self._own.get(chain)
        if before is not None and before.hosts == placed.busy:
            return
        since = before.since if before is not None else time.time()
        run = self._run.name if self._run is not None else ""
        said = Waiting(chain=chain, run=run, since=since, why=placed.why, hosts=placed.busy, owner=environment.owner())
        self._own[chain] = said
        if self._run is not None:
            with suppress(OSError):
                write_json(self._path(chain), record_files.encoded(WaitingShape, asdict(said)))

    def before(self, chain: str) -> Counter[str]:
        """Return how many chains have waited longer than one for each host."""
        mine = self._own.get(chain)
        turn = (mine.since, chain) if mine is not None else (time.time(), chain)
        self._look()
        found: Counter[str] = Counter()
        for each in (*self._own.values(), *self._others):
            if (each.since, each.chain) < turn:
                found.update(each.hosts)
        return found

    @contextmanager
    def left_by(self, chain: str) -> Iterator[None]:
        """Take a chain out of the line in the end."""
        try:
            yield
        finally:
            if self._own.pop(chain, None) is not None and self._run is not None:
                with suppress(OSError):
                    self._path(chain).unlink()

    def _look(self) -> None:
        if self._store is None or self._run is None or time.monotonic() - self._looked < AGAIN:
            return
        self._looked = time.monotonic()
        self._others = waiting(self._store, but=self._run)

    def _path(self, chain: str) -> Path:
        assert self._run is not None
        return self._run.work / "queue" / f"{quote(chain, safe='')}.json"


def waiting(store: Store, but: Run | None = None) -> list[Waiting]:
    """Return the chains of all runs at work that wait, the one that has waited longest first; those of `but` are none.

    What cannot be read is left out.
    """
    found: list[Waiting] = []
    for folder in store.root.glob("work/*/queue"):
        if but is not None and folder.parent == but.work:
            continue
        for path in folder.glob("*.json"):
            with suppress(OSError, record_files.Damaged, record_files.Newer):
                plain = record_files.load(path, WaitingShape)
                if store.is_at_work(plain["run"]):
                    known = {key: value for key, value in plain.items() if key in Waiting.__dataclass_fields__}
                    found.append(Waiting(**known | {"hosts": tuple(plain.get("hosts", ()))}))
    return sorted(found, key=lambda each: (each.since, each.chain))
