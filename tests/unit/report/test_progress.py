"""Progress: bars that fit, lines, events as documented."""

from __future__ import annotations

import io
import json
import os
import pty
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_images.engine.capacity import Host, book
from cc_images.engine.forecast import Forecast
from cc_images.model.catalog import Download
from cc_images.model.plan import FetchJob, Plan, Result, Status, Task
from cc_images.report import progress
from cc_images.report.bars import Bars
from cc_images.report.progress import EVENTS, Events, Lines
from cc_images.report.running import Running
from cc_images.store.durations import History
from tests.conftest import REPOSITORY

JOB = FetchJob(artifact=Download(url="file:/x"))
TASKS = tuple(Task(id=f"fetch {name}", job=JOB, reason="") for name in "ab")
PLAN = Plan(version="20261122T030000Z", tasks=TASKS)


def forecast(tmp_path: Path, **usual: float) -> Forecast:
    host = Host(cores=2, memory=4096, disk=9999)
    known = {f"fetch {name}": seconds for name, seconds in usual.items()}
    return Forecast(plan=PLAN, bookings=book(PLAN, host, 1, History(tmp_path)), usual=known)


@settings(deadline=None)
@given(
    st.text("abc ", min_size=1, max_size=60), st.text("xyz/: -", max_size=80), st.integers(20, 200),
    st.sampled_from([None, 0.0, 5.0, 100.0]), st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.floats(0, 1e5),
)  # fmt: skip
def test_a_bar_fits_whatever_it_says(
    name: str, doing: str, columns: int, usual: float | None, done: int, total: int, now: float
) -> None:
    running = Running(name=name, began=0.0, usual=usual)
    running.step(doing)
    running.move(now / 2, done // 2, total)
    running.move(now, done, total)
    line = running.line(now, columns, "█░")
    assert len(line) <= columns
    assert "\n" not in line


def test_a_bar_says_what_is_left_by_earlier_runs_or_that_there_is_none() -> None:
    running = Running(name="build x", began=0.0, usual=100.0)
    running.step("install.d/10-thing")
    assert running.line(25, 90, "#-") == "build x  ###---------  0:25, about 1:15 left  install.d/10-thing"
    assert "longer than usual" in running.line(130, 90, "#-")
    assert running.line(25, 30, "#-") == "build x  install.d/10-thing  …"
    assert "0:25, no earlier run" in Running(name="x", began=0.0).line(25, 90, "#-")


def test_a_bar_of_bytes_has_rate_and_remaining_time() -> None:
    running = Running(name="push x", began=0.0)
    for second in range(11):
        running.move(float(second), second << 20, 20 << 20)
    assert running.line(10, 100, "#-") == "push x  ##########----------  10.0 MiB of 20.0 MiB, 1.0 MiB/s, 0:10 left"
    running = Running(name="fetch x", began=0.0)
    running.move(0.0, 0, 0)
    running.move(2.0, 4 << 20, 0)
    assert running.line(2, 100, "#-") == "fetch x  4.0 MiB, 2.0 MiB/s", "nobody said how much there is"


def test_a_boot_test_shows_the_level_of_each_firmware() -> None:
    running = Running(name="boot x", began=0.0)
    for doing in ("inside", "bios: firmware", "uefi: boot loader", "bios: kernel"):
        running.step(doing)
    assert running.words == "bios: kernel, uefi: boot loader"
    running.step("comparing raw with qcow2")
    assert running.words == "comparing raw with qcow2"


def told(shown: Lines | Events, tmp_path: Path) -> None:
    shown.on_wait("run y is at work on cc-x amd64")
    shown.on_plan(forecast(tmp_path, a=75.0))
    shown.on_task_started("fetch a")
    shown.on_step("fetch a", "install.d/10-x")
    shown.on_step("fetch a", "install.d/20-y")
    shown.on_bytes("fetch a", 5, 10)
    shown.on_task_ended(Result(task="fetch a", status=Status.DONE, where="there"))
    shown.on_task_ended(Result(task="fetch b", status=Status.FAILED, error="no"))
    shown.close()


def test_lines_are_one_for_each_phase_and_say_what_is_usual(tmp_path: Path) -> None:
    out, plan = io.StringIO(), io.StringIO()
    told(Lines(out, plan), tmp_path)
    lines = [re.sub(r" +\d\.\ds", "", line) for line in out.getvalue().splitlines()]
    assert lines == [
        "waiting: run y is at work on cc-x amd64",
        "[fetch a] started, usually 1 min 15 s",
        "[fetch a] install.d",
        "[fetch a] done: there",
        "[fetch b]         FAILED: no",
    ]
    assert "about 1 min 15 s by earlier runs, and 1 of 2 tasks without one" in plan.getvalue()
    assert "\033" not in out.getvalue()


def test_every_event_is_a_line_of_json_as_documented(tmp_path: Path) -> None:
    out = io.StringIO()
    events = Events(out)
    told(events, tmp_path)
    said = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["event"] for each in said] == [
        "waiting", "planned", "started", "step", "step", "bytes", "ended", "ended",
    ]  # fmt: skip
    for each in said:
        assert each.keys() == {"event", "time", *EVENTS[each["event"]]}
    assert said[2]["usual"] == 75.0
    assert said[1]["unknown"] == ["fetch b"]
    with pytest.raises(AssertionError, match="waiting has whom"):
        events.tell("waiting", who="x")


def test_the_document_of_events_names_each_and_all_that_it_has() -> None:
    text = (REPOSITORY / "docs" / "events.md").read_text()
    sections = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(EVENTS)
    for event, keys in EVENTS.items():
        assert tuple(re.findall(r"^\| `(\w+)` \|", sections[event], re.MULTILINE)) == keys


def test_nothing_that_goes_wrong_with_the_reader_reaches_the_run(tmp_path: Path) -> None:
    gone = io.StringIO()
    gone.close()
    events = Events(gone)
    events.on_wait("x")
    Lines(gone, io.StringIO()).on_wait("x")


def test_a_terminal_that_goes_away_ends_no_build(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with open(slave, "w") as terminal:
        bars = Bars(terminal, io.StringIO())
        bars.on_plan(forecast(tmp_path, a=75.0))
        bars.on_task_started("fetch a")
        os.close(master)
        for _ in range(3):
            bars.on_step("fetch a", "install.d/10-x")
        bars.on_task_ended(Result(task="fetch a", status=Status.DONE))
        bars.close()
        with suppress(OSError):
            terminal.close()


def test_a_terminal_gets_each_drawing_in_one_piece(tmp_path: Path) -> None:
    pieces: list[str] = []

    class Terminal(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    class Still(Bars):
        EVERY = 60.0

    bars = Still(Terminal(), io.StringIO())
    bars.on_plan(forecast(tmp_path, a=75.0, b=75.0))
    bars.on_task_started("fetch a")
    bars.on_task_started("fetch b")
    acts: list[Callable[[], None]] = [
        lambda: bars.on_step("fetch a", "install.d/10-x"),
        lambda: bars.on_task_ended(Result(task="fetch a", status=Status.DONE)),
        lambda: bars.on_wait("another run"),
    ]
    for does in acts:
        pieces.clear()
        does()
        ours = [piece for piece in pieces if "fetch" in piece or "another run" in piece]
        assert len(ours) == 1, "a terminal that changes its size in the middle of one would keep parts of it"
    bars.close()


def test_a_terminal_that_can_do_nothing_gets_lines() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown(term: str = "xterm", **more: bool) -> object:
        chosen = {"quiet": False, "verbose": False, "events": False} | more
        made = progress.display(
            Terminal(), told=io.StringIO(), term=term, quiet=chosen["quiet"], verbose=chosen["verbose"],
            events=chosen["events"],
        )  # fmt: skip
        made.close()
        return type(made)

    assert shown() is Bars
    assert shown(verbose=True) is Lines
    assert shown(quiet=True) is Lines
    assert shown(events=True) is Events
    assert shown("dumb") is Lines
