"""Artifacts from a real Swift: by the user of clouds.yaml, by temporary URL, in pieces, missing and wrong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Download
from cc_images.sources import artifacts
from cc_images.store.blobs import Blob
from cc_images.store.records import Store
from tests.conftest import REPOSITORY, clean_environment, write_files
from tests.real.conftest import FPGA, Project
from tests.support.testbed import TestBed

CLOUDS = {"metal": "metal"}
KEY = "account-key-for-signatures"


@pytest.fixture(scope="module")
def swift(bed: TestBed) -> Iterator[Any]:
    """Return the object store's client of the user demo, whose account has a key for temporary URLs."""
    import openstack

    before = os.environ.get("OS_CLIENT_CONFIG_FILE")
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(bed.clouds)
    client = openstack.connect(cloud="metal").object_store
    client.request("/", "POST", headers={"X-Account-Meta-Temp-URL-Key": KEY}, raise_exc=True)
    client.request("/fpga", "PUT", raise_exc=True)
    yield client
    if before is None:
        del os.environ["OS_CLIENT_CONFIG_FILE"]
    else:
        os.environ["OS_CLIENT_CONFIG_FILE"] = before


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    found.root.mkdir()
    return found


def put(swift: Any, name: str, content: bytes) -> str:
    """Store an object; return its sha256."""
    answer = swift.request(f"/fpga/{quote(name)}", "PUT", data=content)
    assert answer.status_code == 201, answer.text
    return hashlib.sha256(content).hexdigest()


def fetched(store: Store, artifact: Download) -> tuple[bytes, list[tuple[int, int]]]:
    """Fetch an artifact; return its content, and how it came."""
    came: list[tuple[int, int]] = []
    blob: Blob = artifacts.fetch(
        artifact, store, CLOUDS, stop=threading.Event(), report=lambda done, total: came.append((done, total))
    )
    return blob.path.read_bytes(), came


def test_an_object_comes_as_the_user_of_the_cloud(swift: Any, store: Store) -> None:
    content = os.urandom(3 << 20)
    digest = put(swift, "a tool#1.run", content)
    got, came = fetched(store, Download(object="fpga/a tool#1.run", site="metal", sha256=digest))
    assert got == content
    assert came[-1] == (len(content), len(content))
    with pytest.raises(CCImagesError, match=r"artifact fpga/nothing of metal cannot be fetched: 404") as caught:
        fetched(store, Download(object="fpga/nothing", site="metal"))
    assert not caught.value.temporary
    with pytest.raises(CCImagesError, match=r"site kvm"):
        fetched(store, Download(object="fpga/nothing", site="kvm"))


def test_another_users_object_is_refused(swift: Any, store: Store) -> None:
    put(swift, "mine", b"x")
    account = swift.get_endpoint().rpartition("/")[2]
    with pytest.raises(CCImagesError, match=r"cannot be fetched: 40[34]"):
        artifacts.fetch(
            Download(object=f"../{account}/fpga/mine", site="metal-other"), store, {}, stop=threading.Event()
        )


def test_a_download_goes_on_while_the_object_is_the_same(swift: Any, store: Store) -> None:
    first, second = os.urandom(8 << 20), os.urandom(8 << 20)
    put(swift, "big", first)
    artifact = Download(object="fpga/big", site="metal")
    partial = store.root / "partial" / artifact.identity
    etag = swift.request("/fpga/big", "HEAD").headers["ETag"]
    for content, begins in ((first, 5 << 20), (second, 0)):
        partial.mkdir(parents=True)
        (partial / "data").write_bytes(first[: 5 << 20])
        (partial / "state.json").write_text(json.dumps({"validator": etag}))
        got, came = fetched(store, artifact)
        assert got == content
        assert begins < came[0][0] <= begins + (2 << 20)
        put(swift, "big", second)


def project(folder: Path, tiny_root: Path, images: str) -> Project:
    root = f"artifacts: {{DIB_TINY_ROOT: {{url: '{tiny_root.as_uri()}'}}"
    os_image = f"elements: [tiny-os], disk: [block-device-efi, tiny-disk], {root}"
    write_files(folder, images=images.replace("TINY", os_image), sites="local: {directory: site, is_baremetal: true}")
    (folder / "elements").symlink_to(REPOSITORY / "tests" / "elements")
    return Project(folder, clean_environment(folder) | {"PYTHONPATH": str(REPOSITORY)})


def test_a_missing_or_wrong_artifact_fails_only_its_own_images(
    swift: Any, bed: TestBed, tmp_path: Path, tiny_root: Path
) -> None:
    digest = put(swift, "board.bin", b"board")
    assert bed.swift is not None
    account = swift.get_endpoint().rpartition("/")[2]
    signed = bed.swift.signed(f"/v1/{account}/fpga/board.bin", KEY)
    images = f"""
Right: {{TINY, DIB_BOARD: {{site: metal, object: fpga/board.bin, sha256: {digest}}}}}}}
Signed: {{TINY, DIB_BOARD: {{url: '{signed}', sha256: {digest}}}}}}}
Missing: {{TINY, DIB_BOARD: {{site: metal, object: fpga/no.bin}}}}}}
Wrong: {{TINY, DIB_BOARD: {{site: metal, object: fpga/board.bin, sha256: {"0" * 64}}}}}}}
Expired: {{TINY, DIB_BOARD: {{url: '{bed.swift.signed(f"/v1/{account}/fpga/board.bin", KEY, -5)}'}}}}}}
"""
    made = project(tmp_path, tiny_root, images)
    code, output = made.run("-b", "-t", "2", "all", OS_CLIENT_CONFIG_FILE=str(bed.clouds))
    assert code == 3, output
    for tag in ("right", "signed"):
        assert (made.store / "builds" / tag / "amd64").is_dir(), output
    for tag in ("missing", "wrong", "expired"):
        assert not list((made.store / "logs").glob(f"*/build-{tag}*")), "no build began"
    assert "artifact fpga/no.bin of metal cannot be fetched: 404" in output
    assert f"artifact fpga/board.bin of metal has the digest {digest}, not 000" in output
    assert "cannot be fetched: 401" in output
    signature = signed.partition("temp_url_sig=")[2][:32]
    assert signature not in output
    for path in made.store.rglob("*"):
        if path.is_file() and "blobs" not in path.parts:
            assert signature.encode() not in path.read_bytes(), path
    made.assert_no_leftovers()


def test_fpga_images_are_made_from_what_the_object_store_has(swift: Any, bed: TestBed, debian: Project) -> None:
    for vendor, part in FPGA:
        put(swift, f"{vendor}-{part}.tar.gz", archive(f"{vendor} {part}"))
    code, output = debian.run("-b", "cc-fpga", OS_CLIENT_CONFIG_FILE=str(bed.clouds))
    assert code == 0, output
    assert "layer" not in output, "it starts from the tree of its parent, which is there"
    image = str(debian.store / "images" / "CC-FPGA.qcow2")
    code, output = debian.run("inspect", image, "--against", str(debian.site / "CC-Debian12.qcow2"))
    assert code == 0, output
    assert "  +gcc " in output
    log = max((debian.store / "logs").glob("*/build-cc-fpga-amd64.log")).read_text()
    assert "50-cc-fpga" in log
    assert "temp_url" not in log


def archive(text: str) -> bytes:
    """Return a tar archive that stands for a vendor's software."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as tar:
        entry = tarfile.TarInfo("bin/tool")
        entry.size, entry.mode = len(text), 0o755
        tar.addfile(entry, io.BytesIO(text.encode()))
    return held.getvalue()
