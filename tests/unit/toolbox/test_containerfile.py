"""What a build by buildah leaves of the packages that it has downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.toolbox.containerfile import APT, KEEP, NOTES, OFFER, keep


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    (folder / "folder.deb").mkdir(parents=True)
    for name in ("new_1_amd64.deb", "known_1_amd64.deb"):
        (folder / name).write_text(name)
    (folder / "link_1_amd64.deb").symlink_to("/etc/shadow")
    return folder


def test_new_packages_go_to_the_cache_and_nothing_else_does(kept: Path, tmp_path: Path) -> None:
    offered, cache = tmp_path / "offered", tmp_path / "cache/apt/containers"
    offered.mkdir()
    (offered / "known_1_amd64.deb").write_text("from an earlier build")
    keep(kept, offered, cache)
    assert {each.name for each in cache.iterdir()} == {"new_1_amd64.deb"}
    assert (cache / "new_1_amd64.deb").read_text() == "new_1_amd64.deb"


def test_without_news_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    keep(tmp_path / "kept", tmp_path / "none", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_all_that_apt_is_told_lies_where_no_layer_has_it() -> None:
    for text in (APT, OFFER, KEEP):
        assert "/var/cache/apt" not in text
        assert NOTES in text
