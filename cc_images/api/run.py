"""One run: select, look, plan, reserve, execute, write the books."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from cc_images import clock
from cc_images.api import preflight
from cc_images.api.books import Books
from cc_images.api.inputs import inputs_of
from cc_images.api.open_run import OpenRun, opened
from cc_images.api.outcome import Outcome
from cc_images.config.loader import Config
from cc_images.engine.events import Observer, Waiting
from cc_images.engine.local import LocalRun
from cc_images.model.plan import Plan, Request, Result
from cc_images.model.run import IfBusy
from cc_images.planner.selection import select, sites_of
from cc_images.planner.snapshot import Snapshot, look
from cc_images.store import image_locks
from cc_images.store.records import Store

_log = logging.getLogger(__name__)


def run(
    request: Request,
    config: Config,
    observer: Observer,
    *,
    offline: bool = False,
    stop: threading.Event,
    if_busy: IfBusy = IfBusy.SHARE,
    words: Sequence[str] = (),
) -> Outcome:
    """Carry out a request from the first look to the journal; `words` are those of the command line.

    Once `stop` is set it ends what runs and begins nothing more.

    Raises CCImagesError for what keeps the run from having a name and a journal. Later errors are in
    `Outcome.refused`.
    """
    now, store = clock.now(), Store(config.store, stop)
    chosen, _ = select(request, config, now.date())
    sites_of(request, config)
    plan, results = Plan(version="", tasks=()), dict[str, Result]()
    with opened(store, observer, words=words, stop=stop, now=now) as this:
        images = {(image.tag, arch) for image, arch in chosen}
        image_locks.take(store, this.run, images, if_busy, on_wait=lambda blocker: _say(this, blocker), stop=stop)
        snapshot = look(request, config, store, now=now, offline=offline, stop=stop)
        plan = preflight.checked(snapshot.plan(this.version), snapshot.sites, offline)
        books = Books(store=store, journal=this.journal, began=this.began)
        before = books.open(plan, snapshot.candidates)
        if request.build:
            _name_in_force(store, snapshot)
        results |= _executed(plan, request, config, snapshot, this, stop, offline)
        this.complaints += books.close(plan, before, results, stop.is_set())
    return Outcome(
        plan=plan,
        results=results,
        journal=this.journal.path,
        seconds=this.seconds,
        stopped=stop.is_set(),
        complaints=tuple(this.complaints),
        told=this.journal.told,
        refused=this.refused,
    )


def _executed(
    plan: Plan,
    request: Request,
    config: Config,
    snapshot: Snapshot,
    this: OpenRun,
    stop: threading.Event,
    offline: bool,
) -> Mapping[str, Result]:
    """Carry out a plan on this host."""
    for task in plan.tasks:
        _log.info("%s: %s (%s)", task.id, "cached" if task.cached else "to do", task.reason)
    execution = LocalRun(
        store=this.store,
        run=this.run,
        plan=plan,
        inputs=inputs_of(request, config, snapshot, offline),
        began=this.began,
        emit=this.stream.emit,
        stop=stop,
    )
    return execution.execute()


def _name_in_force(store: Store, snapshot: Snapshot) -> None:
    """Point the human names at the stored builds that serve: an older one does when a change was taken back."""
    for each in snapshot.candidates:
        serves = each.match
        if serves is not None and serves.version != store.current(each.image.tag, each.arch):
            with suppress(OSError):  # another user's store
                store.point_names(serves, each.image.published_name(each.arch))


def _say(this: OpenRun, blocker: str) -> None:
    this.stream.emit(Waiting(blocker=blocker))
