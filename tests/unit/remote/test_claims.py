"""Attempts by their chains: those of other runs are seen whenever they come, and a run alone lists them once."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cc_images import clock
from cc_images.model.attempt import Claim
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.remote.claims import Claims
from cc_images.store.records import Store

CHAIN = "build cc-x amd64"


def made(store: Store, number: int, run: str = "r") -> tuple[AttemptFiles, Claim]:
    files = AttemptFiles(store, f"a{number:032x}")
    claim = Claim(attempt=files.attempt, run=run, tasks=(CHAIN,), builder="east", made=time.time())
    files.create(claim, "t" * 43, {"format": 1}, ())
    return files, claim


def settled(store: Store) -> None:
    """Let the folder of runs be as if it had not changed for a while."""
    os.utime(store.root / "work", ns=(0, time.time_ns() - 10**10))


def test_attempts_of_other_runs_are_seen_whenever_they_begin(store: Store) -> None:
    run = store.start_run(clock.now())
    settled(store)
    made(store, 1)
    claims = Claims(store)
    assert [claim.attempt[-1] for _, claim in claims.of(CHAIN)] == ["1"]
    other = store.start_run(clock.now())
    made(store, 2, other.name)
    assert len(claims.of(CHAIN)) == 2
    settled(store)
    assert len(claims.of(CHAIN)) == 2
    made(store, 3, other.name)
    assert len(claims.of(CHAIN)) == 3, "while another run is there, they are listed each time"
    other.close()
    run.close()


def test_a_run_alone_lists_attempts_once_and_reads_none_of_its_own(store: Store, tmp_path: Path) -> None:
    run = store.start_run(clock.now())
    settled(store)
    claims = Claims(store)
    assert claims.of(CHAIN) == []
    for number in (1, 2):
        claims.expect(f"a{number:032x}")
        files, claim = made(store, number, run.name)
        assert len(claims.of(CHAIN)) == number - 1, "it is being made"
        claims.add(files, claim)
    assert len(claims.of(CHAIN)) == 2
    aside = store.root / "aside"
    (store.root / "attempts").rename(aside)
    assert len(claims.of(CHAIN)) == 2, "nothing was listed"
    aside.rename(store.root / "attempts")
    run.close()
