"""Two images compared by what is listed of each."""

from __future__ import annotations

from typing import Any

from cc_images.boottest.comparison import compared


def listed(files: dict[str, Any], **regions: str) -> dict[str, Any]:
    return {"partitions": [{"name": name, "digest": digest} for name, digest in regions.items()], "files": files}


def entry(**more: Any) -> dict[str, Any]:
    return {"mode": "-rw-r--r--", "owner": "0:0", "time": 1, "size": 2, "content": "abc"} | more


def test_equal_lists_differ_in_nothing() -> None:
    one = listed({"/a": entry()}, table="1", root="2")
    found = compared(one, one)
    assert (found.regions, found.files) == ((), {})


def test_every_difference_is_told_once() -> None:
    then = listed({"/gone": entry(), "/same": entry(), "/text": entry(), "/mode": entry()}, table="1", root="2")
    now = listed(
        {
            "/new": entry(),
            "/same": entry(),
            "/text": entry(content="abd", time=2),
            "/mode": entry(mode="-rwxr-xr-x", attributes="user.x=1"),
        },
        table="1",
        root="3",
        swap="4",
    )
    found = compared(then, now)
    assert found.regions == ("root", "swap")
    assert found.files == {
        "/gone": "is gone",
        "/mode": "mode, attributes",
        "/new": "is new",
        "/text": "content, time",
    }
    assert found.contents == ["/text"]
