"""Layers of OCI images: which archives are read, and how later ones are laid; `tests/real` has the laying as root."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from cc_images.boottest.inside import layers, trees
from cc_images.host.containers import image as oci
from cc_images.model.container import Configuration
from tests.support.containers import Entry, Layer, archive, layer

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")


def unpacked(tmp_path: Path, *content: Layer) -> tuple[Path, list[dict[str, int]]]:
    place = tmp_path / "x" / "root"
    place.mkdir(parents=True)
    _, caches = trees.unpack(archive(tmp_path / "image", Configuration(), *content), place)
    assert [path.name for path in place.parent.iterdir()] == ["root"]
    return place, caches


def names(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir() or path.is_symlink()}


@needs_root
def test_whiteouts_hide_what_is_below_and_nothing_of_their_own_layer(tmp_path: Path) -> None:
    place, _ = unpacked(
        tmp_path,
        {"a/one": "1", "a/two": "2", "b/c/d": "3", "b/e": "4", "keep": "5"},
        {"a/.wh.one": "", "b/c/new": "6", "b/.wh..wh..opq": "", ".wh.nothing": ""},
    )
    assert names(place) == {"a/two", "b/c/new", "keep"}


@needs_root
def test_a_later_layer_replaces_files_folders_and_links(tmp_path: Path) -> None:
    place, _ = unpacked(
        tmp_path,
        {"file": "1", "folder/x": "2", "link": Entry(link="file"), "stays": Entry(mode=0o700)},
        {"file": Entry(), "file/in": "3", "folder": "4", "link": "5", "stays": Entry(mode=0o750, owner=(7, 8))},
    )
    assert names(place) == {"file/in", "folder", "link"}
    assert (place / "folder").read_text() == "4"
    assert not (place / "link").is_symlink()
    status = (place / "stays").stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o750, 7, 8)


@needs_root
def test_no_layer_leads_out_of_the_tree(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    link = {"out": Entry(link=str(tmp_path)), "etc": Entry()}
    place, _ = unpacked(tmp_path, link, {"out/secret": "changed", "dev/sda": "no", "etc/x": Entry(link="/out/secret")})
    assert secret.read_text() == "untouched"
    assert (place / str(tmp_path).lstrip("/") / "secret").read_text() == "changed"
    assert not (place / "dev/sda").exists()


@needs_root
def test_names_with_two_dots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="a layer cannot be unpacked: it leads out of itself"):
        unpacked(tmp_path, {"a": "1"}, {"../b": "2"})


@needs_root
def test_a_tree_that_is_too_large_is_refused(tmp_path: Path) -> None:
    part = tmp_path / "layer"
    part.write_bytes(layer({"a": "x" * 100}))
    with pytest.raises(OSError, match="larger than the free room"):
        layers.add(part, ("cat",), tmp_path, 99)


@needs_root
def test_what_only_a_build_needs_is_counted_by_layer(tmp_path: Path) -> None:
    _, caches = unpacked(
        tmp_path,
        {"var/lib/apt/lists/a": "x" * 10, "root/.cache/pip/b": "y" * 7},
        {"root/.cache/c": "z" * 3, "var/lib/apt/.wh.lists": "", "home/u/.cache/pip/d": "w" * 2},
    )
    assert caches == [{"apt lists": 10, "pip cache": 7}, {"/root/.cache": 3, "pip cache": 2}]


def test_an_archive_with_several_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "image", {"index.json": oci.encoded({"manifests": [{}, {}]})})
    with pytest.raises(OSError, match="it has 2 images, not one"):
        list(layers.parts(tmp_path / "image", tmp_path))


def test_an_index_of_an_index_is_followed(tmp_path: Path) -> None:
    inner = oci.encoded({"layers": [], "config": {}})
    digest = hashlib.sha256(inner).hexdigest()
    top = {"digest": f"sha256:{digest}"}
    write(tmp_path / "image", {"index.json": oci.encoded({"manifests": [top]}), f"blobs/sha256/{digest}": inner})
    assert list(layers.parts(tmp_path / "image", tmp_path)) == []


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "image", {"index.json": b'{"manifests": [{"digest": "sha256:0"}]}'})
    with pytest.raises(OSError, match="it is no OCI image"):
        list(layers.parts(tmp_path / "image", tmp_path))


def write(target: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(target, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
