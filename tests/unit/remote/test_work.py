"""What travels to a builder host, and what is done with it there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cc_images import clock
from cc_images.api import jobs, perform
from cc_images.builders import base
from cc_images.errors import CCImagesError
from cc_images.model.attempt import JobState
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch, Format, Json
from cc_images.model.plan import ConvertJob
from cc_images.remote import bundle as bundles
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.remote.bundle import Bundle, digests
from cc_images.remote.equality import facts_of, unequal
from cc_images.remote.hub import Hub
from cc_images.remote.work import Work
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext
from cc_images.testing import FakeBuilder
from tests.support import hubs
from tests.support.context import envelope, run_context
from tests.support.flatbuilder import FlatBuilder
from tests.support.jobs import build_job, layer_job

TASK = "layer cc-one amd64"
SECRET = "a canary in the environment"
ATTEMPT = f"a{7:032x}"


@pytest.fixture
def fake() -> Iterator[FakeBuilder]:
    yield FakeBuilder.registered("fake")
    del base.BUILDERS["fake"]


@pytest.fixture
def head(tmp_path: Path) -> Iterator[RunContext]:
    store = Store(tmp_path / "head")
    run = store.start_run(clock.now())
    yield run_context(store, run)
    store.finish_run(run, shutil.rmtree)


def bundle_of(head: RunContext, folder: Path, **more: object) -> tuple[Bundle, dict[str, Path]]:
    job = layer_job(builder="fake", environment={"DIB_PASSWORD": SECRET}, folders=("/of/the/head",), **more)
    folder.mkdir(parents=True, exist_ok=True)
    bundle = bundles.made([envelope(head, TASK, job)], head, folder, facts_of({Arch.AMD64}))
    return bundle, {digest: head.store.blobs.path(digest) for digest in bundle.inputs}


def brought(files: dict[str, Path], store: Store) -> None:
    """Bring files to a store, as the guard does."""
    for number, path in enumerate(files.values()):
        staged = store.root / f"staged{number}"
        store.root.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, staged)
        store.blobs.add(staged)


def done(bundle: Bundle, vault: dict[str, str], store: Store) -> tuple[Json, list[Json]]:
    said: list[Json] = []
    work = Work(store=store, attempt=ATTEMPT, bundle=bundle, vault=vault, say=said.append, stop=threading.Event())
    return work.do(), said


def test_a_bundle_has_no_secret_and_no_path_of_the_head(head: RunContext, fake: FakeBuilder, tmp_path: Path) -> None:
    bundle, files = bundle_of(head, tmp_path / "pack")
    text = json.dumps(bundle.as_json())
    assert SECRET not in text
    assert str(tmp_path) not in text
    assert "/of/the/head" not in text
    assert bundle.inputs == files.keys()
    assert Bundle.from_json(json.loads(text)) == bundle


def test_the_same_files_have_the_same_archive(head: RunContext, fake: FakeBuilder, tmp_path: Path) -> None:
    assert bundle_of(head, tmp_path / "one")[0].files == bundle_of(head, tmp_path / "two")[0].files != ""


def test_a_layer_is_built_elsewhere_with_the_version_of_the_head(
    head: RunContext, fake: FakeBuilder, tmp_path: Path
) -> None:
    bundle, files = bundle_of(head, tmp_path / "pack")
    there = Store(tmp_path / "there")
    brought(files, there)
    made, said = done(Bundle.from_json(json.loads(json.dumps(bundle.as_json()))), dict(head.vault), there)
    assert [each["status"] for each in made["results"]] == ["done"], made
    record = made["layer"]["record"]
    assert (record["tag"], record["run"]) == ("cc-one", head.run.version)
    assert digests(made) == {record["digest"]: 4096}
    assert there.blobs.is_intact(record["digest"])
    (spec,) = fake.specs
    assert spec.environment["DIB_PASSWORD"] == SECRET  # type: ignore[attr-defined]
    assert spec.folders[0].startswith(str(there.root))  # type: ignore[attr-defined]
    assert {"log": "built\n", "task": TASK} in said
    assert (said[-1]["ended"]["task"], said[-1]["ended"]["status"]) == (TASK, "done")
    assert os.listdir(there.root / "work") == []


def test_what_a_host_has_made_before_does_not_stand_in(head: RunContext, fake: FakeBuilder, tmp_path: Path) -> None:
    bundle, files = bundle_of(head, tmp_path / "pack")
    there = Store(tmp_path / "there")
    brought(files, there)
    there.root.mkdir(exist_ok=True)
    digest = hubs.blob(there, b"older")
    old = Layer(tag="cc-one", arch=Arch.AMD64, run="20260101T000000Z", recipe_key="a", key="k", digest=digest, size=5)
    there.record_layer(old, {})
    assert done(bundle, dict(head.vault), there)[0]["layer"]["record"]["run"] == head.run.version
    assert len(fake.specs) == 1


def test_a_build_that_fails_is_a_result(head: RunContext, fake: FakeBuilder, tmp_path: Path) -> None:
    fake.error = CCImagesError("no room", hint="make some")
    bundle, files = bundle_of(head, tmp_path / "pack")
    there = Store(tmp_path / "there")
    brought(files, there)
    made, _ = done(bundle, dict(head.vault), there)
    assert [(each["status"], each["error"]) for each in made["results"]] == [("failed", "no room")]
    assert digests(made) == {}


@pytest.mark.parametrize("change", [{"format": 99}, {"run": 3}, {"envelopes": "none"}])
def test_a_bundle_of_another_version_is_refused(
    change: Json, head: RunContext, fake: FakeBuilder, tmp_path: Path
) -> None:
    plain = bundle_of(head, tmp_path / "pack")[0].as_json() | change
    with pytest.raises(CCImagesError, match="not readable"):
        Bundle.from_json(plain)


def test_chains_with_the_same_files_share_one_and_the_run_has_one_name_for_it(
    head: RunContext, fake: FakeBuilder, tmp_path: Path
) -> None:
    made = [bundle_of(head, tmp_path / name)[0] for name in ("one", "two", "three")]
    (digest,) = {each.files for each in made}
    assert head.store.blobs.is_intact(digest)
    assert [path.parent.name for path in head.run.work.glob(f"uses*/{digest}")] == ["uses"]
    damaged = head.store.blobs.path(digest)
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    assert bundle_of(head, tmp_path / "four")[0].files == digest
    assert head.store.blobs.is_intact(digest)


def test_tools_that_differ_are_named_and_other_machines_have_other_programs() -> None:
    head = {"machine": "x86_64", "mke2fs": "aaaa", "diskimage-builder": "3.36"}
    assert list(unequal(head, head)) == []
    assert list(unequal(head, head | {"mke2fs": "bbbb"})) == ["mke2fs is bbbb, and the head has aaaa"]
    assert list(unequal(head, head | {"mke2fs": "bbbb", "machine": "aarch64"})) == []
    assert list(unequal(head, {"machine": "x86_64", "mke2fs": "aaaa"})) == [
        "diskimage-builder is missing, and the head has 3.36"
    ]


@pytest.fixture
def flat() -> Iterator[None]:
    base.BUILDERS["flat"] = FlatBuilder()
    yield
    del base.BUILDERS["flat"]


def image_of(head: RunContext, folder: Path) -> Bundle:
    """Return the bundle of an image that is built and converted, always to the same bytes."""
    build = build_job(builder="flat", version=head.run.version)
    convert = ConvertJob(name="CC-One", published_name="CC-One", tag="cc-one", arch=Arch.AMD64,
                         version=head.run.version, formats=(Format.RAW,))  # fmt: skip
    folder.mkdir(exist_ok=True)
    sent = [envelope(head, "build cc-one amd64", build), envelope(head, "convert cc-one amd64", convert)]
    return bundles.made(sent, head, folder, facts_of({Arch.AMD64}))


def require_image(bundle: Bundle, head: RunContext, there: Store) -> None:
    """Have an image made, and look at what its head gets."""
    brought({digest: head.store.blobs.path(digest) for digest in bundle.inputs}, there)
    made, _ = done(bundle, {}, there)
    assert [each["status"] for each in made["results"]] == ["done", "done"], made
    assert made["evidence"]["recipe_key"] == "a"
    assert [each["format"] for each in made["outputs"]] == ["raw"]


def test_an_image_is_made_also_after_an_attempt_that_was_lost(head: RunContext, flat: None, tmp_path: Path) -> None:
    bundle = image_of(head, tmp_path)
    for _ in range(2):  # the first one does not bring what it has made
        require_image(bundle, head, Store(tmp_path / "there"))


def test_an_image_that_its_host_has_made_before_is_a_result_too(flat: None, tmp_path: Path) -> None:
    store = Store(tmp_path / "head")
    for day in range(2):
        run = store.start_run(clock.now() + timedelta(days=day))
        context = run_context(store, run)
        require_image(image_of(context, tmp_path / str(day)), context, Store(tmp_path / "there"))
        store.finish_run(run, shutil.rmtree)


# -- the guard -------------------------------------------------------------------------------------------------------


def offered(head: RunContext, folder: Path, bundle: Bundle) -> AttemptFiles:
    """Make attempt 7 of a bundle at the head."""
    files = AttemptFiles(head.store, ATTEMPT)
    known = hubs.attempt(head.store, 8).claim()
    claim = type(known)(attempt=ATTEMPT, run="r", tasks=(TASK,), builder="b", made=1.0, trusted=True)
    files.create(claim, hubs.token(7), bundle.as_json(), bundle.inputs, dict(head.vault))
    return files


def said_by(files: AttemptFiles) -> list[Json]:
    return [json.loads(line) for line in files.stream.read_text().splitlines()]


def test_a_host_with_other_tools_says_that_it_is_unfit(head: RunContext, fake: FakeBuilder, tmp_path: Path) -> None:
    bundle, inputs = bundle_of(head, tmp_path / "pack")
    brought(inputs, head.store)
    files = offered(head, tmp_path, type(bundle)(**{**fields(bundle), "facts": {**bundle.facts, "dib": "other"}}))
    with Hub(head.store).serving() as address:
        assert perform.perform(hubs.ticket(address, 7), tmp_path / "there", threading.Event()) == "unfit"
    result = files.result()
    assert result is not None
    assert result["unfit"] == ["dib is missing, and the head has other"]
    assert said_by(files) == [{"over": 0}]


def test_work_that_dies_is_said_to_be_lost_and_nothing_is_left(
    head: RunContext, fake: FakeBuilder, tmp_path: Path
) -> None:
    bundle, inputs = bundle_of(head, tmp_path / "pack")
    brought(inputs, head.store)
    files = offered(head, tmp_path, bundle)
    there = tmp_path / "there"
    with Hub(head.store).serving() as address:
        ended = perform.perform(hubs.ticket(address, 7), there, threading.Event())
    assert ended == "lost", "the process of the work knows no builder named fake"
    assert re.search("its process ended with code 1: .*fake", str((files.result() or {})["lost"]))
    assert said_by(files)[-1] == {"over": 0}
    assert all(Store(there).blobs.is_intact(each) for each in bundle.inputs), "inputs came"
    assert jobs.look(there, [ATTEMPT]) == {ATTEMPT: JobState.ENDED}
    assert SECRET not in "".join(path.read_text(errors="replace") for path in there.rglob("*") if path.is_file())


@pytest.mark.real
def test_a_host_on_which_inputs_find_no_room_says_that_it_is_unfit(
    head: RunContext, fake: FakeBuilder, tmp_path: Path
) -> None:
    bundle, _ = bundle_of(head, tmp_path / "pack")
    head.store.root.joinpath("big").write_bytes(os.urandom(3 << 20))
    big = head.store.blobs.add(head.store.root / "big")
    files = offered(head, tmp_path, replace(bundle, files=big.digest))
    (there := tmp_path / "there").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", there], check=True)
    try:
        with Hub(head.store).serving() as address:
            assert perform.perform(hubs.ticket(address, 7), there, threading.Event()) == "unfit"
        assert not [*there.glob("partial/*")], "it keeps no room for what nobody goes on with"
    finally:
        subprocess.run(["umount", there], check=True)
    result = files.result()
    assert result is not None
    assert "is full" in result["unfit"][0]


def test_a_fenced_attempt_begins_nothing(head: RunContext, fake: FakeBuilder, tmp_path: Path) -> None:
    bundle, _ = bundle_of(head, tmp_path / "pack")
    offered(head, tmp_path, bundle).fence("it is too late")
    with Hub(head.store).serving() as address, pytest.raises(CCImagesError, match="too late"):
        perform.perform(hubs.ticket(address, 7), tmp_path / "there", threading.Event())


def fields(bundle: Bundle) -> Json:
    return {name: getattr(bundle, name) for name in Bundle.__dataclass_fields__}
