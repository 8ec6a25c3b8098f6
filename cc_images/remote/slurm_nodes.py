"""What Slurm believes of nodes, compared with the machines that they have: pure decisions.

The two part ways: a resume or suspend program may fail, machines are started and deleted by people, a controller that
was away calls a node down. Wants are read before Slurm is asked, and a want that was renewed meanwhile is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cc_images.remote.machine_steps import Want

_OFF, _CHANGING = "POWERED_DOWN", frozenset({"POWERING_UP", "POWERING_DOWN", "POWER_UP", "POWER_DOWN"})


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Let a node need no machine any more."""

    want: Want
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerDown:
    """Tell Slurm that a node is off, so that it may start it again."""

    node: str


def believed(said: str) -> dict[str, frozenset[str]]:
    """Return the state of each node in an answer of `scontrol show node --json`, of all versions since 22.05.

    Raises ValueError.
    """
    start = said.find("{")
    answer, _ = json.JSONDecoder().raw_decode(said[max(0, start) :])
    nodes = answer.get("nodes") if isinstance(answer, dict) else None
    if not isinstance(nodes, list) or answer.get("errors"):
        raise ValueError(f"no list of nodes: {said[:200]!r}")
    return {str(each["name"]): frozenset(_words(each)) for each in nodes}


def contradictions(
    states: Mapping[str, frozenset[str]], wants: Sequence[Want], machines: Collection[str]
) -> list[End | PowerDown]:
    """Return what brings Slurm and the cloud together; `machines` are the names of those that there are records of."""
    found: list[End | PowerDown] = []
    for want in wants:
        if not want.node:
            continue
        words = states.get(want.id)
        if words is None:
            found.append(End(want=want, why="Slurm has no such node any more"))
        elif words & _CHANGING:
            continue
        elif _OFF in words:
            found.append(End(want=want, why="Slurm has it powered down"))
        elif want.served and want.served not in machines:
            found.append(PowerDown(node=want.id))
    return found


def _words(node: Mapping[str, object]) -> list[str]:
    """Return the words of a node's state, which are one text or a list, with flags beside it in older versions."""
    state, flags = node.get("state") or [], node.get("state_flags") or []
    words = [*(state.split("+") if isinstance(state, str) else _texts(state)), *_texts(flags)]
    return [word.upper() for word in words]


def _texts(several: object) -> list[str]:
    return [str(each) for each in several] if isinstance(several, list) else []
