"""The ledger: what the runs at work in one store have booked of their host, so that together they book no more of it.

Each run keeps its page in its own folder. It turns it only while it holds the lock of the ledger, so nobody starts
anything between its look at the others' pages and what it writes. A page of a dead run says nothing.
"""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cc_images.errors import CCImagesError
from cc_images.plan import PLACES, Resource
from cc_images.runs import Run
from cc_images.store import Store

PAGE = "booked.json"


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The ledger of a store, as one of its runs sees it."""

    store: Store
    run: Run
    _written: Mapping[Resource, int] = field(default_factory=dict)

    def share(self, decide: Callable[[Mapping[Resource, int]], Mapping[Resource, int]]) -> tuple[str, ...]:
        """Let `decide` book something, given what the others have booked; it returns what is booked here from then on.

        Returns the runs that this one has to wait for: those that have tasks at work, while it has none. A ledger that
        cannot be locked, read or written keeps nobody from working: everybody is alone then.
        """
        with ExitStack() as held:
            with suppress(CCImagesError, OSError):
                held.enter_context(self.store.lock("ledger"))
            others = self._others()
            booked = decide(_sum(others))
            if booked != self._written:
                with suppress(OSError):
                    (self.run.work / PAGE).write_text(json.dumps(booked))
                self._written = dict(booked)
        if PLACES & booked.keys():
            return ()
        return tuple(run for run, page in sorted(others.items()) if PLACES & page.keys())

    def _others(self) -> dict[str, Counter[Resource]]:
        """Return what each other living run has booked, by its name."""
        found = {}
        for page in (self.store.root / "work").glob(f"*/{PAGE}"):
            if page.parent != self.run.work and (booked := _read(page)) and _is_alive(page.parent):
                found[page.parent.name] = booked
        return found


def _sum(pages: Mapping[str, Counter[Resource]]) -> Counter[Resource]:
    total: Counter[Resource] = Counter()
    for booked in pages.values():
        total.update(booked)
    return total


def _read(page: Path) -> Counter[Resource]:
    with suppress(OSError, ValueError, TypeError, AttributeError):
        said = json.loads(page.read_text())
        return +Counter({Resource(name): int(count) for name, count in said.items()})
    return Counter()


def _is_alive(work: Path) -> bool:
    try:
        with (work / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second is another user's
        return True
    except OSError:  # gone meanwhile
        return False
    return False
