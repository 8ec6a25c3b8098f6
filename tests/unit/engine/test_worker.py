"""What a task leaves behind in its run, however it ends."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from cc_images.builders.dib.build import Built, Workshop
from cc_images.builders.dib.download_cache import Caches
from cc_images.engine.worker import Worker
from cc_images.errors import CCImagesError
from cc_images.host.files import try_lock
from cc_images.model.catalog import Arch, Format
from cc_images.model.plan import BuildJob, ConvertJob, Status, Task
from cc_images.store.records import Store
from cc_images.store.workspace import Run
from tests.conftest import NOW
from tests.unit.builders.test_build import Silent

LOCK = "image cc-one amd64"


class Shop(Workshop):
    """A workshop whose builds are a file."""

    def make(self, task: str, job: BuildJob, workspace: Path, log: BinaryIO) -> Built:
        log.write(b"built\n")
        (workspace / "out").mkdir(parents=True)
        disk = workspace / "out" / "disk.raw"
        disk.write_bytes(bytes(4096))
        return Built(file=disk, timings={}, upstream={})


class Broken(Workshop):
    """A workshop in which nothing works."""

    def make(self, task: str, job: BuildJob, workspace: Path, log: BinaryIO) -> Built:
        raise CCImagesError("it does not work")


def worker(kind: type[Workshop], store: Store, run: Run) -> Worker:
    shop = kind(
        store=store, run=run, layers={}, moved=lambda made: [], details=lambda asked: {}, folders=(), network={},
        progress=Silent(), stop=threading.Event(),
    )  # fmt: skip
    return Worker(shop=shop, sites={})


def build(run: Run) -> Task:
    job = BuildJob(
        name="CC-One", tag="cc-one", arch=Arch.AMD64, version=run.version, asked="a", content=(), disk=(),
        environment={}, packages=(), artifacts={}, timeout=1, scratch=1,
    )  # fmt: skip
    return Task(id="build cc-one amd64", job=job, reason="")


def convert(run: Run) -> Task:
    job = ConvertJob(
        name="CC-One", published_name="CC-One", tag="cc-one", arch=Arch.AMD64, version=run.version,
        formats=(Format.QCOW2,),
    )  # fmt: skip
    return Task(id="convert cc-one amd64", job=job, reason="", needs=("build cc-one amd64",))


def test_a_build_keeps_its_image_for_the_conversion_which_lets_go_of_it_in_any_case(store: Store, run: Run) -> None:
    assert worker(Shop, store, run).perform(build(run)).status is Status.DONE
    assert run.holds(LOCK)
    shutil.rmtree(run.logs)
    failed = worker(Shop, store, run).perform(convert(run))
    assert failed.reason == "store-unwritable", "its log cannot be opened"
    assert not run.holds(LOCK)


def test_a_build_that_fails_keeps_nothing_from_others(store: Store, run: Run) -> None:
    assert worker(Broken, store, run).perform(build(run)).error == "it does not work"
    assert not run.holds(LOCK)


def test_a_build_whose_log_cannot_be_finished_keeps_nothing_from_others(store: Store, run: Run) -> None:
    run.log_path(build(run).id).symlink_to("/dev/full")
    assert worker(Shop, store, run).perform(build(run)).reason == "disk-full"
    assert not run.holds(LOCK)


def test_a_conversion_that_is_given_up_while_its_build_runs_keeps_nothing_from_others(store: Store, run: Run) -> None:
    making = worker(Shop, store, run)
    making.over(convert(run), {convert(run).id})
    making.perform(build(run))
    assert run.holds(LOCK)
    making.over(convert(run), {convert(run).id, build(run).id})
    assert not run.holds(LOCK)


def test_a_task_is_asleep_while_another_run_has_its_image(store: Store, run: Run) -> None:
    other = store.start_run(NOW)
    assert worker(Shop, store, other).perform(build(other)).status is Status.DONE
    thread = threading.Thread(target=worker(Shop, store, run).perform, args=(build(run),))
    thread.start()
    while not run.asleep:
        thread.join(0.01)
        assert thread.is_alive()
    assert run.asleep == {build(run).id}
    other.let_go(LOCK)
    thread.join(30)
    assert not run.asleep
    assert run.holds(LOCK)
    store.finish_run(other, shutil.rmtree)


def test_builds_for_two_architectures_hold_the_downloads_of_each(store: Store, run: Run, tmp_path: Path) -> None:
    shop, job = worker(Shop, store, run).shop, build(run).job
    assert isinstance(job, BuildJob)
    for arch in Arch:
        out = tmp_path / arch
        (out / "cache").mkdir(parents=True)
        (out / "cache" / "file").write_text(arch)
        (out / "cache.json").write_text(json.dumps({"kept": [], "new": ["file"], "empty": []}))
        Caches(store.root).promote(f"cc-one-{arch}", "20261121T120000Z", None, out, shutil.rmtree)
        assert shop._downloads(replace(job, arch=arch, families=(f"cc-one-{arch}",)))
    locks = list((store.root / "caches").glob("*/*lock"))
    assert len(locks) == len(Arch)
    assert [try_lock(each) for each in locks] == [None] * len(Arch), "nobody may take them away"
