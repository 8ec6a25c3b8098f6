"""A chain on builder hosts, through a real hub: what counts, who lies, and what is done about losses."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cc_images import clock
from cc_images.builders import base
from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Arch, Format, Material
from cc_images.model.events import Step, TaskEvent
from cc_images.model.plan import BootJob, ConvertJob, LayerJob, Plan, Request, Result, Status, Task
from cc_images.model.plan import Job as TaskJob
from cc_images.model.recipe import key_of
from cc_images.remote import attempt_files
from cc_images.remote.bundle import digests
from cc_images.remote.elsewhere import Builders, hub_path
from cc_images.remote.equality import facts_of
from cc_images.remote.placement import chains
from cc_images.store import notes
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext
from cc_images.testing import FakeBuilder
from tests.support.builderhosts import InProcess, Job, fleet, honest
from tests.support.context import envelope, run_context
from tests.support.hubs import attempt
from tests.support.jobs import build_job, layer_job

LAYER, BUILD, CONVERT, BOOT = (f"{verb} cc-one amd64" for verb in ("layer", "build", "convert", "boot"))


@dataclass
class Head:
    """A head with a run, and a way to let builder hosts do a chain."""

    context: RunContext
    folder: Path
    events: list[TaskEvent]
    scripts: dict[str, Callable[[Job], None]] = field(default_factory=dict)
    broken: dict[str, list[CCImagesError]] = field(default_factory=dict)
    """Errors of the first tries to open hosts."""
    troubles: dict[str, list[str]] = field(default_factory=dict)
    """The first answers of hosts to whether they can be reached."""
    hosts: dict[str, InProcess] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.context.store

    def do(self, *jobs: tuple[str, TaskJob], fails: bool = False, **entry: object) -> list[Result]:
        """Let the hosts do tasks, each when those before it have succeeded; return the results."""
        tasks = tuple(
            Task(id=name, job=job, reason="", needs=tuple(before for before, _ in jobs[:number][-1:]))
            for number, (name, job) in enumerate(jobs)
        )
        plan = Plan(version=self.context.run.version, tasks=tasks)
        found = chains(plan, Request(tags=("cc-one",)))
        assert len(found) == 1
        hub = hub_path()
        self.hosts = {
            name: InProcess(self.folder / name, f"unix:{hub}", script, fails) for name, script in self.scripts.items()
        }
        for name, errors in self.broken.items():
            self.hosts[name].broken += errors
        for name, answers in self.troubles.items():
            self.hosts[name].troubles += answers
        builders = Builders(fleet=fleet(self.hosts, **entry), chains=found, hub=hub)
        results: list[Result] = []
        with ExitStack() as ending:
            pools = ending.enter_context(
                builders.opened(lambda task: envelope(self.context, task.id, task.job), self.context)
            )
            for task in tasks:
                results.append(pools[task.id].submit(task).result(timeout=60))
                if not results[-1].status.good:
                    break
        assert not hub.parent.exists()
        return results

    def log(self, task: str) -> str:
        return self.context.run.log_path(task).read_text()


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    events: list[TaskEvent] = []
    store = Store(tmp_path / "head")
    run = store.start_run(clock.now())
    context = replace(run_context(store, run), emit=events.append)
    FakeBuilder.registered("fake")
    yield Head(context, tmp_path, events, {"one": honest})
    del base.BUILDERS["fake"]
    store.finish_run(run, shutil.rmtree)


def layer(head: Head, **more: Any) -> tuple[str, LayerJob]:
    return LAYER, layer_job(builder="fake", version=head.context.run.version, **more)


def image(head: Head) -> list[tuple[str, TaskJob]]:
    version = head.context.run.version
    convert = ConvertJob(
        tag="cc-one", name="CC-One", published_name="CC-One", arch=Arch.AMD64, version=version, makes=Material.DISK,
        formats=(Format.QCOW2,),
    )  # fmt: skip
    return [(BUILD, build_job(builder="fake", version=version)), (CONVERT, convert)]


def test_a_layer_is_made_elsewhere_and_recorded_here(head: Head) -> None:
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    (made,) = head.store.layers("cc-one", Arch.AMD64)
    assert (made.run, made.recipe_key, result.size) == (head.context.run.version, "a", 4096)
    assert head.store.blobs.is_intact(made.digest)
    assert "built\n" in head.log(LAYER)
    (files,) = attempt_files.every(head.store)
    assert files.fenced() == "its result was taken"
    assert [each.doing for each in head.events if isinstance(each, Step)][:2] == ["waiting for a builder", "on one"]


def test_an_image_is_built_and_converted_elsewhere(head: Head) -> None:
    build, convert = head.do(*image(head))
    assert (build.status, convert.status) == (Status.DONE, Status.DONE), (build, convert)
    (made,) = head.store.builds("cc-one", Arch.AMD64)
    assert (made.version, made.recipe_key) == (head.context.run.version, "a")
    output = made.outputs[Format.QCOW2]
    assert head.store.blobs.is_intact(output.digest)
    assert output.sha512
    assert made.key == key_of({"upstream": {}})
    assert 0 < build.seconds < 10


def test_a_boot_elsewhere_is_recorded_with_the_build_before_it(head: Head) -> None:
    version = head.context.run.version
    boot = BootJob(
        tag="cc-one", name="CC-One", arch=Arch.AMD64, version=version, formats=(Format.QCOW2,), firmware=(),
        checks={}, test_key="t",
    )  # fmt: skip
    looked = {"boot": {"level": "systemd"}, "contents": {"packages": {"zip\033[2J": "\0331"}}}

    def script(job: Job) -> None:
        bundle = job.begin()
        made = job.work(replace(bundle, envelopes=bundle.envelopes[:2]))  # nothing is booted in this test
        job.say({"log": "ssh answers\n", "task": BOOT})
        result = {"task": BOOT, "status": "done", "where": "systemd after 70 s", "seconds": 70.0}
        job.say({"ended": result})
        digest = made["outputs"][0]["digest"]
        made |= {
            "looked": looked,
            "level": "sys\033[2Jtemd",
            "passes": {digest: json.dumps({"broken": {"rule": ["why"]}})},
        }
        made["results"].append(result)
        job.bring(made)
        job.over()

    head.scripts["one"] = script
    results = head.do(*image(head), (BOOT, boot))
    assert [each.status for each in results] == [Status.DONE] * 3, results
    (made,) = head.store.builds("cc-one", Arch.AMD64)
    assert (made.boot, head.store.details(made)["boot"]) == ("sys [2Jtemd", {"level": "systemd"})
    assert head.store.details(made)["contents"]["packages"] == {"zip?[2J": "?1"}
    digest = made.outputs[Format.QCOW2].digest
    assert head.store.passes([digest]) == {digest: "t"}
    assert head.store.broken(digest, "t") == {"rule": ["why"]}
    assert (results[2].where, results[2].seconds) == ("systemd after 70 s", 70.0)
    assert head.log(BOOT) == "ssh answers\n"
    assert "ssh answers" not in head.log(CONVERT)


def test_a_failure_is_told_as_if_it_were_here(head: Head) -> None:

    FakeBuilder.registered(
        "fake", error=CCImagesError("a hook failed", hint="mend it", reason=Reason.DIB, tail=["\033[2Jx"])
    )
    (result,) = head.do(*image(head))
    assert (result.status, result.error, result.hint, result.reason) == (
        Status.FAILED,
        "a hook failed",
        "mend it",
        "dib",
    )
    assert result.tail == ("?[2Jx",)
    assert not [*head.store.builds("cc-one", Arch.AMD64)]


# -- lies -------------------------------------------------------------------------------------------------------


def changed(change: Callable[[Any], object]) -> Callable[[Job], None]:
    """Return the script of a host that changes what it has made before it brings it."""

    def script(job: Job) -> None:
        made = job.work(job.begin())
        change(made)
        for digest in digests(made):
            job.hub.put(job.store.blobs.path(digest), digest)
        job.hub.put_result(job.result(made=made))
        job.over()

    return script


LIES: dict[str, Callable[[Any], object]] = {
    "another tag": lambda made: made["layer"]["record"].update(tag="cc-two"),
    "another run": lambda made: made["layer"]["record"].update(run="20260101T000000Z"),
    "another recipe": lambda made: made["layer"]["record"].update(asked="b"),
    "another key": lambda made: made["layer"]["record"].update(key="b"),
    "other upstream": lambda made: made["layer"]["record"].update(upstream={"x": "y"}),
    "no layer": lambda made: made.pop("layer"),
    "another task": lambda made: made["results"][0].update(task="build cc-one amd64"),
    "no task": lambda made: made["results"].clear(),
    "twice": lambda made: made["results"].append(made["results"][0]),
    "no result": lambda made: made["results"][0].update(status="fine"),
    "an old one": lambda made: made["results"][0].update(status="cached"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_layer_that_was_not_asked_for_does_not_count(head: Head, lie: str) -> None:
    head.scripts["one"] = changed(LIES[lie])
    (result,) = head.do(layer(head))
    assert (result.status, result.reason) == (Status.FAILED, Reason.REFUSED), result
    assert "does not count" in result.error
    assert not [*head.store.layers("cc-one", Arch.AMD64)]
    (files,) = attempt_files.every(head.store)
    assert files.fenced()


IMAGE_LIES: dict[str, Callable[[Any], object]] = {
    "another sha512": lambda made: made["outputs"][0].update(sha512="0" * 128),
    "another format": lambda made: made["outputs"][0].update(format="raw"),
    "another recipe": lambda made: made["evidence"].update(recipe_key="b"),
    "no evidence": lambda made: made.pop("evidence"),
    "no output": lambda made: made["outputs"].clear(),
    "half of it": lambda made: made["results"].pop(),
    "an old one": lambda made: made["results"][1].update(status="cached"),
    "an old build": lambda made: made["results"][0].update(status="cached"),
}


@pytest.mark.parametrize("lie", IMAGE_LIES)
def test_an_image_that_was_not_asked_for_does_not_count(head: Head, lie: str) -> None:
    head.scripts["one"] = changed(IMAGE_LIES[lie])
    results = head.do(*image(head))
    assert (results[-1].status, results[-1].reason) == (Status.FAILED, Reason.REFUSED), results
    assert not [*head.store.builds("cc-one", Arch.AMD64)]


def test_only_the_words_of_a_host_reach_the_terminal(head: Head) -> None:
    def script(job: Job) -> None:
        bundle = job.begin()
        job.say({"event": "Step", "task": LAYER, "doing": "\033]0;owned\007"})
        job.say({"event": "Ended", "task": LAYER})
        job.say(["no", "object"])  # type: ignore[arg-type]
        job.bring(job.work(bundle))
        job.over()

    head.scripts["one"] = script
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    assert " ]0;owned " in [each.doing for each in head.events if isinstance(each, Step)]
    assert not [each for each in head.events if isinstance(each, Step) and "\033" in each.doing]


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 200_000,
        b'{"ended": ' + b"[" * 200_000,
        b'{"over": ' + b"[" * 100_000,
        b'"\\ud800"',
        b"1" * 9000,
        b"\xff{",
    ],
    ids=["lists", "ended", "over", "half a letter", "a number", "no UTF-8"],
)
def test_lines_that_say_nothing_are_passed_over(head: Head, line: bytes) -> None:
    def script(job: Job) -> None:
        bundle = job.begin()
        job.say_bytes(line)
        job.bring(job.work(bundle))
        job.over()

    head.scripts["one"] = script
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    assert head.hosts["one"].errors == []


LOOKS: dict[str, Any] = {
    "packages": {"looked": {"boot": {}, "contents": {"packages": []}}},
    "units": {"looked": {"boot": {}, "contents": {"units": {"a": 1}}}},
    "passes": {"passes": {"DIGEST": json.dumps({"broken": ["rule"]})}},
}


@pytest.mark.parametrize("lie", LOOKS)
def test_a_look_that_no_record_can_have_does_not_count(head: Head, lie: str) -> None:
    def script(job: Job) -> None:
        made = job.work(job.begin())
        made |= json.loads(json.dumps(LOOKS[lie]).replace("DIGEST", made["outputs"][0]["digest"]))
        job.bring(made)
        job.over()

    head.scripts["one"] = script
    results = head.do(*image(head))
    assert (results[-1].status, results[-1].reason) == (Status.FAILED, Reason.REFUSED), results
    assert not [*head.store.builds("cc-one", Arch.AMD64)]


def test_a_result_that_says_nothing_does_not_count(head: Head) -> None:
    def script(job: Job) -> None:
        job.begin()
        job.hub.put_result(job.result())
        job.over()

    head.scripts["one"] = script
    (result,) = head.do(layer(head))
    assert (result.status, result.reason) == (Status.FAILED, Reason.REFUSED), result


def test_details_of_a_layer_that_no_record_can_have_do_not_count(head: Head) -> None:
    head.scripts["one"] = changed(lambda made: made["layer"]["details"].update(packages=["zip"]))
    (result,) = head.do(layer(head))
    assert (result.status, result.reason) == (Status.FAILED, Reason.REFUSED), result


def test_words_of_a_failure_steer_no_terminal(head: Head) -> None:
    said = {
        "task": LAYER,
        "status": "failed",
        "error": "a\033[2J",
        "hint": "b\x9b",
        "tail": ["\033]0;c"],
        "reason": "dib",
    }

    def script(job: Job) -> None:
        job.begin()
        job.bring({"results": [said]})
        job.over()

    head.scripts["one"] = script
    (result,) = head.do(layer(head))
    assert (result.error, result.hint, result.tail, result.reason) == ("a [2J", "b ", (" ]0;c",), "dib")


# -- losses -----------------------------------------------------------------------------------------------------


def lost(job: Job) -> None:
    job.begin()
    job.hub.put_result(job.result(lost="the disk is full"))
    job.over()


def gone(job: Job) -> None:
    job.begin()
    job.over()


def test_a_lost_attempt_is_followed_by_one_on_another_host(head: Head) -> None:
    head.scripts = {"one": lost, "two": honest}
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    assert "the disk is full" in head.log(LAYER)
    assert (len(head.hosts["one"].tickets), len(head.hosts["two"].tickets)) == (1, 1)
    first, second = sorted(attempt_files.every(head.store), key=lambda each: each.claim().made)
    assert second.claim().before == first.attempt


@pytest.mark.parametrize("script", [lost, gone])
def test_losses_have_a_limit(head: Head, script: Callable[[Job], None]) -> None:
    head.scripts = {"one": script}
    (result,) = head.do(layer(head))
    assert (result.status, result.reason) == (Status.FAILED, Reason.LOST), result
    assert "after 2 attempts" in result.error
    assert len(head.hosts["one"].tickets) == 2


def test_an_image_that_was_built_and_lost_is_built_again(head: Head) -> None:
    def script(job: Job) -> None:
        job.work(job.begin())
        job.hub.put_result(job.result(lost="the link to the disk broke"))
        job.over()

    head.scripts = {"one": script, "two": honest}
    build, convert = head.do(*image(head))
    assert (build.status, convert.status) == (Status.DONE, Status.DONE), (build, convert)
    assert len([*head.store.builds("cc-one", Arch.AMD64)]) == 1


def test_a_host_that_is_unfit_is_used_no_more(head: Head) -> None:
    def unfit(job: Job) -> None:
        job.begin()
        job.hub.put_result(job.result(unfit=["mmdebstrap is 1.4, and the head has 1.5"]))
        job.over()

    head.scripts = {"one": unfit, "two": honest}
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    head.scripts = {"one": unfit}
    (result,) = head.do((LAYER.replace("one", "two"), layer(head, tag="cc-two")[1]))
    assert (result.status, result.error) == (
        Status.FAILED, "no builder can do layer cc-two amd64: one mmdebstrap is 1.4, and the head has 1.5",
    )  # fmt: skip


@pytest.mark.parametrize("reason", [Reason.DISK_FULL, Reason.STORE_UNWRITABLE, Reason.SANDBOX])
def test_a_host_that_is_at_fault_itself_is_used_no_more_and_named(head: Head, reason: Reason) -> None:
    def full(job: Job) -> None:
        failed = {
            "task": job.begin().envelopes[0]["task"],
            "status": "failed",
            "error": "only 0 MiB are free",
            "reason": str(reason),
        }
        job.bring({"results": [failed]})
        job.over()

    head.scripts = {"one": full, "two": honest}
    (result,) = head.do(layer(head))
    assert (result.status, len(head.hosts["two"].tickets)) == (Status.DONE, 1), result
    head.scripts = {"one": full}
    (result,) = head.do((LAYER.replace("one", "two"), layer(head, tag="cc-two")[1]))
    assert result.status is Status.FAILED
    assert result.error == "no builder can do layer cc-two amd64: one only 0 MiB are free"


def test_a_host_is_held_to_what_its_own_builds_need(head: Head) -> None:
    """A run for two architectures does not ask for the emulator of the one on hosts that build for the other."""
    needs: dict[str, set[str]] = {}

    def script(job: Job) -> None:
        bundle = job.begin()
        needs[bundle.envelopes[0]["task"]] = {name for name in bundle.facts if name.startswith("emulator of")}
        job.bring(job.work(bundle))
        job.over()

    jobs = [layer_job(builder="fake", version=head.context.run.version, arch=arch) for arch in Arch]
    tasks = tuple(Task(id=f"layer cc-one {job.arch}", job=job, reason="") for job in jobs)
    plan, hub = Plan(version=head.context.run.version, tasks=tasks), hub_path()
    hosts = {"one": InProcess(head.folder / "one", f"unix:{hub}", script)}
    found = chains(plan, Request(tags=("cc-one",)))
    builders = Builders(fleet=fleet(hosts, architectures=tuple(map(str, Arch))), chains=found, hub=hub)
    with builders.opened(lambda task: envelope(head.context, task.id, task.job), head.context) as pools:
        for task in tasks:
            assert pools[task.id].submit(task).result(timeout=60).status is Status.DONE
    foreign = {f"layer cc-one {arch}": {f"emulator of {arch}"} & {*facts_of({arch})} for arch in Arch}
    assert needs == foreign
    assert len([each for each in foreign.values() if each]) == 1


def test_a_job_that_never_began_says_what_its_start_was_answered(head: Head) -> None:
    def silent(job: Job) -> None:
        """Never ask for a lease."""

    head.scripts = {"one": silent}
    (result,) = head.do(layer(head), fails=True, retries=0)
    assert result.status is Status.FAILED
    assert (
        "its job ended before it asked for work (no cc-images there, or no way to the head): the answer was lost"
        in result.error
    )


def test_a_job_whose_start_was_answered_with_an_error_may_run_all_the_same(head: Head) -> None:
    (result,) = head.do(layer(head), fails=True)
    assert result.status is Status.DONE, result
    assert "the answer was lost" in head.log(LAYER)
    assert len(head.hosts["one"].tickets) == 1


def test_a_link_that_is_broken_for_a_while_is_waited_for_and_another_host_taken_where_there_is_none(head: Head) -> None:
    head.scripts = {"one": honest, "two": honest}
    head.broken = {"one": [CCImagesError("connection refused", temporary=True)]}
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    assert len(head.hosts["one"].tickets) == 1
    head.broken = {"one": [CCImagesError("permission denied")]}
    (result,) = head.do((LAYER.replace("one", "two"), layer(head, tag="cc-two")[1]))
    assert result.status is Status.DONE, result
    assert (len(head.hosts["one"].tickets), len(head.hosts["two"].tickets)) == (0, 1)


def test_after_a_loss_no_attempt_is_spent_on_a_link_that_is_broken(head: Head) -> None:
    tries = 0

    def second_time(job: Job) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            lost(job)
        else:
            assert not head.hosts["one"].troubles, "it began while the host could not be reached"
            honest(job)

    head.scripts, head.troubles = {"one": second_time}, {"one": ["no route to host"]}
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    assert tries == 2


def test_a_run_that_stops_asks_its_builders_to_end(head: Head) -> None:
    def patient(job: Job) -> None:
        bundle = job.hub
        nonce = "1" * 32
        bundle.lease(nonce)
        head.context.stop.set()
        while not bundle.lease(nonce).stop:
            pass
        job.hub.put_result(job.result(made={"results": [{"task": LAYER, "status": "interrupted"}]}))
        job.over()

    head.scripts = {"one": patient}
    (result,) = head.do(layer(head))
    assert (result.status, head.hosts["one"].errors) == (Status.INTERRUPTED, []), result


def test_secrets_are_for_hosts_that_are_trusted(head: Head) -> None:
    secret = layer(head, environment={"DIB_PASSWORD": "a canary"})
    (result,) = head.do(secret)
    assert (result.status, result.reason) == (Status.FAILED, Reason.UNFIT), result
    assert "trusted: yes" in result.hint
    assert not head.hosts["one"].tickets
    assert not attempt_files.every(head.store)


def test_an_attempt_of_a_dead_run_is_closed_and_another_begins(head: Head) -> None:
    old = attempt(head.store)  # of a run r1 that is no more, with a task of another name
    files = attempt_files.AttemptFiles(head.store, f"a{2:032x}")
    claim = replace(old.claim(), attempt=files.attempt, tasks=(LAYER,))
    files.create(claim, "token", {"format": 1}, [])
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    assert files.fenced() == "its run is dead"
    assert not old.fenced()


def given_up(head: Head) -> attempt_files.AttemptFiles:
    """Return an attempt of a dead run that had a lease a moment ago, and is fenced."""
    files = attempt_files.AttemptFiles(head.store, f"a{2:032x}")
    claim = replace(attempt(head.store).claim(), attempt=files.attempt, tasks=(LAYER,))
    files.create(claim, "token", {"format": 1}, [])
    files.grant(time.time(), "1" * 32)
    files.fence("enough")
    return files


def test_an_attempt_that_is_over_is_noted_before_another_begins(head: Head) -> None:
    files = given_up(head)
    files.append(0, b'{"over": 0}\n')
    assert not files.is_over()
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    assert files.is_over()


def test_a_lease_that_another_run_has_seen_run_out_is_not_waited_for_again(head: Head) -> None:
    given_up(head).note_over()
    began = time.monotonic()
    (result,) = head.do(layer(head))
    assert result.status is Status.DONE, result
    assert time.monotonic() - began < 20


def test_notes_are_those_of_the_head(head: Head) -> None:
    notes.write(head.context.run.work / "upstream.json", {"http://a": "1"})
    head.do(layer(head))
    (made,) = head.store.layers("cc-one", Arch.AMD64)
    assert head.store.details(made)["recipe"] == {}
