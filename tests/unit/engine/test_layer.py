"""What a build starts from: never a stale or damaged layer; what another run has made meanwhile is taken."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cc_images import testing
from cc_images.builders.dib.build import fetched
from cc_images.engine.tasks.layer import made, run_builder
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch, Download
from cc_images.model.spec import Base
from cc_images.store.records import Store
from tests.support.context import envelope, run_context, task_context
from tests.support.jobs import build_job, dib_spec, layer_job

OLD, NEW, NOW = "20261119T120000Z", "20261120T120000Z", datetime(2026, 11, 21, 12, tzinfo=UTC)
ADDRESS = "http://m.invalid/InRelease"

LAYER = layer_job(name="P", tag="p", content=("os",), builder="fake")
CHILD = build_job(
    name="C", tag="c", recipe_key="c", builder="fake", base=Base(tag="p", recipe_key="a", content=("os",))
)


@pytest.fixture(autouse=True)
def builder() -> testing.FakeBuilder:
    """Return a builder that makes the same bytes each time."""
    return testing.FakeBuilder.registered("fake", content=b"made now", upstream={ADDRESS: "today"})


def stored(store: Store, run: str, content: bytes, state: str) -> Layer:
    staged = store.root / "staged"
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes(content)
    blob = store.blobs.add(staged)
    layer = Layer(tag="p", arch=Arch.AMD64, run=run, recipe_key="a", key="k", digest=blob.digest, size=blob.size,
                  upstream={ADDRESS: state})  # fmt: skip
    store.record_layer(layer, {})
    return layer


def started_from(store: Store, builder: testing.FakeBuilder, **of_layer: object) -> bytes:
    """Return the content of the layer from which the child is built."""
    context = run_context(store, store.start_run(NOW), "a", "c", upstream={ADDRESS: "today"})
    layers = {"a": replace(LAYER, **of_layer)}  # type: ignore[arg-type]
    mine = envelope(context, "build c", CHILD, layers=layers)
    with task_context(context, "build c") as task:
        run_builder(CHILD, mine, task, context.run.workspace("c", Arch.AMD64))
    (_, file) = builder.inputs[-1].layers["a"]
    return file.read_bytes()


def test_a_build_starts_from_the_layer_that_serves(store: Store, builder: testing.FakeBuilder) -> None:
    stored(store, OLD, b"serves", "today")
    stored(store, NEW, b"of a mirror that went back", "tomorrow")
    assert started_from(store, builder, known=(NEW, OLD), serves=OLD) == b"serves"


def test_a_damaged_layer_does_not_give_way_to_a_stale_one(store: Store, builder: testing.FakeBuilder) -> None:
    stored(store, OLD, b"stale", "yesterday")
    path = store.blobs.path(stored(store, NEW, b"serves", "today").digest)
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert started_from(store, builder, known=(NEW, OLD), serves=NEW) == b"made now"


def test_what_another_run_has_made_meanwhile_is_taken_unless_upstream_has_moved(store: Store, tmp_path: Path) -> None:
    context = run_context(store, store.start_run(NOW), upstream={ADDRESS: "today"})
    stored(store, OLD, b"known", "today")
    layer = stored(store, NEW, b"of another run", "today")
    job = replace(LAYER, known=(OLD,))
    with task_context(context, "layer p") as task:
        assert made(job, envelope(context, "layer p", job), task) == (layer, None)
        forced = replace(job, force=True)
        assert made(forced, envelope(context, "layer p", forced), task)[1], "but not when it is forced"
    other = Store(tmp_path / "other")
    context = run_context(other, other.start_run(NOW), upstream={ADDRESS: "today"}, offline=True)
    stored(other, NEW, b"of another run", "yesterday")
    with task_context(context, "layer p") as task:
        assert made(LAYER, envelope(context, "layer p", LAYER), task)[1]


def test_the_digest_of_an_artifact_that_is_not_pinned_is_part_of_what_was_seen() -> None:
    url = "https://a.invalid/file"
    artifacts = {"A": Download(url=url), "B": Download(url="https://a.invalid/b", sha256="b" * 64),
                 "C": Download(url="https://a.invalid/c?token=geheim"), "D": Download(url="file:///d"),
                 "E": Download(object="box/e", site="s")}  # fmt: skip
    downloads = {name: Path(f"/store/uses/{number}") for number, name in enumerate(artifacts)}
    seen = fetched(dib_spec(artifacts=artifacts), downloads)
    assert seen == {url: "0", "private:https://a.invalid/c": "2", "private:box/e of s": "4"}
