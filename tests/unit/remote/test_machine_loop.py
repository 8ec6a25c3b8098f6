"""Machines of a cloud as a head keeps them: the loop over its records, with a fake of the cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.remote.machine_files import MachineFiles
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_steps import Machine, Policy, Record, State, Wait, Want
from cc_images.store.records import Store
from tests.support.fakecloud import FakeCloud

GOLDEN = """{
 "doomed": "its job is over", "format": 1, "id": "i", "later": 1, "made": 5.0, "name": "cc-burst-1",
 "public_key": "k", "trouble": false, "want": "a1"
}"""

POLICY = Policy(settle=0.2, pause=0.1, destroy_every=0.1, look_every=0.02, build_within=1, tries=2, maximum=3)


def loop(folder: Path, cloud: FakeCloud, policy: Policy = POLICY) -> MachineLoop:
    return MachineLoop(MachineFiles(Store(folder), "burst"), cloud, policy)


def emptied(machines: MachineLoop) -> None:
    """Step until there are neither records nor steps."""
    machines.run(lambda step: isinstance(step, Wait) and not machines.files.records())


@pytest.mark.parametrize("fault", ["", "lost", "in vain", "twice", "error", "for ever", "refused"])
def test_a_job_gets_a_machine_whatever_the_cloud_answers_and_none_is_left(fault: str, tmp_path: Path) -> None:
    cloud = FakeCloud()
    cloud.faults = [fault] if fault else []
    machines = loop(tmp_path, cloud)
    with machines.wanted(Want(id="a1")) as machine:
        assert machine.ready
        assert cloud.machines[machine.id].state is State.ACTIVE
    emptied(machines)
    assert cloud.machines == {}
    assert len(cloud.made) == (2 if fault in ("in vain", "error", "for ever", "refused") else 1)


def test_who_waits_is_told_why_there_is_no_machine(tmp_path: Path) -> None:
    cloud = FakeCloud()
    cloud.faults = ["refused", "error", "refused", "refused"]
    machines = loop(tmp_path, cloud)
    with (
        pytest.raises(CCImagesError, match=r"got no machine: the quota is used up; .*No valid host"),
        machines.wanted(Want(id="a1")),
    ):
        raise AssertionError
    emptied(machines)
    assert cloud.machines == {}


def test_a_warm_machine_is_there_at_once_and_another_one_takes_its_place(tmp_path: Path) -> None:
    cloud = FakeCloud()
    machines = loop(tmp_path, cloud, replace(POLICY, reserve=1))
    machines.run(lambda step: any(each.ready for each in cloud.machines.values()))
    with machines.wanted(Want(id="a1")) as machine:
        assert cloud.made == [machine.name], "it was there"
        machines.run(lambda step: sum(each.ready for each in cloud.machines.values()) == 2)
    machines.run(lambda step: isinstance(step, Wait) and len(machines.files.records()) == 1)
    assert machine.id not in cloud.machines


def test_a_process_that_is_killed_leaves_the_queue_and_its_machine_goes(tmp_path: Path) -> None:
    cloud = FakeCloud()
    machines = loop(tmp_path, cloud)
    code = (
        "import sys, os; from pathlib import Path; from cc_images.remote.machine_files import MachineFiles;"
        "from cc_images.store.records import Store; from cc_images.remote.machine_steps import Want;"
        "files = MachineFiles(Store(Path(sys.argv[1])), 'burst')\n"
        "with files.locked(): held = files.want(Want(id='other'))\n"
        "print('waits', flush=True); sys.stdin.read()"
    )
    waits = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert waits.stdout is not None
    assert waits.stdout.readline() == b"waits\n"
    machines.run(lambda step: any(each.served for each in machines.files.wants()))
    assert len(cloud.machines) == 1
    waits.kill()
    waits.communicate()
    emptied(machines)
    assert cloud.machines == {}
    assert machines.files.wants() == ()


def test_machines_of_another_head_go_when_they_expire_and_not_before(tmp_path: Path) -> None:
    cloud = FakeCloud()
    mine, other = loop(tmp_path / "mine", cloud), loop(tmp_path / "other", cloud, replace(POLICY, reserve=1))
    other.run(lambda step: any(each.ready for each in cloud.machines.values()))
    assert mine.swept() == []
    (id,) = cloud.machines
    cloud.machines[id] = replace(cloud.machines[id], expires=0)
    assert len(mine.swept()) == 1
    assert cloud.every() == [] or cloud.every() == []


def test_a_machine_that_a_list_lacks_is_not_given_up(tmp_path: Path) -> None:
    cloud = FakeCloud()
    machines = loop(tmp_path, cloud)
    with machines.wanted(Want(id="a1")) as machine:
        cloud.hidden = {machine.id}
        machines.swept()
        assert len(machines.files.records()) == 1
    cloud.hidden = set()
    emptied(machines)
    assert cloud.machines == {}


def test_a_head_has_one_name(tmp_path: Path) -> None:
    first = MachineFiles(Store(tmp_path), "burst").head()
    assert first == MachineFiles(Store(tmp_path), "other").head()
    assert len(first) == 16
    assert Machine(id="1", name="n", state=State.BUILD).ready is False


def test_records_of_format_1_are_read_and_newer_ones_are_refused(tmp_path: Path) -> None:
    files = MachineFiles(Store(tmp_path), "burst")
    golden = tmp_path / "machines/burst/records/cc-burst-1.json"
    golden.parent.mkdir(parents=True)
    golden.write_text(GOLDEN)
    (found,) = files.records()
    assert found == Record(name="cc-burst-1", made=5.0, id="i", want="a1", doomed="its job is over", public_key="k")
    files.write(found)
    assert json.loads(golden.read_text()) == {key: each for key, each in json.loads(GOLDEN).items() if key != "later"}
    golden.write_text(GOLDEN.replace('"format": 1', '"format": 2'))
    with pytest.raises(CCImagesError, match="newer cc-images"):
        files.records()


def test_names_of_wants_are_no_paths(tmp_path: Path) -> None:
    files = MachineFiles(Store(tmp_path), "burst")
    for name in ("../x", "", "a/b", ".x"):
        with pytest.raises(ValueError, match="no name"):
            files.end(name)
