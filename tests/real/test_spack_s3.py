"""The build cache in a bucket of a real Swift that speaks S3: pushed, read by another host, refused, away."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.signing import Signer
from cc_images.model.build_cache import BuildCache
from tests.support import swiftbed
from tests.support.packages import drop, made, published
from tests.support.swiftbed import SwiftBed
from tests.support.testbed import install

boto3 = pytest.importorskip("boto3", reason="needs boto3: pip install -e .[s3]")

SECRET = "an-s3-secret-of-the-tests"
STOP = threading.Event()
A, B = made("aaa"), made("bbb")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a client of the service; its bucket `packages` is there."""
    programs = install(swiftbed.PACKAGES, "ready-swift")
    bed = SwiftBed(tmp_path_factory.mktemp("s3"), programs, "", SECRET, swiftbed.S3)
    try:
        bed.start()
        client = boto3.client("s3", endpoint_url=bed.url, aws_access_key_id="test:tester", aws_secret_access_key=SECRET)
        client.create_bucket(Bucket="packages")
        yield client
    finally:
        bed.stop()


@pytest.fixture
def cache(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BuildCache:
    monkeypatch.setenv("TEST_ACCESS", "test:tester")
    monkeypatch.setenv("TEST_SECRET", SECRET)
    return BuildCache(
        name="bucket",
        url=f"s3://packages/{tmp_path.name}",
        push=True,
        endpoint=s3.meta.endpoint_url,
        access=("TEST_ACCESS", "TEST_SECRET"),
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key") / "gnupg"
    Signer.of("", folder).public_key()
    return folder


def test_another_host_has_what_was_pushed(s3: Any, cache: BuildCache, home: Path, tmp_path: Path) -> None:
    first, second = Caches([cache], tmp_path / "first", home), Caches([cache], tmp_path / "second", home)
    assert second.known([A, B]) == set()
    manifest = drop(tmp_path / "drop", A, os.urandom(20 << 20))  # more than one part of an upload
    told = published(first, tmp_path / "drop", A)
    assert told[1:] == [f"aaa@1.0/{A.hash[:7]} is in the build cache bucket"]
    names = {each["Key"] for each in s3.list_objects_v2(Bucket="packages", Prefix=tmp_path.name)["Contents"]}
    assert {f"{tmp_path.name}/{path}" for path in (layout.manifest_path(A), manifest.archive.path)} < names
    assert published(first, tmp_path / "drop", A) == [], "it is there"
    assert second.known([A, B]) == {A.hash}
    assert not (second.folder / layout.manifest_path(A)).exists()
    with second.wanted([A, B], STOP):
        assert (second.folder / manifest.archive.path).stat().st_size == manifest.archive.size
    assert Caches((), tmp_path / "second", home).known([A]) == {A.hash}


@pytest.mark.parametrize("how", ["other bytes", "unsigned", "no blob"])
def test_what_was_tampered_with_is_not_copied(s3: Any, cache: BuildCache, home: Path, tmp_path: Path, how: str) -> None:
    first, second = Caches([cache], tmp_path / "first", home), Caches([cache], tmp_path / "second", home)
    manifest = drop(tmp_path / "drop", A)
    published(first, tmp_path / "drop", A)
    blob, path = (f"{tmp_path.name}/{each}" for each in (manifest.archive.path, layout.manifest_path(A)))
    if how == "other bytes":
        s3.put_object(Bucket="packages", Key=blob, Body=bytes(manifest.archive.size))
    elif how == "unsigned":
        s3.put_object(Bucket="packages", Key=path, Body=layout.manifest_text(manifest).encode())
        assert second.known([A]) == set()
    else:
        s3.delete_object(Bucket="packages", Key=blob)
    with second.wanted([A], STOP):
        assert not (second.folder / layout.manifest_path(A)).exists()
    if how != "other bytes":  # which nobody sees who does not read them
        assert published(first, tmp_path / "none", A) == [f"aaa@1.0/{A.hash[:7]} is in the build cache bucket"]
        assert second.known([A]) == {A.hash}


def test_what_does_not_answer_or_refuses_costs_its_packages_alone(
    cache: BuildCache, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = BuildCache(name="away", url="s3://packages", push=True, endpoint="http://127.0.0.1:9", access=cache.access)
    for broken, variables in ((away, {}), (cache, {"TEST_SECRET": "wrong"}), (cache, {"TEST_SECRET": ""})):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        caches = Caches([broken], tmp_path / "store", home)
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        began = time.monotonic()
        drop(tmp_path / "drop", A)
        told = published(caches, tmp_path / "drop", A, B)
        assert caches.known([A, B]) == {A.hash}
        assert time.monotonic() - began < 60
        assert told[0] == f"aaa@1.0/{A.hash[:7]} is in the build cache"
        assert told[1].startswith(f"build cache {broken.name}: ")
        assert len(told) == 2, told
        assert SECRET not in " ".join(told) + caplog.text
