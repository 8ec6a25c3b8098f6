"""Waves from the command line: folders as sites, builds that the store has, and a clock that jumps."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cc_images.model.catalog import Arch
from cc_images.model.status import Hold
from cc_images.store.holds import Holds
from cc_images.store.records import Store
from tests.conftest import NOW, Cli, write_files
from tests.unit.api.test_rollback import add

V1, V2, V3 = "20261101T000000Z", "20261102T000000Z", "20261103T000000Z"
PUSH = ("-p", "--no-boot-test", "cc-x")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that lets hours pass."""
    moment = [NOW]

    def now() -> datetime:
        return moment[0]

    def later(hours: float) -> None:
        moment[0] += timedelta(hours=hours)

    monkeypatch.setattr("cc_images.clock.now", now)
    return later


def fleet(tmp_path: Path, one: str = "", two: str = "wave: 2, bake: 24h") -> Store:
    """Write a project with two sites; return its store."""
    write_files(
        tmp_path,
        images="CC-X: {elements: [debian-minimal], disk: []}\n",
        sites=f"one: {{directory: one, is_baremetal: true, {one}}}\n"
        f"two: {{directory: two, is_baremetal: true, {two}}}\n",
    )
    store = Store(tmp_path / "store")
    store.root.mkdir(exist_ok=True)
    return store


def there(tmp_path: Path) -> tuple[str, ...]:
    """Return what has the name on each site."""
    files = [tmp_path / site / "CC-X.qcow2" for site in ("one", "two")]
    return tuple(file.read_text() if file.exists() else "" for file in files)


def test_a_version_goes_from_wave_to_wave(cli: Cli, tmp_path: Path, clock: Callable[[float], None]) -> None:
    store = fleet(tmp_path)
    add(store, V1)
    first = cli(*PUSH)
    assert first.returncode == 0, first.stdout + first.stderr
    assert there(tmp_path) == (V1, "")
    assert "waits: nothing is known to be on one" in first.stdout
    clock(10)
    add(store, V2)
    second = cli(*PUSH)
    assert second.returncode == 0
    assert there(tmp_path) == (V2, ""), "V1 had not baked"
    clock(25)
    add(store, V3)
    shown = cli("plan", "-p", "--no-boot-test", "cc-x").stdout
    assert f"version {V2}, as on one" in shown
    third = cli(*PUSH)
    assert third.returncode == 0, third.stdout + third.stderr
    assert there(tmp_path) == (V3, V2), "what has baked goes on before it is replaced"
    early = cli("promote", "--no-boot-test", "cc-x")
    assert early.returncode == 0, early.stdout + early.stderr
    assert there(tmp_path) == (V3, V3)


def test_what_a_person_rolled_back_on_the_wave_before_goes_no_further(
    cli: Cli, tmp_path: Path, clock: Callable[[float], None]
) -> None:
    store = fleet(tmp_path)
    add(store, V1)
    assert cli(*PUSH).returncode == 0
    clock(25)
    (tmp_path / "one" / "CC-X.qcow2").rename(tmp_path / "one" / "bad.qcow2")
    done = cli(*PUSH)
    assert done.returncode == 0, done.stdout + done.stderr
    assert there(tmp_path) == ("", "")
    assert "waits: one has no image of the name" in done.stdout
    promoted = cli("promote", "--no-boot-test", "cc-x")
    assert there(tmp_path) == ("", ""), promoted.stdout


def test_promote_says_why_nothing_goes_on(cli: Cli, tmp_path: Path) -> None:
    store = fleet(tmp_path, two="")
    add(store, V1)
    alone = cli("promote", "--no-boot-test", "cc-x")
    assert alone.returncode == 2
    assert "no site of a later wave takes any of the images" in alone.stderr
    fleet(tmp_path)
    nothing = cli("promote", "--no-boot-test", "cc-x")
    assert nothing.returncode == 2
    assert "cc-x amd64 on two: nothing is known to be on one" in nothing.stderr


@pytest.fixture
def doctor(tmp_path: Path) -> Iterator[tuple[str, list[str], list[int]]]:
    """Return the address of a server that is asked for health, what it was asked, and what it answers from now on."""
    asked: list[str] = []
    status = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked, status
    server.shutdown()
    server.server_close()


def test_a_bad_version_is_rolled_back_and_held(
    cli: Cli, tmp_path: Path, clock: Callable[[float], None], doctor: tuple[str, list[str], list[int]]
) -> None:
    address, asked, status = doctor
    health = f'health: "{address}/{{image}}?v={{version}}&at={{site}}", on-bad: rollback'
    store = fleet(tmp_path, one=health)
    for number, version in enumerate((V1, V2)):
        add(store, version)
        clock(48 * number)
        assert cli(*PUSH).returncode == 0
    assert there(tmp_path) == (V2, V1)
    assert asked == [f"/cc-x?v={V1}&at=one"]
    status[0] = 500
    clock(48)
    bad = cli(*PUSH)
    assert bad.returncode == 3
    assert f"version {V2} of cc-x is bad on one" in bad.stderr
    assert f"one has {V1} again" in bad.stderr
    assert there(tmp_path) == (V1, V1)
    again = cli(*PUSH)
    assert again.returncode == 0, "it is held, and no failure every night"
    assert there(tmp_path) == (V1, V1)
    assert "is held (bad: " in again.stdout


@pytest.mark.long
def test_what_a_killed_run_has_only_held_is_taken_back_by_the_next(
    cli: Cli, tmp_path: Path, clock: Callable[[float], None]
) -> None:
    store = fleet(tmp_path)
    for version, hours in ((V1, 1), (V2, 25)):
        add(store, version)
        assert cli(*PUSH).returncode == 0
        clock(hours)
    assert cli(*PUSH).returncode == 0
    assert there(tmp_path) == (V2, V2), "V1 was never on the second"
    held = Hold(tag="cc-x", arch=Arch.AMD64, version=V2, since=0, why="bad: no network", back=True)
    Holds(store).put(held)
    done = cli(*PUSH)
    assert done.returncode == 3
    assert there(tmp_path) == (V1, V2)
    assert f"version {V2} of cc-x is held (bad: no network), and stays on two: nothing older" in done.stderr
    add(store, V3)
    assert cli(*PUSH, "-s", "one").returncode == 0
    assert there(tmp_path) == (V3, V2)


def test_a_bad_version_goes_no_further_and_promote_goes_on(
    cli: Cli, tmp_path: Path, clock: Callable[[float], None]
) -> None:
    asks = tmp_path / "asks"
    asks.write_text('#!/bin/sh\necho "$CC_IMAGES_VERSION $1"; echo no network; exit 1\n')
    asks.chmod(0o755)
    store = fleet(tmp_path, one='health: "./asks {site}"', two="wave: 2")
    add(store, V1)
    bad = cli(*PUSH)
    assert bad.returncode == 3
    assert there(tmp_path) == (V1, "")
    assert "asks ended with code 1: no network" in bad.stderr
    assert "`cc-images promote cc-x`" in bad.stderr
    assert cli("promote", "--no-boot-test", "cc-x").returncode == 0
    assert there(tmp_path) == (V1, V1)


def test_when_nobody_can_say_a_version_waits_and_is_not_rolled_back(cli: Cli, tmp_path: Path) -> None:
    store = fleet(tmp_path, one="health: ./missing, on-bad: rollback", two="wave: 2")
    add(store, V1)
    done = cli(*PUSH)
    assert done.returncode == 3
    assert "nobody can say whether" in done.stderr
    assert there(tmp_path) == (V1, "")
    assert "held" not in cli("status", "cc-x").stdout


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ("bake: 24h", "", "bake: is for sites of a later wave"),
        ("on-bad: rollback", "", "on-bad: needs health"),
        ("wave: 0", "", "wave: 0 is less than 1"),
        ("", "wave: 2, bake: a day", "bake: 'a day' is not a duration such as 24h"),
        ('health: "./x {color}"', "", "{color} is not known"),
        ('health: "./x \'a"', "", "is no command"),
    ],
)
def test_mistakes_are_said(cli: Cli, tmp_path: Path, one: str, two: str, said: str) -> None:
    fleet(tmp_path, one=one, two=two)
    done = cli("list")
    assert done.returncode == 2
    assert said in done.stderr


def test_a_named_or_forced_version_lifts_no_hold_of_another(
    cli: Cli, tmp_path: Path, clock: Callable[[float], None]
) -> None:
    store = fleet(tmp_path)
    add(store, V1)
    assert cli(*PUSH).returncode == 0
    clock(25)
    assert cli("hold", "cc-x", V1, "--why", "bad").returncode == 0
    add(store, V2)
    for words in (("--version", V2), ("--force",)):
        done = cli(*PUSH, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert there(tmp_path) == (V2, "")
    clock(25)
    named = cli(*PUSH, "--version", V1, "-s", "two")
    assert there(tmp_path) == (V2, ""), "the wave before has another version"
    assert f"one has version {V2}, not {V1}" in named.stdout


def test_something_newer_replaces_a_bad_version_that_nothing_is_older_than(cli: Cli, tmp_path: Path) -> None:
    store = fleet(tmp_path)
    add(store, V1)
    assert cli(*PUSH).returncode == 0
    Holds(store).put(Hold(tag="cc-x", arch=Arch.AMD64, version=V1, since=0, why="bad", back=True))
    assert cli(*PUSH).returncode == 3, "nothing older is there"
    add(store, V2)
    done = cli(*PUSH)
    assert done.returncode == 0, done.stdout + done.stderr
    assert there(tmp_path)[0] == V2


@pytest.mark.long
def test_an_interrupted_push_is_put_in_order_although_health_is_bad_and_a_bad_one_is_not_finished(
    cli: Cli, tmp_path: Path, clock: Callable[[float], None]
) -> None:
    store = fleet(tmp_path, one="health: /bin/false", two="wave: 2")
    add(store, V1)
    assert cli(*PUSH, "-s", "one").returncode == 0
    assert cli("promote", "--no-boot-test", "cc-x").returncode == 0
    add(store, V2)
    clock(1)
    assert cli(*PUSH, "-s", "one").returncode == 0
    two = tmp_path / "two"
    staged = two / ".CC-X.20261102T000000Z-dead.qcow2.staged"
    described = json.loads((two / "CC-X.json").read_text())
    (two / "CC-X.qcow2").rename(two / "CC-X-20261122.qcow2")
    archived = described | {"name": "CC-X-20261122", "archives": "CC-X"}
    (two / "CC-X-20261122.json").write_text(json.dumps(archived))
    (two / "CC-X.json").unlink()
    content = V2.encode()
    staged.write_bytes(content)
    digest = hashlib.sha512(content).hexdigest()
    said = {"name": "CC-X", "run": "20261102T000000Z-dead", "replaces": described["id"], "id": "staged", "size": 16,
            "published": NOW.isoformat(), "sha512": digest, "properties": {"build-version": V2}}  # fmt: skip
    staged.with_name(f"{staged.name}.json").write_text(json.dumps(said))
    Holds(store).put(Hold(tag="cc-x", arch=Arch.AMD64, version=V2, since=0, why="bad"))
    clock(12)
    cli(*PUSH)
    assert there(tmp_path)[1] == V1, "the name is not vacant, and not that of what is held"
    assert not staged.exists()


def test_a_duration_beyond_reason_is_said(cli: Cli, tmp_path: Path) -> None:
    fleet(tmp_path, two="wave: 2, bake: 9999 years")
    done = cli("list")
    assert done.returncode == 2
    assert "is more than a hundred years" in done.stderr
