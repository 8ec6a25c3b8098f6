"""A store that an older version has filled serves this one: planned as cached, shown, compared, pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GOLDEN, Cli
from tests.support.kept import kept_project

KEPT = GOLDEN / "kept"
"""The project and the store of cc-images 0.1.0: two images in two and three versions, layers, a push, a journal."""

NEWEST = "20261128T030000Z"
TAGS = ("kept-parent", "kept-child")


@pytest.fixture
def kept(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return the command line in a copy of the project, with a copy of its store, on a host with the same tools."""
    kept_project(KEPT, tmp_path, monkeypatch)
    return cli


def read(cli: Cli, *words: str) -> Any:
    answer = cli(*words, "--json")
    assert answer.returncode == 0, answer.stderr
    assert "damaged" not in answer.stderr
    return json.loads(answer.stdout)


def test_what_is_stored_is_planned_as_cached(kept: Cli, tmp_path: Path) -> None:
    plan = read(kept, "plan", "-b", "--offline", *TAGS)
    assert [(task["id"], task["cached"]) for task in plan["tasks"]] == [
        (f"build {tag} amd64", True) for tag in ("kept-parent", "kept-child")
    ]
    assert not (tmp_path / "store/quarantine").exists()


def test_status_shows_what_is_stored_and_where_it_is_published(kept: Cli) -> None:
    seen = read(kept, "status")
    assert [
        (each["image"], each["newest"], each["fresh"], each["boot"], each["sites"]["local"]["version"])
        for each in seen["images"]
    ] == [(tag, NEWEST, True, "checks", NEWEST) for tag in TAGS]
    held = [(each["kind"], each["name"], each["version"][:8], each["size"], each["rank"]) for each in seen["store"]]
    assert held == [
        ("build", "kept-child amd64", "20261128", 19, 0),
        ("build", "kept-child amd64", "20261126", 19, 1),
        ("build", "kept-parent amd64", "20261128", 20, 0),
        ("build", "kept-parent amd64", "20261127", 20, 1),
        ("build", "kept-parent amd64", "20261126", 20, 2),
        ("layer", "kept-parent amd64", "20261128", 20, 0),
        ("layer", "kept-parent amd64", "20261126", 20, 1),
        ("run", "logs", "20261129", held[-1][3], 0),
    ]


def test_prune_removes_what_is_beyond_the_newest(kept: Cli, tmp_path: Path) -> None:
    doomed = read(kept, "prune", "--keep", "1", "--dry-run")
    expected = {
        ("build", "kept-child amd64", "20261126T030000Z"),
        ("build", "kept-parent amd64", "20261127T030000Z"),
        ("build", "kept-parent amd64", "20261126T030000Z"),
        ("layer", "kept-parent amd64", "20261126T030000Z"),
    }
    assert {(each["kind"], each["name"], each["version"]) for each in doomed} == expected
    read(kept, "prune", "--keep", "1")
    assert len([*(tmp_path / "store/blobs").glob("*/*/*")]) == 3, "two disks and a layer"
    assert [task["cached"] for task in read(kept, "plan", "-b", "--offline", *TAGS)["tasks"]] == [True, True]


def test_versions_are_compared_and_runs_reported(kept: Cli) -> None:
    notes = kept("diff", "kept-parent")
    assert notes.returncode == 0
    assert "1.1" in notes.stdout
    assert "1.2" in notes.stdout
    (journal,) = read(kept, "report", "--list")
    assert (journal["state"], journal["counts"]["pushed"], len(journal["results"])) == ("ok", 2, 2)
    differs = kept("explain", "--offline", "kept-child")
    assert (differs.returncode, differs.stderr) == (0, "")


def test_a_bill_of_an_older_record_has_names_and_versions_and_says_why(kept: Cli) -> None:
    bill = kept("sbom", "kept-parent")
    assert bill.returncode == 0, bill.stderr
    assert [each["version"] for each in json.loads(bill.stdout)["components"]] == ["1.2", "9"]
    assert bill.stderr.startswith("note: names and versions alone")


def test_a_bill_of_a_record_with_the_list_needs_no_look(kept: Cli, tmp_path: Path) -> None:
    more = tmp_path / f"store/builds/kept-parent/amd64/{NEWEST}.more"
    said = json.loads(more.read_text())
    listed = [{"type": "pypi", "name": "hammers", "version": "0.3", "path": "/usr/local/lib/hammers-0.3.dist-info"}]
    more.write_text(json.dumps(said | {"contents": {"os": {"ID": "debian", "VERSION_ID": "12"}, "installed": listed}}))
    bill = kept("sbom", "kept-parent", "--format", "spdx")
    assert (bill.returncode, bill.stderr) == (0, "")
    assert '"pkg:pypi/hammers@0.3"' in bill.stdout
