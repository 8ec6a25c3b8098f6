"""Kill cc-images just before and just after each HTTP call of a push; the next push finds or makes everything right."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.store.records import Store
from tests.conftest import clean_environment, forked, spread, write_files
from tests.real.test_glance import images, site
from tests.support import killer
from tests.support.testbed import TestBed
from tests.unit.sites.test_sites import today

NAME = "CC-Crash"


def add_build(store: Store, version: str) -> str:
    """Put a build with a small disk of random content into the store; return how `images` shows its digest."""
    raw, disk = store.root / "raw", store.root / "disk"
    raw.parent.mkdir(exist_ok=True)
    raw.write_bytes(os.urandom(1 << 20))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, disk], check=True)
    raw.unlink()
    blob = store.blobs.add(disk)
    output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1 << 20)
    build = Build(tag="cc-crash", name=NAME, arch=Arch.AMD64, version=version, recipe_key="a", key="k",
                  outputs={Format.QCOW2: output})  # fmt: skip
    store.record(build, {}, NAME)
    return blob.sha512[:8]


def clear() -> None:
    for entry in site().listed():
        if entry.name.startswith(NAME):
            site().call("DELETE", f"/images/{entry.id}")


def crash_project(
    folder: Path, bed: TestBed, monkeypatch: pytest.MonkeyPatch, more: str = ""
) -> tuple[Store, dict[str, str]]:
    """Make a project of one image and one cloud; return its store and the environment of runs that count calls."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(bed.clouds))
    write_files(
        folder,
        images=f"{NAME}: {{elements: [debian-minimal], disk: []}}",
        sites=f"metal: {{cloud: metal, is_baremetal: true, visibility: private{more}}}",
    )
    counted = {"OS_CLIENT_CONFIG_FILE": str(bed.clouds), "KILLER_COUNT": str(folder / "count")}
    return Store(folder / "store"), clean_environment(folder) | counted


@pytest.mark.parametrize(
    "before",
    [pytest.param(0, id="first", marks=pytest.mark.deep), pytest.param(1, id="replacement"),
     pytest.param(2, id="retention", marks=pytest.mark.deep)],
)  # fmt: skip
def test_every_call_can_be_the_last(
    tmp_path: Path, bed: TestBed, monkeypatch: pytest.MonkeyPatch, before: int, capsys: pytest.CaptureFixture[str]
) -> None:
    store, environment = crash_project(tmp_path, bed, monkeypatch, ", keep: 1")

    def push(at: int = 0, when: str = "before") -> int:
        words = (str(at), when, "-q", "-p", "--no-boot-test", "cc-crash")
        return forked(killer.main, words, tmp_path, environment).returncode

    def prepare() -> list[str]:
        """Bring the site to where the push begins; return the digests that were published, oldest first."""
        clear()
        (store.root / "published.json").unlink(missing_ok=True)  # nobody took the name away: the test did
        digests = []
        for build in store.builds("cc-crash", Arch.AMD64):
            store.forget(build)
        for number in range(before):
            digests.append(add_build(store, f"2026010{number + 1}T000000Z"))
            assert push() == 0
        digests.append(add_build(store, "20260109T000000Z"))
        return digests

    prepare()
    assert push() == 0
    calls = (tmp_path / "count").read_text().splitlines()
    table = []
    for at, call in spread([*enumerate(calls, 1)]):
        # nothing happens to the site between two calls: after one is before the next
        for when in ("before", "after") if at == 1 else ("after",):
            digests = prepare()
            assert push(at, when) == 137
            between = images(NAME)
            assert push() == 0, f"{when} {at} {call}"
            archived = {f"{NAME}-{today()}": digests[-2]} if before == 1 else {}
            after = {name: state.split()[-1] for name, state in images(NAME).items()}
            if before == 2:  # keep: 1, so the oldest is gone and the one before this is archived
                [archive] = [name for name in after if re.fullmatch(rf"{NAME}-{today()}(\.1)?", name)]
                archived = {archive: digests[-2]}
            assert after == {NAME: digests[-1]} | archived, f"{when} {at} {call}"
            assert all(state.startswith("active private") for state in images(NAME).values())
            shown = ", ".join(
                f"{name.removeprefix(NAME) or 'name'} {state.split()[0]}" for name, state in between.items()
            )
            table.append(f"{when:6} {at:2} {re.sub('[0-9a-f-]{36}', 'ID', call):28} {shown or 'nothing'}")
    clear()
    with capsys.disabled():
        print("\nkilled                                  the site between the two runs")
        print("\n".join(table))


def test_every_call_of_a_rollback_can_be_the_last(
    tmp_path: Path, bed: TestBed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, environment = crash_project(tmp_path, bed, monkeypatch)
    good, bad = "20260101T000000Z", "20260102T000000Z"

    def run(*words: str, at: int = 0, when: str = "before") -> int:
        return forked(killer.main, (str(at), when, *words), tmp_path, environment).returncode

    def push() -> int:
        return run("-q", "-p", "--no-boot-test", "cc-crash")

    clear()
    digests = []
    for version in (good, bad):
        digests.append(add_build(store, version))
        assert push() == 0
    assert run("rollback", "cc-crash", "--to", good) == 0
    calls = (tmp_path / "count").read_text().splitlines()
    table = []
    for at, call in spread([*enumerate(calls, 1)]):
        for when in ("before", "after") if at == 1 else ("after",):
            assert run("rollback", "cc-crash", "--to", bad) == 0
            (store.root / "holds.json").unlink(missing_ok=True)
            assert run("rollback", "cc-crash", "--to", good, at=at, when=when) == 137
            between = images(NAME)
            assert push() == 0, f"{when} {at} {call}"
            after = {name: state.split()[-1] for name, state in images(NAME).items()}
            assert len(after) == 2, f"{when} {at} {call}: {after}"
            assert sorted(after.values()) == sorted(digests), "nothing is lost"
            assert NAME in after, f"{when} {at} {call}: the name has no image"
            assert not [name for name in after if name.endswith(".staged")]
            shown = ", ".join(
                f"{name.removeprefix(NAME) or 'name'} {state.split()[0]}" for name, state in between.items()
            )
            table.append(f"{when:6} {at:2} {re.sub('[0-9a-f-]{36}', 'ID', call):28} {shown or 'nothing'}")
    clear()
    with capsys.disabled():
        print("\nkilled in a rollback                    the site between the two runs")
        print("\n".join(table))
