"""A run that nobody watches: what it leaves, whom it tells, and what it says when it could not begin."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cc_images.api import followup, removal
from cc_images.cli.main import run as cli_run
from cc_images.engine.reservations import SharedReservations
from cc_images.engine.resources import Usage
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.model.plan import Resource
from cc_images.model.run import State
from cc_images.report.progress import EVENTS
from cc_images.store import retention
from cc_images.store.journal import Journal
from cc_images.store.records import Store
from tests.conftest import REPOSITORY, Cli, clean_environment, write_files

VERSION = "20261120T120000Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return the store of the command line, with one build that may be pushed without root."""
    write_files(tmp_path, images="CC-One: {elements: [debian-minimal], disk: []}", sites="local: {directory: site}")
    made = Store(tmp_path / "store")
    made.root.mkdir()
    staged = made.root / "staged"
    staged.write_bytes(b"disk")
    blob = made.blobs.add(staged)
    output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1)
    build = Build(tag="cc-one", name="CC-One", arch=Arch.AMD64, version=VERSION, recipe_key="a", key="k",
                  outputs={Format.QCOW2: output})  # fmt: skip
    made.record(build, {}, "CC-One")
    return made


PUSH = ("-p", "--no-boot-test", "cc-one")


def test_a_run_leaves_journal_page_metrics_and_word(cli: Cli, store: Store, tmp_path: Path) -> None:
    told = "sh -c 'cat > told; env | grep ^CC_IMAGES_ | sort > environment'"
    answer = cli(*PUSH, "--metrics", "images.prom", "--notify", told)
    assert answer.returncode == 0, answer.stderr
    summary = answer.stdout.splitlines()[-1]
    assert summary.startswith("cc-images 2")
    assert " ok: 1 pushed in " in summary
    (journal,) = (store.root / "runs").glob("*.json")
    said = json.loads(journal.read_text())
    assert (said["state"], said["counts"]["pushed"], said["images"][0]["version"]) == ("ok", 1, VERSION)
    assert "environment" not in journal.read_text(), "a command may hold a secret"
    page = journal.with_suffix(".html")
    assert "CC-One" in page.read_text()
    assert (tmp_path / "told").read_text() == summary + "\n"
    environment = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert environment["CC_IMAGES_STATE"] == "ok"
    assert environment["CC_IMAGES_CHANGED"] == "yes"
    assert environment["CC_IMAGES_SUMMARY"] == summary
    assert (environment["CC_IMAGES_JOURNAL"], environment["CC_IMAGES_REPORT"]) == (str(journal), str(page))
    metrics = tmp_path / "images.prom"
    assert 'cc_images_push_timestamp_seconds{image="cc-one",arch="amd64",site="local"}' in metrics.read_text()
    assert stat.S_IMODE(metrics.stat().st_mode) == 0o644
    assert cli("status").stdout.splitlines()[1].endswith("local the same")


def test_a_command_that_fails_and_a_folder_that_is_missing_change_nothing(cli: Cli, store: Store) -> None:
    answer = cli(*PUSH, "--notify", "sh -c 'echo no such room >&2; exit 7'", CC_IMAGES_METRICS="gone/images.prom")
    assert answer.returncode == 0
    assert "cc-images: --notify: sh ended with code 7: no such room" in answer.stderr
    assert "cc-images: cannot write metrics to gone/images.prom" in answer.stderr
    answer = cli(*PUSH, CC_IMAGES_NOTIFY="no-such-command x")
    assert answer.returncode == 0
    assert "--notify: [Errno 2] No such file or directory: 'no-such-command'" in answer.stderr
    assert "--notify: No closing quotation" in cli(*PUSH, "--notify", "'").stderr


def test_word_comes_also_when_nothing_could_begin(cli: Cli, store: Store, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-One: {elemnts: []}", sites="local: {directory: site}")
    answer = cli(*PUSH, "--metrics", "images.prom", "--notify", "sh -c 'cat > told; exit 0'")
    assert answer.returncode == 2
    assert (tmp_path / "told").read_text().startswith("cc-images failed: images.yaml")
    assert answer.stdout == "", "what is wrong is told once, where errors are"
    assert 'cc_images_run_state{state="failed"} 1' in (tmp_path / "images.prom").read_text()


def test_a_failed_push_is_told_with_its_reason(cli: Cli, store: Store, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("no folder")
    answer = cli(*PUSH, "--notify", "sh -c 'cat > told; exit 0'")
    assert answer.returncode == 3
    assert answer.stdout.splitlines()[-1].startswith("cc-images 2")
    told = (tmp_path / "told").read_text()
    assert " failed: 1 failed in " in told.splitlines()[0]
    assert "push cc-one amd64 to local failed:" in told
    assert "what to do:" in told


@pytest.fixture
def other(store: Store, tmp_path: Path) -> Iterator[str]:
    """Return the name of another run that is at work on cc-one."""
    program = (
        "import sys; from datetime import datetime, UTC; from pathlib import Path;"
        "from cc_images.store import image_locks as turns; from cc_images.model.catalog import Arch;"
        "from cc_images.store.records import Store;"
        "store = Store(Path(sys.argv[1])); run = store.start_run(datetime.now(UTC));"
        "turns.take(store, run, [('cc-one', Arch.AMD64)], turns.IfBusy.SHARE);"
        "print(run.version, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, store.root],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate()


def test_a_run_waits_for_what_another_one_has_booked(store: Store, tmp_path: Path) -> None:
    busy = store.start_run(datetime(2026, 11, 22, 3, tzinfo=UTC))
    takes = {Resource.PUSH: 1, Resource.DISK: 1 << 40}
    SharedReservations(store=store, run=busy).share(lambda others, asleep: Usage(takes=takes, keeps={}, wants={}))
    command = [sys.executable, "-m", "cc_images", *PUSH]
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        (patience := threading.Timer(30, process.kill)).start()
        assert f"waiting: memory, cores or room booked by run {busy.version}\n" in iter(process.stdout.readline, "")
        assert not (tmp_path / "site" / "CC-One.qcow2").exists()
        store.finish_run(busy, shutil.rmtree)
        said = process.stdout.read()
        patience.cancel()
    assert process.returncode == 0, said
    assert "waiting" not in said
    assert json.loads((store.root / "history.json").read_text())["push cc-one amd64 to local"][0]["disk"] == 0
    assert not list((store.root / "work").iterdir())


def test_a_run_leaves_when_asked_to_and_says_who_is_there(cli: Cli, store: Store, other: str) -> None:
    answer = cli(*PUSH, "--if-busy", "leave", "--metrics", "images.prom", "--notify", "sh -c 'cat > told'")
    assert answer.returncode == 4
    assert not (store.root.parent / "images.prom").exists(), "the run that is at work speaks for the images"
    assert " left: " in (store.root.parent / "told").read_text()
    assert f"left: nothing was done: run {other} is at work on cc-one amd64" in answer.stdout
    journals = [json.loads(path.read_text()) for path in (store.root / "runs").glob("*.json")]
    assert [each["state"] for each in journals] == ["left"]
    assert cli(*PUSH).returncode == 0, "whoever does not mind shares"


def test_events_end_with_what_became_of_the_run(cli: Cli, store: Store) -> None:
    answer = cli(*PUSH, "--json")
    events = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [each["event"] for each in events if each["event"] != "bytes"] == ["planned", "started", "ended", "finished"]
    for each in events:
        assert each.keys() == {"event", "time", *EVENTS[each["event"]]}
    last = events[-1]
    assert (last["state"], last["exit_code"], last["counts"]["pushed"]) == ("ok", 0, 1)
    assert Path(last["journal"]).is_file()
    assert Path(last["report"]).is_file()
    answer = cli("-p", "--json", "--no-boot-test", "cc-nix")
    events = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [each["event"] for each in events] == ["failed", "finished"]
    assert events[0]["reason"] == "unknown-image"
    assert events[1]["exit_code"] == answer.returncode == 2


def test_a_report_is_found_by_the_beginning_of_its_name(cli: Cli, store: Store) -> None:
    assert cli("report").returncode == 2
    assert "no run yet: the store has no journal" in cli("report").stderr
    cli(*PUSH)
    (journal,) = (store.root / "runs").glob("*.json")
    for words in ((), (journal.stem[:13],)):
        said = cli("report", *words).stdout.splitlines()
        assert said[0].startswith(f"cc-images {journal.stem} ok: 1 pushed")
        assert said[-1] == f"report: {journal.with_suffix('.html')}"
    assert json.loads(cli("report", "--json").stdout)["run"] == journal.stem
    assert cli("report", "--list").stdout.count("\n") == 1
    assert "there is no run 1999" in cli("report", "1999").stderr
    opened = cli("report", "--open", BROWSER="sh -c 'echo %s > opened'")
    assert opened.returncode == 0, opened.stderr


def test_old_runs_are_rotated_and_the_newest_stay(tmp_path: Path) -> None:
    store, now = Store(tmp_path), datetime(2026, 11, 22, tzinfo=UTC)
    for days in range(150):
        version = f"{now - timedelta(days=days):%Y%m%dT%H%M%SZ}"
        Journal(store.root, version).note(state=State.OK)
        (tmp_path / "logs" / version).mkdir(parents=True)
        (tmp_path / "logs" / version / "x.log").write_text("x")
        (tmp_path / "runs" / f"{version}.html").write_text("x")
    (tmp_path / "work" / "20260701T000000Z").mkdir(parents=True)
    gone = removal.rotate(store, now)
    assert len(gone) == 150 - 1 - retention.RUN_DAYS - 1, "older than ninety days, but for the one that is at work"
    left = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert left[0] == "20260701T000000Z"
    assert sorted(path.stem for path in (tmp_path / "runs").glob("*.html")) == left
    assert removal.rotate(store, now + timedelta(days=3650)) == sorted(left[1 : -retention.LEAST_RUNS], reverse=True)


def test_a_cap_takes_old_runs_too_and_never_the_last(tmp_path: Path) -> None:
    store = Store(tmp_path)
    versions = [f"202611{day:02}T000000Z" for day in range(1, retention.LEAST_RUNS + 4)]
    for at, version in enumerate(versions):
        Journal(store.root, version).note(state=State.OK)
        os.utime(tmp_path / "runs" / f"{version}.json", (at, at))
    removal.pruned(store, keep=1, cap=0, dry_run=False)
    assert sorted(path.stem for path in (tmp_path / "runs").iterdir()) == versions[3:]


def test_a_run_that_was_killed_is_said_to_be(tmp_path: Path, store: Store, cli: Cli) -> None:
    program = (
        "import os, sys; from datetime import datetime, UTC; from pathlib import Path;"
        "from cc_images.store.journal import Journal; from cc_images.store.records import Store;"
        "store = Store(Path(sys.argv[1])); run = store.start_run(datetime(2026, 11, 21, tzinfo=UTC));"
        "Journal(store.root, run.version).note(began='then', words=[]); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, store.root], cwd=REPOSITORY, env=clean_environment(tmp_path))
    assert "running" in cli("report", "--list").stdout
    cli(*PUSH)
    dead = json.loads((store.root / "runs" / "20261121T000000Z.json").read_text())
    assert dead == {"run": "20261121T000000Z", "began": "then", "words": [], "state": "killed", "format": 1}, (
        "nothing is made up"
    )
    assert "cc-images 20261121T000000Z killed:" in cli("report", "--list").stdout


def test_the_last_success_is_known_when_its_journal_is_gone(cli: Cli, store: Store, tmp_path: Path) -> None:
    cli(*PUSH)
    (journal,) = (store.root / "runs").glob("2*.json")
    journal.unlink()
    (tmp_path / "site").rename(tmp_path / "elsewhere")
    (tmp_path / "site").write_text("no folder")
    assert cli(*PUSH, "--metrics", "images.prom").returncode == 3
    assert "cc_images_success_timestamp_seconds " in (tmp_path / "images.prom").read_text()


OLD = {"run": "x", "began": "then", "plan": {"version": "x", "notes": [], "tasks": []}, "results": [], "seconds": 3.0,
       "interrupted": False}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("runs/20261001T000000Z.json", json.dumps(OLD)),
        ("runs/20261001T000000Z.json", json.dumps(OLD | {"run": "../../evil"})),
        ("published.json", '{"published": [{"site": 1}]}'),
        ("history.json", "["),
        *(
            pytest.param(name, content, marks=pytest.mark.long)
            for name, content in (
                (
                    "runs/20261001T000000Z.json",
                    json.dumps(OLD | {"results": [{"task": "x"}], "images": [{"image": "x"}]}),
                ),
                ("runs/20261001T000000Z.json", "[]"),
                ("runs/2backup.json", json.dumps(OLD | {"state": "ok"})),
                ("published.json", "{}"),
                ("history.json", '{"push cc-one amd64 to local": [{"seconds": NaN}]}'),
                ("history.json", '{"push cc-one amd64 to local": [{"seconds": -1, "memory": true}]}'),
            )
        ),
    ],
)
def test_what_is_damaged_or_from_another_version_stops_nothing(
    cli: Cli, store: Store, tmp_path: Path, file: str, text: str
) -> None:
    (store.root / "runs").mkdir()
    (store.root / file).write_text(text)
    for words in (("status",), ("report", "--list")):
        assert cli(*words).returncode == 0, words
    answer = cli(*PUSH, "--metrics", "images.prom")
    assert (answer.returncode, "Traceback" in answer.stderr) == (0, False), answer.stderr
    assert answer.stdout.splitlines()[-1].startswith("cc-images 2")
    for words in (("report",), ("report", "2026100")):
        assert "Traceback" not in cli(*words).stderr, words
    assert not (tmp_path.parent / "evil.html").exists()


@pytest.mark.parametrize(
    "redirection",
    [">/dev/full", *(pytest.param(each, marks=pytest.mark.long) for each in ("| true", "2>&-", ">&- 2>&-"))],
)
def test_a_reader_that_has_gone_ends_no_run(cli: Cli, store: Store, tmp_path: Path, redirection: str) -> None:
    command = f"{sys.executable} -m cc_images {' '.join(PUSH)} --notify \"sh -c 'cat > told'\""
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run(["sh", "-c", f"{command} {redirection}"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    assert " ok: " in (tmp_path / "told").read_text()


def test_the_command_of_notify_is_in_no_journal_however_it_is_written(cli: Cli, store: Store) -> None:
    for words in (("--notify", "echo s3cret"), ("--notify=echo s3cret",)):
        assert cli(*PUSH, *words).returncode == 0
    assert cli(*PUSH, "--noti", "echo s3cret").returncode == 2, "an option has one name"
    for path in (store.root / "runs").rglob("2*.*"):
        assert not path.is_file() or "s3cret" not in path.read_text()


def test_a_surprise_is_in_the_journal_too(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def surprise(*words: object, **more: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC_IMAGES_STORE", str(store.root))
    monkeypatch.setattr("cc_images.api.run.look", surprise)
    with pytest.raises(RuntimeError):
        cli_run([*PUSH, "--notify", "sh -c 'cat > told'"])
    (journal,) = (store.root / "runs").glob("2*.json")
    said = json.loads(journal.read_text())
    assert said["state"] == "failed"
    assert "nobody thought of this" in said["error"]
    assert (tmp_path / "told").read_text().startswith("cc-images failed: the run ended unexpectedly")


def test_names_that_are_no_text_are_written_all_the_same(cli: Cli, store: Store, tmp_path: Path) -> None:
    answer = cli(*PUSH, "--metrics", os.fsdecode(b"m\xff.prom"))
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in cli("report").stderr
    assert cli(*PUSH, "--metrics", ".").returncode == 0, "a complaint, no end"


def test_a_command_that_takes_too_long_is_ended_and_not_quoted() -> None:
    wishes = followup.FollowUp(notify="sh -c 'sleep 60; echo s3cret'", patience=0.3)
    (said,) = followup.follow_up(None, {"state": "ok"}, "x", wishes)
    assert said == "--notify: sh timed out after 0.3 seconds"
