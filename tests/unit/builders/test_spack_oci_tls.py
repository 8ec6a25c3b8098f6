"""A build cache in a registry whose certificate is signed by nobody that the host knows: trusted by configuration."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.builders.spack.cache_layout import Blob
from cc_images.builders.spack.oci import Repository
from cc_images.errors import CCImagesError, Reason
from cc_images.model.build_cache import BuildCache
from tests.support.certificates import certificate
from tests.support.fakeregistry import PASSWORD, USER, FakeRegistry, basic

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

CONTENT = b"a package"
BLOB = Blob(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("certificates"), "registry")


@pytest.fixture
def registry(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    monkeypatch.setenv("TEST_USER", USER)
    monkeypatch.setenv("TEST_PASSWORD", PASSWORD)
    with FakeRegistry('Basic realm="tests"', tls=pair) as made:
        yield made


@pytest.fixture
def cache(registry: FakeRegistry, pair: tuple[Path, Path]) -> BuildCache:
    return BuildCache(
        name="reg",
        url=f"oci://{registry.host}/team/spack",
        push=True,
        access=("TEST_USER", "TEST_PASSWORD"),
        ca=str(pair[0]),
    )


def fetched(cache: BuildCache) -> bytes:
    to = io.BytesIO()
    Repository(cache).fetch(BLOB, to)
    return to.getvalue()


def test_what_was_pushed_is_fetched_by_who_trusts_the_certificate(
    registry: FakeRegistry, cache: BuildCache, tmp_path: Path
) -> None:
    file = tmp_path / "blob"
    file.write_bytes(CONTENT)
    Repository(cache).put(BLOB.path, file)
    assert registry.blobs == {f"sha256:{BLOB.digest}": CONTENT}
    assert fetched(cache) == CONTENT
    assert basic() in registry.authorizations


@pytest.mark.parametrize("trusted", ["", "other"])
def test_without_that_nothing_is_said_to_the_registry(
    registry: FakeRegistry, cache: BuildCache, tmp_path: Path, trusted: str
) -> None:
    other = str(certificate(tmp_path, trusted)[0]) if trusted else ""
    with pytest.raises(CCImagesError, match="CERTIFICATE_VERIFY_FAILED") as failed:
        fetched(replace(cache, ca=other))
    assert failed.value.reason is Reason.UNREACHABLE
    assert "`ca: FILE`" in failed.value.hint
    assert not failed.value.temporary
    assert registry.calls == [], "neither password nor question"


def test_a_certificate_of_another_name_is_refused(cache: BuildCache, tmp_path: Path) -> None:
    pair = certificate(tmp_path, "elsewhere", "DNS:registry.example.org")
    with FakeRegistry(tls=pair) as registry:
        with pytest.raises(CCImagesError, match="CERTIFICATE_VERIFY_FAILED"):
            fetched(replace(cache, url=f"oci://{registry.host}/team/spack", ca=str(pair[0])))
        assert registry.calls == []


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
def test_a_file_that_has_none_is_named(cache: BuildCache, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "odd.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CCImagesError, match=r"odd\.pem") as failed:
        fetched(replace(cache, ca=str(file)))
    assert failed.value.reason is Reason.VALUE
    assert not failed.value.temporary
