"""The journal of a run is the fold of its stream of events, whether the run is at work, over or dead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cc_images.model.run import State
from cc_images.store import journal
from cc_images.store.journal import Journal

RUN = "20261121T120000Z"
RESULT = {"task": "t", "status": "done", "error": "", "hint": "", "tail": [], "log": "", "seconds": 1.0, "started": 0.5}
PLAN = {"version": RUN, "tasks": []}


@pytest.fixture
def at_work(tmp_path: Path) -> Journal:
    """Return the journal of a run that is planned, and two of whose tasks have ended."""
    made = Journal(tmp_path, RUN)
    made.note(plan=PLAN, results=[])
    events = journal.events_path(tmp_path, RUN)
    events.parent.mkdir()
    lines = [{"event": "started", "task": "t"}, {"event": "ended", "time": 1.0, "format": 1} | RESULT,
             {"event": "ended", "time": 2.0, "format": 1} | RESULT | {"task": "u"}]  # fmt: skip
    events.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"event": "ended", "ta')
    return made


def test_a_run_at_work_has_the_results_of_its_stream(at_work: Journal, tmp_path: Path) -> None:
    said = journal.read(at_work.path)
    assert said is not None
    assert said["state"] == State.RUNNING
    assert said["results"] == [RESULT, RESULT | {"task": "u"}], "the last line is torn"


def test_a_run_that_was_killed_keeps_them(at_work: Journal, tmp_path: Path) -> None:
    journal.mark_killed(tmp_path, RUN)
    journal.events_path(tmp_path, RUN).unlink()
    said = journal.read(at_work.path)
    assert said is not None
    assert (said["state"], len(said["results"])) == (State.KILLED, 2)


def test_a_run_that_is_over_is_read_from_its_journal_alone(at_work: Journal, tmp_path: Path) -> None:
    at_work.note(state=State.OK, results=[RESULT])
    journal.events_path(tmp_path, RUN).write_text("no stream")
    said = journal.read(at_work.path)
    assert said is not None
    assert (said["state"], said["results"]) == (State.OK, [RESULT])
