"""The builder hosts of one run: how many images each works on, what each has, and the links to them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cc_images.errors import CCImagesError, Interrupted
from cc_images.model.attempt import BuilderHost, JobState, Ticket
from cc_images.remote.launchers.base import Launcher
from cc_images.remote.placement import Chain, Host, place
from cc_images.remote.places import Places
from cc_images.remote.queue import Queue
from cc_images.store.run_context import RunContext

TICK = 0.5
"""Seconds between two looks for a host that has become free."""

SHORTEST, LONGEST, FEW = 0.2, 0.5, 50
"""Seconds between two looks at an attempt, for FEW of them and for many."""

LOOK_EVERY = 20.0
"""Seconds between two questions about the jobs of a builder host."""

REACH, TRY_AGAIN = 60.0, 2.0
"""Seconds for which a host that answered before is waited for, and between two tries."""

BACK = 600.0
"""Seconds for which a chain that has lost an attempt waits for a host: the next one is not spent on a broken link."""

_log = logging.getLogger(__name__)


class Link:
    """The link to one builder host: opened when it is first used; a thread asks for the states of its jobs."""

    def __init__(self, entry: BuilderHost, launcher: Launcher) -> None:
        self.entry = entry
        self.launcher = launcher
        self.states: dict[str, JobState] = {}
        """The last known states of the jobs that are asked for."""
        self._address: str | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name=f"jobs of {entry.name}", daemon=True)

    @property
    def name(self) -> str:
        """The name of the builder host."""
        return self.entry.name

    def address(self) -> str:
        """Return the hub's address as this host reaches it. Raises CCImagesError when there is no way."""
        with self._lock:
            if self._address is None:
                self._address = self.launcher.open()
                self._thread.start()
            return self._address

    def start(self, attempt: str, token: str) -> None:
        """Start the job of an attempt. Raises CCImagesError; the job may run all the same."""
        ca = Path(self.entry.ca).read_text() if self.entry.ca else ""
        self.states.setdefault(attempt, JobState.UNKNOWN)
        self.launcher.start(Ticket(attempt=attempt, token=token, address=self.address(), ca=ca))

    def forget(self, attempt: str) -> None:
        """Ask for a job no more."""
        self.states.pop(attempt, None)

    def close(self) -> None:
        """Let go of the link. Jobs go on, as far as their leases do."""
        self._over.set()
        with self._lock:
            opened = self._address is not None
        if opened:
            self.launcher.close()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            if asked := [*self.states]:
                for attempt, state in self.launcher.look(asked).items():
                    if attempt in self.states:
                        self.states[attempt] = state


class Fleet:
    """The builder hosts of a run, besides this one. Safe for threads."""

    def __init__(
        self,
        hosts: Sequence[Host],
        kept: Mapping[str, Collection[str]],
        launcher: Callable[[BuilderHost], Launcher],
        on: str = "",
    ) -> None:
        self._hosts = {each.name: each for each in hosts if not each.entry.local}
        self._links = {name: Link(each.entry, launcher(each.entry)) for name, each in self._hosts.items()}
        self._kept = {name: {*kept.get(name, ())} for name in self._hosts}
        self._limits = {name: each.entry.tasks for name, each in self._hosts.items()}
        self._places = Places()
        self._on = on
        self._changed = threading.Condition()
        self._queue = Queue()

    def share(self, context: RunContext) -> None:
        """Share the places of hosts with other runs of a store, and wait in line with them."""
        self._places, self._queue = Places(context.store), Queue(context.store, context.run)

    @property
    def places(self) -> int:
        """How many images the hosts work on at a time."""
        return sum(each.entry.tasks for each in self._hosts.values() if not each.unfit)

    @property
    def pause(self) -> float:
        """Seconds between two looks at an attempt: more when many are at work, for the head has one core for them.

        A line of a log has to be there within a second all the same.
        """
        return min(LONGEST, SHORTEST * max(1.0, self._places.taken / FEW))

    def link(self, name: str) -> Link | None:
        """Return the link to a host, if it is one of this run's."""
        return self._links.get(name)

    @contextmanager
    def taken(self, chain: Chain, avoid: Collection[str], stop: threading.Event) -> Iterator[Link]:
        """Yield a host for a chain, with the way to it open; wait until there is one. `avoid` is for others, if any.

        Raises Interrupted when `stop` is set meanwhile, and UserError when no host can do it.
        """
        link = self._take(chain, avoid, stop)
        try:
            yield link
        finally:
            self._give(link.name)

    def has(self, name: str, recipe_key: str) -> None:
        """Note that a host has a layer now."""
        self._kept[name].add(recipe_key)

    def refuse(self, name: str, why: str) -> None:
        """Use a host no more in this run."""
        _log.warning("builder %s is not used any more: %s", name, why)
        with self._changed:
            self._hosts[name] = replace(self._hosts[name], unfit=why)
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of all links."""
        for each in self._links.values():
            each.close()

    def _take(self, chain: Chain, avoid: Collection[str], stop: threading.Event) -> Link:
        while True:
            name = self._placed(chain, avoid, stop)
            if (why := self._unreachable(self._links[name], stop, bool(avoid))) is None:
                return self._links[name]
            self._give(name)
            self.refuse(name, why)

    def _unreachable(self, link: Link, stop: threading.Event, again: bool) -> str | None:
        """Return why there is no way to a host; None when there is. A link that is broken for a while is waited for."""
        until = time.monotonic() + (BACK if again else REACH)
        while True:
            try:
                link.address()
                if not again or not (why := link.launcher.trouble()):
                    return None
            except CCImagesError as error:
                why = error.message
                if not error.temporary:
                    return why
            if time.monotonic() > until or stop.wait(TRY_AGAIN):
                return why

    def _placed(self, chain: Chain, avoid: Collection[str], stop: threading.Event) -> str:
        """Return the name of a host that has a place for a chain, and take that place."""
        with self._changed, self._queue.left_by(chain.name):
            while True:
                if stop.is_set():
                    raise Interrupted
                hosts = [*self._hosts.values()]
                others = [each for each in hosts if each.name not in avoid and not each.unfit]
                load = self._places.load(self._limits) + self._queue.before(chain.name)
                placed = place(chain, others or hosts, load, self._kept, self._on)
                if not placed.name:
                    self._queue.enter(chain.name, placed)
                    self._changed.wait(TICK)
                elif self._places.take(placed.name, self._limits[placed.name]):
                    _log.info("%s goes to %s: %s", chain.name, placed.name, placed.why)
                    return placed.name

    def _give(self, name: str) -> None:
        with self._changed:
            self._places.give(name)
            self._changed.notify_all()
