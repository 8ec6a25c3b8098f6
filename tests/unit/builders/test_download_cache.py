"""Generations of downloads: immutable, shared by links, checked before they are read, never taken from a reader."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cc_images.builders.download_cache import Caches, Generation


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    return Caches(tmp_path / "store")


def promote(caches: Caches, name: str, used: Path | None, kept: list[str], **new: str) -> None:
    """Promote what a build has left: kept files of `used`, and new ones (`__` stands for a slash, `_` for a dot)."""
    out = caches.root.parent.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    files = {name.replace("__", "/").replace("_", "."): text for name, text in new.items()}
    for path, text in files.items():
        (out / "cache" / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (out / "cache" / path).symlink_to(text.removeprefix("-> "))
        else:
            (out / "cache" / path).write_text(text)
    out.mkdir(exist_ok=True)
    (out / "cache.json").write_text(json.dumps({"kept": kept, "new": sorted(files), "empty": ["repo.git/refs"]}))
    caches.promote("family", name, used, out, shutil.rmtree)


def newest(caches: Caches) -> Generation:
    found = caches.newest("family")
    assert found is not None
    return found


def content(generation: Generation) -> dict[str, str]:
    return {str(path.relative_to(generation.path)): os.readlink(path) if path.is_symlink() else path.read_text()
            for path in sorted(generation.path.rglob("*")) if path.is_file() or path.is_symlink()}  # fmt: skip


def test_packages_of_all_builds_are_united_and_the_rest_is_taken_whole(caches: Caches) -> None:
    assert caches.newest("family") is None
    promote(
        caches,
        "20261121T120000Z",
        None,
        [],
        apt__a_deb="a",
        repo_git__HEAD="1",
        repo_git__old="x",
        repo_git__l="-> HEAD",
    )
    first = newest(caches)
    os.close(first.descriptor)
    promote(caches, "20261121T120000Z.002", first.path, ["repo.git/l"], apt__b_deb="b", repo_git__HEAD="2")
    second = newest(caches)
    assert content(second) == {"apt/a.deb": "a", "apt/b.deb": "b", "repo.git/HEAD": "2", "repo.git/l": "HEAD"}
    assert (second.path / "repo.git" / "refs").is_dir(), "an empty folder makes it a repository"
    assert not first.path.exists(), "nobody reads it"
    promote(caches, "20261121T120000Z", second.path, [], apt__c_deb="c")
    assert second.path.exists(), "a build reads it"
    assert content(newest(caches)).keys() >= {"apt/a.deb", "apt/b.deb", "apt/c.deb", "repo.git/HEAD", "repo.git/l"}


def test_a_damaged_generation_is_not_read(caches: Caches) -> None:
    promote(caches, "one", None, [], apt__a_deb="a")
    generation = newest(caches)
    os.close(generation.descriptor)
    (generation.path / "apt/a.deb").write_text("b")
    assert caches.newest("family") is None
    promote(caches, "two", None, [], apt__a_deb="a")
    assert content(newest(caches)) == {"apt/a.deb": "a"}


def test_without_news_nothing_is_promoted(caches: Caches) -> None:
    promote(caches, "one", None, [], apt__a_deb="a")
    generation = newest(caches)
    promote(caches, "two", generation.path, ["apt/a.deb"])
    assert newest(caches).path == generation.path


def test_what_a_build_reads_is_not_dropped(caches: Caches) -> None:
    promote(caches, "one", None, [], apt__a_deb="a")
    assert caches.last_used("family") > 0
    generation = newest(caches)
    assert caches.is_read("family")
    assert caches.drop("family", shutil.rmtree) == 0
    assert content(generation) == {"apt/a.deb": "a"}
    os.close(generation.descriptor)
    assert caches.drop("family", shutil.rmtree) == 1
    assert caches.newest("family") is None
    assert caches.sizes() == {}


def test_what_a_build_has_of_an_ancestors_cache_stays_there(caches: Caches) -> None:
    promote(caches, "20261121T120000Z", None, ["apt/of-the-parent.deb"], apt__a_deb="a")
    generation = newest(caches)
    os.close(generation.descriptor)
    assert content(generation) == {"apt/a.deb": "a"}
