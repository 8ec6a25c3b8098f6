"""The journal is written often enough, and not more often than a large run can afford."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cc_images.host import files
from cc_images.store import journal
from cc_images.store.journal import Journal

RESULT = {"task": "t", "status": "done", "error": "", "hint": "", "tail": [], "log": "", "seconds": 1.0}


def written(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_results_wait_for_a_moment_where_writing_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = 0
    write = files.write_json

    def slowly(path: Path, said: Any) -> None:
        nonlocal writes
        writes += 1
        time.sleep(0.005)
        write(path, said)

    monkeypatch.setattr(journal, "write_json", slowly)
    made = Journal(tmp_path, "20261121T120000Z")
    made.note(plan={"version": "v", "tasks": []}, results=[])
    for number in range(200):
        made.note_soon(results=[RESULT] * (number + 1))
    assert writes < 20, "not once for each result"
    until = time.monotonic() + 10
    while len(written(made.path)["results"]) < 200 and time.monotonic() < until:
        time.sleep(0.02)
    assert len(written(made.path)["results"]) == 200, "what waited is written by itself"
    made.note_soon(results=[])
    made.note(state=journal.State.OK)
    assert (written(made.path)["state"], written(made.path)["results"]) == ("ok", [])


def test_a_result_is_written_at_once_where_writing_takes_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SPARING", 0)
    made = Journal(tmp_path, "20261121T120000Z")
    made.note(results=[])
    made.note_soon(results=[RESULT])
    assert len(written(made.path)["results"]) == 1
