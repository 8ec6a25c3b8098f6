"""apt's indices, kept by one build for the next: shown where there are none, and believed only as far as signed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from cc_images.host.root import TOOLBOX

PROGRAM = TOOLBOX / "elements/cc-build/cc-build/lists"
NAME = "mirror_debian_dists_bookworm"
INDEX = b"Package: one\nVersion: 1\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree whose apt has fetched the index of one signed repository, and that of one that is not."""
    folder = tmp_path / "tree/var/lib/apt/lists"
    folder.mkdir(parents=True)
    (folder / f"{NAME}_InRelease").write_text(
        "-----BEGIN PGP SIGNED MESSAGE-----\nMD5Sum:\n 0 1 main/binary-amd64/Packages\n"
        f"SHA256:\n {hashlib.sha256(INDEX).hexdigest()} {len(INDEX)} main/binary-amd64/Packages\n"
    )
    (folder / f"{NAME}_main_binary-amd64_Packages").write_bytes(INDEX)
    (folder / "other_Release").touch()
    (folder / "other_Packages").touch()
    for path in folder.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return tmp_path / "tree"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty/var/lib/apt/lists").mkdir(parents=True)
    return tmp_path / "empty"


@pytest.fixture(autouse=True)
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an apt-get that says that it was called."""
    fake = tmp_path / "bin" / "apt-get"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "apt-get $*"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")


def lists(*words: str | Path, root: Path = Path("/nowhere")) -> str:
    """Run the program in a tree."""
    environment = {**os.environ, "CC_LISTS_ROOT": str(root)}
    return subprocess.run([PROGRAM, *words], env=environment, check=True, capture_output=True, text=True).stdout


def names(tree: Path) -> set[str]:
    return {path.name for path in (tree / "var/lib/apt/lists").iterdir()}


def test_signed_indices_are_kept_and_shown_with_their_times(tree: Path, empty: Path, tmp_path: Path) -> None:
    lists("keep", tree, tmp_path / "kept")
    lists("show", tmp_path / "kept", empty)
    assert names(empty) == set(), "apt sees nothing before its update"
    lists("use", root=empty)
    assert names(empty) == {f"{NAME}_InRelease", f"{NAME}_main_binary-amd64_Packages", ".cc-shown"}
    assert {path.stat().st_mtime for path in (tmp_path / "kept").iterdir()} == {1_700_000_000}
    assert lists("check", root=empty) == ""
    assert names(empty) == {f"{NAME}_InRelease", f"{NAME}_main_binary-amd64_Packages"}


def test_an_index_that_is_not_what_was_signed_is_fetched_again(tree: Path, empty: Path, tmp_path: Path) -> None:
    lists("keep", tree, tmp_path / "kept")
    with (tmp_path / "kept" / f"{NAME}_main_binary-amd64_Packages").open("ab") as file:
        file.write(b"\nPackage: evil\n")
    lists("show", tmp_path / "kept", empty)
    lists("use", root=empty)
    said = lists("check", root=empty)
    assert "is not what its repository has signed" in said
    assert "apt-get -y update" in said
    assert names(empty) == set()


def test_an_index_of_no_signed_repository_is_not_believed(tree: Path, empty: Path, tmp_path: Path) -> None:
    lists("keep", tree, tmp_path / "kept")
    (tmp_path / "kept" / f"{NAME}_InRelease").write_text("SHA512:\n 0 1 main/binary-amd64/Packages\n")
    lists("show", tmp_path / "kept", empty)
    lists("use", root=empty)
    assert "apt-get -y update" in lists("check", root=empty)


def test_a_tree_keeps_its_own(tree: Path, tmp_path: Path) -> None:
    lists("keep", tree, tmp_path / "kept")
    before = names(tree)
    lists("show", tmp_path / "kept", tree)
    lists("use", root=tree)
    assert names(tree) == before
    assert not (tree / "var/lib/apt/cc-lists").exists()
    assert lists("check", root=tree) == ""
    lists("show", tmp_path / "nothing", tree)
