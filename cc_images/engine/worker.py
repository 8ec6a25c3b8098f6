"""The boundary of a task: `perform` opens an envelope, does the task, and turns any outcome into a result.

The only place that catches everything. Each kind of task has a module in `tasks`.
"""

from __future__ import annotations

import importlib
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cc_images.builders.base import decoded
from cc_images.engine.envelope import Envelope
from cc_images.engine.events import EventLog
from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host.files import clear_errors
from cc_images.model.catalog import Json
from cc_images.model.events import Started
from cc_images.model.plain_text import printable
from cc_images.model.plan import (
    BootJob,
    BuildJob,
    ConvertJob,
    FetchJob,
    Job,
    LayerJob,
    PushJob,
    Result,
    Status,
)
from cc_images.store.journal import events_path
from cc_images.store.run_context import RunContext, TaskContext
from cc_images.store.run_log import working_for

_log = logging.getLogger(__name__)

Do = Callable[[Envelope, TaskContext, Result], Result]
"""Does a task of one kind: takes the result so far, and returns it with what the task has found."""

TASKS: Mapping[type[Job], str] = {
    FetchJob: "fetch",
    LayerJob: "layer",
    BuildJob: "build",
    ConvertJob: "convert",
    BootJob: "boot",
    PushJob: "push",
}
"""The modules in `tasks`, each loaded when a task of its kind is first done: who only pushes needs no QEMU."""


def perform(plain: Json, context: RunContext | None = None, do: Do | None = None) -> Result:
    """Do the task in an envelope and say how it ended; never raises.

    Without a `context`, it is opened from the notes of the run, which lives in another process of this host. `do`
    takes the place of what does tasks of its kind here; it may say how many seconds the task took elsewhere.
    """
    started = time.monotonic()
    task = str(plain["task"])
    result = Result(task=task, status=Status.DONE)
    tail: tuple[str, ...] = ()
    path = Path(plain["store"]) / "logs" / plain["run"] / "none"
    try:
        context = context or _opened(Path(plain["store"]), plain["run"])
        envelope = Envelope.from_json(context.unsealed(plain), decoded)
        path = context.run.log_path(task)
        result = replace(result, started=started - context.settings.began)
        context.emit(Started(task=task))
        name = context.run.version
        with working_for(name, task), clear_errors(context.store.root), path.open("wb") as log:
            mine = TaskContext(run=context, task=task, log=log, tmpfs_mib=envelope.tmpfs_mib)
            result = (do or _task(type(envelope.job)))(envelope, mine, result)
    except CCImagesError as error:
        status = Status.INTERRUPTED if isinstance(error, Interrupted) else Status.FAILED
        tail = error.tail
        result = replace(result, status=status, error=error.message, hint=error.hint, reason=error.reason)
    except Exception as error:  # noqa: BLE001 - the task boundary
        said = traceback.format_exc()
        tail = tuple(said.splitlines())
        result = replace(result, status=Status.FAILED, error=f"{type(error).__name__}: {error}", reason=Reason.BUG,
                         hint="this is a bug in cc-images; please report it with the log")  # fmt: skip
        _append(path, said)
    took = result.seconds or time.monotonic() - started
    result = _printable(replace(result, log=str(path), tail=tail, seconds=took))
    with working_for(plain["run"], task):
        _log.info("%s after %.1f s%s", result.status, result.seconds, f": {result.error}" if result.error else "")
    return result


def _printable(result: Result) -> Result:
    """Return a result whose words, of which some are other programs', steer no terminal."""
    error, hint = (printable(each, "\n\t") for each in (result.error, result.hint))
    return replace(result, error=error, hint=hint, tail=tuple(printable(line, "\t") for line in result.tail))


def _task(kind: type[Job]) -> Do:
    """Return what does tasks of a kind."""
    found: Do = importlib.import_module(f"cc_images.engine.tasks.{TASKS[kind]}").do
    return found


def _opened(root: Path, run: str) -> RunContext:
    """Return the context of a run of another process; what happens is appended to the run's stream."""
    return RunContext.opened(root, run, EventLog(events_path(root, run)).on_event)


def _append(path: Path, text: str) -> None:
    with suppress(OSError), path.open("a") as log:
        log.write(text)
