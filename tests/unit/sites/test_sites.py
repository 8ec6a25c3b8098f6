"""Publishing: archive and rollback, for every point at which it can fail or be killed."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cc_images.errors import CCImagesError, Interrupted
from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites import open_site
from cc_images.sites.base import ImageSite, Publication
from cc_images.sites.cloud import Patience
from cc_images.sites.directory import DirectorySite
from cc_images.sites.entry import Entry
from cc_images.sites.glance import GlanceSite
from cc_images.sites.publish import Outcome, Terms, publish, recover


def today() -> str:
    """Return the date that an image of now is archived under. It is asked when needed: a test may run at midnight."""
    return f"{datetime.now(UTC):%Y%m%d}"


CALLS = ("act",)


def site_at(folder: Path) -> DirectorySite:
    return DirectorySite(Site(name="local", directory=str(folder)), Format.QCOW2)


def publication(tmp_path: Path, content: bytes, **properties: str) -> Publication:
    path = tmp_path / f"blob-{hashlib.sha256(content).hexdigest()[:8]}"
    path.write_bytes(content)
    return Publication(
        name="CC-X",
        path=path,
        sha512=hashlib.sha512(content).hexdigest(),
        size=len(content),
        properties=properties,
        run="r1",
        details={"key": "k"},
    )


def put(site: ImageSite, wanted: Publication) -> Outcome:
    return publish(site, wanted, Terms(pause=0.01), stop=threading.Event())


def files(folder: Path) -> dict[str, bytes]:
    """Return what a reader of the folder sees, descriptions left out."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def check_whole(folder: Path, *allowed: bytes) -> bytes:
    """Check that exactly one whole image has the name, is one of those allowed and fits its description."""
    content = (folder / "CC-X.qcow2").read_bytes()
    assert content in allowed
    said = json.loads((folder / "CC-X.json").read_text())
    assert said["sha512"] == hashlib.sha512(content).hexdigest()
    assert said["name"] == "CC-X"
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    return content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "site"


def test_first_publication(tmp_path: Path, folder: Path) -> None:
    outcome = put(site_at(folder), publication(tmp_path, b"one", os_type="linux"))
    assert outcome == Outcome(changed=True, address=str(folder / "CC-X.qcow2"))
    check_whole(folder, b"one")
    said = json.loads((folder / "CC-X.json").read_text())
    assert (said["key"], said["properties"], said["size"]) == ("k", {"os_type": "linux"}, 3)


def test_the_same_again_does_nothing(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), publication(tmp_path, b"one"))
    before = (folder / "CC-X.qcow2").stat()
    assert not put(site_at(folder), publication(tmp_path, b"one")).changed
    assert (folder / "CC-X.qcow2").stat() == before


def test_other_properties_are_published(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), publication(tmp_path, b"one"))
    before = (folder / "CC-X.qcow2").stat()
    outcome = put(site_at(folder), publication(tmp_path, b"one", os_type="linux"))
    assert (outcome.changed, outcome.archived) == (True, "")
    assert (folder / "CC-X.qcow2").stat() == before, "the bytes are there already"
    assert check_whole(folder, b"one")
    assert json.loads((folder / "CC-X.json").read_text())["properties"] == {"os_type": "linux"}
    assert not put(site_at(folder), publication(tmp_path, b"one", os_type="linux")).changed


def test_old_images_are_archived_by_the_day_of_their_creation(tmp_path: Path, folder: Path) -> None:
    for content in (b"one", b"two", b"three"):
        outcome = put(site_at(folder), publication(tmp_path, content))
    assert outcome.archived == f"CC-X-{today()}.1"
    assert files(folder) == {
        "CC-X.qcow2": b"three",
        f"CC-X-{today()}.qcow2": b"one",
        f"CC-X-{today()}.1.qcow2": b"two",
    }
    assert json.loads((folder / f"CC-X-{today()}.1.json").read_text())["name"] == f"CC-X-{today()}.1"


def test_a_file_that_somebody_else_put_there_is_archived_too(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "CC-X.qcow2").write_bytes(b"theirs")
    os.utime(folder / "CC-X.qcow2", (0, 0))
    assert put(site_at(folder), publication(tmp_path, b"ours")).archived == "CC-X-19700101"
    assert files(folder) == {"CC-X.qcow2": b"ours", "CC-X-19700101.qcow2": b"theirs"}


def test_sparse_files_stay_sparse(tmp_path: Path, folder: Path) -> None:
    content = bytes(8 << 20) + b"end"
    put(site_at(folder), publication(tmp_path, content))
    check_whole(folder, content)
    assert (folder / "CC-X.qcow2").stat().st_blocks * 512 < 1 << 20


class Tripping:
    """A site that fails or dies at the n-th of its calls: before the call, or after it has taken effect."""

    def __init__(self, inner: ImageSite, at: int, after: bool, how: Callable[[], None]) -> None:
        self._inner, self._at, self._after, self._how = inner, at, after, how
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in CALLS:
            return method

        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            tripping = self.calls == self._at
            if tripping and not self._after:
                self._how()
            result = method(*arguments, **keywords)
            if tripping and self._after:
                self._how()
            return result

        return call


def fail() -> None:
    raise CCImagesError("the site is down", temporary=True)


def refuse() -> None:
    raise CCImagesError("the site refuses that")


def die() -> None:
    os._exit(9)


POINTS = [(at, after) for at in (1, 2, 3) for after in (False, True)]
"""Each call of a replacement (upload, archive, publish), before and after it has taken effect."""


@pytest.mark.parametrize(("at", "after"), POINTS)
def test_a_lost_call_or_answer_is_no_failure(tmp_path: Path, folder: Path, at: int, after: bool) -> None:
    put(site_at(folder), publication(tmp_path, b"old"))
    outcome = put(Tripping(site_at(folder), at, after, fail), publication(tmp_path, b"new"))
    assert (outcome.changed, outcome.archived) == (True, f"CC-X-{today()}")
    check_whole(folder, b"new")
    assert files(folder) == {"CC-X.qcow2": b"new", f"CC-X-{today()}.qcow2": b"old"}


@pytest.mark.parametrize(("at", "after"), POINTS)
def test_a_refusal_leaves_the_old_image_in_place(tmp_path: Path, folder: Path, at: int, after: bool) -> None:
    put(site_at(folder), publication(tmp_path, b"old"))
    if (at, after) == (3, True):  # the refusal comes too late
        put(Tripping(site_at(folder), at, after, refuse), publication(tmp_path, b"new"))
        assert files(folder) == {"CC-X.qcow2": b"new", f"CC-X-{today()}.qcow2": b"old"}
        return
    with pytest.raises(CCImagesError, match="the site refuses that"):
        put(Tripping(site_at(folder), at, after, refuse), publication(tmp_path, b"new"))
    check_whole(folder, b"old")
    assert files(folder) == {"CC-X.qcow2": b"old"}


class Breaking(Tripping):
    """A site that is down from its n-th call on."""

    def __getattr__(self, name: str) -> Any:
        method = super().__getattr__(name)
        if name not in (*CALLS, "observe"):
            return method

        def call(*arguments: Any, **keywords: Any) -> Any:
            if self.calls >= self._at:
                fail()
            return method(*arguments, **keywords)

        return call


@pytest.mark.parametrize("at", [2, 3])
def test_a_site_that_goes_down_in_the_swap_is_mended_by_the_next_run(tmp_path: Path, folder: Path, at: int) -> None:
    put(site_at(folder), publication(tmp_path, b"old"))
    with pytest.raises(CCImagesError, match="the site is down"):
        put(Breaking(site_at(folder), at, True, fail), publication(tmp_path, b"new"))
    assert (folder / "CC-X.qcow2").read_bytes() in (b"old", b"new")
    put(site_at(folder), publication(tmp_path, b"new"))
    check_whole(folder, b"new")
    assert files(folder) == {"CC-X.qcow2": b"new", f"CC-X-{today()}.qcow2": b"old"}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("first", [True, False], ids=["first", "replacement"])
def test_any_kill_is_mended_by_the_next_run(tmp_path: Path, folder: Path, at: int, after: bool, first: bool) -> None:
    if first and at == 3:
        pytest.skip("a first publication has two calls")
    if not first:
        put(site_at(folder), publication(tmp_path, b"old"))
    child = os.fork()
    if child == 0:
        put(Tripping(site_at(folder), at, after, die), publication(tmp_path, b"new"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    put(site_at(folder), publication(tmp_path, b"new"))
    check_whole(folder, b"new")
    archived = {} if first else {f"CC-X-{today()}.qcow2": b"old"}
    assert files(folder) == {"CC-X.qcow2": b"new"} | archived


RENAMES = ("rename", "link", "unlink", "replace")


@pytest.mark.parametrize("step", range(1, 12))
def test_a_kill_between_two_system_calls_never_breaks_the_published_image(
    tmp_path: Path, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before the n-th rename, link or unlink of a replacement; at once afterwards the name has a whole image."""
    put(site_at(folder), publication(tmp_path, b"old"))
    wanted = publication(tmp_path, b"new!")
    child = os.fork()
    if child == 0:
        count = 0

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **keywords: Any) -> Any:
                nonlocal count
                count += 1
                if count == step:
                    os._exit(9)
                return real(*arguments, **keywords)

            return call

        for name in RENAMES:
            setattr(os, name, counted(getattr(os, name)))
        put(site_at(folder), wanted)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    assert (folder / "CC-X.qcow2").read_bytes() in (b"old", b"new!")
    put(site_at(folder), wanted)
    check_whole(folder, b"new!")
    assert files(folder) == {"CC-X.qcow2": b"new!", f"CC-X-{today()}.qcow2": b"old"}


def test_what_arrives_differently_is_not_published(tmp_path: Path, folder: Path) -> None:
    wanted = publication(tmp_path, b"new")
    put(site_at(folder), publication(tmp_path, b"old"))
    with pytest.raises(CCImagesError, match="not the 3") as caught:
        put(site_at(folder), replace(wanted, sha512="0" * 128))
    assert caught.value.reason == "verification"
    check_whole(folder, b"old")


def test_an_interrupted_upload_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        publish(site_at(folder), publication(tmp_path, b"new"), stop=stop)
    assert list(folder.iterdir()) == []


def test_a_push_that_waits_for_another_to_the_folder_can_be_ended(tmp_path: Path, folder: Path) -> None:
    stop, ended = threading.Event(), threading.Event()

    def push() -> None:
        with suppress(Interrupted):
            publish(site_at(folder), publication(tmp_path, b"new"), stop=stop)
        ended.set()

    with site_at(folder).exclusive(threading.Event()):
        thread = threading.Thread(target=push, daemon=True)
        thread.start()
        assert not ended.wait(0.3)
        stop.set()
        assert ended.wait(10)
    assert list(folder.iterdir()) == []


def test_a_rollback_touches_nothing_of_the_user(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), publication(tmp_path, b"old"))
    os.link(folder / "CC-X.qcow2", folder / "CC-X-latest.qcow2")
    (folder / "CC-X-stable.qcow2").symlink_to("CC-X.qcow2")
    with pytest.raises(CCImagesError):
        put(Tripping(site_at(folder), 3, False, refuse), publication(tmp_path, b"new"))
    assert files(folder).keys() == {"CC-X.qcow2", "CC-X-latest.qcow2", "CC-X-stable.qcow2"}


def test_two_publishers_of_one_folder_wait_for_each_other(tmp_path: Path, folder: Path) -> None:
    contents = [bytes([number]) * (4 << 20) for number in range(4)]
    threads = [
        threading.Thread(target=put, args=(site_at(folder), publication(tmp_path, content))) for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_whole(folder, *contents)
    assert sorted(files(folder).values()) == sorted(contents)


def test_recovery_says_what_it_did(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), publication(tmp_path, b"old"))
    (folder / ".CC-X.qcow2.staged").write_bytes(b"half")
    assert recover(site_at(folder), "CC-X") == ["removed the upload of run ?"]
    assert recover(site_at(folder), "CC-X") == []
    check_whole(folder, b"old")


@pytest.mark.parametrize("keep", [0, 1, 2, None])
def test_retention_keeps_the_newest_of_ours(tmp_path: Path, folder: Path, keep: int | None) -> None:
    folder.mkdir()
    (folder / "CC-X-20200101.qcow2").write_bytes(b"theirs")
    for content in (b"1", b"2", b"3", b"4"):
        publish(site_at(folder), publication(tmp_path, content), Terms(keep=keep), stop=threading.Event())
    left = {content for name, content in files(folder).items() if name != "CC-X.qcow2"}
    assert len(left - {b"theirs"}) == (3 if keep is None else keep)
    assert b"theirs" in left
    check_whole(folder, b"4")


def test_two_images_of_one_name_are_refused(tmp_path: Path, folder: Path) -> None:
    class Twice(DirectorySite):
        def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
            found = super().observe(name, before, lost=lost)
            return [replace(entry, id=which) for which in ("id-1", "id-2") for entry in found]

    folder.mkdir()
    (folder / "CC-X.qcow2").write_bytes(b"theirs")
    with pytest.raises(CCImagesError, match="2 images named CC-X: id-1, id-2"):
        put(Twice(Site(name="l", directory=str(folder)), Format.QCOW2), publication(tmp_path, b"new"))


def test_a_folder_that_cannot_be_made_is_an_error_of_the_site(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CCImagesError, match=r"site local: .*file") as caught:
        put(site_at(tmp_path / "file"), publication(tmp_path, b"new"))
    assert caught.value.reason == "site"


def test_formats_lie_side_by_side(tmp_path: Path, folder: Path) -> None:
    site = Site(name="local", directory=str(folder))
    for disk_format in (Format.QCOW2, Format.RAW):
        put(open_site(site, disk_format), publication(tmp_path, disk_format.encode()))
    assert files(folder) == {"CC-X.qcow2": b"qcow2", "CC-X.raw": b"raw"}
    assert {path.name for path in folder.glob("*.json")} == {"CC-X.json", "CC-X.raw.json"}


def test_a_keystone_that_fails_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sites that log in at once met a Keystone whose database was locked."""
    from keystoneauth1.exceptions import InternalServerError

    site = GlanceSite(Site(name="kvm", cloud="kvm"), Format.RAW, Patience(pause=0.0))
    answers = [InternalServerError("locked"), None]

    def call() -> str:
        if (trouble := answers.pop(0)) is not None:
            raise trouble
        return "token"

    assert site.cloud.repeated(call) == "token"
    assert answers == []
