"""Kept trees: one an image, private, replaced, shown, pruned by age; and never taken for anything else."""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest

from cc_images.api import removal
from cc_images.api.inventory import inventory
from cc_images.host import record_files
from cc_images.model.catalog import Arch
from cc_images.model.kept import Kept
from cc_images.model.record_shapes import KeptShape
from cc_images.model.status import Kind
from cc_images.store import kept
from cc_images.store.records import Store
from tests.conftest import GOLDEN, NOW

OLD, NEW = "20261120T120000Z", "20261121T120000Z"
TREE = Kept(tag="cc-x", arch=Arch.AMD64, run=OLD, task="build cc-x amd64", phase="install", hook="50-x", code=7,
            until=False, created=NOW.timestamp())  # fmt: skip


def placed(store: Store, tree: Kept = TREE, content: bytes = b"tree") -> Path:
    """Put a tree into the store; return its file there."""
    packed = store.root / "work" / "packed"
    packed.parent.mkdir(parents=True, exist_ok=True)
    packed.write_bytes(content)
    kept.place(store.root, tree, packed)
    return kept.packed_path(kept.record_path(store.root, tree))


def holdings(store: Store) -> list[tuple[Kind, str, str, int]]:
    held = [item.holding for item in inventory(store)]
    return [(each.kind, each.name, each.version, each.size) for each in held if each.kind is not Kind.RUN]


def test_records_of_the_format_are_read_and_written(tmp_path: Path) -> None:
    golden = json.loads((GOLDEN / "kept-1.json").read_text())
    place = tmp_path / "kept/cc-debian12/amd64"
    place.mkdir(parents=True)
    shutil.copy(GOLDEN / "kept-1.json", place / "20261122T064050Z.json")
    (place / "20261122T064050Z.tar.zst").touch()
    found = kept.newest(tmp_path, "cc-debian12", Arch.AMD64)
    assert found is not None
    assert record_files.encoded(KeptShape, asdict(found)) == golden


def test_a_newer_tree_replaces_an_older_one_and_is_its_owners_alone(store: Store) -> None:
    first = placed(store)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    other = placed(store, replace(TREE, tag="cc-y"))
    second = placed(store, replace(TREE, run=NEW, phase="finalise"), b"newer")
    assert not first.exists()
    assert (second.read_bytes(), other.exists()) == (b"newer", True)
    newest = kept.newest(store.root, "cc-x", Arch.AMD64)
    assert newest is not None
    assert (newest.run, newest.why) == (NEW, "finalise.d/50-x failed with code 7")
    assert kept.newest(store.root, "cc-x", Arch.ARM64) is None
    assert sorted(path.name for path in second.parent.iterdir()) == [f"{NEW}.json", f"{NEW}.tar.zst"]


def test_an_older_run_that_ends_later_removes_no_newer_tree(store: Store) -> None:
    second = placed(store, replace(TREE, run=NEW))
    placed(store)
    newest = kept.newest(store.root, "cc-x", Arch.AMD64)
    assert newest is not None
    assert (newest.run, second.exists()) == (NEW, True)


def test_a_tree_goes_with_the_task_that_left_it(store: Store) -> None:
    packed = placed(store)
    kept.forget(store.root, "cc-x", Arch.AMD64, "layer cc-x amd64")
    assert packed.exists()
    kept.forget(store.root, "cc-x", Arch.AMD64)
    assert list(packed.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (TREE, "install.d/50-x failed with code 7"),
        (replace(TREE, code=None), "timed out in install.d/50-x"),
        (replace(TREE, code=None, phase="", hook=""), "timed out in its start"),
        (replace(TREE, code=None, until=True), "stopped after install"),
    ],
)
def test_a_tree_says_where_its_build_stopped(tree: Kept, said: str) -> None:
    assert tree.why == said


def test_trees_are_shown_with_their_sizes(store: Store) -> None:
    placed(store, content=b"0123456789")
    assert holdings(store) == [(Kind.KEPT, "cc-x amd64, install.d/50-x failed with code 7", OLD, 10)]


@pytest.mark.parametrize(("days", "stays"), [(13, True), (15, False)])
@pytest.mark.parametrize("how", ["prune", "rotate"])
def test_a_tree_goes_after_two_weeks(
    store: Store, monkeypatch: pytest.MonkeyPatch, days: int, stays: bool, how: str
) -> None:
    packed, now = placed(store), NOW + timedelta(days=days)
    monkeypatch.setattr("cc_images.clock.now", lambda: now)
    if how == "rotate":
        removal.rotate(store, now)
    else:
        gone = removal.pruned(store, keep=3, cap=None, dry_run=False)
        assert [why for _, why, _ in gone] == ([] if stays else ["it is older than 14 days"])
        assert [freed for _, _, freed in gone] == ([] if stays else [4])
    assert packed.exists() == stays
    assert kept.record_path(store.root, TREE).exists() == stays


def test_a_size_cap_takes_it_before_the_newest_build(store: Store) -> None:
    packed = placed(store)
    removal.pruned(store, keep=3, cap=0, dry_run=False)
    assert not packed.exists()


def test_a_tree_without_a_record_is_a_stray_once_it_is_old(store: Store) -> None:
    packed = placed(store)
    kept.record_path(store.root, TREE).unlink()
    assert kept.newest(store.root, "cc-x", Arch.AMD64) is None
    assert holdings(store) == [], "its record may still come"
    os.utime(packed, (0, 0))
    assert holdings(store) == [(Kind.STRAY, "cc-x amd64", OLD, 4)]
    removal.pruned(store, keep=1, cap=None, dry_run=False)
    assert not packed.exists()


def test_a_record_without_a_tree_is_none(store: Store) -> None:
    placed(store).unlink()
    assert kept.newest(store.root, "cc-x", Arch.AMD64) is None


@pytest.mark.parametrize("change", [{"tag": "cc-other"}, {"run": NEW}, {"code": "seven"}, {"phase": None}])
def test_a_damaged_record_is_set_aside(store: Store, change: dict[str, object]) -> None:
    placed(store)
    path = kept.record_path(store.root, TREE)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert kept.newest(store.root, "cc-x", Arch.AMD64) is None
    assert len(list((store.root / "quarantine").iterdir())) == 1


def test_a_record_of_a_newer_format_stays_with_its_tree(store: Store) -> None:
    packed = placed(store)
    path = kept.record_path(store.root, TREE)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2, "phase": 9}))
    assert kept.newest(store.root, "cc-x", Arch.AMD64) is None
    os.utime(packed, (0, 0))
    assert holdings(store) == [(Kind.KEPT, "cc-x amd64", OLD, 4)]
    removal.pruned(store, keep=1, cap=0, dry_run=False)
    kept.forget(store.root, "cc-x", Arch.AMD64)
    assert packed.exists()
    assert path.exists()
