"""One run: select, look, plan, reserve, execute, write the books."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cc_images.api import preflight
from cc_images.api.books import Books
from cc_images.api.builders import Division, ask, divided, facts_for
from cc_images.api.inputs import inputs_of
from cc_images.api.open_run import OpenRun, opened
from cc_images.api.outcome import Outcome
from cc_images.config.loader import Config
from cc_images.engine.events import Observer
from cc_images.engine.local import LocalRun
from cc_images.model.plan import Plan, Request, Result
from cc_images.model.run import IfBusy
from cc_images.planner.snapshot import Snapshot, look

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
    images = preflight.selected(request, config)
    plan, results = Plan(version="", tasks=()), dict[str, Result]()
    with opened(config, observer, words=words, stop=stop) as this:
        this.take_turn(images, if_busy, stop)
        asked = ask(request, config)
        snapshot = look(
            request, config, this.store, now=this.now, offline=offline, stop=stop, host=facts_for(asked)
        )  # fmt: skip
        division = divided(snapshot.plan(this.version), request, asked)
        plan = preflight.checked(division.plan, snapshot.sites, offline, division.away)
        books = Books(store=this.store, journal=this.journal, began=this.began)
        before = books.open(plan, snapshot.image_states)
        if request.build:
            books.name_in_force(snapshot.image_states)
        results |= _executed(replace(division, plan=plan), request, config, snapshot, this, stop, offline)
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
    division: Division,
    request: Request,
    config: Config,
    snapshot: Snapshot,
    this: OpenRun,
    stop: threading.Event,
    offline: bool,
) -> Mapping[str, Result]:
    """Carry out a plan; return a result for each of its tasks."""
    for task in division.plan.tasks:
        _log.info("%s: %s (%s)", task.id, "cached" if task.cached else "to do", task.reason)
    request = replace(request, jobs=request.jobs or division.places)
    execution = LocalRun(
        store=this.store,
        run=this.run,
        plan=division.plan,
        inputs=inputs_of(request, config, snapshot, offline),
        began=this.began,
        emit=this.stream.emit,
        stop=stop,
        elsewhere=division.builders,
    )
    return execution.execute()
