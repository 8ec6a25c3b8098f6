"""The store's memory of what it has published where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cc_images.model.status import Put
from cc_images.store.published import Published

PUT = Put(site="s", name="N", tag="n", arch="amd64", version="20260101T000000Z", since=1.0, seen=1.0, place="p",
          format="qcow2")  # fmt: skip


def changed(**more: object) -> Put:
    return replace(PUT, **more)  # type: ignore[arg-type]


def test_each_format_is_remembered_by_itself(tmp_path: Path) -> None:
    Published(tmp_path).add(PUT, changed(format="raw", version="20260102T000000Z"))
    known = Published(tmp_path)
    assert known.last("s", "N", "qcow2") == PUT
    assert known.last("s", "N", "raw") == changed(format="raw", version="20260102T000000Z")
    assert known.last("s", "N", "iso") is None


def test_what_an_older_version_remembered_goes_on(tmp_path: Path) -> None:
    Published(tmp_path).add(changed(format="", place="", since=1.0))
    assert Published(tmp_path).last("s", "N", "qcow2") is None, "no evidence that it was this format"
    Published(tmp_path).add(changed(since=9.0, seen=9.0))
    (put,) = Published(tmp_path).all()
    assert (put.since, put.seen, put.place) == (1.0, 9.0, "p")


def test_a_memory_that_another_run_changed_is_read_again(tmp_path: Path) -> None:
    Published(tmp_path).add(PUT)
    assert len(Published(tmp_path).all()) == 1
    Published(tmp_path).add(changed(format="raw"))
    first, second = Published(tmp_path), Published(tmp_path)
    first.add(changed(format="iso"))
    assert [len(each.all()) for each in (first, second, Published(tmp_path))] == [3, 2, 3]
