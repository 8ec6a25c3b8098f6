"""How the machines of a cloud stand, with a fake of the cloud: in reserve, in use, being made, being destroyed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, Reason
from cc_images.model.fleet import MachineState
from cc_images.remote.machine_files import MachineFiles
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_status import machines_of
from cc_images.remote.machine_steps import Machine, Policy, Want
from cc_images.store.records import Store
from tests.support.fakecloud import FakeCloud

POLICY = Policy(reserve=1, maximum=4, settle=0.2, pause=0.1, destroy_every=60, look_every=0.02)


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def loop(tmp_path: Path, cloud: FakeCloud) -> MachineLoop:
    return MachineLoop(MachineFiles(Store(tmp_path), "burst"), cloud, POLICY)


def shown(loop: MachineLoop) -> list[tuple[str, MachineState, str, str]]:
    """Return id, state, address and user of each machine."""
    found = machines_of(loop, lambda address: f"{address}:2222")
    assert found.why == ""
    return [(each.id, each.state, each.address, each.user) for each in found.found]


def test_a_machine_is_in_reserve_when_it_runs_and_nobody_has_it(loop: MachineLoop, cloud: FakeCloud) -> None:
    assert shown(loop) == []
    loop.step()
    assert shown(loop) == [("id0", MachineState.STARTING, "", "")]
    loop.run(lambda step: any(each.ready for each in cloud.machines.values()))
    assert shown(loop) == [("id0", MachineState.RESERVE, "192.0.2.1:2222", "")]


def test_the_first_one_who_waits_gets_the_reserve_and_another_one_is_made(loop: MachineLoop, cloud: FakeCloud) -> None:
    loop.run(lambda step: any(each.ready for each in cloud.machines.values()))
    with loop.files.locked():
        held = loop.files.want(Want(id="a1"))
    assert held is not None
    assert machines_of(loop, str).waiting == {"a1"}
    loop.step()
    assert shown(loop) == [("id0", MachineState.ACTIVE, "192.0.2.1:2222", "a1")]
    assert machines_of(loop, str).waiting == frozenset()
    loop.run(lambda step: sum(each.ready for each in cloud.machines.values()) == 2)
    assert [state for _, state, _, _ in shown(loop)] == [MachineState.ACTIVE, MachineState.RESERVE]
    with loop.files.locked():
        loop.files.end("a1")
    os.close(held)
    assert [state for _, state, _, _ in shown(loop)] == [MachineState.ENDING, MachineState.RESERVE]
    loop.step()
    assert shown(loop)[0][1] is MachineState.ENDING


class Away(FakeCloud):
    """A cloud that does not answer."""

    def every(self) -> list[Machine]:
        raise CCImagesError("the cloud is away", reason=Reason.CLOUD, temporary=True)


def test_a_cloud_that_is_away_leaves_what_the_records_say(loop: MachineLoop, tmp_path: Path) -> None:
    loop.step()
    away = MachineLoop(MachineFiles(Store(tmp_path), "burst"), Away(), replace(POLICY, reserve=0))
    found = machines_of(away, str)
    assert found.why == "the cloud is away"
    assert [(each.id, each.state) for each in found.found] == [("id0", MachineState.UNKNOWN)]
