"""What a builder host hands on of a log: records of whole lines, in which secrets can be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.model.catalog import Json
from cc_images.remote.lines import LONGEST, Lines, object_of


def said(path: Path) -> list[str]:
    """Return the records of a log that is there as a whole."""
    found: list[Json] = []
    lines = Lines(found.append, path.parent)
    lines.follow("build x amd64", path)
    lines.ended()
    return [each["log"] for each in found]


@pytest.mark.parametrize("before", [0, LONGEST - 3, LONGEST - 4, 3 * LONGEST - 40])
def test_no_record_ends_within_a_line(tmp_path: Path, before: int) -> None:
    line = "a line with hunter2 in it\n"
    (tmp_path / "log").write_text("\n" * before + line * 10_000 + "the last one")
    found = said(tmp_path / "log")
    assert "".join(found) == (tmp_path / "log").read_text()
    assert all(each.endswith("\n") for each in found[:-1])
    assert max(len(each) for each in found) <= LONGEST


def test_a_line_that_is_longer_than_a_record_is_cut(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * (3 * LONGEST) + "\nthe end\n")
    assert [len(each) for each in said(tmp_path / "log")] == [LONGEST, LONGEST, LONGEST, len("\nthe end\n")]


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"a": ' * 100_000, "1" * 9_000, "nul", b"\xff"])
def test_what_is_no_object_is_an_empty_one(text: str | bytes) -> None:
    assert object_of(text) == {}
    assert object_of('{"a": 1}') == {"a": 1}
