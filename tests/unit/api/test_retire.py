"""Retirement from the command line: a folder with versions of several months."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cc_images.store.records import Store
from tests.conftest import NOW, Cli, write_files
from tests.unit.api.test_rollback import add

VERSIONS = ("20260801T000000Z", "20260901T000000Z", "20261001T000000Z", "20261101T000000Z")
PUSH = ("-q", "-p", "--no-boot-test", "cc-x")


@pytest.fixture
def aged(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return the command line in a project with a folder that got a version a month; the last one today."""
    write_files(
        tmp_path,
        images="CC-X: {elements: [debian-minimal], disk: [], eol: 2026-06-30}\n",
        sites="one: {directory: one, is_baremetal: true, retire: {delete-after: 45 days, keep: 1}}\n",
    )
    store = Store(tmp_path / "store")
    store.root.mkdir()
    moment = [NOW - timedelta(days=31 * len(VERSIONS))]
    monkeypatch.setattr("cc_images.clock.now", lambda: moment[0])
    for version in VERSIONS:
        moment[0] += timedelta(days=31)
        add(store, version)
        done = cli(*PUSH)
        assert done.returncode == 0, done.stdout + done.stderr
        sidecar = tmp_path / "one" / "CC-X.qcow2.json"
        sidecar = sidecar if sidecar.exists() else tmp_path / "one" / "CC-X.json"
        told = json.loads(sidecar.read_text())
        sidecar.write_text(json.dumps(told | {"published": moment[0].isoformat()}))
    return cli


def there(tmp_path: Path) -> set[str]:
    return {file.read_text() for file in (tmp_path / "one").glob("*.qcow2")}


def test_the_calendar_and_what_is_due(aged: Cli, tmp_path: Path) -> None:
    assert there(tmp_path) == set(VERSIONS)
    shown = aged("retire", "--dry-run", "--json")
    assert shown.returncode == 0, shown.stderr
    calendar = json.loads(shown.stdout)["calendar"]
    assert [(each["version"], each["fate"], each["due"]) for each in calendar] == [
        (VERSIONS[0], "deleted", True),
        (VERSIONS[1], "deleted", False),
    ], "the newest archived version stays"
    assert there(tmp_path) == set(VERSIONS), "nothing was changed"
    when = datetime.fromisoformat(calendar[1]["when"])
    assert "due" in aged("retire", "--dry-run").stdout

    done = aged("retire")
    assert done.returncode == 0, done.stderr
    assert "one  CC-X: deleted CC-X-" in done.stdout
    assert there(tmp_path) == set(VERSIONS[1:])
    again = aged("retire", "cc-x")
    assert "nothing was due" in again.stdout
    assert when > NOW


@pytest.mark.long
def test_rules_of_the_image_win_and_without_any_that_is_said(aged: Cli, tmp_path: Path) -> None:
    write_files(
        tmp_path,
        images="CC-X: {elements: [debian-minimal], disk: [], retire: {delete-after: 10 years}}\n",
        sites="one: {directory: one, is_baremetal: true, retire: {delete-after: 0d}}\n",
    )
    assert "nothing was due" in aged("retire").stdout
    write_files(
        tmp_path,
        images="CC-X: {elements: [debian-minimal], disk: []}\n",
        sites="one: {directory: one, is_baremetal: true}\n",
    )
    none = aged("retire")
    assert none.returncode == 2
    assert "nothing says when old versions retire" in none.stderr


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("{hide-after: soon}", "retire.hide-after: 'soon' is not a duration"),
        ("{hide-after: 2 months, delete-after: 1 month}", "retire: delete-after comes before hide-after"),
        ("{keep: -1}", "retire.keep: -1 is less than 0"),
        ("{never: yes}", "never"),
    ],
)
def test_mistakes_are_said(cli: Cli, tmp_path: Path, rules: str, said: str) -> None:
    write_files(
        tmp_path,
        images="CC-X: {elements: [debian-minimal], disk: []}\n",
        sites=f"one: {{directory: one, retire: {rules}}}\n",
    )
    done = cli("list")
    assert done.returncode == 2
    assert said in done.stderr
