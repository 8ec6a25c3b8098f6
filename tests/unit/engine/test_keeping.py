"""Trees that builds leave: kept with the option, never instead of a failure's cause, and never as a build."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cc_images import testing
from cc_images.engine.envelope import Envelope
from cc_images.engine.tasks import build, layer
from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.model.catalog import Arch
from cc_images.model.kept import Kept, LeftTree
from cc_images.model.plan import BuildJob, Result, Status
from cc_images.store import kept
from cc_images.store.records import Store
from tests.conftest import NOW
from tests.support.context import envelope, run_context, task_context
from tests.support.jobs import build_job, layer_job

JOB = build_job(tag="cc-x", name="CC-X", builder="fake")
LAYER = layer_job(tag="cc-x", name="CC-X", builder="fake")
LEFT = LeftTree(file=Path("packed"), phase="install", hook="50-x", code=7)
ERROR = CCImagesError("dib failed in install.d/50-x: why", hint="read the log", reason=Reason.DIB, tail=["why"])


@pytest.fixture(autouse=True)
def builder() -> testing.FakeBuilder:
    """Return a builder that fails and leaves a tree."""
    return testing.FakeBuilder.registered("fake", content=b"tree", error=ERROR, leaves=LEFT)


class Impatient(threading.Event):
    """A stop that waits for nothing."""

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once."""
        return self.is_set()


def tried(store: Store, job: BuildJob, **settings: Any) -> Result:
    """Do a build's or layer's task in a run of its own, which ends."""
    run = store.start_run(NOW)
    context = replace(run_context(store, run, **settings), stop=Impatient())
    task = f"{job.spec.noun} {job.tag} {job.arch}"
    do = layer.do if job.spec.noun == "layer" else build.do
    try:
        with task_context(context, task) as mine:
            return do(envelope(context, task, job), mine, Result(task=task, status=Status.DONE))
    finally:
        store.finish_run(run, shutil.rmtree)


def newest(store: Store) -> Kept | None:
    return kept.newest(store.root, "cc-x", Arch.AMD64)


@pytest.mark.parametrize("job", [JOB, LAYER], ids=["build", "layer"])
def test_the_tree_of_a_failed_build_is_kept_and_the_failure_says_how_to_open_it(store: Store, job: BuildJob) -> None:
    with pytest.raises(CCImagesError) as caught:
        tried(store, job, keep_failed=True)
    error = caught.value
    assert (error.message, error.reason, error.tail) == (ERROR.message, Reason.DIB, ("why",))
    assert error.hint == "read the log; `cc-images shell -a amd64 cc-x --kept` opens the tree that it has left"
    found = newest(store)
    assert found is not None
    assert (found.why, found.until) == ("install.d/50-x failed with code 7", False)
    assert found.task == f"{job.spec.noun} cc-x amd64"
    assert kept.packed_path(kept.record_path(store.root, found)).read_bytes() == b"tree"


def test_without_the_option_nothing_is_kept(store: Store) -> None:
    with pytest.raises(CCImagesError) as caught:
        tried(store, JOB)
    assert caught.value is ERROR
    assert newest(store) is None


def test_a_tree_that_cannot_be_kept_does_not_hide_the_cause(store: Store, builder: testing.FakeBuilder) -> None:
    builder.leaves = replace(LEFT, trouble="zstd: No space left on device")
    with pytest.raises(CCImagesError, match="dib failed in install") as caught:
        tried(store, JOB, keep_failed=True)
    assert "its tree could not be kept: zstd: No space left on device" in caught.value.hint
    builder.leaves = LEFT
    (store.root / "kept").write_text("a file in the way")
    with pytest.raises(CCImagesError, match="dib failed in install") as caught:
        tried(store, JOB, keep_failed=True)
    assert "its tree could not be kept: " in caught.value.hint


def test_a_build_that_is_interrupted_keeps_nothing(store: Store, builder: testing.FakeBuilder) -> None:
    builder.error = Interrupted()
    with pytest.raises(Interrupted):
        tried(store, JOB, keep_failed=True)
    assert newest(store) is None


def test_of_several_attempts_the_last_one_counts(store: Store, builder: testing.FakeBuilder) -> None:
    builder.error = CCImagesError("the mirror is away", reason=Reason.DIB, temporary=True)
    with pytest.raises(CCImagesError, match="the mirror is away"):
        tried(store, JOB, keep_failed=True)
    assert len(builder.inputs) == 3
    assert newest(store) is not None
    kept.forget(store.root, "cc-x", Arch.AMD64)
    builder.leaves = None
    with pytest.raises(CCImagesError, match="the mirror is away"):
        tried(store, JOB, keep_failed=True)
    assert newest(store) is None


def test_a_good_layer_removes_the_tree_of_the_layer_alone(store: Store, builder: testing.FakeBuilder) -> None:
    for job, stays in ((JOB, True), (LAYER, False)):
        builder.error = ERROR
        with pytest.raises(CCImagesError):
            tried(store, replace(job, force=True), keep_failed=True)
        builder.error = None
        assert tried(store, replace(LAYER, force=True)).status is Status.DONE
        assert (newest(store) is not None) == stays


def test_a_build_that_stops_after_a_phase_is_kept_and_nothing_else(store: Store, builder: testing.FakeBuilder) -> None:
    builder.error = None
    result = tried(store, replace(JOB, until="install", force=True))
    assert result.status is Status.DONE
    assert (result.version, result.size) == ("", 4)
    assert result.where == "stopped after install; cc-images shell -a amd64 cc-x --kept"
    found = newest(store)
    assert found is not None
    assert (found.why, found.until, found.code) == ("stopped after install", True, None)
    assert builder.inputs[-1].until == "install"
    assert list(store.builds("cc-x", Arch.AMD64)) == []


def test_a_build_that_fails_before_its_phase_says_where(store: Store) -> None:
    with pytest.raises(CCImagesError):
        tried(store, replace(JOB, until="finalise"), keep_failed=True)
    found = newest(store)
    assert found is not None
    assert (found.why, found.until) == ("install.d/50-x failed with code 7", False)


@pytest.mark.parametrize("until", ["", "install"])
def test_the_phase_is_in_the_envelope(store: Store, until: str) -> None:
    context = run_context(store, store.start_run(NOW))
    job = replace(JOB, until=until)
    plain = envelope(context, "build", job).as_json()
    fake = testing.FakeBuilder()
    assert Envelope.from_json(plain, fake.decode).job == job
    del plain["job"]["until"]
    assert Envelope.from_json(plain, fake.decode).job == JOB
