"""Verdicts as people read them."""

from __future__ import annotations

from pathlib import Path

from cc_images.report import verdict


def test_identical_is_two_lines() -> None:
    said: dict[str, list[str]] = {"packages": [], "partitions": [], "files": []}
    assert verdict.shown("one amd64 v", True, "abc", said, None) == "one amd64 v: identical\n  sha256 abc"


def test_differences_are_counted_and_long_lists_end() -> None:
    files = [f"/file-{number} content" for number in range(verdict.MOST + 5)]
    said = {"packages": ["a 1 → 2"], "partitions": ["partition 3 (ext4)"], "files": files}
    lines = verdict.shown("one amd64 v", False, "abc", said, Path("there")).splitlines()
    assert lines[:5] == ["one amd64 v: differs", "packages: 1", "  a 1 → 2", "partitions: 1", "  partition 3 (ext4)"]
    assert lines[5] == f"files: {verdict.MOST + 5}"
    assert lines[-2:] == ["  … and 5 more", "both versions of files that differ: there"]
    assert verdict.as_json("t", False, ("a", "b"), said)["sha256"] == ["a", "b"]
