"""One run on this host: what its tasks share, their envelopes, and the pools in which they are done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from cc_images.engine import capacity, worker
from cc_images.engine.capacity import Bookings
from cc_images.engine.elsewhere import Elsewhere
from cc_images.engine.envelope import Envelope
from cc_images.engine.events import Ended, Event, Planned, Waiting
from cc_images.engine.execute import Pool, Watch, execute
from cc_images.engine.forecast import Forecast
from cc_images.engine.image_leases import ImageLeases
from cc_images.engine.inputs import Inputs
from cc_images.engine.reservations import SharedReservations
from cc_images.model.plan import (
    RESOURCES,
    BootJob,
    BuildJob,
    ConvertJob,
    FetchJob,
    Plan,
    PushJob,
    Resource,
    Result,
    Task,
)
from cc_images.model.vault import sealed
from cc_images.sources import artifacts
from cc_images.store import notes
from cc_images.store.durations import History
from cc_images.store.notes import RunSettings
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext
from cc_images.store.workspace import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRun:
    """A run of a plan on this host."""

    store: Store
    run: Run
    plan: Plan
    inputs: Inputs
    began: float
    emit: Callable[[Event], None]
    stop: threading.Event
    elsewhere: Elsewhere | None = None
    """Other hosts that do some of the tasks."""

    def execute(self) -> Mapping[str, Result]:
        """Reserve what the plan takes, say what is expected, and carry it out; return a result for every task."""
        history = History(self.store.root)
        host = capacity.Host.here(self.store.free_bytes())
        copies = capacity.copies(self.inputs.sites.values(), self.store.root)
        bookings = capacity.book(self.plan, host, self.inputs.jobs, history, copies)
        self.emit(Planned(forecast=Forecast.of(self.plan, bookings, history, self.inputs.parents)))
        context = self._context(host, bookings)
        leases = ImageLeases(self.plan, context)

        def on_task_ended(result: Result) -> None:
            leases.ended(result)
            self.emit(Ended(result=result))

        reservations = SharedReservations(store=self.store, run=self.run, on_wait=self._say_blocked)
        away = frozenset(self.elsewhere.tasks) if self.elsewhere is not None else frozenset()
        with ExitStack() as ending, _pools(self._threads(bookings)) as executors:
            ending.callback(reservations.close)
            pools = {
                resource: LocalPool(executor, partial(self._envelope, bookings=bookings), context)
                for resource, executor in executors.items()
            }
            others: Mapping[str, Pool] = {}
            if self.elsewhere is not None:
                envelope = partial(self._envelope, bookings=bookings)
                others = ending.enter_context(self.elsewhere.opened(envelope, context))
            return execute(
                self.plan,
                lambda task: others.get(task.id) or pools[task.resource],
                capacity.beside(bookings.limits, self.elsewhere.places if self.elsewhere is not None else 0),
                {task: each for task, each in bookings.reserved.items() if task not in away},
                reservations=reservations,
                watch=Watch(on_task_ended=on_task_ended, stopping=self.stop.is_set),
                fail_fast=self.inputs.fail_fast,
            )

    def _threads(self, bookings: Bookings) -> Mapping[Resource, int]:
        """Return how many tasks of each kind are done on this host at a time."""
        if self.elsewhere is None:
            return bookings.limits
        builds = min(bookings.limits[Resource.BUILD], self.elsewhere.here)
        return {**bookings.limits, Resource.BUILD: max(1, builds)}

    def _say_blocked(self, blocker: str) -> None:
        self.emit(Waiting(blocker=blocker))

    def _context(self, host: capacity.Host, bookings: Bookings) -> RunContext:
        """Return what all tasks share, and leave notes from which tasks elsewhere can open it."""
        builds = [task.job for task in self.plan.tasks if isinstance(task.job, BuildJob) and not task.cached]
        vault: dict[str, str] = {}
        context = RunContext(
            store=self.store,
            run=self.run,
            settings=RunSettings(
                began=self.began,
                cores=max(1, host.cores // self.inputs.jobs),
                guest_cores=bookings.guest_cores,
                guests_at_once=host.guests_at_once,
                offline=self.inputs.offline,
                network=sealed(dict(self.inputs.network), vault),
                origin=self.inputs.origin() if builds else {},
                clouds=self.inputs.clouds,
                debug=self.inputs.debug,
                keep_failed=self.inputs.keep_failed,
                sign=self.inputs.sign,
            ),
            emit=self.emit,
            stop=self.stop,
            vault=vault,
        )
        context.publish()
        if any(isinstance(task.job, FetchJob) for task in self.plan.tasks):
            artifacts.forget_old(self.store)
        notes.write(self.run.work / "upstream.json", dict(self.inputs.upstream))
        for key in dict.fromkeys(key for job in builds for key in (job.spec.recipe_key, *self._below(job))):
            notes.write(self.run.work / "recipes" / f"{key}.json", self.inputs.details(key))
        self._pin(context)
        return context

    def _below(self, job: BuildJob) -> Iterator[str]:
        """Yield the recipe keys of the layers below a build, nearest first."""
        pending = [*job.spec.relies_on]
        while pending:
            key = pending.pop()
            yield key
            pending += self.inputs.layers[key].spec.relies_on

    def _pin(self, context: RunContext) -> None:
        """Keep what stored builds the plan relies on readable until the run ends."""
        pinned = dict.fromkeys(
            (job.tag, job.arch, job.version)
            for task in self.plan.tasks
            if isinstance(job := task.job, (ConvertJob, BootJob, PushJob)) and job.version != self.run.version
        )
        for each in pinned:
            if (build := self.store.build(*each)) is not None:
                context.pin(build)

    def _envelope(self, task: Task, bookings: Bookings) -> Envelope:
        """Return all that a task needs."""
        job = task.job
        envelope = partial(Envelope, store=str(self.store.root), run=self.run.version, task=task.id, job=job)
        match job:
            case BuildJob():
                layers = {key: self.inputs.layers[key] for key in self._below(job)}
                return envelope(layers=layers, tmpfs_mib=bookings.tmpfs.get(task.id, 0))
            case BootJob():
                known = self.inputs.variables(job.tag)
                return envelope(variables=known.values, declared=known.declared)
            case PushJob():
                before = dict.fromkeys(name for name, *_ in job.gate.before) if job.gate is not None else {}
                sites = self.inputs.sites
                return envelope(site=sites[job.site], before=tuple(sites[name] for name in before))
        return envelope()


@dataclass(frozen=True, slots=True)
class LocalPool:
    """Threads of this process."""

    executor: Executor
    envelope: Callable[[Task], Envelope]
    context: RunContext

    def submit(self, task: Task) -> Future[Result]:
        """Begin a task in a thread."""
        envelope = self.envelope(task)
        plain = self.context.sealed(envelope.as_json(), envelope.secrets)
        return self.executor.submit(worker.perform, plain, self.context)


@contextmanager
def _pools(limits: Mapping[Resource, int]) -> Iterator[Mapping[Resource, Executor]]:
    """Yield an executor for each kind of task, and wait for its threads in the end."""
    with ExitStack() as ending:
        yield {
            resource: ending.enter_context(ThreadPoolExecutor(limits[resource], thread_name_prefix=resource))
            for resource in RESOURCES.values()
        }
