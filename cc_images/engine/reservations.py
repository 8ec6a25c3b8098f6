"""Reservations: the shares of a host that the runs of one store book, together no more than the host has.

Each run keeps its page in its own folder, and writes it while it holds the lock `ledger`, so nobody starts anything
between its look at the others' pages and its own. For a dead run, or one on another host, only the room in the store
counts.
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

from cc_images.engine.resources import PLACES, OthersUsage, Usage
from cc_images.host import record_files
from cc_images.host.files import try_lock
from cc_images.model import record_shapes
from cc_images.model.plan import Resource
from cc_images.store.records import Store
from cc_images.store.workspace import Run

PAGE = "booked.json"

PATIENCE = 1.0
"""Seconds after which a holder of the lock counts as frozen: it only ever needs it for a moment."""

HURRY = 0.05
"""The same, while one process has held it for that long."""

FRESH = 5.0
"""Seconds for which others hold back for a run that waits; it looks and writes again several times a second."""

MOMENT = 1.0
"""Seconds within which what comes to stay is written down as one."""

Amounts = Counter[Resource]

ILLEGIBLE = (
    OSError,
    record_files.Newer,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The bookings of one run. `keeps` says when what came to stay; `since` when it began to wait for `wants`.

    Both, and when it `looked` last, are seconds of the monotonic clock, which all processes of a host share.
    """

    takes: Amounts = field(default_factory=Counter)
    keeps: tuple[tuple[float, Amounts], ...] = ()
    wants: Amounts = field(default_factory=Counter)
    since: float = 0.0
    looked: float = 0.0
    is_here: bool = True
    """Whether its run lives, on this host."""

    @property
    def at_work(self) -> bool:
        """Whether it has a task that is running."""
        return bool(PLACES & self.takes.keys())


@dataclass(slots=True, kw_only=True)
class SharedReservations:
    """The reservations of a store's runs as one of them sees them from now on.

    `on_wait` is called with the blocker when the whole run has to wait. A run that cannot lock, read or write the pages
    goes on as if it were alone.
    """

    store: Store
    run: Run
    on_wait: Callable[[str], None] = lambda blocker: None
    moment: float = MOMENT
    patience: float = PATIENCE
    _began: float = field(default_factory=time.monotonic)
    _page: Page = field(default_factory=Page)
    _is_written: bool = True
    _others: Mapping[str, Page] = field(default_factory=dict)
    _kept: dict[str, Amounts] = field(default_factory=dict)
    """Resources that each other run has kept since this one began, also those that are over."""
    _stays: Amounts = field(default_factory=Counter)
    """Resources of this run that have come to stay so far."""
    _told: str = ""
    waits: float = field(default=0.0, init=False)
    """Seconds for which the lock is waited for next time."""

    def __post_init__(self) -> None:
        self.waits = self.patience

    def share(self, decide: Callable[[OthersUsage, Collection[str]], Usage]) -> None:
        """Let `decide` start what fits beside what the others have booked, and write down how this run stands then."""
        with self._alone():
            self._others = self._read_others() if self._is_written else {}
            self._turn(decide(self._elsewhere(), self.run.asleep))

    def idle(self) -> None:
        """Say who blocks the run, and again when that is another one."""
        blocker = " and ".join(f"run {name}" for name, page in sorted(self._others.items()) if page.at_work)
        if blocker not in ("", self._told):
            self.on_wait(f"memory, cores or room booked by {blocker}")
            self._told = blocker

    def close(self) -> None:
        """Take the page out."""
        with suppress(OSError):
            (self.run.work / PAGE).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock, deadline = None, time.monotonic() + self.waits
        with suppress(OSError):
            while (lock := try_lock(self.store.lock_path("ledger"))) is None and time.monotonic() < deadline:
                time.sleep(0.01)
        self.waits = self.patience if lock is not None else HURRY
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def _read_others(self) -> dict[str, Page]:
        found = {}
        with suppress(OSError):
            for run in os.listdir(self.store.root / "work"):
                if run != self.run.version and (page := _read(self.store.root / "work" / run / PAGE)):
                    found[run] = page
        return found

    def _elsewhere(self) -> OthersUsage:
        """Return what the others take, and what those wait for who come first: runs that wait longer than this one.

        One that does not wait at all comes last.
        """
        elsewhere, now = OthersUsage(), time.monotonic()
        mine = (self._page.since or now, self.run.version)
        for name, page in self._others.items():
            if not page.is_here:  # its disk lies there until somebody clears up
                elsewhere.gone[Resource.DISK] += page.takes[Resource.DISK]
                continue
            self._kept[name] = Counter()
            for when, kept in page.keeps:
                self._kept[name].update(kept if when > self._began else {})
            elsewhere.held.update(page.takes)
            if now - page.looked < FRESH and (page.since, name) < mine:
                elsewhere.held.update(page.wants)
        for kept in self._kept.values():
            elsewhere.gone.update(kept)
        return elsewhere

    def _turn(self, stand: Usage) -> None:
        now = time.monotonic()
        kept = +(Counter(stand.keeps) - self._stays)
        self._stays += kept
        page = Page(
            takes=+Counter(stand.takes),
            keeps=_added(self._page.keeps, now, kept, self.moment),
            wants=+Counter(stand.wants),
            since=(self._page.since or now) if stand.wants else 0.0,
            looked=now if stand.wants else 0.0,
        )
        if page != self._page or not self._is_written:
            self._is_written = _write(self.run.work / PAGE, page)
        self._page = page
        if page.at_work:
            self._told = ""


def _added(
    keeps: tuple[tuple[float, Amounts], ...], now: float, kept: Amounts, moment: float
) -> tuple[tuple[float, Amounts], ...]:
    """Return what came to stay with some more; what came within a moment is one entry, so that pages stay small."""
    if not kept:
        return keeps
    if keeps and now - keeps[-1][0] < moment:
        return (*keeps[:-1], (now, keeps[-1][1] + kept))
    return (*keeps, (now, kept))


def _write(path: Path, page: Page) -> bool:
    said = {name: getattr(page, name) for name in ("takes", "keeps", "wants", "since", "looked")}
    with suppress(OSError):
        staged = path.with_suffix(".new")
        staged.write_text(json.dumps(record_files.encoded(record_shapes.PageShape, said | {"host": _host()})))
        staged.rename(path)
        return True
    return False


def _read(path: Path) -> Page | None:
    """Return what a page of another run says here; None for what is illegible, or gone."""
    with suppress(*ILLEGIBLE):
        said = record_files.load(path, record_shapes.PageShape)
        return Page(
            takes=_amounts(said["takes"]),
            keeps=tuple((float(when), _amounts(kept)) for when, kept in said["keeps"]),
            wants=_amounts(said["wants"]),
            since=float(said["since"]),
            looked=float(said["looked"]),
            is_here=said["host"] == _host() and _is_alive(path.parent),
        )
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
