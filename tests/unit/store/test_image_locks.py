"""Turns: who waits for whom, who leaves, and that the dead hold nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

import pytest

from cc_images.errors import Interrupted
from cc_images.host.files import try_lock
from cc_images.model.catalog import Arch
from cc_images.model.run import IfBusy
from cc_images.store import image_locks
from cc_images.store.image_locks import Busy
from cc_images.store.records import Store
from cc_images.store.workspace import Run
from tests.conftest import NOW, REPOSITORY

X, Y, Z = (("cc-x", Arch.AMD64), ("cc-y", Arch.AMD64), ("cc-x", Arch.ARM64))


def test_one_that_must_be_alone_leaves_while_another_is_at_work(store: Store, run: Run) -> None:
    image_locks.take(store, run, [X, Y], IfBusy.SHARE)
    other = store.start_run(NOW)
    with pytest.raises(Busy, match=f"run {run.version} is at work on cc-y amd64") as error:
        image_locks.take(store, other, [Y, Z], IfBusy.LEAVE)
    assert error.value.exit_code == 4
    image_locks.take(store, other, [Z], IfBusy.LEAVE)
    store.finish_run(other, shutil.rmtree)


def test_whoever_does_not_mind_shares(store: Store, run: Run) -> None:
    image_locks.take(store, run, [X], IfBusy.LEAVE)
    other = store.start_run(NOW)
    image_locks.take(store, other, [X], IfBusy.SHARE)
    third = store.start_run(NOW)
    with pytest.raises(Busy):
        image_locks.take(store, third, [X], IfBusy.LEAVE)
    for each in (other, third):
        store.finish_run(each, shutil.rmtree)


def test_waiting_ends_when_the_other_does_or_when_it_is_told_to(store: Store) -> None:
    first, second, stop = store.start_run(NOW), store.start_run(NOW), threading.Event()
    image_locks.take(store, first, [X], IfBusy.SHARE)
    heard: list[str] = []

    def waiting(whom: str) -> None:
        heard.append(whom)
        stop.set()

    with pytest.raises(Interrupted):
        image_locks.take(store, second, [X], IfBusy.WAIT, on_wait=waiting, stop=stop)
    assert heard == [f"run {first.version} is at work on cc-x amd64"]
    image_locks.take(store, second, [X], IfBusy.WAIT, on_wait=lambda whom: store.finish_run(first, shutil.rmtree))
    assert try_lock(store.lock_path("turn cc-x amd64")) is None, "it has its turn"
    store.finish_run(second, shutil.rmtree)


def test_one_that_was_refused_marks_nothing(store: Store, run: Run) -> None:
    image_locks.take(store, run, [Y], IfBusy.SHARE)
    refused, third = store.start_run(NOW), store.start_run(NOW)
    with pytest.raises(Busy):
        image_locks.take(store, refused, [X, Y], IfBusy.LEAVE)
    image_locks.take(store, third, [X], IfBusy.LEAVE)
    for each in (refused, third):
        store.finish_run(each, shutil.rmtree)


def test_the_dead_hold_nothing(store: Store, run: Run) -> None:
    program = (
        "import os, sys; from datetime import datetime, UTC; from pathlib import Path;"
        "from cc_images.store import image_locks as turns; from cc_images.model.catalog import Arch;"
        "from cc_images.store.records import Store;"
        "store = Store(Path(sys.argv[1])); run = store.start_run(datetime.now(UTC));"
        "turns.take(store, run, [('cc-x', Arch.AMD64)], turns.IfBusy.SHARE);"
        "os.kill(os.getpid(), 9)"
    )
    dead = subprocess.run([sys.executable, "-c", program, store.root], cwd=REPOSITORY)
    assert dead.returncode == -9
    image_locks.take(store, run, [X], IfBusy.LEAVE)
    assert os.listdir(store.root / "locks")
