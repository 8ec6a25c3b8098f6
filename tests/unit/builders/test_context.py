"""Unit tests of build contexts and their ignore files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cc_images.builders.containerfile.context import copied, digest, entries, file_of, text_of
from cc_images.builders.containerfile.ignore import ignored
from cc_images.errors import UserError


@pytest.mark.parametrize(
    ("text", "left_out", "stays"),
    [
        ("*.log\n", ["a.log"], ["b/a.log", "a.logs"]),
        ("**/*.log\n", ["a.log", "b/c/a.log"], ["a.txt"]),
        ("/build/\n", ["build", "build/x/y"], ["a/build", "builds"]),
        ("a/**/z\n", ["a/z", "a/b/c/z", "a/b/z/q"], ["a/b"]),
        ("*\n!keep\n!src/*.py\n", ["other", "src/a.c"], ["keep", "keep/x", "src/a.py"]),
        ("!a\na\n", ["a"], []),
        ("# a comment\n\n  b  \n", ["b"], ["# a comment"]),
        ("f?[0-9]\n", ["fo1"], ["fo", "f/1"]),
        ("dir/**\n", ["dir/a", "dir/a/b"], ["dir"]),
        ("./x/../y\n", ["y"], ["x"]),
        ("**\n!a/b\n", ["c", "a/c"], ["a/b"]),
        (r"\*" + "\n", ["*"], ["a"]),
        (".\n/\n", [], ["a"]),
        ("a[^x]b\n", ["ayb"], ["a/b", "axb"]),
        ("[\\]]\n", ["]"], ["a"]),
        ("[a\\-c]\n", ["-", "a", "c"], ["b"]),
        ("[[:alpha:]]\n", [":]", "a]"], ["b"]),
    ],
)
def test_ignore_files(text: str, left_out: list[str], stays: list[str]) -> None:
    says = ignored(text)
    assert ([each for each in left_out if not says(each)], [each for each in stays if says(each)]) == ([], [])


def test_a_pattern_without_an_end_is_named() -> None:
    with pytest.raises(UserError, match=r"\[a"):
        ignored("[a\n")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_context_is_its_names_contents_and_programs(tmp_path: Path) -> None:
    write(tmp_path / "a", {"Containerfile": "FROM x\n", "src/run": "#!/bin/sh\n", ".git/config": "x",
                                 ".containerignore": ".git\n"})  # fmt: skip
    (tmp_path / "a/src/run").chmod(0o775)
    (tmp_path / "a/link").symlink_to("src/run")
    found = entries(tmp_path / "a")
    assert [(each.name, each.kind) for each in found] == [
        ("Containerfile", "file"), ("link", "link"), ("src", "folder"), ("src/run", "program"),
    ]  # fmt: skip
    copied(found, tmp_path / "b")
    (tmp_path / "b/src/run").chmod(0o700)
    assert digest(entries(tmp_path / "b")) == digest(found), "owners' other rights and times differ from clone to clone"
    assert (tmp_path / "b/link").readlink() == Path("src/run")
    (tmp_path / "b/src/run").chmod(0o600)
    assert digest(entries(tmp_path / "b")) != digest(found)


def test_a_file_that_is_taken_back_in_has_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "a", {"Dockerfile": "FROM x\n", "deep/er/keep": "1", "deep/er/not": "2",
                                 ".dockerignore": "deep\n!deep/er/keep\n"})  # fmt: skip
    found = entries(tmp_path / "a")
    assert [each.name for each in found] == ["Dockerfile", "deep/er/keep"]
    assert copied(found, tmp_path / "b") == digest(found)
    assert (tmp_path / "b/deep/er/keep").read_text() == "1"


def test_what_no_image_can_have_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"a pipe, .*/pipe"):
        entries(tmp_path)
    (tmp_path / ".containerignore").write_text("pipe\n")
    assert entries(tmp_path) == []


def test_a_containerfile_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Containerfile and no Dockerfile"):
        file_of(tmp_path)
    with pytest.raises(UserError, match="is not there"):
        file_of(tmp_path / "none")
    (tmp_path / "Dockerfile").write_bytes(b"FROM \xff")
    with pytest.raises(UserError, match="cannot be read"):
        text_of(tmp_path)
