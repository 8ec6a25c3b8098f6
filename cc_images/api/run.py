"""One run: select, look, plan, execute, write the books."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from cc_images import clock
from cc_images.api import preflight
from cc_images.api.books import Books
from cc_images.api.outcome import Outcome
from cc_images.builders import provenance
from cc_images.config.loader import Config
from cc_images.engine.events import EventLog, Observer, Over, Stream, Waiting
from cc_images.engine.local import Inputs, LocalRun, Variables
from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import sandbox
from cc_images.model.plan import Plan, Request, Result
from cc_images.model.run import IfBusy, State
from cc_images.planner.selection import select, sites_of
from cc_images.planner.snapshot import Snapshot, look
from cc_images.store import image_locks
from cc_images.store.image_locks import Busy
from cc_images.store.journal import Journal, events_path
from cc_images.store.records import Store
from cc_images.store.run_log import kept
from cc_images.store.workspace import Run

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
    store, began, now = Store(config.store, stop), time.monotonic(), clock.now()
    plan, results = Plan(version="", tasks=()), dict[str, Result]()
    complaints: list[str] = []
    refused: CCImagesError | None = None
    with ExitStack() as ending:
        chosen, _ = select(request, config, now.date())
        sites_of(request, config)
        store.reap(sandbox.remove)
        this_run = store.start_run(now)
        ending.callback(_finish, store, this_run, complaints)
        ending.enter_context(kept(this_run.version, this_run.logs / "run.log"))
        journal = Journal(store.root, this_run.version)
        journal.note(words=list(words), began=now.isoformat())
        stream = Stream([EventLog(events_path(store.root, this_run.version)).on_event, observer.on_event])

        def on_wait(blocker: str) -> None:
            stream.emit(Waiting(blocker=blocker))

        try:
            images = {(image.tag, arch) for image, arch in chosen}
            image_locks.take(store, this_run, images, if_busy, on_wait=on_wait, stop=stop)
            snapshot = look(request, config, store, now=now, offline=offline, stop=stop)
            plan = _checked(snapshot.plan(this_run.version), snapshot, offline)
            for task in plan.tasks:
                _log.info("%s: %s (%s)", task.id, "cached" if task.cached else "to do", task.reason)
            books = Books(store=store, journal=journal, began=began)
            before = books.before(plan, snapshot.candidates)
            journal.note(plan=plan.as_json(), results=[])
            if request.build:
                _name_in_force(store, snapshot)
            inputs = _inputs(request, config, snapshot, offline)
            execution = LocalRun(
                store=store, run=this_run, plan=plan, inputs=inputs, began=began, emit=stream.emit, stop=stop
            )
            results |= execution.execute()
            complaints += books.close(plan, before, results, stop.is_set())
        except CCImagesError as error:
            refused = error
            with suppress(CCImagesError):
                journal.note(state=_state(error), error=error.message, seconds=time.monotonic() - began)
        finally:
            if journal.told["state"] == State.RUNNING:  # a surprise is on its way up
                with suppress(CCImagesError):
                    journal.note(state=State.FAILED, error=f"it ended unexpectedly: {sys.exc_info()[1]!r}")
            stream.emit(Over(state=journal.told["state"]))
    return Outcome(
        plan=plan,
        results=results,
        journal=journal.path,
        seconds=time.monotonic() - began,
        stopped=stop.is_set(),
        complaints=tuple(complaints),
        told=journal.told,
        refused=refused,
    )


def _checked(plan: Plan, snapshot: Snapshot, offline: bool) -> Plan:
    """Return a plan that this host and the sites can carry out, with notes on what they lack."""
    return replace(plan, notes=(*plan.notes, *preflight.require(plan, snapshot.sites, offline)))


def _inputs(request: Request, config: Config, snapshot: Snapshot, offline: bool) -> Inputs:
    """Return what the tasks of a plan need to know of the configuration and the world."""

    def variables(tag: str) -> Variables:
        image = config.images[tag]
        return Variables(values=config.variables(image), declared=config.declared(image))

    return Inputs(
        sites={site.name: site for site in snapshot.sites},
        clouds={site.name: site.cloud for site in config.sites if site.cloud},
        layers={key: layer.job for key, layer in snapshot.foundations.items()},
        upstream=snapshot.upstream,
        details=snapshot.details,
        variables=variables,
        network=config.network,
        origin=lambda: provenance.origin(config.files["images.yaml"].parent),
        parents={tag: image.depends[0] for tag, image in config.images.items() if image.depends},
        jobs=request.jobs,
        fail_fast=request.fail_fast,
        offline=offline,
    )


def _name_in_force(store: Store, snapshot: Snapshot) -> None:
    """Point the human names at the stored builds that serve: an older one does when a change was taken back."""
    for each in snapshot.candidates:
        serves = each.match
        if serves is not None and serves.version != store.current(each.image.tag, each.arch):
            with suppress(OSError):  # another user's store
                store.point_names(serves, each.image.published_name(each.arch))


def _state(error: CCImagesError) -> State:
    """Return how a run ended that was kept from being carried out."""
    if isinstance(error, Busy):
        return State.LEFT
    return State.INTERRUPTED if isinstance(error, Interrupted) else State.FAILED


def _finish(store: Store, this_run: Run, complaints: list[str]) -> None:
    """Remove what the run had of its own; that must not hide what it did."""
    try:
        store.finish_run(this_run, sandbox.remove)
    except CCImagesError as error:
        complaints.append(f"the run's own folder is not removed: {error.message}")
