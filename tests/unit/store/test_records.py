"""The store: whole or not at all, locks, dead runs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cc_images.api import removal
from cc_images.api.inventory import inventory
from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import files, record_files
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.store import journal
from cc_images.store.blobs import MARK
from cc_images.store.journal import Journal, newest_first, read
from cc_images.store.records import Store

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def stage(store: Store, content: bytes) -> Path:
    path = store.root / "staged"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def stored(store: Store, version: str, content: bytes = b"disk") -> Build:
    blob = store.blobs.add(stage(store, content))
    output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=9)
    build = Build(
        tag="cc-x", name="CC-X", arch=Arch.ARM64, version=version, recipe_key="a", key="k",
        outputs={Format.QCOW2: output}, upstream={"http://a": "d"}, packages=1,
    )  # fmt: skip
    store.record(build, {"packages": {"vim": "9"}}, "CC-X-ARM64")
    return build


def test_a_blob_is_named_by_its_content(store: Store) -> None:
    blob = store.blobs.add(stage(store, b"disk"))
    assert blob.digest == hashlib.sha256(b"disk").hexdigest()
    assert blob.sha512 == hashlib.sha512(b"disk").hexdigest()
    assert (blob.size, blob.path.read_bytes()) == (4, b"disk")
    assert not blob.path.stat().st_mode & 0o222
    assert not (store.root / "staged").exists()


def test_a_record_comes_back_as_it_was(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    assert list(store.builds("cc-x", Arch.ARM64)) == [build]
    assert build.created == NOW
    assert store.details(build) == {"packages": {"vim": "9"}}


def test_the_newest_build_has_the_names_for_people(store: Store) -> None:
    stored(store, "20261121T120000Z", b"new")
    stored(store, "20261120T120000Z", b"old")
    assert (store.root / "images" / "CC-X-ARM64.qcow2").read_bytes() == b"new"
    assert (store.root / "builds/cc-x/arm64/current").readlink() == Path("20261121T120000Z.json")
    assert [build.version for build in store.builds("cc-x", Arch.ARM64)] == ["20261121T120000Z", "20261120T120000Z"]


def test_a_build_whose_blob_is_gone_or_short_is_no_build(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    blob = store.blobs.path(build.outputs[Format.QCOW2].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"di")
    assert list(store.builds("cc-x", Arch.ARM64)) == []
    assert not blob.exists()
    assert [path.read_bytes() for path in (store.root / "quarantine").iterdir()] == [b"di"]
    assert list(store.builds("cc-x", Arch.ARM64)) == []


def test_an_unreadable_record_is_passed_over(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    (store.root / "builds/cc-x/arm64/20261122T120000Z.json").write_text("{")
    (store.root / "builds/cc-x/arm64/20261123T120000Z.json").write_text(json.dumps({"future": 1}))
    assert list(store.builds("cc-x", Arch.ARM64)) == [build]


def test_forgetting_keeps_what_another_build_shares(store: Store) -> None:
    old, new = stored(store, "20261120T120000Z"), stored(store, "20261121T120000Z")
    store.forget(old)
    assert list(store.builds("cc-x", Arch.ARM64)) == [new]
    store.forget(new)
    assert not list((store.root / "blobs").rglob("*/*/*"))


def test_forgetting_keeps_what_another_image_shares(store: Store) -> None:
    mine = stored(store, "20261121T120000Z")
    theirs = replace(stored(store, "20261121T120000Z"), tag="cc-y", name="CC-Y")
    store.record(theirs, {}, "CC-Y-ARM64")
    store.forget(mine)
    assert list(store.builds("cc-y", Arch.ARM64)) == [theirs]


def test_versions_of_one_second_are_in_order(store: Store) -> None:
    for version in ("20261121T120000Z", "20261121T120000Z.010", "20261121T120000Z.002"):
        stored(store, version, version.encode())
    versions = [build.version for build in store.builds("cc-x", Arch.ARM64)]
    assert versions == ["20261121T120000Z.010", "20261121T120000Z.002", "20261121T120000Z"]


def test_a_stray_file_among_the_runs_does_not_matter(store: Store) -> None:
    store.start_run(NOW)
    (store.root / "work" / "stray").write_text("")
    assert store.reap(shutil.rmtree) == []


@pytest.mark.parametrize("root", ["/etc/passwd", "/proc/nope"])
def test_a_store_in_an_impossible_place_says_so(root: str) -> None:
    with pytest.raises(CCImagesError, match="cannot be written to"):
        Store(Path(root)).start_run(NOW)


def test_what_a_run_prints_is_not_for_everybody(store: Store) -> None:
    run = store.start_run(NOW)
    assert (store.root / "logs" / run.version).stat().st_mode & 0o007 == 0
    run.close()


def test_runs_of_one_second_have_names_of_their_own(store: Store) -> None:
    names = [store.start_run(NOW).version for _ in range(3)]
    assert names == ["20261121T120000Z", "20261121T120000Z.002", "20261121T120000Z.003"]
    assert replace(stored(store, names[2])).created == NOW


def test_dead_runs_are_reaped_and_living_ones_are_not(store: Store) -> None:
    living = store.start_run(NOW)
    program = (
        "import sys, os, pathlib; from datetime import datetime, UTC; from cc_images.store.records import Store;"
        "run = Store(pathlib.Path(sys.argv[1])).start_run(datetime.now(UTC)); (run.work / 'big').write_text('x');"
        "print(run.version); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    dead = subprocess.run([sys.executable, "-c", program, store.root], capture_output=True, text=True).stdout.strip()
    assert (store.root / "work" / dead / "big").exists()
    assert store.reap(shutil.rmtree) == [dead]
    journal.mark_dead(store.root, [dead])
    assert [path.name for path in (store.root / "work").iterdir()] == [living.version]


def test_finishing_a_run_leaves_its_journal_only(store: Store) -> None:
    run = store.start_run(NOW)
    Journal(store.root, run.version).note(seconds=1)
    store.finish_run(run, shutil.rmtree)
    said = {"run": run.version, "state": "running", "seconds": 1, "images": []}
    assert [read(path) for path in newest_first(store.root)] == [said]
    assert not list((store.root / "work").iterdir())


def test_a_lock_is_held_by_one(store: Store) -> None:
    program = (
        "import sys, pathlib; from cc_images.store.records import Store;"
        "waiting = lambda: print('waiting', flush=True);"
        "lock = Store(pathlib.Path(sys.argv[1])).lock('a b', waiting); lock.__enter__(); print('held')"
    )
    with store.lock("a b"):
        other = subprocess.Popen([sys.executable, "-c", program, store.root], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "waiting\n"
        assert other.poll() is None
    assert other.communicate(timeout=30)[0] == "held\n"


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CCImagesError, match="is full") as caught:
        stored(Store(tmp_path), "20261121T120000Z")
    assert caught.value.reason == "disk-full"
    assert list(Store(tmp_path).builds("cc-x", Arch.ARM64)) == []


def test_a_name_that_a_run_uses_outlives_the_blob_and_follows_a_new_one(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    run = store.start_run(NOW)
    path = store.blobs.path(build.outputs[Format.QCOW2].digest)
    name = run.use(path)
    store.forget(build)
    assert not path.exists()
    assert name.read_bytes() == b"disk"
    assert run.use(path) == name
    store.blobs.add(stage(store, b"disk"))
    assert run.use(path).samefile(path), "what was made anew is used in place of what may have been damaged"
    assert name.exists(), "somebody may be about to mount the first one"
    assert run.use(path).name == name.name


def flip(path: Path, *, quietly: bool) -> None:
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"dirk")
    if quietly:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_written_blob_is_seen_at_once_and_a_rotten_one_when_it_is_read(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    digest = build.outputs[Format.QCOW2].digest
    flip(store.blobs.path(digest), quietly=True)
    assert list(store.builds("cc-x", Arch.ARM64)) == [build], "one stat sees nothing"
    assert not store.blobs.is_intact(digest)
    assert list(store.builds("cc-x", Arch.ARM64)) == []
    stored(store, "20261122T120000Z")
    flip(store.blobs.path(digest), quietly=False)
    assert list(store.builds("cc-x", Arch.ARM64)) == []


def test_a_rotten_blob_gives_way_to_a_good_one(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    digest = build.outputs[Format.QCOW2].digest
    flip(store.blobs.path(digest), quietly=True)
    assert store.blobs.add(stage(store, b"disk")).path.read_bytes() == b"disk"


def test_a_store_that_was_copied_without_its_times_is_read_once_and_believed(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    path = store.blobs.path(build.outputs[Format.QCOW2].digest)
    os.utime(path)
    assert list(store.builds("cc-x", Arch.ARM64)) == [build]
    assert path.stat().st_mtime_ns == MARK


def test_a_pass_belongs_to_the_bytes_and_goes_with_them(store: Store) -> None:
    build = stored(store, "20261120T120000Z")
    digest = build.outputs[Format.QCOW2].digest
    assert store.passes([digest]) == {}
    store.note_pass(digest, {"asked": "t", "level": "checks"})
    assert store.passes([digest, "0" * 64]) == {digest: "t"}
    store.forget(build)
    assert store.passes([digest]) == {}


def test_a_boot_test_is_in_the_builds_record_and_not_in_that_of_one_that_is_gone(store: Store) -> None:
    build = stored(store, "20261120T120000Z")
    store.note_boot(build, "ssh", {"passed": False}, {"units": ["a"]})
    (again,) = store.builds("cc-x", Arch.ARM64)
    assert again == replace(build, boot="ssh")
    assert store.details(again) == {"packages": {"vim": "9"}, "boot": {"passed": False}, "contents": {"units": ["a"]}}
    store.forget(again)
    store.note_boot(again, "checks", {}, {})
    assert list(store.builds("cc-x", Arch.ARM64)) == []


def test_what_killed_writers_have_left_is_counted_and_swept(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    left = [store.record_path(build).with_name(".20261122T120000Z.json.123.140001"), store.root / ".history.json.9.8"]
    for path in left:
        path.write_text("half")
    assert not [item for item in inventory(store) if item.holding.name == "half written"], "it may be at work"
    for path in left:
        os.utime(path, (0, 0))
    assert sum(item.holding.size for item in inventory(store) if item.holding.name == "half written") == 8
    removal.rotate(store, NOW)
    assert not any(path.exists() for path in left)
    assert list(store.builds("cc-x", Arch.ARM64)) == [build]


def test_a_lock_that_is_held_is_said_and_given_up_at_the_first_wish(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    with store.lock("runs"):
        threading.Timer(0.5, stop.set).start()
        with pytest.raises(Interrupted):
            files.wait_for_lock(store.lock_path("runs"), stop=stop, soon=0.1)
        with pytest.raises(Interrupted), Store(store.root, stop).lock("runs"):
            pass
    assert "waiting for another cc-images, which holds" in caplog.text


def test_a_blob_that_has_just_gone_is_not_damaged(store: Store) -> None:
    (digest,) = (each.digest for each in stored(store, "20261121T120000Z").outputs.values())
    assert not store.blobs.is_damaged(digest)
    store.blobs.remove(digest)
    assert not store.blobs.is_damaged(digest)


def test_pruning_reads_records_a_few_times_however_many_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        stored(store, f"20261121T1200{number:02}Z", b"one" if number % 2 else b"%d" % number)
    reads = 0
    text = record_files.text

    def counted(path: Path) -> str:
        nonlocal reads
        reads += 1
        return text(path)

    monkeypatch.setattr(record_files, "text", counted)
    gone = removal.pruned(store, keep=1, cap=None, dry_run=False)
    assert len(gone) == 39
    assert reads < 4 * 40
    assert [build.version for build in store.builds("cc-x", Arch.ARM64)] == ["20261121T120039Z"]
    assert [blob.read_bytes() for blob in store.blobs.all()] == [b"one"], "what the one that stays shares is there"
