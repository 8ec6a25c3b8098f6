"""Text for people about builder hosts: a table of them, what is at work, machines of clouds, and the queue."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import timedelta

from cc_images.model.attempt import ATTEMPT
from cc_images.model.fleet import AtWork, FleetStatus, HostStatus, MachineStatus, WorkState
from cc_images.report.units import age, aligned, clipped

WIDTH = 100
"""Columns of the tables."""

SHOWN = 9
"""Characters of an attempt's id, which is random, that are shown."""


def fleet(found: FleetStatus) -> list[str]:
    """Return the lines about all builder hosts and the queue."""
    lines = _table([("builder", "state", "arch", "cores", "works on", "reached", "address"), *map(_host, found.hosts)])
    for each in found.hosts:
        if each.why:
            lines += textwrap.wrap(f"{each.name}: {each.why}", WIDTH - 2, initial_indent="  ", subsequent_indent="    ")
        if each.strangers:
            count = len(each.strangers)
            lines.append(f"  {each.name}: {count} attempt{'s' if count > 1 else ''} of other heads at work")
    work = [(host.name, each) for host in found.hosts for each in host.at_work]
    if work:
        rows = [_work(name, each, found.age(each.began)) for name, each in work]
        lines += ["", *_table([("task", "builder", "owner", "for", "attempt", "does"), *rows])]
    if any(host.machines for host in found.hosts):
        rows = [_machine(host.name, each, found.age(each.since)) for host in found.hosts for each in host.machines]
        lines += ["", *_table([("machine", "id", "builder", "state", "for", "address", "has it"), *rows])]
    lines += ["", f"queue: {len(found.queue)} waiting" if found.queue else "queue: empty"]
    if found.queue:
        rows = [
            (
                str(number),
                clipped(each.chain, 40),
                clipped(each.owner or "-", 12),
                _age(found.age(each.since)),
                each.why,
            )
            for number, each in enumerate(found.queue, 1)
        ]
        lines += _table([("", "waits", "owner", "for", "because"), *rows])
    return lines


def _host(each: HostStatus) -> tuple[str, ...]:
    limit = f" of {each.limit}" if each.limit else ""
    count = len(each.at_work) + len(each.strangers)
    return (
        clipped(each.name, 20),
        each.state.value,
        ",".join(each.architectures) or "?",
        str(each.cores or "?"),
        f"{count}{limit}",
        clipped(each.reached, 28),
        each.address or "-",
    )


def _work(name: str, each: AtWork, seconds: float) -> tuple[str, ...]:
    doing = each.doing if each.state in (WorkState.WORKING, WorkState.STARTING) else each.state.value
    return (
        clipped(each.task, 36),
        clipped(name, 20),
        clipped(each.owner or "-", 12),
        _age(seconds),
        each.attempt[:SHOWN] or "-",
        doing or each.state.value,
    )


def _machine(builder: str, each: MachineStatus, seconds: float) -> tuple[str, ...]:
    return (
        clipped(each.name, 22),
        clipped(each.id or "-", 9),
        clipped(builder, 10),
        each.state.value,
        _age(seconds),
        clipped(each.address or "-", 21),
        each.user[:SHOWN] if ATTEMPT.fullmatch(each.user) else clipped(each.user or "-", 12),
    )


def _age(seconds: float) -> str:
    return age(timedelta(seconds=seconds))


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [clipped(line, WIDTH) for line in aligned(rows)]
