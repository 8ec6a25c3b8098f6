"""A month of scheduled runs, nobody watching: rebuilt and pushed is what changed, on the day after it changed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import REPOSITORY, clean_environment, write_files
from tests.real.conftest import Project, Watched, host_mirrors
from tests.support.aptbed import AptBed

FIRST = date(2027, 3, 1)

CAP = 380 << 20
"""Bytes that the store may hold; the fetched tree and one build of each image are about 270 MiB."""

NEWS: Mapping[int, tuple[str, ...]] = {1: ("a", "b"), 5: ("a",), 8: ("b",), 13: ("a",), 21: ("a", "b")}
"""The days on which a repository has something new, and which."""

KILLED, DOWN, OVERLAP = 5, 8, 13
"""The days on which the run is killed, the mirror does not answer, a second run comes along."""

BUILT: Mapping[int, tuple[str, ...]] = {
    1: ("cc-a", "cc-b"), 6: ("cc-a",), 9: ("cc-b",), 13: ("cc-a",), 21: ("cc-a", "cc-b"),
}  # fmt: skip
"""The days on which a run ends with something built: a day later where it was killed, or could not ask."""

TOLD = "cat >> mail; echo $CC_IMAGES_CHANGED >> changed"

COMMAND = (
    "-b", "-p", "--no-boot-test", "-t", "2", "--if-busy", "leave", "--keep", "2", "--max-size", f"{CAP >> 20}M",
    "--max-age", "60", "--metrics", "images.prom", "--notify", f"sh -c '{TOLD}'",
    "all",
)  # fmt: skip


class Month(Project):
    """A project whose runs happen on days of a month."""

    def on(self, day: int, minute: int = 0, **environment: str) -> subprocess.Popen[str]:
        """Start the scheduled run of a day."""
        return self.start_module("tests.support.dated", self.moment(day, minute), *COMMAND, **environment)

    @staticmethod
    def moment(day: int, minute: int = 0) -> str:
        """Return when the run of a day begins."""
        return f"{FIRST + timedelta(days=day - 1)}T03:{minute:02}:00"

    def journals(self, day: int) -> list[dict[str, Any]]:
        """Return the journals of a day's runs."""
        of_day = f"{FIRST + timedelta(days=day - 1):%Y%m%d}"
        return [json.loads(path.read_text()) for path in sorted((self.store / "runs").glob(f"{of_day}*.json"))]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[AptBed]:
    with AptBed(tmp_path / "apt") as made:
        yield made


@pytest.fixture
def month(tmp_path: Path, tiny_root: Path, bed: AptBed) -> Iterator[Month]:
    images = "".join(
        f"CC-{name.upper()}:\n  elements: [tiny-os, tiny-news]\n  disk: [block-device-efi, tiny-disk]\n"
        f"  environment: {{DIB_TINY_NEWS: '{bed.address(name)}'}}\n"
        f"  artifacts: {{DIB_TINY_ROOT: {{url: '{tiny_root.as_uri()}'}}}}\n"
        for name in ("a", "b")
    )
    write_files(tmp_path, images=images, sites="local: {directory: site, is_baremetal: true, keep: 2}")
    (tmp_path / "elements").symlink_to(REPOSITORY / "tests" / "elements")
    environment = clean_environment(tmp_path) | host_mirrors() | {"PYTHONPATH": str(REPOSITORY)}
    made = Month(tmp_path, environment)
    yield made
    made.assert_nothing_leaked()


def test_a_month_of_scheduled_runs(month: Month, bed: AptBed) -> None:
    for day in range(1, 31):
        for name in NEWS.get(day, ()):
            bed.release(name, f"1.{day}")
        bed.down = day == DOWN
        if day == KILLED:
            run = Watched(month.on(day, DIB_TINY_LINGER="1"))
            run.wait_for(r"^\[build cc-a .* install\.d")
            run.end(signal.SIGKILL)
            continue
        if day == OVERLAP:
            first = Watched(month.on(day))
            first.wait_for(r"^\[build cc-a ")
            second = month.on(day, minute=5)
            said, _ = second.communicate(timeout=60)
            assert second.returncode == 4, said
            assert re.search(r"left: nothing was done: run \S+ is at work on cc-a amd64", said), said
            assert first.wait() == 0
            check(month, day, codes=("ok", "left"))
            continue
        process = month.on(day)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        check(month, day, codes=("ok",))
        if day == KILLED + 1:
            (dead,) = month.journals(KILLED)
            assert dead["state"] == "killed"
            assert {each["id"] for each in dead["plan"]["tasks"]} >= {"build cc-a amd64"}
            assert "images" not in dead
    month.assert_no_leftovers()
    mails = (month.folder / "mail").read_text()
    assert mails.count("cc-images 2027") == 30, "29 runs that ended by themselves, and the one that left"
    changed = (month.folder / "changed").read_text().split()
    assert changed.count("yes") == len(BUILT)
    versions = {path.name for path in month.site.glob("CC-A*.qcow2")}
    assert versions == {"CC-A.qcow2", "CC-A-20270306.qcow2", "CC-A-20270313.qcow2"}, "the newest, and two archived"


def check(month: Month, day: int, codes: tuple[str, ...]) -> None:
    """Check what the runs of a day have left."""
    journals = month.journals(day)
    assert tuple(each["state"] for each in journals) == codes
    told = journals[0]
    built = tuple(each["image"] for each in told["images"] if each["built"])
    assert built == BUILT.get(day, ()), day
    pushed = tuple(each["image"] for each in told["images"] if [put["status"] for put in each["sites"]] == ["done"])
    assert pushed == built
    assert told["began"].startswith(month.moment(day)[:16])
    if day == DOWN:
        assert [note for note in told["plan"]["notes"] if "--max-age decides" in note]
    if day in BUILT and day > 1:
        for each in told["images"]:
            if each["built"]:
                (change,) = each["changes"]["packages"]
                assert re.fullmatch(rf"news 1\.\d+ → 1\.{max(d for d in NEWS if d <= day)}", change), change
    held = subprocess.run(["du", "-sb", month.store], capture_output=True, text=True, check=True).stdout.split()[0]
    assert int(held) <= CAP
    measured = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families((month.folder / "images.prom").read_text())
        for sample in family.samples
    }
    for name in ("cc-a", "cc-b"):
        last = max(each for each in BUILT if each <= day and name in BUILT[each])
        for metric in (("cc_images_build_timestamp_seconds",), ("cc_images_push_timestamp_seconds", "local")):
            moment = measured[metric[0], name, "amd64", *metric[1:]]
            begun = datetime.fromisoformat(month.moment(last) + "+00:00").timestamp()
            assert begun <= moment < begun + 600
    assert measured["cc_images_run_state", "ok"] == 1, "one that leaves does not speak for the images"
    assert measured["cc_images_run_state", "failed"] == 0


def test_the_clock_is_that_of_the_day(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.support.dated", "2127-03-05T03:00:00", "list"]
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    write_files(tmp_path, images="CC-X: {eol: 2127-03-04}\n")
    said = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "2127-03-04 (over)" in said.stdout, said
