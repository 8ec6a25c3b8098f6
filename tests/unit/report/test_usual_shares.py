"""How far a task is that never ran before."""

from __future__ import annotations

from cc_images.report.running import Running
from cc_images.report.usual_shares import BOOT, BUILD, LAYER, done, weight
from tests.support.jobs import layer_job, twins_job
from tests.unit.planner.test_planner import BOTH, planned, state

FETCHED = {task.id.partition(" ")[0]: task.job for task in planned(BOTH, state()).tasks}


def test_shares_grow_with_what_dib_does() -> None:
    for steps in (LAYER, BUILD, BOOT):
        assert [*steps.values()] == sorted(steps.values())
        assert all(0 < each < 1 for each in steps.values())


def test_a_first_run_has_a_bar() -> None:
    build = FETCHED["build"]
    assert done(build, {"": "install.d/50-x"}) == BUILD["install.d"]
    assert done(build, {}) is None
    assert done(FETCHED["boot"], {"bios": "login", "uefi": "kernel"}) == BOOT["kernel"]
    assert done(FETCHED["push"], {"": "sending"}) is None
    running = Running(name="build x", began=0.0, job=build)
    running.step("finalise.d/10-x")
    assert "########----  0:25, no earlier run" in running.line(25, 90, "#-")


def test_layers_weigh_more_than_builds_and_twins_are_layers() -> None:
    build = FETCHED["build"]
    assert weight(layer_job()) == weight(twins_job()) > weight(build) > weight(FETCHED["push"])
    assert done(layer_job(), {"": "install.d/x"}) == LAYER["install.d"]
