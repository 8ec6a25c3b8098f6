"""Machines for nodes of Slurm, with fakes of the cloud and of scontrol."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.api.machines import NodeState, compared, created
from cc_images.remote.machine_files import MachineFiles
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_steps import Policy
from cc_images.store.records import Store
from tests.support.fakecloud import FakeCloud

POLICY = Policy(settle=0.2, pause=0.1, destroy_every=0.1, look_every=0.02, build_within=1, tries=2, maximum=3)


def loop(folder: Path, cloud: FakeCloud, policy: Policy = POLICY) -> MachineLoop:
    return MachineLoop(MachineFiles(Store(folder), "burst"), cloud, policy)


def scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a scontrol into the path that notes its words; return the file with them."""
    program, said = folder / "bin" / "scontrol", folder / "said"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = show ] && exec cat {folder}/nodes\necho "$@" >> {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return said


def test_each_node_has_a_machine_with_its_name(tmp_path: Path) -> None:
    cloud = FakeCloud()
    found = [*created(loop(tmp_path, cloud), ["n1", "n2"], threading.Event())]
    assert found == [NodeState(node="n1", address="192.0.2.1"), NodeState(node="n2", address="192.0.2.1")]
    assert [each.rpartition("-")[0] for each in cloud.made] == ["n1", "n2"]
    assert len(cloud.machines) == 2, "they stay, though no process waits for them"
    again = [*created(loop(tmp_path, cloud), ["n1"], threading.Event())]
    assert again == found[:1]
    assert len(cloud.made) == 2


def test_a_node_without_a_machine_is_powered_down_in_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = scontrol(tmp_path, monkeypatch)
    cloud = FakeCloud()
    cloud.faults = ["error", "error"]
    (found,) = created(loop(tmp_path / "store", cloud, replace(POLICY, maximum=1)), ["n1"], threading.Event())
    assert "No valid host was found." in found.trouble
    assert said.read_text() == "update nodename=n1 state=POWER_DOWN reason=cloud has no machine\n"
    loop(tmp_path / "store", cloud).swept()
    assert cloud.every() == [] or cloud.every() == []


def test_what_slurm_believes_and_what_the_cloud_has_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = scontrol(tmp_path, monkeypatch)
    cloud = FakeCloud()
    machines = loop(tmp_path / "store", cloud)
    assert len([*created(machines, ["n1", "n2"], threading.Event())]) == 2
    states = {"n1": ["IDLE", "CLOUD", "POWERED_DOWN"], "n2": ["IDLE", "CLOUD"]}
    nodes = {"nodes": [{"name": name, "state": state} for name, state in states.items()], "errors": []}
    (tmp_path / "nodes").write_text(json.dumps(nodes))
    (lost,) = (id for id, each in cloud.machines.items() if each.name.startswith("n2-"))
    del cloud.machines[lost]
    machines.swept()
    assert [*compared(machines)] == [
        "n1 needs no machine: Slurm has it powered down",
        "the machine of n2 is gone, and Slurm powers it down",
    ]
    assert said.read_text() == "update nodename=n2 state=POWER_DOWN reason=cloud has no machine\n"
    machines.run(lambda step: not machines.files.records())
    assert cloud.machines == {}
