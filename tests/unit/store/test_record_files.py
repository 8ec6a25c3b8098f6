"""Records: all formats are read, kept and written again; what is damaged is set aside and named once."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cc_images.api import removal
from cc_images.api.inventory import inventory
from cc_images.host import record_files
from cc_images.model import record_shapes, site_shapes
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch
from cc_images.sources import upstream
from cc_images.store import journal
from cc_images.store.durations import History
from cc_images.store.published import Published
from cc_images.store.records import Store
from tests.conftest import GOLDEN
from tests.unit.store.test_records import stored

VERSION = "20261122T064050Z"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def placed(folder: Path, name: str, file: str) -> Path:
    """Put a golden file where a store has such a record."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(GOLDEN / f"{name}.json", path)
    return path


@pytest.mark.parametrize("number", [0, 1])
def test_builds_and_layers_of_all_formats_are_read_and_written_in_the_newest(tmp_path: Path, number: int) -> None:
    build = record_files.load_build(placed(tmp_path, f"build-{number}", f"builds/cc-debian12/amd64/{VERSION}.json"))
    assert json.loads(json.dumps(record_files.encoded_build(build))) == golden("build-1")
    layer = record_files.load_layer(placed(tmp_path, f"layer-{number}", f"layers/cc-debian12/amd64/{VERSION}.json"))
    assert json.loads(json.dumps(record_files.encoded_layer(layer))) == golden("layer-1")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("details", record_shapes.DetailsShape), ("pass", record_shapes.PassShape),
     ("artifact", record_shapes.ArtifactShape), ("journal", record_shapes.JournalShape),
     ("published", site_shapes.PublishedShape), ("booked", record_shapes.PageShape),
     ("accelerators", record_shapes.MemoryShape)],
)  # fmt: skip
def test_other_records_of_all_formats_are_read(name: str, shape: type[record_shapes.Shape], number: int) -> None:
    found = record_files.load(GOLDEN / f"{name}-{number}.json", shape)
    assert record_files.encoded(shape, found) == golden(f"{name}-1")


@pytest.mark.parametrize("number", [0, 1])
def test_memories_of_all_formats_are_read(tmp_path: Path, number: int) -> None:
    placed(tmp_path, f"history-{number}", "history.json")
    assert History(tmp_path).seconds("build cc-debian12 amd64") == 18.8
    placed(tmp_path, f"published-{number}", "published.json")
    assert [put.version for put in Published(tmp_path).all()] == [VERSION]
    path = placed(tmp_path, f"upstream-{number}", "upstream.json")
    assert [asdict(each)["etag"] for each in upstream.remembered(path).values()] == ["x"]
    path = placed(tmp_path, f"accelerators-{number}", "accelerators.json")
    assert [each["runs"] for each in record_files.entries(path, record_shapes.AcceleratorShape).values()] == [False]
    path = placed(tmp_path, f"journal-{number}", f"runs/{VERSION}.json")
    said = journal.read(path)
    assert said is not None
    assert (len(said["results"]), len(said["images"]), said["state"]) == (1, 1, "ok")


def test_the_description_beside_a_published_image_is_read_whatever_its_own_format_says() -> None:
    said = record_files.load(GOLDEN / "sidecar-1.json", site_shapes.SidecarShape)
    assert (said["format"], said["turn"]) == ("qcow2", 3)


def changed(store: Store, build: Build, **changes: object) -> Path:
    path = store.record_path(build)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_unknown_keys_are_ignored_and_kept(store: Store) -> None:
    build = stored(store, "20261121T120000Z")
    said = json.loads(store.record_path(build).read_text())
    outputs = {name: output | {"chunks": 7} for name, output in said["outputs"].items()}
    path = changed(store, build, signed_by="somebody", outputs=outputs)
    assert list(store.builds("cc-x", Arch.ARM64)) == [build]
    store.note_boot(build, "checks", {"passed": True}, {})
    said = json.loads(path.read_text())
    assert (said["signed_by"], said["boot"], said["outputs"]["qcow2"]["chunks"]) == ("somebody", "checks", 7)


def test_a_record_of_a_newer_format_is_in_use_and_not_removed(store: Store) -> None:
    old, new = stored(store, "20261120T120000Z", b"old"), stored(store, "20261121T120000Z", b"new")
    path = changed(store, new, format=2, outputs=["in another way", *(each.digest for each in new.outputs.values())])
    assert list(store.builds("cc-x", Arch.ARM64)) == [old]
    assert path.exists()
    removal.pruned(store, keep=1, cap=0, dry_run=False)
    assert path.exists()
    assert all(store.blobs.path(each.digest).exists() for each in new.outputs.values())


DAMAGES: dict[str, dict[str, object]] = {
    "a version that is a number": {"version": 20261121},
    "a version of null": {"version": None},
    "a version that is no time": {"version": "yesterday"},
    "another tag": {"tag": "cc-other"},
    "upstream that is a list": {"upstream": ["a"]},
    "a digest of a list": {"upstream": {"http://127.0.0.1:9/": ["x"]}},
    "a boot that is a number": {"boot": 7},
    "a format that is none": {"outputs": {"vhd": {}}},
    "outputs of null": {"outputs": None},
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_record_is_set_aside_and_named_once(
    store: Store, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = stored(store, "20261120T120000Z", b"old"), stored(store, "20261121T120000Z", b"new")
    path = changed(store, new, **DAMAGES[name])
    with caplog.at_level(logging.WARNING):
        assert list(store.builds("cc-x", Arch.ARM64)) == [old]
        assert list(store.builds("cc-x", Arch.ARM64)) == [old]
    assert len(caplog.records) == 1
    assert f"{path} was damaged" in caplog.records[0].getMessage()
    assert not path.exists()
    assert len(list((store.root / "quarantine").glob(f"{path.name}.*"))) == 1


@pytest.mark.parametrize("digest", ["", ".", "../../precious", "/etc/hostname", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_a_digest_that_is_none_leads_nowhere(store: Store, tmp_path: Path, digest: str) -> None:
    build = stored(store, "20261121T120000Z")
    (tmp_path / "precious").write_text("of somebody")
    said = json.loads(store.record_path(build).read_text())
    said["outputs"]["qcow2"]["digest"] = digest
    changed(store, build, outputs=said["outputs"])
    assert list(store.builds("cc-x", Arch.ARM64)) == []
    assert (tmp_path / "precious").exists()
    assert len(list((store.root / "blobs" / "sha256").iterdir())) == 1
    with pytest.raises(ValueError, match="is no digest"):
        store.blobs.path(digest)


@pytest.mark.parametrize("kind", ["FIFO", "folder", "link", "socket of nobody"])
@pytest.mark.parametrize(
    "name",
    ["builds/cc-x/arm64/20261121T120000Z.json", "builds/cc-x/arm64/20261121T120000Z.more", "history.json",
     "published.json", "upstream.json", "runs/20261121T120000Z.json", "boots/{digest}.json", "artifacts/{digest}.json"],
)  # fmt: skip
def test_only_regular_files_are_opened(store: Store, name: str, kind: str) -> None:
    build = stored(store, "20261121T120000Z")
    (digest,) = (each.digest for each in build.outputs.values())
    path = store.root / name.format(digest=digest)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    match kind:
        case "FIFO":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("/dev/zero")
        case _:
            os.mknod(path, 0o140600)
    list(store.builds("cc-x", Arch.ARM64))
    store.details(build)
    store.passes([digest])
    store.named()
    store.artifact_name(digest)
    inventory(store)
    History(store.root)
    Published(store.root)
    upstream.look(["http://127.0.0.1:9/"], store.root / "upstream.json", offline=True)
    assert journal.read(store.root / "runs" / "20261121T120000Z.json") is None


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "7", "{", '{"published": [1]}', '{"a": 1e999}', "[" * 100_000, '"\\ud800"', "\x00"]
)
def test_memories_of_odd_shapes_are_empty(tmp_path: Path, text: str) -> None:
    for name in ("history.json", "published.json", "upstream.json"):
        (tmp_path / name).write_text(text)
    assert History(tmp_path).usual() == {}
    assert Published(tmp_path).all() == []
    assert upstream.remembered(tmp_path / "upstream.json") == {}
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/1.json").write_text(text)
    assert (journal.read(tmp_path / "runs/1.json") or {}).get("plan") is None
