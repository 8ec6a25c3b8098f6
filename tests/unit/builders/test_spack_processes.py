"""The build cache among processes that are killed: it serves, nobody waits for ever, nothing is compiled twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache import Caches
from tests.conftest import REPOSITORY, lacking, samples
from tests.support.packages import Made, made

REASON = lacking(("gpg", "gpg-agent", "gpgconf"))
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON or ""), pytest.mark.long]

BUILD = """
import os, sys, threading, time
from pathlib import Path
from cc_images.builders.spack.cache import Caches
from tests.support.packages import drop, made
folder, number, seconds, size, *names = sys.argv[1:]
folder, wanted = Path(folder), [made(name) for name in names]
caches = Caches((), folder / "store", folder / "gnupg")
def note(word):
    with (folder / "notes").open("a") as notes:
        print(number, word, file=notes, flush=True)
with caches.wanted(wanted, threading.Event()):
    with caches.publishing(folder / f"drop{number}", wanted, lambda line: None):
        note("begins")
        for package in wanted:
            if package.hash in caches.known(wanted):
                continue
            note(f"compiles {package.name}")
            time.sleep(float(seconds))
            drop(folder / f"drop{number}", package, os.urandom(int(size)))
            while package.hash not in caches.known(wanted):
                time.sleep(0.05)
            note(f"has {package.name}")
note("ends")
"""


def start(folder: Path, number: int, *names: str, seconds: float = 0.3, size: int = 1000) -> subprocess.Popen[bytes]:
    """Start a build in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, folder, str(number), str(seconds), str(size), *names],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def until_noted(folder: Path, line: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while line not in notes(folder):
        assert time.monotonic() < end, notes(folder)
        time.sleep(0.05)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_builds_that_want_the_same_wait_also_for_one_that_is_killed(tmp_path: Path) -> None:
    Caches((), tmp_path / "store", tmp_path / "gnupg").public_key  # noqa: B018
    first = start(tmp_path, 1, "a", "b", "c", seconds=3)
    until_noted(tmp_path, "1 compiles b")
    others = [start(tmp_path, 2, "c", "b", "d"), start(tmp_path, 3, "d", "c", "a"), start(tmp_path, 4, "e", "b")]
    time.sleep(1)
    assert "1 has a" in notes(tmp_path)
    kill(first)
    for each in others:
        assert each.wait(120) == 0
    said = notes(tmp_path)
    assert sorted(each.split()[2] for each in said if " compiles " in each and not each.startswith("1 ")) == [
        "b", "c", "d", "e",
    ]  # fmt: skip
    caches = Caches((), tmp_path / "store", tmp_path / "gnupg")
    every = [made(name) for name in "abcde"]
    assert caches.known(every) == {each.hash for each in every}


def whole(caches: Caches, every: list[Made]) -> set[str]:
    """Return the packages whose manifests are there: each must count."""
    there = {each.hash for each in every if (caches.folder / layout.manifest_path(each)).exists()}
    assert caches.known(every) == there
    return there


def test_a_writer_that_is_killed_leaves_a_cache_that_serves(tmp_path: Path) -> None:
    caches = Caches((), tmp_path / "store", tmp_path / "gnupg")
    assert caches.public_key
    names = [f"p{number}" for number in range(6)]
    every = [made(name) for name in names]
    chance, grown = random.Random(5), [0]
    for number in range(samples(4, 20)):
        process = start(tmp_path, number, *names, seconds=0, size=8 << 20)
        until_noted(tmp_path, f"{number} begins")
        time.sleep(chance.uniform(0, 3))
        kill(process)
        grown.append(len(whole(Caches((), tmp_path / "store", tmp_path / "gnupg"), every)))
        if grown[-1] == len(every):
            for each in every[: chance.randint(1, 6)]:
                (caches.folder / layout.manifest_path(each)).unlink()
    assert max(grown) > 0
    assert start(tmp_path, 99, *names, seconds=0).wait(120) == 0
    assert len(whole(Caches((), tmp_path / "store", tmp_path / "gnupg"), every)) == len(every)
    caches.prune({each.hash for each in every}, time.time() + 2 * 86400, dry_run=False)
    assert not list((caches.folder / ".parts").iterdir()), "parts of killed writers go"
    blobs = list((caches.folder / "blobs").rglob("?" * 64))
    assert len(blobs) == 2 * len(every) + 2, "and blobs without a package; the key and its index stay"
    with caches.wanted(every, threading.Event()):
        assert whole(caches, every) == {each.hash for each in every}
