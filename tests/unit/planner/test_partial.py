"""Builds that stop after a phase: which requests make sense, and the plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cc_images.errors import UserError
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Download, Format, Image
from cc_images.model.phases import PHASES
from cc_images.model.plan import BuildJob, LayerJob, Plan, Request
from cc_images.model.site import Site
from cc_images.model.spec import Base
from cc_images.planner.image_state import ImageState
from cc_images.planner.layers import LayerState
from cc_images.planner.partial import require_sense
from cc_images.planner.planner import make_plan
from tests.support.jobs import build_job, layer_job

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
UNTIL = Request(tags=("cc-x",), build=True, until="install")
ROOT = Download(url="http://h.invalid/root.tar", sha256="a" * 64)
LAYER = layer_job(name="CC-X", tag="cc-x", recipe_key="l", content=("os",), artifacts={"DIB_ROOT": ROOT})


def state(tag: str = "cc-x", base: str = "", **of_job: object) -> ImageState:
    based = Base(tag="cc-x", recipe_key=base, content=("os",)) if base else None
    job = build_job(name=tag.upper(), tag=tag, base=based, **of_job)
    return ImageState(image=Image(name=tag.upper()), arch=Arch.AMD64, job=job, match=None, newest=None)


def planned(request: Request, *states: ImageState) -> Plan:
    layers = {"l": LayerState(job=LAYER, match=None, changed="never made")}
    site = Site(name="local", directory="/d")
    return make_plan(request, states, (site,), version="v1", now=NOW, layer_states=layers)


def shape(plan: Plan) -> list[tuple[str, str, str]]:
    return [
        (task.id, task.job.until, task.job.spec.recipe_key) for task in plan.tasks if isinstance(task.job, BuildJob)
    ]


def test_nothing_follows_a_build_that_stops() -> None:
    plan = planned(UNTIL, state())
    assert [task.id for task in plan.tasks] == ["build cc-x amd64"]
    assert plan.tasks[0].reason == (
        "the image until install, and no further: its tree is kept, nothing is converted or recorded"
    )
    assert plan.tasks[0].as_json()["job"]["until"] == "install"
    assert "until" not in planned(replace(UNTIL, until=""), state()).tasks[0].as_json()["job"]


def test_a_stored_build_is_no_reason_not_to_build() -> None:
    output = Output(format=Format.QCOW2, digest="d", sha512="s", size=1, virtual_size=2)
    build = Build(tag="cc-x", name="CC-X", arch=Arch.AMD64, version="20261120T120000Z", recipe_key="a", key="k",
                  outputs={Format.QCOW2: output})  # fmt: skip
    (task,) = planned(UNTIL, replace(state(), match=build, newest=build)).tasks
    assert not task.cached
    assert isinstance(task.job, BuildJob)
    assert task.job.force, "what another run has built is of no use"


def test_a_child_stops_in_its_own_hooks_after_its_parents_layer() -> None:
    plan = planned(UNTIL, state("cc-kid", base="l"))
    assert shape(plan) == [("layer cc-x amd64", "", "l"), ("build cc-kid amd64", "install", "a")]
    assert plan.tasks[-1].needs == ("layer cc-x amd64",)


@pytest.mark.parametrize("phase", PHASES)
def test_an_image_with_a_layer_stops_where_the_phase_is(phase: str) -> None:
    plan = planned(replace(UNTIL, until=phase), state(base="l"))
    if PHASES.index(phase) < PHASES.index("block-device"):
        assert shape(plan) == [("build cc-x amd64", phase, "l")]
        assert not isinstance(plan.tasks[-1].job, LayerJob), "the half-built tree is no layer"
        assert plan.tasks[-1].needs == (plan.tasks[0].id,), "what its layer fetches"
    else:
        assert shape(plan) == [("layer cc-x amd64", "", "l"), ("build cc-x amd64", phase, "a")]


def test_parent_and_child_stop_side_by_side() -> None:
    plan = planned(UNTIL, state(base="l"), state("cc-kid", base="l"))
    assert sorted(shape(plan)) == [
        ("build cc-kid amd64", "install", "a"), ("build cc-x amd64", "install", "l"), ("layer cc-x amd64", "", "l"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (replace(UNTIL, until="instal"), "--until instal: dib has no such phase"),
        (replace(UNTIL, push=True), "nothing to push"),
        (replace(UNTIL, push=True, build=False, version="20261120T120000Z"), "nothing to push"),
        (replace(UNTIL, build=False), "none is asked for"),
        (replace(UNTIL, force=True), "builds in any case"),
        (replace(UNTIL, sites=("local",)), "no site is concerned"),
        (Request(tags=("cc-x",), push=True, keep_failed=True), "none is asked for"),
    ],
)
def test_what_makes_no_sense_is_said(request_: Request, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        require_sense(request_)
    assert caught.value.hint


@pytest.mark.parametrize("more", [{}, {"keep_failed": True}, {"debug": True}, {"until": "", "keep_failed": True}])
def test_what_makes_sense_is_let_through(more: dict[str, object]) -> None:
    require_sense(replace(UNTIL, **more))  # type: ignore[arg-type]
