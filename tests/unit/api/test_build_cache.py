"""`prune --build-cache`: packages go that no lock needs which the store keeps."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.kept_locks import needed
from cc_images.errors import CCImagesError
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch
from cc_images.model.container import Configuration
from cc_images.store.records import Store
from tests.conftest import Cli, lacking, write_files
from tests.support import containers
from tests.support.containers import Entry
from tests.support.packages import Made, drop, made

REASON = lacking(("gpg", "gpg-agent", "gpgconf"))
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON or ""), pytest.mark.long]

A, B, C = made("aaa"), made("bbb"), made("ccc")


def lock_text(*packages: Made) -> str:
    specs = {
        each.hash: {"name": each.name, "version": each.version, "arch": {"target": "x86_64_v2"}} for each in packages
    }
    roots = [{"spec": each.name, "hash": each.hash} for each in packages]
    return json.dumps({"_meta": {"lockfile-version": 6}, "concrete_specs": specs, "roots": roots})


def keep_lock(store: Store, tmp_path: Path, run: str, text: str, files: tuple[str, ...] = ("spack.yaml",)) -> Layer:
    """Record a lock as the engine does: a layer, an image of one file."""
    said = Configuration()
    file = containers.archive(tmp_path / "staged", said, {"spack.lock": Entry(text=text)})
    blob = store.blobs.add(file)
    layer = Layer(tag="tool-lock", arch=Arch.AMD64, run=run, recipe_key="r", key=run, digest=blob.digest,
                  size=blob.size)  # fmt: skip
    store.record_layer(layer, {"recipe": {"files": dict.fromkeys(files, "d")}})
    return layer


def test_packages_of_kept_locks_stay(cli: Cli, store: Store, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-One: {elements: [vm], disk: []}\n", sites="local: {directory: site}\n")
    store.root.mkdir()
    caches = Caches((), store.root, tmp_path / "gnupg")
    told: list[str] = []
    for each in (A, B, C):
        drop(tmp_path / "drop", each)
    with caches.publishing(tmp_path / "drop", [A, B, C], told.append):
        pass
    keep_lock(store, tmp_path, "20261120T120000Z", lock_text(A))
    layer = keep_lock(store, tmp_path, "20261121T120000Z", lock_text(A, B))
    assert needed(store) == {A.hash, B.hash}
    said = cli("prune", "--build-cache", "--dry-run").stdout
    assert said.startswith(f"ccc-1.0/{C.hash[:7]}: no lock file that is kept needs it\nwould free up to ")
    assert caches.known([A, B, C]) == {each.hash for each in (A, B, C)}
    with caches.wanted([C], threading.Event()):
        assert cli("prune", "--build-cache").stdout == "nothing to remove\n"
    gone = json.loads(cli("prune", "--build-cache", "--json").stdout)
    assert [each["name"] for each in gone] == [f"ccc-1.0/{C.hash[:7]}"]
    assert caches.known([A, B, C]) == {A.hash, B.hash}
    store.forget(layer)
    assert [each["name"] for each in json.loads(cli("prune", "--build-cache", "--json").stdout)] == [
        f"bbb-1.0/{B.hash[:7]}"
    ]
    assert caches.known([A, B, C]) == {A.hash}
    assert (caches.folder / layout.KEY_INDEX).exists()


def test_without_a_cache_there_is_nothing_to_remove(cli: Cli, store: Store, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-One: {elements: [vm], disk: []}\n", sites="local: {directory: site}\n")
    assert cli("prune", "--build-cache", "--dry-run").stdout == "nothing to remove\n"


def test_a_lock_that_cannot_be_read_stops_the_removal(store: Store, tmp_path: Path) -> None:
    store.root.mkdir()
    keep_lock(store, tmp_path, "20261121T120000Z", "no lock")
    with pytest.raises(CCImagesError, match="is no lock"):
        needed(store)


def test_a_layer_of_another_kind_is_none(store: Store, tmp_path: Path) -> None:
    store.root.mkdir()
    keep_lock(store, tmp_path, "20261121T120000Z", "no lock", files=("other",))
    assert needed(store) == frozenset()
