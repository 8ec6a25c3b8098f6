"""One run: takes its turn, looks at the world, lets the engine carry out the plan, keeps the books.

Puts the parts together and decides nothing that another module could decide.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType

from cc_images import clock
from cc_images.api import preflight, summary
from cc_images.api.outcome import Outcome
from cc_images.api.summary import Known
from cc_images.builders import provenance
from cc_images.builders.dib.build import Workshop
from cc_images.config.loader import Config
from cc_images.engine import capacity, execute
from cc_images.engine.events import Display
from cc_images.engine.forecast import Forecast
from cc_images.engine.reservations import Ledger
from cc_images.engine.worker import Worker
from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import sandbox
from cc_images.host.files import clear_errors
from cc_images.model.catalog import Arch, Json
from cc_images.model.plan import RESOURCES, BuildJob, ConvertJob, Plan, PushJob, Request, Result, Status, Task
from cc_images.model.status import Put
from cc_images.planner.selection import select, sites_of
from cc_images.planner.snapshot import Snapshot, look
from cc_images.store import image_locks
from cc_images.store.durations import History
from cc_images.store.image_locks import Busy, IfBusy
from cc_images.store.journal import Journal, State
from cc_images.store.published import Published
from cc_images.store.records import Store
from cc_images.store.workspace import Run


def run(
    request: Request,
    config: Config,
    display: Display,
    *,
    offline: bool = False,
    stop: threading.Event,
    if_busy: IfBusy = IfBusy.SHARE,
    words: Sequence[str] = (),
) -> Outcome:
    """Carry out a request from the first look to the journal; `words` are those of the command line.

    Once `stop` is set it ends what runs and begins nothing more.

    Raises CCImagesError for what keeps the run from having a name and a journal. From then on these say what keeps it
    from being carried out.
    """
    store = Store(config.store, stop)
    began = time.monotonic()
    complaints: list[str] = []
    plan, results, refused = Plan(version="", tasks=()), dict[str, Result](), None
    with ExitStack() as ending:
        now = clock.now()
        chosen, _ = select(request, config, now.date())
        sites_of(request, config)
        store.reap(sandbox.remove)
        this_run = store.start_run(now)
        ending.callback(_finish, store, this_run, complaints)
        journal = Journal(store.root, this_run.version)
        journal.note(words=list(words), began=now.isoformat())
        try:
            images = {(image.tag, arch) for image, arch in chosen}
            image_locks.take(store, this_run, images, if_busy, waiting=display.waiting, stop=stop)
            outlook = look(request, config, store, now=now, offline=offline, stop=stop)
            plan = outlook.plan(this_run.version)
            plan = replace(plan, notes=(*plan.notes, *preflight.require(plan, outlook.sites, offline)))
            sitting = RunExecution(
                store=store, run=this_run, journal=journal, config=config, display=display, stop=stop, began=began
            )
            before = sitting.before(plan, outlook)
            results |= sitting.carry_out(plan, outlook, offline=offline)
            complaints += sitting.close(plan, before, results)
        except CCImagesError as error:
            refused = error
            with suppress(CCImagesError):
                journal.note(state=_state(error), error=error.message, seconds=time.monotonic() - began)
        finally:
            if journal.told["state"] == State.RUNNING:  # a surprise is on its way up
                with suppress(CCImagesError):
                    journal.note(state=State.FAILED, error=f"it ended unexpectedly: {sys.exc_info()[1]!r}")
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


def _state(error: CCImagesError) -> State:
    """Return how a run ended that was kept from being carried out."""
    if isinstance(error, Busy):
        return State.LEFT
    return State.INTERRUPTED if isinstance(error, Interrupted) else State.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExecution:
    """A run that has its turn."""

    store: Store
    run: Run
    journal: Journal
    config: Config
    display: Display
    stop: threading.Event
    began: float

    def carry_out(self, plan: Plan, outlook: Snapshot, *, offline: bool) -> Mapping[str, Result]:
        """Let the engine do what the plan says, and write down each result as it comes."""
        request = outlook.request
        history = History(self.store.root)
        ledger = Ledger(store=self.store, run=self.run, waiting=self.display.waiting)
        host = capacity.Host.here(self.store.free_bytes())
        copies = capacity.copies(outlook.sites, self.store.root)
        bookings = capacity.book(plan, host, request.jobs, history, copies)
        usual = {task.id: took for task in plan.tasks if (took := self._usual(task, history)) is not None}
        self.journal.note(plan=plan.as_json(), results=[])
        self.display.planned(Forecast(plan=plan, bookings=bookings, usual=usual))
        shop = Workshop(
            store=self.store,
            run=self.run,
            layers={asked: foundation.job for asked, foundation in outlook.foundations.items()},
            moved=outlook.moved,
            details=outlook.details,
            folders=outlook.folders,
            network=self.config.network,
            progress=self.display,
            stop=self.stop,
            clouds={site.name: site.cloud for site in self.config.sites if site.cloud},
            variables=lambda tag: self.config.variables(self.config.images[tag]),
            secrets=self.config.secrets,
            declared=lambda tag: self.config.declared(self.config.images[tag]),
            origin=lambda: provenance.origin(self.config.files["images.yaml"].parent),
            cores=max(1, host.cores // request.jobs),
            guest_cores=bookings.guest_cores,
            guests_at_once=host.guests_at_once,
            tmpfs=bookings.tmpfs,
            offline=offline,
        )
        shop.pin(plan)
        if request.build:
            self._name_in_force(outlook)
        worker = Worker(shop=shop, sites={site.name: site for site in outlook.sites}, began=self.began)
        conversions = {
            each: task for task in plan.tasks if isinstance(task.job, ConvertJob) for each in (task.id, *task.needs)
        }
        ended: set[str] = set()
        so_far: list[Json] = []

        def observe(result: Result) -> None:
            self.display.over(result)
            so_far.append(result.as_json())
            ended.add(result.task)
            if (conversion := conversions.get(result.task)) is not None:
                worker.over(conversion, ended)
            if result.status is not Status.CACHED:
                with suppress(CCImagesError):  # a store that is full has told the task
                    self.journal.note_soon(results=so_far)

        with ExitStack() as ending:
            ending.callback(ledger.close)
            executors = {
                resource: ending.enter_context(
                    ThreadPoolExecutor(bookings.limits[resource], thread_name_prefix=resource)
                )
                for resource in RESOURCES.values()
            }
            return execute.run(
                plan,
                worker.perform,
                executors,
                bookings.limits,
                books=bookings.books,
                leaves=bookings.leaves,
                keeps=bookings.keeps,
                desk=ledger,
                observe=observe,
                stopping=self.stop.is_set,
                fail_fast=request.fail_fast,
            )

    def _usual(self, task: Task, history: History) -> float | None:
        """Return the seconds that a task usually takes: its own, or those of its nearest ancestor that ever ran."""
        took, tag = history.seconds(task.id), getattr(task.job, "tag", "")
        while took is None and tag in self.config.images and self.config.images[tag].depends:
            parent = self.config.images[tag].depends[0]
            took = history.seconds(task.id.replace(f" {task.job.tag} ", f" {parent} "))  # type: ignore[union-attr]
            tag = parent
        return took

    def _name_in_force(self, outlook: Snapshot) -> None:
        """Point the human names at the stored builds that serve: an older one does when a change was taken back."""
        for each in outlook.candidates:
            serves = each.match
            if serves is not None and serves.version != self.store.current(each.image.tag, each.arch):
                with suppress(OSError):  # another user's store
                    self.store.point_names(serves, each.image.published_name(each.arch))

    def before(self, plan: Plan, outlook: Snapshot) -> dict[tuple[str, Arch], Known]:
        """Return the newest builds of the images that a plan makes anew, before it may remove them."""
        builds = [task.job for task in plan.tasks if isinstance(task.job, BuildJob) and not task.cached]
        made = {(job.tag, job.arch) for job in builds}
        return {
            (each.image.tag, each.arch): Known(build=each.newest, details=self.store.details(each.newest))
            for each in outlook.candidates
            if each.newest is not None and (each.image.tag, each.arch) in made
        }

    def close(self, plan: Plan, before: Mapping[tuple[str, Arch], Known], results: Mapping[str, Result]) -> list[str]:
        """Write the books of the run; return what went wrong with them."""
        good = all(result.status.good for result in results.values()) and not plan.left_out
        try:
            self.journal.note(
                state=State.INTERRUPTED if self.stop.is_set() else State.OK if good else State.FAILED,
                results=[result.as_json() for result in results.values()],
                seconds=time.monotonic() - self.began,
                images=summary.images(plan, results, before, self._known),
                critical=summary.critical(plan, results),
                counts=summary.counts(results, plan),
            )
            with self.store.lock("books"), clear_errors(self.store.root):
                History(self.store.root).add(results.values())
                Published(self.store.root).add(*_puts(plan, results))
            if self.journal.told["state"] == State.OK:
                self.journal.mark_success()
        except CCImagesError as error:
            return [f"the books of the run are incomplete: {error.message}"]
        except OSError as error:
            return [f"the books of the run are incomplete: {error}"]
        return []

    def _known(self, tag: str, arch: Arch, version: str) -> Known | None:
        build = self.store.build(tag, arch, version)
        return Known(build=build, details=self.store.details(build)) if build is not None else None


def _puts(plan: Plan, results: Mapping[str, Result]) -> list[Put]:
    """Return what is on the sites now, as the pushes of a run have found or made it."""
    now = clock.now().timestamp()
    return [
        Put(
            site=job.site,
            name=job.name,
            tag=job.tag,
            arch=job.arch,
            version=result.version,
            since=now,
            seen=now,
            place=result.place,
            format=job.format,
        )
        for task in plan.tasks
        if isinstance(job := task.job, PushJob) and (result := results[task.id]).status.good and result.version
    ]


def _finish(store: Store, this_run: Run, complaints: list[str]) -> None:
    """Remove what the run had of its own; that must not hide what it did."""
    try:
        store.finish_run(this_run, sandbox.remove)
    except CCImagesError as error:
        complaints.append(f"the run's own folder is not removed: {error.message}")


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT, SIGTERM or SIGHUP, and leave at once at the second.

    Leaving at once is safe: sandboxes die when their standard input closes, and the next run clears up. The handler
    itself takes no lock, as `Event.set` would: a second signal may come while it runs.
    """
    heard, tell = os.pipe()
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            os._exit(130)
        os.write(tell, b"!")

    def wait() -> None:
        if os.read(heard, 1) == b"!":
            stop.set()

    listener = threading.Thread(target=wait, name="signals", daemon=True)
    listener.start()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # one that is ignored stays ignored: that is what nohup is for
    before = {number: signal.signal(number, handle) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(tell)
        listener.join()
        os.close(heard)
