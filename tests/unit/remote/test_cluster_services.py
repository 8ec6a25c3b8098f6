"""Services of a cluster's host: processes that are known for certain, and units."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.remote import cluster_act
from cc_images.remote.cluster import Service
from cc_images.remote.cluster_services import Processes, Units
from cc_images.remote.cluster_texts import Place, unit
from tests.support.slurmbed import alive, await_for

SLEEP = Service(name="sleeper", argv=("sleep", "600"), stamp="abc", environment={"NAME": "a value"})


def number(folder: Path) -> int:
    return int((folder / "run/sleeper.pid").read_text().split()[0])


def test_a_process_runs_until_it_is_ended(tmp_path: Path) -> None:
    here = Processes(Place(folder=tmp_path))
    assert here.running("sleeper") is None
    here.start(SLEEP)
    process = number(tmp_path)
    assert Processes(Place(folder=tmp_path)).running("sleeper") == "abc"
    assert b"NAME=a value\0" in Path(f"/proc/{process}/environ").read_bytes()
    here.stop("sleeper")
    assert here.running("sleeper") is None
    assert not alive(process)
    here.stop("sleeper")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts programs as others")
def test_a_process_of_another_user(tmp_path: Path) -> None:
    here = Processes(Place(folder=tmp_path))
    here.start(replace(SLEEP, user="nobody"))
    await_for(lambda: Path(f"/proc/{number(tmp_path)}").stat().st_uid == 65534, 5, "it is root's")
    here.stop("sleeper")
    assert here.running("sleeper") is None


def test_one_that_was_killed_is_known_to_be_dead(tmp_path: Path) -> None:
    here = Processes(Place(folder=tmp_path))
    here.start(SLEEP)
    os.kill(number(tmp_path), signal.SIGKILL)
    await_for(lambda: here.running("sleeper") is None, 5, "it seems to live")


def test_a_number_that_was_given_to_another_process_is_left_alone(tmp_path: Path) -> None:
    here = Processes(Place(folder=tmp_path))
    here.start(SLEEP)
    file = tmp_path / "run/sleeper.pid"
    process, begun, boot, stamp = file.read_text().split()
    for other in (f"{process} {int(begun) - 1} {boot} {stamp}", f"{process} {begun} {boot[::-1]} {stamp}", "x", ""):
        file.write_text(other)
        assert here.running("sleeper") is None
        here.stop("sleeper")
        assert alive(int(process))
    file.write_text(f"{process} {begun} {boot} {stamp}")
    here.stop("sleeper")
    assert not alive(int(process))


def test_the_last_words_of_one_that_ends_at_once(tmp_path: Path) -> None:
    here = Processes(Place(folder=tmp_path))
    here.start(Service(name="short", argv=("sh", "-c", "echo no such key; sleep 0.3; exit 1"), stamp="x"))
    await_for(lambda: here.running("short") is None, 5, "it seems to live")
    assert here.log("short") == "no such key"
    assert (tmp_path / "log/short").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where stand-ins for systemctl and apt-get write their words."""
    for name in ("systemctl", "apt-get"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/called\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "called"


def test_units(tmp_path: Path, called: Path) -> None:
    here, node = Units(tmp_path), Service(name="slurmd", argv=("slurmd", "-D"), stamp="abc", user="x")
    assert here.running("slurmd") is None
    here.start(node)
    assert (tmp_path / "cc-images-slurmd.service").read_text() == unit(node)
    assert here.running("slurmd") == "abc"
    here.stop("slurmd")
    assert called.read_text().splitlines() == [
        "systemctl disable --now slurmd.service",
        "systemctl daemon-reload",
        "systemctl enable --now cc-images-slurmd.service",
        "systemctl is-active --quiet cc-images-slurmd.service",
        "systemctl disable --now cc-images-slurmd.service",
    ]


def test_a_unit_is_forgotten_and_one_that_is_not_there_is_left_alone(tmp_path: Path, called: Path) -> None:
    here = Units(tmp_path)
    here.forget("slurmd")
    assert not called.exists()
    here.start(Service(name="slurmd", argv=("slurmd",), stamp="abc"))
    called.unlink()
    here.forget("slurmd")
    assert not (tmp_path / "cc-images-slurmd.service").exists()
    assert called.read_text().splitlines() == [
        "systemctl disable --now cc-images-slurmd.service", "systemctl daemon-reload",
    ]  # fmt: skip


def test_the_text_of_a_unit() -> None:
    made = unit(Service(name="hub", argv=("a", 'b "50%" $x'), stamp="abc", environment={"A": "b c"}, user="cc"))
    assert made.startswith("# stamp abc\n")
    assert 'ExecStart="a" "b \\"50%%\\" $$x"\nEnvironment="A=b c"\nUser=cc\nRestart=on-failure\n' in made
    assert "KillMode=process" in unit(Service(name="slurmd", argv=("slurmd",), stamp="x")), "jobs outlive it"


def test_packages_are_installed_by_apt(called: Path) -> None:
    cluster_act.install(["munge", "slurmd"])
    assert called.read_text() == "apt-get install --yes --no-install-recommends munge slurmd\n"
