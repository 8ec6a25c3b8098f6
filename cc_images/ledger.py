"""The ledger: what the runs of one store have booked of their host, so that together they book no more than it has.

Each run keeps its page in its own folder, and turns it while it holds the lock of the ledger, so nobody starts anything
between its look at the others' pages and what it writes. Of a run that is dead, or on another host, only the room in
the store counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from cc_images.files import try_lock
from cc_images.plan import PLACES, Resource, Stand
from cc_images.runs import Run
from cc_images.store import Store

PAGE = "booked.json"

PATIENCE = 1.0
"""Seconds after which one that has the lock counts as frozen: it only ever needs it for a moment."""

FRESH = 5.0
"""Seconds for which others hold back for a run that waits; it looks and writes again several times a second."""

Amounts = Counter[Resource]

ILLEGIBLE = (OSError, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one run has booked. `keeps` says when what came to stay; `since` when it began to wait for `wants`."""

    takes: Amounts = field(default_factory=Counter)
    keeps: tuple[tuple[float, Amounts], ...] = ()
    wants: Amounts = field(default_factory=Counter)
    since: float = 0.0

    @property
    def at_work(self) -> bool:
        """Whether it has a task that is running."""
        return bool(PLACES & self.takes.keys())

    def only_room(self) -> Page:
        """Return the page of one that takes nothing of this host but the room in the store."""
        return Page(takes=Counter({Resource.DISK: self.takes[Resource.DISK]}), keeps=self.keeps)


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The ledger of a store as one run sees it from now on: the engine's desk.

    `waiting` is told whom the whole run waits for. A ledger that cannot be locked, read or written keeps nobody from
    working: such a run is alone.
    """

    store: Store
    run: Run
    waiting: Callable[[str], None] = lambda whom: None
    _began: float = field(default_factory=time.time)
    _page: Page = field(default_factory=Page)
    _is_written: bool = True
    _others: Mapping[str, Page] = field(default_factory=dict)
    _is_told: bool = False

    def share(self, decide: Callable[[Mapping[Resource, int], Collection[str]], Stand]) -> None:
        """Let `decide` start what fits beside what the others have booked, and write down how this run stands then."""
        with self._alone():
            self._others = self._read_others() if self._is_written else {}
            self._turn(decide(self._elsewhere(), self.run.asleep))

    def idle(self) -> None:
        """Hear that nothing can start; say once whom the run waits for."""
        whom = " and ".join(f"run {name}" for name, page in sorted(self._others.items()) if page.at_work)
        if whom and not self._is_told:
            self.waiting(f"memory, cores or room are booked by {whom}")
            self._is_told = True

    def close(self) -> None:
        """Take the page out."""
        with suppress(OSError):
            (self.run.work / PAGE).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock, deadline = None, time.monotonic() + PATIENCE
        with suppress(OSError):
            while (lock := try_lock(self.store.lock_path("ledger"))) is None and time.monotonic() < deadline:
                time.sleep(0.01)
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def _read_others(self) -> dict[str, Page]:
        found = {}
        with suppress(OSError):
            for path in (self.store.root / "work").glob(f"*/{PAGE}"):
                if path.parent != self.run.work and (page := _read(path)):
                    found[path.parent.name] = page
        return found

    def _elsewhere(self) -> Amounts:
        """Return what the others take, what came to stay since this run began, and what those wait for that come first.

        Whoever waits longer comes first, as if it had started already; whoever does not wait at all comes last.
        """
        total: Amounts = Counter()
        mine = (self._page.since, self.run.version)
        for name, page in self._others.items():
            total.update(page.takes)
            for when, kept in page.keeps:
                total.update(kept if when > self._began else {})
            if page.wants and (not self._page.since or (page.since, name) < mine):
                total.update(page.wants)
        return total

    def _turn(self, stand: Stand) -> None:
        kept = Counter(stand.keeps)
        for _, before in self._page.keeps:
            kept.subtract(before)
        now = time.time()
        page = Page(
            takes=+Counter(stand.takes),
            keeps=(*self._page.keeps, (now, +kept)) if +kept else self._page.keeps,
            wants=+Counter(stand.wants),
            since=(self._page.since or now) if stand.wants else 0.0,
        )
        if page != self._page or page.wants or not self._is_written:
            self._is_written = _write(self.run.work / PAGE, page)
        self._page = page
        self._is_told = self._is_told and not page.at_work


def _write(path: Path, page: Page) -> bool:
    said = {"takes": page.takes, "keeps": page.keeps, "wants": page.wants, "since": page.since, "host": _host()}
    with suppress(OSError):
        path.write_text(json.dumps(said))
        return True
    return False


def _read(path: Path) -> Page | None:
    """Return what a page of another run says here; None for what is illegible, or gone."""
    with suppress(*ILLEGIBLE):
        said = json.loads(path.read_text())
        page = Page(
            takes=_amounts(said["takes"]),
            keeps=tuple((float(when), _amounts(kept)) for when, kept in said["keeps"]),
            wants=_amounts(said["wants"] if time.time() - path.stat().st_mtime < FRESH else {}),
            since=float(said["since"]),
        )
        return page if said["host"] == _host() and _is_alive(path.parent) else page.only_room()
    return None


def _amounts(said: Mapping[str, int]) -> Amounts:
    return +Counter({Resource(name): int(count) for name, count in said.items()})


@cache
def _host() -> str:
    """Return what tells this host, as long as it is up, from others that may use the same store."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _is_alive(work: Path) -> bool:
    try:
        with (work / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second is another user's
        return True
    except OSError:  # gone meanwhile
        return False
    return False
