"""Conversions: a rebuild that comes to the same disk is no new version, and is recorded as made again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cc_images.builders import base
from cc_images.engine import worker
from cc_images.engine.tasks import convert
from cc_images.engine.tasks.stored import version_of
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.model.plan import ConvertJob, Result, Status, Task
from cc_images.outputs import disk
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext
from cc_images.testing import FakeBuilder
from tests.conftest import NOW
from tests.support.context import envelope, run_context
from tests.support.flatbuilder import FlatBuilder
from tests.support.jobs import build_job

OTHER = "f" * 64
"""A recipe key besides `a`."""


@pytest.fixture(autouse=True)
def builder() -> FakeBuilder:
    return FakeBuilder.registered("fake", upstream={"http://somewhere.invalid/InRelease": "one"})


@contextmanager
def run_of(store: Store, days: int) -> Iterator[RunContext]:
    """Have a run on a later day."""
    run = store.start_run(NOW + timedelta(days=days))
    try:
        yield run_context(store, run, "a", OTHER)
    finally:
        store.finish_run(run, shutil.rmtree)


def made(store: Store, days: int, *formats: Format, recipe_key: str = "a") -> tuple[Result, str]:
    """Build and convert an image on a day; return the conversion's result, and the version that later tasks take."""
    with run_of(store, days) as context:
        version = context.run.version
        known = tuple(build.version for build in store.builds("cc-one", Arch.AMD64))
        job = build_job(version=version, builder="fake", scratch=1, recipe_key=recipe_key, known=known)
        conversion = ConvertJob(
            name="CC-One",
            published_name="CC-One",
            tag="cc-one",
            arch=Arch.AMD64,
            version=version,
            formats=formats or (Format.QCOW2,),
        )
        for task in (Task(id="build", job=job, reason=""), Task(id="convert", job=conversion, reason="")):
            result = worker.perform(envelope(context, task.id, task.job).as_json(), context)
            assert result.status is Status.DONE, result.error
        return result, version_of(conversion, context)


def test_the_same_disk_again_keeps_its_version(store: Store, builder: FakeBuilder) -> None:
    first, version = made(store, 0)
    builder.upstream = {"http://somewhere.invalid/InRelease": "two"}
    again, taken = made(store, 1)
    assert (again.version, taken) == (version, version)
    assert again.where == f"rebuilt, identical: version {version} stays"
    assert again.size == first.size
    (build,) = store.builds("cc-one", Arch.AMD64)
    assert (build.version, build.again[:8]) == (version, f"{NOW + timedelta(days=1):%Y%m%d}")
    assert build.upstream == builder.upstream, "so the next plan finds that nothing has moved"
    assert build.last_made - build.created == timedelta(days=1)


def test_the_same_keeps_its_version_also_when_its_builder_needs_no_folder_of_its_own(store: Store) -> None:
    base.BUILDERS["fake"] = FlatBuilder()
    try:
        _, version = made(store, 0)
        again, taken = made(store, 1)
    finally:
        del base.BUILDERS["fake"]
    assert (again.version, taken) == (version, version), "a push takes the version that stays"


def test_another_disk_is_a_new_version(store: Store, builder: FakeBuilder) -> None:
    _, version = made(store, 0)
    builder.content = b"x" * 4096
    _, other = made(store, 1)
    assert other > version
    assert [build.version for build in store.builds("cc-one", Arch.AMD64)] == [other, version]
    assert not next(store.builds("cc-one", Arch.AMD64)).again
    builder.content = bytes(4096)
    _, third = made(store, 2)
    assert third > other, "an older build is not the newest again: what is in force would go back in time"


def test_formats_that_are_asked_for_now_are_added(store: Store) -> None:
    _, version = made(store, 0)
    again, taken = made(store, 1, Format.QCOW2, Format.RAW)
    assert taken == version
    (build,) = store.builds("cc-one", Arch.AMD64)
    assert set(build.outputs) == {Format.QCOW2, Format.RAW}
    assert again.size == sum(output.size for output in build.outputs.values())


def test_what_is_not_exact_says_nothing_of_the_disk(store: Store) -> None:
    _, version = made(store, 0, Format.QCOW2_ZLIB)
    _, other = made(store, 1, Format.QCOW2_ZLIB)
    assert other > version


def test_a_new_key_with_the_same_disk_serves_that_key(store: Store) -> None:
    _, version = made(store, 0)
    _, taken = made(store, 1, recipe_key=OTHER)
    (build,) = store.builds("cc-one", Arch.AMD64)
    assert (taken, build.recipe_key) == (version, OTHER)


def test_the_newest_file_is_the_seed_if_the_writer_of_now_wrote_it(
    store: Store, builder: FakeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[Path | None] = []

    def convert(source: disk.Source, *words: Any, **how: Any) -> Any:
        seeds.append(source.seed)
        return real(source, *words, **how)

    real = disk.convert
    monkeypatch.setattr(disk, "convert", convert)
    made(store, 0)
    builder.content = b"x" * 4096
    made(store, 1)
    first, second = seeds
    assert first is None
    assert second is not None
    builder.content = b"y" * 4096
    monkeypatch.setattr(disk, "WRITER_NAMES", {Format.QCOW2: "a writer to come"})
    made(store, 2)
    assert seeds[2] is None, "frames of another writer may differ"


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ({Format.QCOW2: "1", Format.SQUASHFS: "a"}, {Format.QCOW2: "2", Format.SQUASHFS: "a"}, False),
        ({Format.QCOW2: "1", Format.SQUASHFS: "a"}, {Format.QCOW2: "1", Format.SQUASHFS: "a"}, True),
        ({Format.TAR: "a", Format.OCI: "b"}, {Format.TAR: "a", Format.OCI: "c"}, False),
        ({Format.INITRAMFS: "i", Format.KERNEL: "1"}, {Format.INITRAMFS: "i", Format.KERNEL: "9"}, False),
        ({Format.TAR: "a"}, {Format.QCOW2: "1", Format.TAR: "a"}, False),
        ({Format.TAR: "a"}, {Format.SQUASHFS: "b"}, False),
    ],
)
def test_only_the_same_bytes_in_all_formats_are_the_same_build(
    before: dict[Format, str], now: dict[Format, str], same: bool
) -> None:
    def outputs(digests: dict[Format, str]) -> dict[Format, Output]:
        return {
            each: Output(format=each, digest=digest, sha512="", size=1, virtual_size=1)
            for each, digest in digests.items()
        }

    old = Build(tag="t", name="T", arch=Arch.AMD64, version="v", recipe_key="r", key="k", outputs=outputs(before))
    assert convert.is_same(old, outputs(now)) is same
