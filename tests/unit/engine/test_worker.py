"""The boundary of a task: what it leaves behind in its run, however it ends, wherever it is done."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from cc_images.builders.base import BuildInputs, Built, decoded
from cc_images.builders.download_cache import Caches
from cc_images.builders.downloads import held
from cc_images.engine import worker
from cc_images.engine.envelope import Envelope
from cc_images.engine.execute import execute
from cc_images.engine.image_leases import ImageLeases
from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import try_lock
from cc_images.model.catalog import Arch, Download, Format
from cc_images.model.plan import RESOURCES, BuildJob, ConvertJob, FetchJob, Plan, PushJob, Result, Status, Task
from cc_images.model.site import Site
from cc_images.model.spec import BuildSpec
from cc_images.store.leases import Leases
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext, TaskContext
from cc_images.store.workspace import Run
from cc_images.testing import FakeBuilder
from tests.conftest import NOW
from tests.support.context import envelope, run_context, task_context
from tests.support.jobs import build_job, dib_spec

LEASE = "image cc-one amd64"


@pytest.fixture(autouse=True)
def builder() -> FakeBuilder:
    """Return a builder whose builds are a file."""
    return FakeBuilder.registered("fake")


def build(run: Run) -> Task:
    job = build_job(version=run.version, builder="fake", scratch=1)
    return Task(id="build cc-one amd64", job=job, reason="")


def convert(run: Run) -> Task:
    job = ConvertJob(
        name="CC-One", published_name="CC-One", tag="cc-one", arch=Arch.AMD64, version=run.version,
        formats=(Format.RAW,),
    )  # fmt: skip
    return Task(id="convert cc-one amd64", job=job, reason="", needs=("build cc-one amd64",))


def plain(context: RunContext, task: Task, **more: Any) -> dict[str, Any]:
    """Return a task's envelope as it is sent."""
    return envelope(context, task.id, task.job, **more).as_json()


def done(context: RunContext, task: Task, **more: Any) -> Result:
    return worker.perform(plain(context, task, **more), context)


def test_an_image_is_leased_from_its_build_until_its_conversion_is_over(store: Store, run: Run) -> None:
    context, leases = run_context(store, run), Leases(store.root)
    tasks = (build(run), convert(run))
    of_images = ImageLeases(Plan(version=run.version, tasks=tasks), context)
    for task in tasks:
        result = done(context, task)
        assert result.status is Status.DONE, result.error
        assert leases.held(LEASE, run)
        of_images.ended(result)
    assert not leases.held(LEASE, run)
    (recorded,) = store.builds("cc-one", Arch.AMD64)
    assert recorded.version == run.version


def test_a_conversion_that_is_given_up_while_its_build_runs_keeps_nothing_from_others(store: Store, run: Run) -> None:
    context, leases = run_context(store, run), Leases(store.root)
    of_images = ImageLeases(Plan(version=run.version, tasks=(build(run), convert(run))), context)
    of_images.ended(Result(task=convert(run).id, status=Status.INTERRUPTED))
    result = done(context, build(run))
    assert leases.held(LEASE, run)
    of_images.ended(result)
    assert not leases.held(LEASE, run)


def test_a_task_that_fails_says_why(store: Store, run: Run, builder: FakeBuilder) -> None:
    builder.error = CCImagesError("it does not work", hint="h", reason=Reason.DIB)
    failed = done(run_context(store, run), build(run))
    said = (failed.status, failed.error, failed.hint, failed.reason)
    assert said == (
        Status.FAILED,
        "it does not work",
        "h",
        Reason.DIB,
    )


def test_words_of_other_programs_steer_no_terminal(store: Store, run: Run, builder: FakeBuilder) -> None:
    builder.error = CCImagesError("a\033[2J\nb", hint="\x9bh", tail=["\033]0;owned\007\tc"])
    failed = done(run_context(store, run), build(run))
    assert (failed.error, failed.hint, failed.tail) == ("a?[2J\nb", "?h", ("?]0;owned?\tc",))


def test_a_task_whose_log_cannot_be_written_says_that_the_disk_is_full(store: Store, run: Run) -> None:
    context = run_context(store, run)
    run.log_path(build(run).id).symlink_to("/dev/full")
    assert done(context, build(run)).reason == "disk-full"
    shutil.rmtree(run.logs)
    assert done(context, convert(run)).reason == "store-unwritable"


def test_a_surprise_is_a_bug_and_the_log_has_it(store: Store, run: Run, builder: FakeBuilder) -> None:
    builder.upstream = {"x": 1}  # type: ignore[dict-item]
    builder.error = ZeroDivisionError("surprise")  # type: ignore[assignment]
    failed = done(run_context(store, run), build(run))
    assert (failed.reason, failed.error) == ("bug", "ZeroDivisionError: surprise")
    assert "Traceback" in Path(failed.log).read_text()


def test_a_task_is_asleep_while_another_run_has_its_image(store: Store, run: Run) -> None:
    other = store.start_run(NOW)
    assert done(run_context(store, other), build(other)).status is Status.DONE
    context = run_context(store, run)
    thread = threading.Thread(target=done, args=(context, build(run)))
    thread.start()
    while not run.asleep:
        thread.join(0.01)
        assert thread.is_alive()
    assert run.asleep == {build(run).id}
    store.finish_run(other, shutil.rmtree)
    thread.join(30)
    assert not run.asleep
    assert Leases(store.root).held(LEASE, run), "a dead run releases its leases"


def test_builds_for_two_architectures_hold_the_downloads_of_each(store: Store, run: Run, tmp_path: Path) -> None:
    context = run_context(store, run)
    for arch in Arch:
        out = tmp_path / arch
        (out / "cache").mkdir(parents=True)
        (out / "cache" / "file").write_text(arch)
        (out / "cache.json").write_text(json.dumps({"kept": [], "new": ["file"], "empty": []}))
        Caches(store.root).promote(f"cc-one-{arch}", "20261121T120000Z", None, out, shutil.rmtree)
    locks = list((store.root / "caches").glob("*/*lock"))
    assert len(locks) == len(Arch)
    spec = dib_spec(families=tuple(f"cc-one-{arch}" for arch in Arch))
    with task_context(context, "build") as task, held(spec, task) as found:
        assert len(found) == len(Arch)
        assert [try_lock(each) for each in locks] == [None] * len(Arch), "nobody may take them away"


# -- envelopes --------------------------------------------------------------------------------------------------------


def test_an_envelope_is_json_both_ways(store: Store, run: Run) -> None:
    context = run_context(store, run)
    layers = {"p": build_job(builder="fake")}
    sites = {"site": Site(name="s", directory="/x", formats=(Format.RAW,))}
    push = PushJob(name="N", tag="n", arch=Arch.ARM64, version="v", format=Format.RAW, site="s", properties={"a": "b"})
    tasks: list[tuple[Task, dict[str, Any]]] = [
        (build(run), {"layers": {}, "tmpfs_mib": 7}), (convert(run), {}),
        (Task(id="push", job=push, reason=""), sites),
        (Task(id="fetch", job=FetchJob(artifact=Download(url="https://a.invalid/a")), reason=""), {}),
    ]  # fmt: skip
    assert layers
    for task, more in tasks:
        there = envelope(context, task.id, task.job, **more)
        assert Envelope.from_json(json.loads(json.dumps(there.as_json())), decoded) == there


def test_an_envelope_has_references_in_place_of_secrets(store: Store, run: Run) -> None:
    context = run_context(store, run)
    variables = {"DIB_PASSWORD": "correct-horse", "DIB_MINE": "declared", "DIB_REPO": "https://u:geheim@a.invalid/x",
                 "DIB_RELEASE": "bookworm", "DIB_ODD": "secret:no reference"}  # fmt: skip
    job = build_job(version=run.version, builder="fake", environment=variables, secrets=("DIB_MINE",))
    there = envelope(context, "build", job)
    sent = context.sealed(there.as_json(), there.secrets)
    text = json.dumps(sent)
    assert not [
        secret for secret in ("correct-horse", "declared", "geheim") if secret in text.replace('"declared":', "")
    ]
    assert "bookworm" in text
    assert Envelope.from_json(context.unsealed(json.loads(text)), decoded) == there
    elsewhere = RunContext.opened(store.root, run.version)
    assert Envelope.from_json(elsewhere.unsealed(json.loads(text)), decoded) == there, (
        "a task in another process finds them"
    )
    assert (run.work / "secrets.json").stat().st_mode & 0o777 == 0o600


class Processes:
    """A pool of processes that know nothing but the envelope, and the store."""

    def __init__(self, pool: ProcessPoolExecutor, context: RunContext) -> None:
        self.pool, self.context = pool, context

    def submit(self, task: Task) -> Future[Result]:
        more: dict[str, Any] = {"site": Site(name="s", directory=str(self.context.store.root.parent / "site"))}
        there = envelope(self.context, task.id, task.job, **(more if isinstance(task.job, PushJob) else {}))
        return self.pool.submit(worker.perform, self.context.sealed(there.as_json(), there.secrets))


def test_the_engine_runs_real_tasks_in_other_processes(store: Store, run: Run, tmp_path: Path) -> None:
    (tmp_path / "artifact").write_text("fetched")
    artifact = Download(url=(tmp_path / "artifact").as_uri())
    fetch = Task(id="fetch", job=FetchJob(artifact=artifact), reason="")
    made = build(run)
    assert isinstance(made.job, BuildJob)
    made = replace(made, job=replace(made.job, spec=replace(made.job.spec, artifacts={"DIB_A": artifact})),
                   needs=("fetch",))  # fmt: skip
    push = PushJob(name="CC-One", tag="cc-one", arch=Arch.AMD64, version=run.version, format=Format.RAW, site="s",
                   properties={})  # fmt: skip
    tasks = (fetch, made, convert(run), Task(id="push", job=push, reason="", needs=("convert cc-one amd64",)))
    context = run_context(store, run)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        processes = Processes(pool, context)
        limits = dict.fromkeys(RESOURCES.values(), 2)
        results = execute(Plan(version=run.version, tasks=tasks), lambda task: processes, limits)
    assert [(name, each.status, each.error) for name, each in results.items()] == [
        (task.id, Status.DONE, "") for task in tasks
    ]
    assert (tmp_path / "site" / "CC-One.raw").read_bytes() == bytes(4096)
    assert Leases(store.root).held(LEASE, run), "the run holds what a task in another process has leased"


class Flaky(FakeBuilder):
    """A builder that fails some times before it succeeds."""

    def __init__(self, failures: list[CCImagesError]) -> None:
        super().__init__()
        self.failures = failures
        self.tries = 0

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        self.tries += 1
        if self.failures:
            (inputs.workspace / "half").mkdir(parents=True)  # a second attempt would fail on it
            raise self.failures.pop(0)
        return super().build(spec, inputs, context)


PASSING = CCImagesError("dib failed: Connection timed out", hint="h", reason=Reason.DIB, temporary=True)
LASTING = CCImagesError("dib failed: no such package", hint="h", reason=Reason.DIB)


@pytest.mark.parametrize(
    ("failures", "tries", "status"),
    [
        ([PASSING], 2, Status.DONE),
        ([PASSING, PASSING], 3, Status.DONE),
        ([PASSING, PASSING, PASSING], 3, Status.FAILED),
        ([LASTING], 1, Status.FAILED),
        ([PASSING, LASTING], 2, Status.FAILED),
    ],
)
def test_a_build_that_failed_for_a_passing_reason_is_tried_again(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch, failures: list[CCImagesError], tries: int, status: Status
) -> None:
    flaky = Flaky([*failures])
    monkeypatch.setattr("cc_images.engine.tasks.layer.builder", lambda name: flaky)
    context, waited = run_context(store, run, "a"), list[float]()
    monkeypatch.setattr(context.stop, "wait", waited.append)
    result = done(context, build(run))
    assert (flaky.tries, result.status) == (tries, status)
    assert waited == [30.0, 120.0][: tries - 1]
    log = next(run.logs.glob("build*.log")).read_text()
    assert log.count("; again in ") == tries - 1


def test_a_stop_ends_the_wait_before_another_try(store: Store, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky([PASSING])
    monkeypatch.setattr("cc_images.engine.tasks.layer.builder", lambda name: flaky)
    context = run_context(store, run, "a")
    context.stop.set()
    assert done(context, build(run)).status is Status.INTERRUPTED
    assert flaky.tries == 1
