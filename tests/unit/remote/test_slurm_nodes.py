"""Slurm's belief and the cloud's truth."""

from __future__ import annotations

import json

import pytest

from cc_images.remote.machine_steps import Want
from cc_images.remote.slurm_nodes import End, PowerDown, believed, contradictions


def words(*said: str) -> frozenset[str]:
    return frozenset(said)


def test_states_of_all_versions() -> None:
    newer = {"nodes": [{"name": "n1", "state": ["IDLE", "CLOUD", "POWERED_DOWN"]}], "errors": []}
    older = {"nodes": [{"name": "n1", "state": "idle", "state_flags": ["CLOUD", "POWERED_DOWN"]}]}
    expected = {"n1": words("IDLE", "CLOUD", "POWERED_DOWN")}
    assert believed(json.dumps(newer)) == believed("warning: x\n" + json.dumps(older)) == expected


@pytest.mark.parametrize("said", ["", "slurm is away", '{"errors": [{"error": "x"}], "nodes": []}', "{}", "[]"])
def test_an_answer_without_nodes_is_no_belief(said: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        believed(said)


def test_a_machine_of_a_node_that_slurm_has_powered_down_is_not_needed() -> None:
    want = Want(id="n1", node=True, served="n1-a")
    assert contradictions({"n1": words("IDLE", "CLOUD", "POWERED_DOWN")}, [want], ["n1-a"]) == [
        End(want=want, why="Slurm has it powered down")
    ]
    assert contradictions({}, [want], ["n1-a"]) == [End(want=want, why="Slurm has no such node any more")]


def test_a_node_whose_machine_is_gone_is_powered_down() -> None:
    want = Want(id="n1", node=True, served="n1-a")
    for state in (words("DOWN", "CLOUD", "NOT_RESPONDING"), words("ALLOCATED", "CLOUD")):
        assert contradictions({"n1": state}, [want], []) == [PowerDown(node="n1")]
        assert contradictions({"n1": state}, [want], ["n1-a"]) == []


def test_nodes_on_their_way_and_wants_of_runs_are_left_alone() -> None:
    states = {"n1": words("IDLE", "CLOUD", "POWERED_DOWN", "POWERING_UP"), "n2": words("IDLE", "POWERING_DOWN")}
    wants = [Want(id="n1", node=True), Want(id="n2", node=True, served="n2-a"), Want(id="a1", served="gone")]
    assert contradictions(states, wants, []) == []
