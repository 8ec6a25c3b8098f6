"""The schedule against a slow one that looks at everything, and what it costs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from cc_images.engine.resources import NOBODY, PLACES, OthersUsage, Usage
from cc_images.engine.schedule import LANE, Schedule
from cc_images.model.catalog import Download
from cc_images.model.plan import FetchJob, Plan, Resource, Result, Status, Task
from tests.conftest import samples
from tests.support.engine import Amounts, reserved
from tests.unit.engine.test_execute import LIMITS, plans


class Plain:
    """The same promises, by looking at all tasks each time."""

    def __init__(
        self, plan: Plan, limits: Mapping[Resource, int], books: Amounts, leaves: Amounts, keeps: Amounts
    ) -> None:
        self.limits, self.leaves, self.keeps = limits, leaves, keeps
        self.takes = {task.id: {task.resource: 1, **books.get(task.id, {})} for task in plan.tasks}
        self.waiting = {task.id: task for task in plan.tasks}
        self.running: dict[str, Task] = {}
        self.results: dict[str, Result] = {}

    def settle(self) -> list[Result]:
        settled: list[Result] = []
        for task in list(self.waiting.values()):
            bad = [need for need in task.needs if need in self.results and not self.results[need].status.good]
            over = self.results.keys() >= {*task.needs, *task.after}
            if bad or (task.cached and over):
                root = self.results[bad[0]] if bad else None
                status, error, reason = Status.CACHED, "", ""
                if root is not None:
                    interrupted = root.status is Status.INTERRUPTED
                    status = Status.INTERRUPTED if interrupted else Status.BLOCKED
                    error = root.error if root.status is Status.BLOCKED else f"{bad[0]} {root.status}"
                    reason = root.reason
                settled.append(Result(task=task.id, status=status, error=error, reason=reason))
                self.results[task.id] = settled[-1]
                del self.waiting[task.id]
        return settled

    def taken(self) -> Counter[Resource]:
        used: Counter[Resource] = Counter()
        for name in self.running:
            used.update(self.takes[name])
        wanted = {need for task in (*self.waiting.values(), *self.running.values()) for need in task.needs}
        for name in wanted & {name for name, result in self.results.items() if result.status is Status.DONE}:
            used.update(self.leaves.get(name, {}))
        return used

    def kept(self) -> Counter[Resource]:
        used: Counter[Resource] = Counter()
        for name, result in self.results.items():
            used.update(self.keeps.get(name, {}) if result.status is Status.DONE else {})
        return used

    def ready(self) -> list[Task]:
        over = self.results.keys()
        return [task for task in self.waiting.values() if not task.cached and over >= {*task.needs, *task.after}]

    def start(self, elsewhere: OthersUsage) -> list[Task]:
        used = self.taken() + self.kept()
        used.update({each: count for each, count in (elsewhere.held + elsewhere.gone).items() if each not in PLACES})
        lanes = Counter(task.lane for task in self.running.values())
        chosen: list[Task] = []
        for task in self.ready():
            takes = self.takes[task.id].items()
            fits = all(not used[each] or used[each] + count <= self.limits[each] for each, count in takes)
            if fits and (not task.lane or lanes[task.lane] < LANE):
                used.update(self.takes[task.id])
                lanes[task.lane] += 1
                chosen.append(task)
        if not chosen and not self.running:
            for task in self.ready():
                lacks = [each for each, count in self.takes[task.id].items() if used[each] + count > self.limits[each]]
                if not (elsewhere.at_work and any(elsewhere.held[each] for each in lacks)):
                    chosen.append(task)
                    break
        for task in chosen:
            self.running[task.id] = self.waiting.pop(task.id)
        return chosen

    def stand(self) -> Usage:
        wants = {} if self.running else next((self.takes[task.id] for task in self.ready()), {})
        return Usage(takes=self.taken(), keeps=self.kept(), wants=wants)


AMOUNTS = st.dictionaries(
    st.sampled_from([f"t{number}" for number in range(12)]),
    st.dictionaries(st.sampled_from([Resource.MEMORY, Resource.DISK]), st.integers(1, 4), max_size=2),
)
OTHERS = st.sampled_from([NOBODY, OthersUsage(held=Counter({Resource.BUILD: 1, Resource.MEMORY: 2}))])


@settings(deadline=None, max_examples=samples(40, 300))
@given(plans(), LIMITS, AMOUNTS, AMOUNTS, AMOUNTS, st.data())
def test_it_decides_as_one_that_looks_at_everything(
    plan: Plan, limits: dict[Resource, int], books: Amounts, leaves: Amounts, keeps: Amounts, data: st.DataObject
) -> None:
    quick, plain = Schedule(plan, limits, reserved(books, leaves, keeps)), Plain(plan, limits, books, leaves, keeps)
    while True:
        assert quick.settle() == plain.settle()
        elsewhere = data.draw(OTHERS)
        started = quick.start(elsewhere)
        assert started == plain.start(elsewhere)
        assert quick.usage() == plain.stand()
        if not plain.running:
            if elsewhere is NOBODY:
                break
            continue
        ended = data.draw(st.sampled_from(sorted(plain.running)))
        status = data.draw(st.sampled_from([Status.DONE, Status.DONE, Status.FAILED, Status.INTERRUPTED]))
        result = Result(task=ended, status=status, error="boom", reason="r")
        quick.finish(result)
        del plain.running[ended]
        plain.results[ended] = result
    assert dict(quick.results) == plain.results


def seconds(count: int) -> float:
    tasks = tuple(
        Task(id=f"t{number}", job=FetchJob(artifact=Download(url=f"file:///{number}")), reason="")
        for number in range(count)
    )
    began = time.process_time()
    schedule = Schedule(Plan(version="v", tasks=tasks), {Resource.FETCH: 2})
    while schedule.waits:
        schedule.settle()
        for task in schedule.start():
            schedule.finish(Result(task=task.id, status=Status.DONE))
        schedule.usage()
    assert len(schedule.results) == count
    return time.process_time() - began


def test_a_task_costs_the_same_in_a_large_plan() -> None:
    assert min(seconds(4000) for _ in range(3)) < 4 * 2.5 * min(seconds(1000) for _ in range(3))
