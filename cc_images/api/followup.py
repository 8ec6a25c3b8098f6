"""The follow-up of a run: its page, the store's size cap, rotation of old runs, metrics, and the notify command.

Nothing here changes how the run ended: what goes wrong is returned as a complaint.
"""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cc_images import clock
from cc_images.api import removal, status
from cc_images.api.inventory import inventory
from cc_images.api.page import page_path, write_file, write_page
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.host import environment
from cc_images.model.builds import moment
from cc_images.model.catalog import Json
from cc_images.model.run import State
from cc_images.report import metrics
from cc_images.store import journal, updates
from cc_images.store.durations import History
from cc_images.store.published import Published
from cc_images.store.records import USED_AGAIN, Store

PATIENCE = 120.0
"""Seconds that the notify command may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """The work to do after a run. `max_size` is in bytes, `keep` the builds that stay of each image."""

    metrics: Path | None = None
    notify: str = ""
    """A command, its words as in a shell."""
    max_size: int | None = None
    keep: int = 3
    patience: float = PATIENCE


def follow_up(
    config: Config | None, told: Json, words: str, wishes: FollowUp, stop: threading.Event | None = None
) -> list[str]:
    """Do the work after a run, given its journal's contents; return what went wrong, a sentence each.

    `words` is the command's input: the summary, and more about failures; it is ended when `stop` is set. Without a
    configuration only the command runs, and the metrics say that the run has failed.
    """
    steps: dict[str, Callable[[], object]] = {}
    left = told["state"] == State.LEFT  # the other run notifies and prunes when it is over
    if config is not None:
        store = Store(config.store)
        if told.get("run"):
            steps["cannot write the run's page"] = lambda: write_page(store.root, told)
        if wishes.max_size is not None and not left:
            steps["cannot prune the store"] = lambda: removal.pruned(
                store,
                keep=wishes.keep,
                cap=wishes.max_size,
                dry_run=False,
                serving=status.serving(config, store, clock.now()),
                since=_began(told),
            )
        steps["cannot rotate old runs"] = lambda: removal.rotate(store, clock.now())
    if (file := wishes.metrics) is not None and not left:
        steps[f"cannot write metrics to {file}"] = lambda: write_file(file, metrics.text(_measured(config, told)))
    if wishes.notify:
        steps["--notify"] = lambda: _tell(wishes, told, words, config.store if config else None, stop)
    complaints: list[str] = []
    for what, step in steps.items():
        try:
            step()
        except (CCImagesError, OSError, ValueError, TypeError, LookupError) as error:
            complaints.append(f"{what}: {error}")
    return complaints


def _began(told: Json) -> float:
    """Return from when on a use counts as this run's: uses within an hour are noted once."""
    try:
        return datetime.fromisoformat(told["began"]).timestamp() - USED_AGAIN
    except (KeyError, ValueError, TypeError):
        return math.inf


def _measured(config: Config | None, told: Json) -> list[metrics.Metric]:
    return metrics.metrics(told, clock.now(), metrics.Measured() if config is None else _of_store(config))


def _of_store(config: Config) -> metrics.Measured:
    store = Store(config.store)
    good = journal.last_success(store.root)
    newest = [
        (tag, arch, build.created)
        for tag, image in config.images.items()
        for arch in image.arches
        if (build := store.in_force(tag, arch)) is not None
    ]
    sites = {site.name for site in config.sites}
    puts = [put for put in Published(store.root).newest() if put.tag in config.images and put.site in sites]
    return metrics.Measured(
        succeeded=moment(good) if good else None,
        builds=newest,
        pushes=[(put.tag, put.arch, put.site, put.since) for put in puts],
        pending=[
            (row["tag"], row["arch"], row["site"], row["updates"], row["security"])
            for row in updates.remembered(store)
            if not row["unknown"] and row["tag"] in config.images and row["site"] in sites
        ],
        durations=History(store.root).usual(),
        store_bytes=sum(item.holding.size for item in inventory(store)),
        free_bytes=store.free_bytes(),
    )


def _tell(wishes: FollowUp, told: Json, words: str, root: Path | None, stop: threading.Event | None) -> None:
    """Run the command with the words as its input; what the run was stands in its environment.

    Raises CCImagesError when it fails, takes too long, or has to be ended.
    """
    run = told.get("run", "")
    said: Mapping[str, str] = {
        "CC_IMAGES_RUN": run,
        "CC_IMAGES_STATE": told["state"],
        "CC_IMAGES_SUMMARY": words.partition("\n")[0],
        "CC_IMAGES_CHANGED": "yes" if any(told.get("counts", {}).get(each) for each in ("built", "pushed")) else "no",
        "CC_IMAGES_JOURNAL": str(journal.folder(root) / f"{run}.json") if root and run else "",
        "CC_IMAGES_REPORT": str(page_path(root, run)) if root and run else "",
    }
    argv = shlex.split(wishes.notify)
    process = subprocess.Popen(
        argv, env=environment.whole(**said), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    output, deadline = "", time.monotonic() + wishes.patience
    heard: str | None = words.encode(errors="replace").decode()
    while process.returncode is None:
        try:
            output, _ = process.communicate(heard, timeout=0.2)
        except subprocess.TimeoutExpired:
            heard = None  # it goes on with what it was given
            stopped = stop is not None and stop.is_set()
            if stopped or time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                why = "was stopped" if stopped else f"timed out after {wishes.patience:g} seconds"
                raise CCImagesError(f"{argv[0]} {why}") from None
    if process.returncode != 0:
        last = output.strip().splitlines()[-1:]
        raise CCImagesError(f"{argv[0]} ended with code {process.returncode}" + "".join(f": {line}" for line in last))
