"""The status of builder hosts: what they say of themselves, and what the store of the head knows."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cc_images.model.attempt import HERE, BuilderHost, Claim, JobState
from cc_images.model.fleet import AtWork, FleetStatus, HostState, HostStatus
from cc_images.remote import at_work, jobs, queue
from cc_images.remote.launchers.kinds import launcher
from cc_images.remote.launchers.ssh import looked_up
from cc_images.remote.machine_status import Machines, machines
from cc_images.remote.survey import Surveyed, arch_of, survey
from cc_images.store.records import Store

MACHINE = "waits for a machine"
"""The step of an attempt whose machine is not there yet."""

Look = Callable[[Collection[str]], Mapping[str, JobState]]
"""Asks a host for the jobs of attempts; see `launchers.base.Launcher.look`."""


def fleet_status(store: Store, entries: Sequence[BuilderHost]) -> FleetStatus:
    """Return this host and all builder hosts, which are asked at a time, each for as long as its launcher waits."""
    links = [(each, launcher(each, "", store.root)) for each in entries if not each.local]
    with_clouds = [each for each in entries if each.provider is not None]
    with ThreadPoolExecutor(max(1, len(with_clouds)), thread_name_prefix="machines") as asking:
        asked = {each.name: asking.submit(machines, each, store) for each in with_clouds}
        found = survey(links)
        made = {name: each.result() for name, each in asked.items()}
    now = time.time()
    known, waits = at_work.attempts(store, now), queue.waiting(store)
    there = _asked_for(known, found, [each.look for _, each in links])
    away = {f"{claim.run} {task}" for claim, _ in known for task in claim.tasks}
    away |= {f"{each.run} {each.chain}" for each in waits}
    hosts = [_here(store, entries, at_work.here(store, away))]
    for each in found:
        work = [work for claim, work in known if claim.builder == each.host.name]
        status = _status(each, work, there)
        hosts.append(_with_machines(status, made[status.name]) if status.name in made else status)
    return FleetStatus(now=now, hosts=tuple(hosts), queue=(*waits, *at_work.ready(store)))


def _asked_for(
    known: Sequence[tuple[Claim, AtWork]], found: Sequence[Surveyed], looks: Sequence[Look]
) -> Mapping[str, bool]:
    """Ask hosts that say nothing of themselves, such as a cluster, for the jobs of attempts; all at a time."""
    asked = [
        (look, mine)
        for each, look in zip(found, looks, strict=True)
        if each.facts is None
        and not each.host.unfit
        and (mine := [claim.attempt for claim, _ in known if claim.builder == each.host.name])
    ]
    if not asked:
        return {}
    with ThreadPoolExecutor(len(asked), thread_name_prefix="jobs") as asking:
        states = asking.map(lambda each: each[0](each[1]), asked)
        return {
            attempt: state is JobState.RUNNING
            for each in states
            for attempt, state in each.items()
            if state is not JobState.UNKNOWN
        }


def _here(store: Store, entries: Sequence[BuilderHost], work: Sequence[AtWork]) -> HostStatus:
    own = next((each for each in entries if each.local), None)
    arch, strangers = arch_of(os.uname().machine), jobs.at_work(store.root)
    return HostStatus(
        name=own.name if own else HERE,
        reached="this host",
        address=socket.gethostname(),
        architectures=(own.architectures if own else ()) or ((arch.value,) if arch else ()),
        state=HostState.ACTIVE if work or strangers else HostState.IDLE,
        why="is not in builders.yaml: builds with --on here alone" if entries and own is None else "",
        cores=len(os.sched_getaffinity(0)),
        limit=own.tasks if own else 0,
        trusted=True,
        at_work=tuple(work),
        strangers=tuple(sorted(strangers)),
    )


def _status(surveyed: Surveyed, work: Sequence[AtWork], there: Mapping[str, bool]) -> HostStatus:
    host, facts = surveyed.host, surveyed.facts
    entry, jobs_there = host.entry, set(facts.attempts if facts else ())
    own = (host.arch.value,) if host.arch else ()
    status = HostStatus(
        name=host.name,
        reached=_reached(entry),
        address=_address(entry),
        architectures=entry.architectures or own,
        state=_state(surveyed, work, jobs_there),
        why=host.unfit or "; ".join(f"some images are not built there: {each}" for each in host.unfit_for.values()),
        limit=entry.tasks,
        trusted=entry.trusted,
        at_work=tuple(replace(each, there=there.get(each.attempt)) for each in work),
    )
    if facts is None:
        return status
    return replace(
        status,
        cores=facts.cores,
        version=facts.version,
        layers=len(facts.layers),
        at_work=tuple(replace(each, there=each.attempt in jobs_there) for each in work),
        strangers=tuple(sorted(jobs_there - {each.attempt for each in work})),
    )


def _with_machines(status: HostStatus, made: Machines) -> HostStatus:
    """Return a status with the machines of a cloud, and what is at work on each."""
    by_attempt = {each.attempt: each for each in status.at_work}
    found = [
        replace(each, task=by_attempt[each.user].task, owner=by_attempt[each.user].owner)
        if each.user in by_attempt
        else each
        for each in made.found
    ]
    work = [replace(each, doing=MACHINE) if each.attempt in made.waiting else each for each in status.at_work]
    status = replace(status, machines=tuple(found), at_work=tuple(work))
    if not made.why:
        return status
    state = HostState.SILENT if status.reached == "machine" else status.state
    return replace(status, state=state, why="; ".join(filter(None, (status.why, made.why))))


def _state(surveyed: Surveyed, work: Sequence[AtWork], jobs_there: Collection[str]) -> HostState:
    if surveyed.host.unfit:
        return HostState.SILENT if surveyed.facts is None else HostState.UNFIT
    return HostState.ACTIVE if work or jobs_there else HostState.IDLE


def _reached(entry: BuilderHost) -> str:
    if entry.kind == "ssh":
        return f"ssh {entry.ssh}"
    return " ".join(filter(None, (entry.kind, entry.slurm.get("partition", ""))))


def _address(entry: BuilderHost) -> str:
    """Return host and port that ssh takes for an entry; empty where nobody knows one."""
    return looked_up(entry.ssh) if entry.kind == "ssh" else ""
