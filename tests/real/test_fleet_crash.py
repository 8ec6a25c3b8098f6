"""Kill cc-images just before and after each HTTP call of a pull, and of a rollback because of bad health."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cc_images.model.catalog import Arch
from cc_images.store.holds import Holds
from cc_images.store.published import Published
from cc_images.store.records import Store
from tests.conftest import clean_environment, forked, spread, write_files
from tests.real.test_glance import images
from tests.real.test_glance_crash import NAME, add_build, clear
from tests.support import killer
from tests.support.testbed import TestBed

OLD, BAD = "20260101T000000Z", "20260102T000000Z"


def environment_of(folder: Path, bed: TestBed) -> dict[str, str]:
    counted = {"OS_CLIENT_CONFIG_FILE": str(bed.clouds), "KILLER_COUNT": str(folder / "count")}
    return clean_environment(folder) | counted


def changing(calls: list[str]) -> list[int]:
    """Return the numbers of calls that change something; after another one all is as before it."""
    return [number for number, call in enumerate(calls, 1) if not call.startswith("GET")]


def test_every_call_of_a_pull_can_be_the_last(tmp_path: Path, bed: TestBed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(bed.clouds))
    environment = environment_of(tmp_path, bed)
    write_files(
        tmp_path,
        images=f"{NAME}: {{elements: [debian-minimal], disk: []}}",
        sites="all: {catalogue: catalogue, scope: prod}\n"
        "metal: {cloud: metal, is_baremetal: true, visibility: private}\n",
    )
    store = Store(tmp_path / "store")

    def run(*words: str, at: int = 0, when: str = "before") -> int:
        return forked(killer.main, (str(at), when, *words), tmp_path, environment).returncode

    def prepare(version: str) -> str:
        digest = add_build(store, version)
        assert run("-q", "-p", "--no-boot-test", "-s", "all", "cc-crash") == 0
        return digest

    clear()
    first = prepare(OLD)
    assert run("pull", "all") == 0
    assert images(NAME)[NAME].split()[-1] == first
    number = 2
    second = prepare(BAD)
    assert run("pull", "all") == 0
    calls = (tmp_path / "count").read_text().splitlines()
    for at in spread(changing(calls)):
        number += 1
        second, before = prepare(f"202601{number:02}T000000Z"), second
        assert run("pull", "all", at=at, when="after") == 137
        there = images(NAME)
        holder = there[NAME].split()[-1] if NAME in there else ""
        assert holder in ("", before, second), "at most for one call nobody has the name"
        assert run("pull", "all") == 0, f"after {at} {calls[at - 1]}"
        there = images(NAME)
        assert there[NAME].split()[-1] == second
        assert not [name for name in there if name.endswith(".staged")]
    clear()


def test_every_call_of_a_rollback_for_bad_health_can_be_the_last(
    tmp_path: Path, bed: TestBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(bed.clouds))
    environment = environment_of(tmp_path, bed)
    asks = tmp_path / "asks"
    asks.write_text(f'#!/bin/sh\n[ "$1" != {BAD} ]\n')
    asks.chmod(0o755)
    write_files(
        tmp_path,
        images=f"{NAME}: {{elements: [debian-minimal], disk: []}}",
        sites="metal: {cloud: metal, is_baremetal: true, visibility: private, on-bad: rollback,"
        ' health: "./asks {version}"}\n'
        "late: {directory: late, is_baremetal: true, wave: 2}\n",
    )
    store = Store(tmp_path / "store")

    def push(at: int = 0, when: str = "before") -> int:
        words = (str(at), when, "-q", "-p", "--no-boot-test", "cc-crash")
        return forked(killer.main, words, tmp_path, environment).returncode

    def prepare() -> str:
        """Bring the site to where the bad version is about to be published; return the good one's digest."""
        clear()
        for file in ("published.json", "holds.json"):
            (store.root / file).unlink(missing_ok=True)
        for build in store.builds("cc-crash", Arch.AMD64):
            store.forget(build)
        good = add_build(store, OLD)
        assert push() == 0
        add_build(store, BAD)
        return good

    good = prepare()
    assert push() == 3
    assert images(NAME)[NAME].split()[-1] == good
    calls = (tmp_path / "count").read_text().splitlines()
    # the first calls are those of the push, which has a test of its own
    for at in spread([each for each in changing(calls) if each > len(calls) // 3]):
        good = prepare()
        push(at, "after")
        held = Holds(store).held("cc-crash", Arch.AMD64)
        push()
        push()  # the one after that finds everything in order, whether the bad one was held in the first or second run
        there = images(NAME)
        assert there[NAME].split()[-1] == good, f"after {at} {calls[at - 1]}"
        assert Holds(store).held("cc-crash", Arch.AMD64) == {BAD} >= held
        assert not [name for name in there if name.endswith(".staged")]
        late = {put.site: put.version for put in Published(store.root).all()}.get("late")
        assert late != BAD, "it went no further"
        shown = json.loads((tmp_path / "late" / f"{NAME}.json").read_text())
        assert shown["properties"]["build-version"] == OLD
    clear()
