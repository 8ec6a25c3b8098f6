"""What people see of a run: the plan as a tree, progress while it runs, the final table, and failures that help.

Owns text only. On a terminal every running task has a bar; elsewhere each change is one line with the task's name.
"""

from __future__ import annotations

import json
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, TextIO

from cc_images.model import Arch, Build, Image, Json
from cc_images.plan import ConvertJob, FetchJob, Plan, PushJob, Result, Status, Task
from cc_images.pruning import Holding

TAIL = 15
"""Lines of a log that a failure shows."""

WIDTH = 120
"""Columns of wrapped text."""

SIGNS: Mapping[Status, str] = {
    Status.DONE: "done",
    Status.CACHED: "cached",
    Status.FAILED: "FAILED",
    Status.BLOCKED: "blocked",
    Status.INTERRUPTED: "stopped",
}


class Display(Protocol):
    """Progress of tasks, as the worker tells it, and results, as the engine does."""

    def started(self, task: str) -> None: ...

    def step(self, task: str, doing: str) -> None: ...

    def bytes(self, task: str, done: int, total: int) -> None: ...

    def over(self, result: Result) -> None: ...

    def close(self) -> None: ...


class Lines:
    """One line for every phase and, of bytes, every ten seconds, each with the task's name: for logs and pipes."""

    EVERY = 10.0

    def __init__(self, out: TextIO, quiet: bool = False, verbose: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._verbose = verbose
        self._said: dict[str, float] = {}
        self._phase: dict[str, str] = {}
        self._began: dict[str, float] = {}
        self._lock = threading.Lock()

    def started(self, task: str) -> None:
        """Say that a task has begun."""
        self._began[task] = time.monotonic()
        self._say(task, "started")

    def step(self, task: str, doing: str) -> None:
        """Say what a task does now; unless verbose, once for all hooks of a phase."""
        phase = doing if self._verbose else doing.partition("/")[0]
        if self._phase.get(task) != phase:
            self._phase[task] = phase
            self._say(task, phase)

    def bytes(self, task: str, done: int, total: int) -> None:
        """Say it every few seconds."""
        now = time.monotonic()
        if now - self._said.setdefault(task, now) >= self.EVERY:
            self._said[task] = now
            self._say(task, f"{size(done)} of {size(total)}" if total else size(done))

    def over(self, result: Result) -> None:
        """Say how a task ended."""
        note = f": {result.error}" if result.error else f": {result.where}" if result.where else ""
        self._say(result.task, SIGNS[result.status] + note, even_quiet=result.status is Status.FAILED)

    def close(self) -> None:
        """Nothing is left to do."""

    def _say(self, task: str, text: str, even_quiet: bool = False) -> None:
        if not self._quiet or even_quiet:
            since = f"{time.monotonic() - self._began[task]:6.1f}s" if task in self._began else " " * 7
            with self._lock, suppress(OSError, ValueError):  # a reader that has gone must not end a build
                print(f"[{task}] {since} {text}", file=self._out, flush=True)


class Bars:
    """A tqdm bar per running task: what it does now, for how long; and bytes with their rate where there are any."""

    def __init__(self, out: TextIO) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._out = out
        self._bars: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        """Keep the clocks of the bars going while their tasks have nothing to say."""
        while not self._closed.wait(1):
            with self._lock:
                for bar in self._bars.values():
                    bar.refresh()

    def started(self, task: str) -> None:
        """Open the task's bar."""
        with self._lock:
            self._bars[task] = self._tqdm(
                total=None, desc=task, file=self._out, leave=False, dynamic_ncols=True,
                bar_format="{desc}  {elapsed}{postfix}",
            )  # fmt: skip

    def step(self, task: str, doing: str) -> None:
        """Show what a task does now."""
        with self._lock:
            bar = self._bars[task]
            bar.postfix = doing
            bar.refresh()

    def bytes(self, task: str, done: int, total: int) -> None:
        """Turn the bar into one of bytes, and move it."""
        with self._lock:
            bar = self._bars[task]
            if total and bar.total != total:
                bar.bar_format, bar.unit, bar.unit_scale, bar.unit_divisor = None, "B", True, 1024
                bar.reset(total)
            bar.update(done - bar.n)

    def over(self, result: Result) -> None:
        """Close the bar and leave one line."""
        with self._lock:
            bar = self._bars.pop(result.task, None)
            if bar is not None:
                bar.close()
            note = f": {result.error}" if result.error else ""
            self._tqdm.write(f"{SIGNS[result.status]:8} {result.task}{note}", file=self._out)

    def close(self) -> None:
        """Remove what is left of the bars."""
        self._closed.set()
        for bar in self._bars.values():
            bar.close()


def display(out: TextIO, *, quiet: bool, verbose: bool) -> Display:
    """Return bars for a terminal and lines for everything else, and for who wants every hook."""
    return Bars(out) if out.isatty() and not (quiet or verbose) else Lines(out, quiet, verbose)


def plan_tree(plan: Plan) -> str:
    """Return the plan as an indented tree: per image what is cached, what will run, and why."""
    groups: dict[str, list[Task]] = {}
    for task in plan.tasks:
        groups.setdefault(_group(task), []).append(task)
    lines: list[str] = []
    for name, tasks in groups.items():
        lines.append(name)
        for number, task in enumerate(tasks):
            branch = "└─" if number == len(tasks) - 1 else "├─"
            does = "cached" if task.cached else "run"
            waits = [need for need in task.needs if _group_of(need, plan) != name]
            after = f"  (after {', '.join(waits)})" if waits else ""
            lines.append(f"  {branch} {_verb(task):24} {does:7} {task.reason}{after}")
    run = sum(not task.cached for task in plan.tasks)
    lines.append(f"{run} to run, {len(plan.tasks) - run} cached")
    return "\n".join([*(f"note: {note}" for note in plan.notes), *lines])


def result_table(plan: Plan, results: Mapping[str, Result], seconds: float) -> str:
    """Return the table of a run: task, result, time, size, where."""
    rows = [("task", "result", "time", "size", "where")]
    for task in plan.tasks:
        result = results[task.id]
        took = duration(result.seconds) if result.seconds else ""
        rows.append((task.id, SIGNS[result.status], took, size(result.size) if result.size else "", result.where))
    lines = _aligned(rows)
    counts = {status: sum(result.status is status for result in results.values()) for status in Status}
    summary = ", ".join(f"{count} {SIGNS[status].lower()}" for status, count in counts.items() if count)
    return "\n".join([*lines, f"{summary or 'nothing to do'} in {duration(seconds)}"])


def failure(result: Result) -> str:
    """Return what failed, why, the last lines of its log, where the whole log is, and what to do."""
    lines = [f"{result.task} failed: {result.error}"]
    if result.tail:
        lines += ["  last lines of its log:", *(f"    {line}" for line in result.tail[-TAIL:])]
    if result.log:
        lines.append(f"  whole log: {result.log}")
    if result.hint:
        lines.append(f"  what to do: {result.hint}")
    return "\n".join(lines)


def catalogue(rows: Iterable[tuple[Image, Mapping[Arch, Build | None]]]) -> str:
    """Return the list of images: tag, architectures, newest versions in the store, end of life."""
    table = [("tag", "arch", "newest build", "end of life", "")]
    for image, builds in rows:
        for number, (arch, build) in enumerate(builds.items()):
            table.append(
                (
                    image.tag if number == 0 else "",
                    arch,
                    build.version if build else "-",
                    str(image.eol or "-") if number == 0 else "",
                    "bare metal only" if image.baremetal_only and number == 0 else "",
                )
            )
    return "\n".join(_aligned(table))


def standings(rows: Iterable[tuple[str, str, str, str, str]]) -> list[str]:
    """Return the table of what is on the sites; a row is site, image, version, day and a remark."""
    return _aligned([("site", "image", "version", "created", ""), *rows])


def reasons(found: Iterable[Json], notes: Iterable[str]) -> str:
    """Return what `Outlook.reasons` says, for people."""
    lines = [f"note: {note}" for note in notes]
    for each in found:
        if each["newest"] is None:
            lines.append(f"{each['image']}: never built")
        elif each["serves"]:
            lines.append(f"{each['image']}: nothing has changed since version {each['serves']}")
            lines += [f"  not sure: {each['unsure']}"] if each["unsure"] else []
        else:
            lines.append(f"{each['image']}: changed since version {each['newest']}")
            lines += [f"  {change}" for change in each["changed"]]
    return "\n".join(lines)


def holding(held: Holding) -> Json:
    """Return a holding as plain data."""
    return {each.name: getattr(held, each.name) for each in fields(held)}


def holdings(held: Sequence[Holding], root: Path) -> list[str]:
    """Return the table of what the store holds, and its size; nothing when there is nothing."""
    if not held:
        return []
    rows = [(each.kind.value, each.name, each.version[:20], size(each.size), each.in_use) for each in held]
    total = size(sum(each.size for each in held))
    return [*_aligned([("store", "of", "version", "size", ""), *rows]), f"{total} in {root}", ""]


def pruned(gone: Sequence[tuple[Holding, str, int]], dry_run: bool) -> str:
    """Return what was removed from the store, why, and how much that freed."""
    lines = [f"{each.kind} {each.name} {each.version[:20]}: {why}" for each, why, _ in gone]
    freed = size(sum(freed for _, _, freed in gone))
    done = f"would free up to {freed}" if dry_run else f"freed {freed}"
    return "\n".join([*lines, done if gone else "nothing to remove"])


def inspection(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return what is inside an image: a heading and its text a row, long texts wrapped."""
    return "\n".join([title, *_headed(rows)])


def differences(new: str, old: str, found: Mapping[str, Sequence[str]]) -> str:
    """Return how one image differs from another, a line each below its subject."""
    lines = [f"{new} against {old}"]
    for subject, changes in found.items():
        lines += [f"{subject}: {len(changes)}", *(f"  {change}" for change in changes)]
    return "\n".join(lines if found else [*lines, "no difference"])


def findings(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Return what a checkup has found, a row each: subject, state, text; and below what is not fine, the remedy."""
    lines: list[str] = []
    width = max(len(subject) for subject, *_ in rows)
    for subject, state, text, remedy in rows:
        lines.append(f"{state:5} {subject.ljust(width)}  {text}")
        lines += [f"{'':5} {'':{width}}  what to do: {remedy}"] if remedy else []
    return "\n".join(lines)


def _headed(rows: Sequence[tuple[str, str]]) -> list[str]:
    indent = max(len(heading) for heading, _ in rows) + 4
    lines: list[str] = []
    for heading, text in rows:
        first, *more = textwrap.wrap(text, max(40, WIDTH - indent), break_on_hyphens=False) or [""]
        lines.append(f"  {heading.ljust(indent - 2)}{first}")
        lines += [" " * indent + line for line in more]
    return lines


def _aligned(table: list[tuple[str, str, str, str, str]]) -> list[str]:
    """Return the lines of a table whose last column may be of any width."""
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    return [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4])).rstrip()
        for row in table
    ]


def as_json(data: object) -> str:
    """Return data as one JSON document."""
    return json.dumps(data, indent=1, default=str)


def say(text: str, *, to: TextIO | None = None) -> None:
    """Print a text and make sure that it is seen."""
    print(text, file=to or sys.stdout, flush=True)


def size(count: int) -> str:
    """Return a number of bytes for people."""
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return a length of time for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _group(task: Task) -> str:
    return "artifacts" if isinstance(task.job, FetchJob) else f"{task.job.tag} {task.job.arch}"


def _group_of(task_id: str, plan: Plan) -> str:
    return next(_group(task) for task in plan.tasks if task.id == task_id)


def _verb(task: Task) -> str:
    match task.job:
        case ConvertJob():
            return f"convert to {', '.join(task.job.formats)}"
        case PushJob():
            return f"push to {task.job.site}" + task.id.partition(f"to {task.job.site}")[2]
        case FetchJob():
            return f"fetch {task.job.artifact.basename}"
    return task.id.partition(" ")[0]
