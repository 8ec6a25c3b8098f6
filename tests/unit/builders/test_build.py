"""What a build starts from: never a stale or damaged layer; what another run has made meanwhile is taken."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cc_images.builders.dib.build import Built, Workshop
from cc_images.model.catalog import Arch, Download, Layer
from cc_images.model.plan import Base, BuildJob, LayerJob
from cc_images.store.records import Store

OLD, NEW, NOW = "20261119T120000Z", "20261120T120000Z", datetime(2026, 11, 21, 12, tzinfo=UTC)
ADDRESS = "http://m.invalid/InRelease"

LAYER = LayerJob(
    name="P", tag="p", arch=Arch.AMD64, version="", asked="a", content=("os",), disk=(), environment={}, packages=(),
    artifacts={}, timeout=1,
)  # fmt: skip
CHILD = replace(LAYER, name="C", tag="c", base=Base(tag="p", asked="a", content=("os",)))


class Silent:
    def started(self, task: str) -> None: ...

    def step(self, task: str, doing: str) -> None: ...

    def bytes(self, task: str, done: int, total: int) -> None: ...


class Shop(Workshop):
    """A workshop whose dib writes a few bytes."""

    def make(self, task: str, job: BuildJob, workspace: Path, log: BinaryIO) -> Built:
        workspace.mkdir(parents=True, exist_ok=True)
        (workspace / "tree").write_bytes(b"made now")
        return Built(file=workspace / "tree", timings={}, upstream={ADDRESS: "today"})


def shop(store: Store, **of_layer: object) -> Shop:
    return Shop(
        store=store, run=store.start_run(NOW), layers={"a": replace(LAYER, **of_layer)},  # type: ignore[arg-type]
        details=lambda asked: {"recipe": {}}, folders=(), network={}, progress=Silent(), stop=threading.Event(),
        moved=lambda made: [address for address, seen in made.upstream.items() if seen != "today"],
    )  # fmt: skip


def stored(store: Store, run: str, content: bytes, state: str) -> Layer:
    staged = store.root / "staged"
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes(content)
    blob = store.blobs.add(staged)
    layer = Layer(tag="p", arch=Arch.AMD64, run=run, asked="a", key="k", digest=blob.digest, size=blob.size,
                  upstream={ADDRESS: state})  # fmt: skip
    store.record_layer(layer, {})
    return layer


def started_from(made: Shop, tmp_path: Path) -> bytes:
    assert CHILD.base is not None
    with (tmp_path / "log").open("wb") as log:
        return made._stored_layer("build c", CHILD.base.asked, CHILD, log)[1].read_bytes()


def test_a_build_starts_from_the_layer_that_serves(store: Store, tmp_path: Path) -> None:
    stored(store, OLD, b"serves", "today")
    stored(store, NEW, b"of a mirror that went back", "tomorrow")
    assert started_from(shop(store, known=(NEW, OLD), serves=OLD), tmp_path) == b"serves"


def test_a_damaged_layer_does_not_give_way_to_a_stale_one(store: Store, tmp_path: Path) -> None:
    stored(store, OLD, b"stale", "yesterday")
    path = store.blobs.path(stored(store, NEW, b"serves", "today").digest)
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    made = shop(store, known=(NEW, OLD), serves=NEW)
    assert started_from(made, tmp_path) == b"made now"


def test_what_another_run_has_made_meanwhile_is_taken_unless_upstream_has_moved(store: Store, tmp_path: Path) -> None:
    made = shop(store, known=(OLD,))
    stored(store, OLD, b"known", "today")
    layer = stored(store, NEW, b"of another run", "today")
    with (tmp_path / "log").open("wb") as log:
        assert made.layer("layer p", made.layers["a"], log) == (layer, None)
        assert made.layer("layer p", replace(made.layers["a"], force=True), log)[1], "but not when it is forced"
    other = Store(tmp_path / "other")
    stored(other, NEW, b"of another run", "yesterday")
    with (tmp_path / "log").open("wb") as log:
        assert shop(other).layer("layer p", LAYER, log)[1]


def test_the_digest_of_an_artifact_that_is_not_pinned_is_part_of_what_was_seen(store: Store) -> None:
    url = "https://a.invalid/file"
    artifacts = {"A": Download(url=url), "B": Download(url="https://a.invalid/b", sha256="b" * 64),
                 "C": Download(url="https://a.invalid/c?token=geheim"), "D": Download(url="file:///d"),
                 "E": Download(object="box/e", site="s")}  # fmt: skip
    made = shop(store)
    for number, artifact in enumerate(artifacts.values()):
        made.note(artifact).parent.mkdir(parents=True, exist_ok=True)
        made.note(artifact).write_text(f"/store/uses/{number}")
    seen = made._fetched(replace(CHILD, artifacts=artifacts))
    assert seen == {url: "0", "private:https://a.invalid/c": "2", "private:box/e of s": "4"}
