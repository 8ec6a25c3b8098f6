"""One run: looks at the world, lets the engine carry out the plan, writes the journal.

Puts the parts together and decides nothing that another module could decide.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from cc_images import emulation, engine, foreign, guest, interior, sandbox
from cc_images.config import Config
from cc_images.errors import CCImagesError
from cc_images.making import Progress, Workshop
from cc_images.model import Json
from cc_images.outlook import look
from cc_images.plan import BootJob, BuildJob, Plan, Request, Resource, Result, Task
from cc_images.planning import LEAST_MEMORY
from cc_images.runs import Run
from cc_images.store import Store
from cc_images.worker import Worker

FETCHES, CONVERSIONS, BOOTS, PUSHES = 4, 2, 16, 4
"""How many artifacts are fetched, disks converted, images booted (if cores and memory allow) and pushed at a time."""

BUILD_MIB, GUEST_MIB = 512, 768
"""MiB that a build takes besides its files, and a guest besides its own memory: QEMU with its translated code."""

TMPFS_SHARE = 0.6
"""Part of the free memory that all builds together may use for their scratch folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run did. `stopped`: it was asked to end early; `complaints`: what went wrong with its own books."""

    plan: Plan
    results: Mapping[str, Result]
    journal: Path
    seconds: float
    stopped: bool
    complaints: tuple[str, ...] = ()


def run(
    request: Request,
    config: Config,
    progress: Progress,
    *,
    announce: Callable[[Plan], None],
    observe: Callable[[Result], None],
    offline: bool = False,
) -> Outcome:
    """Carry out a request from the first look to the journal.

    `announce` is told the plan before anything runs, `observe` each result as it comes.
    """
    store = Store(config.store)
    began = time.monotonic()
    stop = threading.Event()
    complaints: list[str] = []
    with ExitStack() as ending:
        ending.enter_context(stopped_by_signals(stop))
        store.reap(sandbox.remove)
        now = datetime.now(UTC).replace(microsecond=0)
        outlook = look(request, config, store, now=now, offline=offline, stop=stop)
        _require_host(outlook.plan(""))
        this_run = store.start_run(now)
        journal: Json = {"run": this_run.version, "began": now.isoformat()}
        ending.callback(_finish, store, this_run, journal, complaints)
        plan = outlook.plan(this_run.version)
        announce(plan)
        limits = _limits(request)
        tmpfs_mib = _tmpfs_mib(request.jobs)
        guest_cores = cores_of_guests(plan, _cores(), _guests_at_once())
        shop = Workshop(
            store=store,
            run=this_run,
            layers={asked: foundation.job for asked, foundation in outlook.foundations.items()},
            moved=outlook.moved,
            details=outlook.details,
            folders=outlook.folders,
            network=config.network,
            progress=progress,
            stop=stop,
            clouds={site.name: site.cloud for site in config.sites if site.cloud},
            variables=lambda tag: config.variables(config.images[tag]),
            cores=max(1, _cores() // request.jobs),
            guest_cores=guest_cores,
            guests_at_once=_guests_at_once(),
            tmpfs_mib=tmpfs_mib,
            offline=offline,
        )
        shop.pin(plan)
        worker = Worker(shop=shop, sites={site.name: site for site in outlook.sites}, began=began)
        executors = {
            resource: ending.enter_context(ThreadPoolExecutor(limit, thread_name_prefix=resource))
            for resource, limit in limits.items()
        }
        results = engine.run(
            plan,
            worker.perform,
            executors,
            limits,
            books={task.id: _takes(task, tmpfs_mib, guest_cores) for task in plan.tasks},
            observe=observe,
            stopping=stop.is_set,
            fail_fast=request.fail_fast,
        )
        seconds = time.monotonic() - began
        journal |= {
            "plan": plan.as_json(),
            "results": [result.as_json() for result in results.values()],
            "seconds": seconds,
            "interrupted": stop.is_set(),
        }
    return Outcome(
        plan=plan,
        results=results,
        journal=store.journal_path(this_run),
        seconds=seconds,
        stopped=stop.is_set(),
        complaints=tuple(complaints),
    )


def _require_host(plan: Plan) -> None:
    """Check, before anything runs, that this host can do what the plan asks. Raises CCImagesError or UserError."""
    jobs = [task.job for task in plan.tasks if not task.cached]
    if builds := [job for job in jobs if isinstance(job, BuildJob)]:
        sandbox.require_host()
        foreign.require_programs({job.arch for job in builds})
    if boots := [job for job in jobs if isinstance(job, BootJob)]:
        guest.require(sorted({each for job in boots for each in emulation.lacking(job.arch, job.firmware)}))
        interior.require_host()


def _finish(store: Store, this_run: Run, journal: Json, complaints: list[str]) -> None:
    """Close the run's books; a store without room must not hide what the run did."""
    try:
        store.finish_run(this_run, journal, sandbox.remove)
    except CCImagesError as error:
        complaints.append(f"the journal of the run is incomplete: {error.message}")


def _limits(request: Request) -> dict[Resource, int]:
    return {
        Resource.FETCH: FETCHES,
        Resource.BUILD: request.jobs,
        Resource.CONVERT: CONVERSIONS,
        Resource.BOOT: BOOTS,
        Resource.PUSH: PUSHES,
        Resource.CORES: _cores(),
        Resource.MEMORY: _free_mib(),
    }


def _takes(task: Task, tmpfs_mib: int, guest_cores: int) -> dict[Resource, int]:
    """Return what a task books of this host; builds, which `-t` limits, book no cores."""
    match task.job:
        case BuildJob():
            return {Resource.MEMORY: task.job.tmpfs_mib(tmpfs_mib) or BUILD_MIB}
        case BootJob():
            guests = task.job.guests(_guests_at_once())
            memory = guests * (task.job.memory_mib + GUEST_MIB)
            return {Resource.CORES: guests * guest_cores, Resource.MEMORY: memory}
    return {}


def cores_of_guests(plan: Plan, cores: int, at_once: int) -> int:
    """Return the cores of each guest: on few, one each for two guests is faster than two for one after the other."""
    boots = [task.job for task in plan.tasks if isinstance(task.job, BootJob) and not task.cached]
    alone = sum(job.guests(at_once) for job in boots) == 1
    return min(2, cores) if alone or cores >= 4 else 1


def _guests_at_once() -> int:
    """Return how many guests of one image run at a time: one after the other where memory is short."""
    return 2 if _free_mib() >= 2 * (LEAST_MEMORY + GUEST_MIB) else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _tmpfs_mib(jobs: int) -> int:
    """Return the MiB of memory that each build's scratch folder may take."""
    return int(_free_mib() * TMPFS_SHARE / jobs)


def _free_mib() -> int:
    """Return the memory that programs may use, in MiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    return 0


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT, SIGTERM or SIGHUP, and leave at once at the second.

    Leaving at once is safe: sandboxes die when their standard input closes, and the next run clears up.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # one that is ignored stays ignored: that is what nohup is for
    before = {number: signal.signal(number, handle) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
