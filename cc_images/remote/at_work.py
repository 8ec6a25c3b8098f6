"""What is at work, as far as the store of the head knows: attempts on builder hosts, and tasks of this host."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from cc_images.errors import CCImagesError
from cc_images.host import environment
from cc_images.model.attempt import Claim, Waiting
from cc_images.model.fleet import AtWork, WorkState
from cc_images.model.plan import Resource, Status
from cc_images.remote import attempt_files
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.remote.follower import said_over
from cc_images.remote.lines import object_of, plain_text
from cc_images.remote.observed import Policy
from cc_images.store import journal
from cc_images.store.records import Store

HELD = "its run has begun as many builds as it may"

TAIL = 64 << 10
"""Bytes at the end of a stream that are read."""


def attempts(store: Store, now: float) -> list[tuple[Claim, AtWork]]:
    """Return the attempts that may be at work, the oldest first; one that cannot be read is passed over."""
    found: list[tuple[Claim, AtWork]] = []
    for files in attempt_files.every(store):
        if (files.folder / "result.json").exists():
            continue
        with suppress(CCImagesError):
            claim = files.claim()
            state = _state(files, claim, store, now)
            if state is not None:
                task, doing = _doing(files.stream)
                found.append(
                    (
                        claim,
                        AtWork(
                            task=task if task in claim.tasks else claim.tasks[0],
                            run=claim.run,
                            began=claim.made,
                            owner=claim.owner,
                            doing=doing,
                            state=state,
                            attempt=claim.attempt,
                            tasks=claim.tasks,
                        ),
                    )
                )
    return sorted(found, key=lambda each: (each[0].made, each[0].attempt))


def _state(files: AttemptFiles, claim: Claim, store: Store, now: float) -> WorkState | None:
    """Return how an attempt stands; None: nothing of it is at work any more."""
    grant = files.last_grant()
    if said_over(files.stream):
        return None
    lives = files.is_open() and store.is_at_work(claim.run)
    if grant is None:
        return WorkState.STARTING if lives else None
    if now < grant.at + grant.seconds:
        return WorkState.WORKING if lives else WorkState.ENDING
    if lives:
        return WorkState.UNHEARD
    return WorkState.ENDING if now < grant.at + grant.seconds + Policy().grace else None


def _doing(stream: Path) -> tuple[str, str]:
    """Return the task of a stream's last lines, and its last step among them."""
    try:
        with stream.open("rb") as file:
            file.seek(max(0, stream.stat().st_size - TAIL))
            lines = file.read().splitlines()
    except OSError:
        return "", ""
    task = ""
    for plain in map(object_of, reversed(lines)):
        said = str(plain.get("task") or "")
        if said and task and said != task:
            break
        task = task or said
        if isinstance(doing := plain.get("doing"), str):
            return task, plain_text(doing, 200)
    return task, ""


def here(store: Store, elsewhere: Collection[str]) -> list[AtWork]:
    """Return the tasks at work on this host; those `elsewhere`, by run and task, are not."""
    found: list[AtWork] = []
    for run, work, owner in _runs(store):
        for task, (began, doing) in _started(store, work.name).items():
            if f"{run} {task}" not in elsewhere:
                found.append(AtWork(task=task, run=run, began=began, owner=owner, doing=doing))
    return sorted(found, key=lambda each: each.began)


def ready(store: Store) -> list[Waiting]:
    """Return the builds that could begin, and that their runs hold back until others have ended; oldest runs first."""
    found: list[Waiting] = []
    for run, work, owner in _runs(store):
        told = journal.read(journal.folder(store.root) / f"{work.name}.json")
        if told is None or "plan" not in told or "began" not in told:
            continue
        since = datetime.fromisoformat(told["began"]).timestamp()
        tasks, begun = told["plan"]["tasks"], _started(store, work.name)
        over = {each["task"]: Status(each["status"]).good for each in told.get("results", ())}
        over |= {each["id"]: True for each in tasks if each["cached"]}
        for each in tasks:
            begins = all(over.get(need) for need in each["needs"]) and all(need in over for need in each["after"])
            if each["resource"] == Resource.BUILD and each["id"] not in over | begun and begins:
                found.append(Waiting(chain=each["id"], run=run, since=since, why=HELD, owner=owner))
    return found


def _runs(store: Store) -> Iterator[tuple[str, Path, str]]:
    """Yield the unique names, folders and owners of runs at work."""
    folder = store.root / "work"
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        with suppress(OSError):
            run = (store.root / "logs" / name / "name").read_text()
            if store.is_at_work(run):
                yield run, folder / name, environment.user((folder / name / "lock").stat().st_uid)


def _started(store: Store, version: str) -> dict[str, tuple[float, str]]:
    """Return the tasks of a run that have begun and not ended: since when, and their last steps."""
    try:
        lines = journal.events_path(store.root, version).read_bytes().splitlines()
    except OSError:
        return {}
    open_tasks: dict[str, tuple[float, str]] = {}
    for plain in map(object_of, lines):
        kind, task = plain.get("event"), str(plain.get("task"))
        if kind == "started":
            open_tasks[task] = (float(plain.get("time", 0.0)), "")
        elif kind == "step" and task in open_tasks:
            open_tasks[task] = (open_tasks[task][0], plain_text(str(plain.get("doing", "")), 200))
        elif kind == "ended":
            open_tasks.pop(task, None)
    return open_tasks
