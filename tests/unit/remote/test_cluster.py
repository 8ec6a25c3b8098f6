"""The steps of a cluster's host: in order, nothing twice, and to an end from wherever it stands."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from cc_images.remote.cluster import Act, Seen, Service, Step, Wanted, after, next_end, next_step, steps

SERVICES = ("munged", "slurmctld", "hub")
WANTED = Wanted(
    programs={"munged": "munge", "sbatch": "slurm-client", "scontrol": "slurm-client"},
    made=("key", "certificate"),
    texts={"/slurm.conf": "new", "/cgroup.conf": "x"},
    services=tuple(Service(name=name, argv=(name,), stamp="2") for name in SERVICES),
)
ORDER = (Act.INSTALL, Act.MAKE, Act.WRITE)

SEEN = some.builds(
    Seen,
    programs=some.frozensets(some.sampled_from([*WANTED.programs])),
    made=some.frozensets(some.sampled_from(WANTED.made)),
    texts=some.dictionaries(some.sampled_from([*WANTED.texts]), some.sampled_from(["new", "old", "x"])),
    running=some.dictionaries(some.sampled_from(SERVICES), some.sampled_from(["1", "2"])),
    answering=some.frozensets(some.sampled_from(SERVICES)),
)


def test_from_nothing() -> None:
    assert [str(each) for each in steps(WANTED, Seen())] == [
        "install munge slurm-client", "make key", "make certificate", "write /slurm.conf", "write /cgroup.conf",
        "start munged", "wait for munged", "start slurmctld", "wait for slurmctld", "start hub", "wait for hub",
    ]  # fmt: skip


def test_a_service_whose_configuration_has_changed_is_started_again_and_no_other() -> None:
    seen = Seen()
    for step in steps(WANTED, seen):
        seen = after(seen, step, WANTED)
    assert next_step(WANTED, seen) is None
    changed = tuple(replace(each, stamp="3") if each.name == "slurmctld" else each for each in WANTED.services)
    now = replace(WANTED, texts={**WANTED.texts, "/slurm.conf": "newer"}, services=changed)
    assert [str(each) for each in steps(now, seen)] == [
        "write /slurm.conf", "stop slurmctld", "start slurmctld", "wait for slurmctld",
    ]  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other tests have the processor, too
@given(seen=SEEN)
def test_from_wherever_it_stands(seen: Seen) -> None:
    found = steps(WANTED, seen)
    assert len(set(found)) == len(found), "nothing is done twice"
    kinds = [ORDER.index(each.act) if each.act in ORDER else len(ORDER) for each in found]
    assert kinds == sorted(kinds), "no service is started before its files are there"
    assert not {each.name for each in found if each.act is Act.MAKE} & seen.made, "what is there is kept"
    for step in found:
        seen = after(seen, step, WANTED)
    assert next_step(WANTED, seen) is None
    assert seen.running == dict.fromkeys(SERVICES, "2")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other tests have the processor, too
@given(seen=SEEN, lost=some.lists(some.sampled_from([*SERVICES, "/slurm.conf"]), max_size=5))
def test_what_is_lost_amid_the_steps_is_done_again(seen: Seen, lost: list[str]) -> None:
    for name in [*lost, *[""] * 40]:
        if (step := next_step(WANTED, seen)) is None:
            break
        seen = after(seen, step, WANTED)
        running = {each: stamp for each, stamp in seen.running.items() if each != name}
        texts = {each: text for each, text in seen.texts.items() if each != name}
        seen = replace(seen, running=running, texts=texts)
    assert next_step(WANTED, seen) is None


def test_the_last_service_ends_first() -> None:
    assert next_end(SERVICES, Seen(running={"munged": "2", "hub": "1"})) == Step(act=Act.STOP, name="hub")
    assert next_end(SERVICES, Seen()) is None
