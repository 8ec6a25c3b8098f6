"""Inputs on a builder host: in its store, right, and read no more often than they must be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.remote.client import Hub as Client
from cc_images.remote.hub import Hub
from cc_images.remote.inputs import bring
from cc_images.store.records import Store
from tests.support import hubs

SIZE = 4_000_000


def bytes_read() -> int:
    """Return the bytes that this thread has read from files; those of sockets do not count."""
    lines = Path("/proc/thread-self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))


def test_what_was_hashed_as_it_came_is_not_read_again(store: Store, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    layer = hubs.blob(store, content)
    hubs.attempt(store, inputs=(layer,))
    there = Store(tmp_path / "builder")
    with Hub(store, "127.0.0.1:0", None).serving() as address:
        hub = Client(hubs.ticket(address), patience=5)
        hub.lease("nonce")
        before = bytes_read()
        bring(hub, there, layer, there.root / "partial" / "a1")
    assert bytes_read() - before < SIZE // 2
    assert there.blobs.is_intact(layer)
    assert there.blobs.looks_intact(layer, SIZE)
    assert not [*(there.root / "partial" / "a1").iterdir()]


def test_other_bytes_than_those_of_the_digest_get_no_place(store: Store, tmp_path: Path) -> None:
    layer = hubs.blob(store, b"right" * 1000)
    hubs.attempt(store, inputs=(layer,))
    path = store.blobs.path(layer)
    path.chmod(0o644)
    path.write_bytes(b"wrong" * 1000)
    there = Store(tmp_path / "builder")
    with Hub(store, "127.0.0.1:0", None).serving() as address, pytest.raises(CCImagesError):
        bring(Client(hubs.ticket(address), patience=5), there, layer, there.root / "partial" / "a1")
    assert not there.blobs.path(layer).exists()
