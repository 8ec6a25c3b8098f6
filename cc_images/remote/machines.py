"""The next step with the machines of a head in one cloud, given what was observed: pure decisions.

Several processes of a head decide at a time: runs, and sweeps. Each looks at the cloud, then takes the lock of the
records, reads them, decides, and writes what the step changes in them; the cloud is asked without the lock. So what a
process believes of the cloud may be old, and what it believes of the records never is. A step is done once, whether its
answer comes or not; then the process looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cc_images.remote.machine_steps import (
    Create,
    Destroy,
    Fail,
    Forget,
    Machine,
    Note,
    Observed,
    Record,
    State,
    Step,
    Use,
    Wait,
    Want,
)

Rule = Callable[[Observed], Step | None]


def a_machine_that_came_is_noted(observed: Observed) -> Step | None:
    """Note the oldest machine of a record's name: a request may have come twice, or its answer may be lost."""
    for record in observed.records:
        came = [each for each in observed.own if each.name == record.name]
        if came and not record.id:
            return Note(name=record.name, id=came[0].id)
    return None


def a_machine_is_used(observed: Observed) -> Step | None:
    """Give the machine with the least time left, of those that have enough, to who has waited longest."""
    for want in observed.waiting:
        for record in sorted(observed.records, key=lambda each: each.made):
            machine = observed.machine(record)
            fits = record.want == want.id if want.node else not record.want and not _is_too_old(record, observed)
            if fits and not record.doomed and machine is not None and machine.ready:
                return Use(name=record.name, want=want.id)
    return None


def a_want_is_given_up(observed: Observed) -> Step | None:
    """Give up after as many machines failed as may."""
    waits = any(each.id == observed.me for each in observed.waiting)
    if waits and len(observed.failures) >= observed.policy.tries:
        return Fail(why="; ".join(dict.fromkeys(observed.failures)))
    return None


def expired_machines_are_destroyed(observed: Observed) -> Step | None:
    """Destroy each machine with our tags whose time is over, whichever head has made it: that may be dead."""
    for machine in observed.machines:
        skew = 0.0 if observed.owns(machine) else observed.policy.skew
        if machine.expires is not None and observed.now >= machine.expires + skew:
            record = observed.record(machine) if observed.owns(machine) else None
            if step := _destroy(observed, machine, record, "its time is over"):
                return step
    return None


def machines_without_a_record_are_destroyed(observed: Observed) -> Step | None:
    """Destroy machines of this head that nobody waits for, and all but one of a name."""
    names = {each.name for each in observed.records if not each.id}
    for machine in observed.own:
        unknown = observed.record(machine) is None and machine.name not in names
        if unknown and (step := _destroy(observed, machine, None, "nobody waits for it")):
            return step
    return None


def broken_machines_are_destroyed(observed: Observed) -> Step | None:
    """Destroy machines that failed, and those that are not ready for too long."""
    for machine, record in _known(observed):
        late = observed.now >= record.made + observed.policy.build_within
        used = any(each.served == record.name for each in observed.wants)
        if machine.state is State.ERROR:
            why = f"the cloud could not start it: {machine.fault}" if machine.fault else "the cloud could not start it"
        elif machine.state is State.STOPPED:
            why = "it is switched off"
        elif late and not used and not machine.ready and machine.state is not State.LEAVING:
            why = f"it is not ready after {observed.policy.build_within:.0f} s"
        else:
            continue
        if step := _destroy(observed, machine, record, why, trouble=not used):
            return step
    return None


def a_machine_is_used_once(observed: Observed) -> Step | None:
    """Destroy machines whose job is over: what ran there was root, so nobody else gets them."""
    living = {each.id for each in observed.wants}
    for machine, record in _known(observed):
        over = record.want and record.want not in living
        if over and (step := _destroy(observed, machine, record, "its job is over")):
            return step
    return None


def machines_too_old_for_a_job_are_destroyed(observed: Observed) -> Step | None:
    """Destroy unused machines that have too little time left, so that the reserve gets others."""
    for machine, record in _known(observed):
        old = not record.want and _is_too_old(record, observed)
        if old and (step := _destroy(observed, machine, record, "it has too little time left for a job")):
            return step
    return None


def doomed_machines_are_destroyed(observed: Observed) -> Step | None:
    """Destroy what is to be destroyed, until it is gone: who wrote that may be dead, or the cloud did not do it."""
    for machine, record in _known(observed):
        if record.doomed and (step := _destroy(observed, machine, record, record.doomed, trouble=record.trouble)):
            return step
    return None


def surplus_machines_are_destroyed(observed: Observed) -> Step | None:
    """Destroy what is neither waited for nor in reserve; first those that are not ready, then the oldest."""
    if len(observed.spare) <= _needed(observed):
        return None
    spare = [(each, record) for each, record in _known(observed) if record in observed.spare]
    for machine, record in sorted(spare, key=lambda each: (each[0].ready, each[1].made)):
        if step := _destroy(observed, machine, record, "nobody waits for it any more"):
            return step
    return None


def records_without_a_machine_are_forgotten(observed: Observed) -> Step | None:
    """Forget what the cloud does not have, or has not shown for long enough. A list proves nothing about an id."""
    policy = observed.policy
    for record in observed.records:
        seen = any(each.name == record.name or each.id == record.id for each in observed.own)
        known = record.gone if record.id else bool(record.doomed) or observed.now >= record.made + policy.settle
        paused = record.trouble and observed.now < record.made + policy.pause
        if known and not seen and not paused:
            return Forget(name=record.name)
    return None


def a_machine_is_made(observed: Observed) -> Step | None:
    """Ask for a machine that is waited for or lacks in the reserve, up to the maximum; not soon after one failed."""
    if len(observed.records) >= observed.policy.maximum or any(each.trouble for each in observed.records):
        return None
    made_for = {each.want for each in observed.records}
    for want in observed.waiting:
        if want.node and want.id not in made_for:
            return Create(node=want.id, run=want.id)
    pooled = _pooled(observed)
    lacking = len(pooled) - len(observed.spare)
    if lacking > 0:
        return Create(run=pooled[-lacking].id)
    return Create() if len(observed.spare) < _needed(observed) else None


RULES: tuple[Rule, ...] = (
    a_machine_that_came_is_noted,
    a_machine_is_used,
    a_want_is_given_up,
    expired_machines_are_destroyed,
    machines_without_a_record_are_destroyed,
    broken_machines_are_destroyed,
    a_machine_is_used_once,
    machines_too_old_for_a_job_are_destroyed,
    doomed_machines_are_destroyed,
    surplus_machines_are_destroyed,
    records_without_a_machine_are_forgotten,
    a_machine_is_made,
)


def decide(observed: Observed, rules: Sequence[Rule] = RULES) -> Step:
    """Return the next step with the machines of a head."""
    for rule in rules:
        if (step := rule(observed)) is not None:
            return step
    return Wait(until=observed.now + observed.policy.look_every)


def unowned(observed: Observed) -> list[tuple[Machine, str]]:
    """Return the machines with our tags that nobody owns, each with the reason; those of heads that live are not."""
    found: list[tuple[Machine, str]] = []
    names = {each.name for each in observed.records if not each.id}
    for machine in observed.machines:
        record = observed.record(machine) if observed.owns(machine) else None
        if machine.expires is not None and observed.now >= machine.expires + observed.policy.skew:
            found.append((machine, "its time is over"))
        elif observed.owns(machine) and record is None and machine.name not in names:
            found.append((machine, "no record has it"))
        elif record is not None and record.doomed:
            found.append((machine, record.doomed))
    return found


def _known(observed: Observed) -> list[tuple[Machine, Record]]:
    """Return the machines that have a record, each with it."""
    pairs = ((observed.machine(record), record) for record in observed.records)
    return [(machine, record) for machine, record in pairs if machine is not None]


def _destroy(
    observed: Observed, machine: Machine, record: Record | None, why: str, trouble: bool = False
) -> Destroy | None:
    """Return the step that destroys a machine; None when that was asked for a moment ago, or is being done."""
    tried = machine.tried
    if tried is None and machine.state is State.LEAVING:
        return None
    if tried is not None and observed.now < tried + observed.policy.destroy_every:
        return None
    if record is not None and record.doomed:
        why, trouble = record.doomed, record.trouble
    return Destroy(id=machine.id, why=why, name=record.name if record else "", trouble=trouble)


def _is_too_old(record: Record, observed: Observed) -> bool:
    return observed.now + observed.policy.least > record.made + observed.policy.ttl


def _pooled(observed: Observed) -> list[Want]:
    """Return who waits for any machine, and not for one of its own."""
    return [each for each in observed.waiting if not each.node]


def _needed(observed: Observed) -> int:
    return len(_pooled(observed)) + observed.policy.reserve
