"""A catalogue in a container: the steps of a push, at each of its calls, against a Swift in memory."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Format, Retirement
from cc_images.model.site import Site
from cc_images.sites import open_site
from cc_images.sites.base import Delete, Publish, Settle
from cc_images.sites.container_catalogue import ContainerCatalogue
from cc_images.sites.publish import Terms, publish, recover, retire, roll_back
from cc_images.sites.rollbacks import Goal, choose
from tests.conftest import NOW, moments, samples
from tests.support.objectstore import ObjectStore
from tests.unit.sites.test_sites import publication

NAME = "CC-X"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ten seconds pass between two looks at the clock: images are told apart by the second."""
    seconds = count()
    monkeypatch.setattr("cc_images.clock.now", lambda: NOW + timedelta(seconds=10 * next(seconds)))


@pytest.fixture
def swift() -> ObjectStore:
    return ObjectStore()


def site_at(swift: ObjectStore, segment: int = 1 << 30) -> ContainerCatalogue:
    made = Site(name="all", catalogue="swift://metal/images", scope="prod")
    assert isinstance(open_site(made, Format.QCOW2), ContainerCatalogue)
    return ContainerCatalogue(made, Format.QCOW2, objects=swift.container("images"), segment=segment)


def put(swift: ObjectStore, content: bytes, tmp_path: Path, run: str = "r1", **terms: Any) -> Any:
    made = replace(publication(tmp_path, content), name=terms.pop("name", NAME), run=run)
    site = site_at(swift, terms.pop("segment", 1 << 30))
    return publish(site, made, Terms(**{"pause": 0.0} | terms), stop=threading.Event())


def stored(swift: ObjectStore, path: str) -> bytes:
    return swift.containers["images"][f"prod/{path}"].content


def pointed(swift: ObjectStore) -> dict[str, str]:
    said: dict[str, str] = json.loads(stored(swift, "current"))
    return said


def current(swift: ObjectStore, name: str = NAME) -> bytes:
    """Return the image in force, as a reader finds it."""
    return stored(swift, f"versions/{pointed(swift)[name]}/{name}.qcow2")


def versions(swift: ObjectStore) -> list[bytes]:
    found = sorted(swift.containers["images"].items())
    return [each.content for path, each in found if path.endswith(".qcow2") and path.startswith("prod/versions/")]


def test_versions_are_added_and_named_and_old_ones_stay(swift: ObjectStore, tmp_path: Path) -> None:
    for number in range(3):
        done = put(swift, f"v{number}".encode(), tmp_path, f"r{number}")
        assert done.changed
        assert done.address == f"swift://metal/images/prod/versions/20261122-v{number + 1}"
    assert current(swift) == b"v2"
    assert versions(swift) == [b"v0", b"v1", b"v2"]
    before = len(swift.calls)
    assert not put(swift, b"v2", tmp_path, "r4").changed
    assert not [call for call in swift.calls[before:] if not call.startswith(("GET", "HEAD"))], "nothing was sent"
    place = f"versions/{pointed(swift)[NAME]}"
    digest = hashlib.sha256(b"v2").hexdigest()
    assert stored(swift, f"{place}/SHA256SUMS") == f"{digest}  {NAME}.qcow2\n".encode()
    manifest = json.loads(stored(swift, f"{place}/manifest.json"))
    assert (manifest["sha256"], manifest["size"], manifest["target"]) == (digest, 2, "")
    assert len(site_at(swift).archived(NAME)) == 2


def test_a_large_file_is_stored_in_segments_and_removed_with_them(swift: ObjectStore, tmp_path: Path) -> None:
    put(swift, b"0123456789", tmp_path, segment=4)
    assert current(swift) == b"0123456789"
    parts = sorted(path for path in swift.containers["images"] if path.startswith("prod/segments/"))
    assert [swift.containers["images"][path].content for path in parts] == [b"0123", b"4567", b"89"]
    put(swift, b"new", tmp_path, "r2", keep=0)
    assert versions(swift) == [b"new"]
    assert not [path for path in swift.containers["images"] if path.startswith("prod/segments/")]


@pytest.mark.parametrize("what", ["part", "whole"])
def test_bytes_that_arrive_damaged_are_never_published(
    swift: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    put(swift, b"v0", tmp_path)
    original = ObjectStore.stored

    def stored(self: ObjectStore, objects: Any, path: str, arguments: Any, *more: Any) -> Any:
        if not isinstance(arguments.get("data", b""), bytes):
            arguments = {**arguments, "data": b"x" + b"".join(arguments["data"])[1:]}
        return original(self, objects, path, arguments, *more)

    monkeypatch.setattr(ObjectStore, "stored", stored)
    with pytest.raises(CCImagesError, match=r"images/prod/.* is not what was sent"):
        put(swift, b"other", tmp_path, "r2", segment=4 if what == "part" else 8)
    assert current(swift) == b"v0"
    assert versions(swift) == [b"v0"], "the upload is gone"


def test_a_rollback_names_an_older_version(swift: ObjectStore, tmp_path: Path) -> None:
    for number in range(3):
        made = replace(publication(tmp_path, f"v{number}".encode()), name=NAME, run=f"r{number}",
                       properties={"build-version": f"2026110{number}T000000Z"})  # fmt: skip
        publish(site_at(swift), made, Terms(), stop=threading.Event())
    goal = Goal(version="20261100T000000Z")
    choice, done = roll_back(site_at(swift), NAME, lambda view: choose(view, goal), "r9", stop=threading.Event())
    assert (choice.after, done.changed) == ("20261100T000000Z", True)
    assert current(swift) == b"v0"
    assert len(versions(swift)) == 3, "nothing was copied"
    assert publish(site_at(swift), made, Terms(), stop=threading.Event()).kept, "it stands until something newer comes"
    assert put(swift, b"v3", tmp_path, "r5").changed
    assert current(swift) == b"v3"


def test_retention_and_retirement_remove_old_versions(swift: ObjectStore, tmp_path: Path) -> None:
    for number in range(4):
        put(swift, f"v{number}".encode(), tmp_path, f"r{number}", keep=2)
    assert versions(swift) == [b"v1", b"v2", b"v3"]
    rules = Retirement(delete_after=0, keep=1)
    done = retire(site_at(swift), NAME, rules, frozenset(), lambda run: True, stop=threading.Event())
    assert len(done) == 1
    assert versions(swift) == [b"v2", b"v3"]


def test_a_person_who_names_an_older_version_by_hand_stands(swift: ObjectStore, tmp_path: Path) -> None:
    put(swift, b"v0", tmp_path)
    put(swift, b"v1", tmp_path, "r2")
    swift.container("images").write("prod/current", json.dumps({NAME: "20261122-v1"}).encode())
    again = put(swift, b"v1", tmp_path, "r3", before=True)
    assert again.kept
    assert current(swift) == b"v0"
    assert put(swift, b"v2", tmp_path, "r4", before=False).changed
    assert current(swift) == b"v2"


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"CC-X": 1}'])
def test_an_object_that_names_no_versions_is_left_alone(swift: ObjectStore, tmp_path: Path, content: bytes) -> None:
    put(swift, b"v0", tmp_path)
    swift.container("images").write("prod/current", content)
    with pytest.raises(CCImagesError, match="swift://metal/images/prod/current is no JSON of names and versions"):
        put(swift, b"v1", tmp_path, "r2")
    assert stored(swift, "current") == content


class Killed(BaseException):
    """The end of a process, as far as the container can tell."""


def tripping(swift: ObjectStore, at: int, after: bool) -> None:
    """Let the process end before or after its `at`-th call from now on; 0: never."""
    made = [0]

    def before(method: str, path: str) -> None:
        made[0] += 1
        if made[0] == at and not after:
            raise Killed

    def afterwards(method: str, path: str) -> None:
        if made[0] == at and after:
            raise Killed

    swift.before, swift.after = before, afterwards


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_push_that_is_killed_at_any_call_is_put_in_order(tmp_path: Path, after: bool) -> None:
    killed = 0
    for at in moments(100):
        swift = ObjectStore()
        put(swift, b"v0", tmp_path, segment=1)
        put(swift, b"v1", tmp_path, "r2", segment=1)
        tripping(swift, at, after)
        try:
            put(swift, b"v2", tmp_path, "r3", keep=1, segment=1)
        except Killed:
            killed += 1
        tripping(swift, 0, after)
        assert current(swift) in (b"v1", b"v2"), "a reader finds a whole version at any time"
        recover(site_at(swift), NAME)
        assert current(swift) in (b"v1", b"v2")
        put(swift, b"v3", tmp_path, "r4", keep=1)
        assert current(swift) == b"v3"
        places = {path.split("/")[2] for path in swift.containers["images"] if path.count("/") > 2}
        assert len(versions(swift)) == len(places) == 2, (at, sorted(swift.containers["images"]))
    assert killed > samples(4, 50)


@pytest.mark.parametrize("seed", range(samples(8, 20)))
def test_in_any_order_of_pushes_rollbacks_and_kills_a_whole_version_is_in_force(
    tmp_path: Path, swift: ObjectStore, seed: int
) -> None:
    chance = random.Random(seed)
    put(swift, b"first", tmp_path, "r0")
    for night in range(6):
        swift.lag = chance.choice([0, 0, 2, 5])
        tripping(swift, chance.randrange(1, 90), chance.random() < 0.5)
        with suppress(Killed, CCImagesError):
            if chance.random() < 0.3:
                roll_back(site_at(swift), NAME, lambda view: choose(view, Goal()), f"b{night}", stop=threading.Event())
            else:
                put(swift, f"v{night}".encode(), tmp_path, f"r{night + 1}", keep=chance.choice([0, 2]))
        assert current(swift)
    swift.lag = 0
    tripping(swift, 0, False)
    put(swift, b"last", tmp_path, "r99")
    assert current(swift) == b"last"
    assert len(site_at(swift).find(NAME)) == 1


def between(swift: ObjectStore, at: int, what: Any) -> None:
    """Let something happen just before the `at`-th call from now on."""
    made = [0]

    def before(method: str, path: str) -> None:
        made[0] += 1
        if made[0] == at:
            what()

    swift.before = before


def test_two_writers_of_two_names_lose_nothing_at_any_call(tmp_path: Path) -> None:
    reached = 0
    for at in moments(80):
        swift = ObjectStore()
        put(swift, b"v0", tmp_path)
        ran: list[bool] = []

        def other(swift: ObjectStore = swift, ran: list[bool] = ran) -> None:
            (tmp_path / "other").mkdir(exist_ok=True)
            ran.append(put(swift, b"other", tmp_path / "other", "r9", name="CC-Y").changed)

        between(swift, at, other)
        assert put(swift, b"v1", tmp_path, "r2").changed
        reached += len(ran)
        if ran:
            assert ran == [True]
            assert (current(swift), current(swift, "CC-Y")) == (b"v1", b"other"), at
            assert len(versions(swift)) == 3
    assert reached > samples(2, 20)


def test_two_writers_of_one_name_end_with_one_of_them_in_force(tmp_path: Path) -> None:
    for at in moments(80):
        swift = ObjectStore()
        put(swift, b"v0", tmp_path)

        def other(swift: ObjectStore = swift) -> None:
            (tmp_path / "other").mkdir(exist_ok=True)
            with suppress(CCImagesError):
                put(swift, b"other", tmp_path / "other", "r9", ours=lambda run: run == "r9")

        between(swift, at, other)
        with suppress(CCImagesError):
            put(swift, b"v1", tmp_path, "r2", ours=lambda run: run == "r2")
        assert current(swift) in (b"v1", b"other"), at
        assert len(site_at(swift).find(NAME)) == 1
        assert b"v0" in versions(swift), "the one that was replaced stays"
        held = swift.containers["images"].items()
        said = [json.loads(each.content) for path, each in held if path.endswith("manifest.json")]
        turns = [each["turn"] for each in said if not each["target"]]
        assert len(turns) == len({*turns}), "each has replaced the one that was in force"


def test_of_two_conditional_calls_at_one_moment_the_one_that_stays_counts(swift: ObjectStore, tmp_path: Path) -> None:
    """Swift answers both with 201: it has looked for the object before either of them ended."""
    put(swift, b"v0", tmp_path)
    (tmp_path / "other").mkdir()
    clash: list[str] = []

    def after(method: str, path: str) -> None:
        if method == "PUT" and "/changes/" in path and not clash:
            clash.append(path)
            theirs = {"current": {**pointed(swift), "CC-Z": "20261122-v1"}, "before": ""}
            swift.container("images").write(path, json.dumps(theirs).encode())

    swift.after = after
    assert put(swift, b"v1", tmp_path, "r2").changed
    assert clash
    assert pointed(swift) == {NAME: "20261122-v2", "CC-Z": "20261122-v1"}, "both changes are in force"


def test_what_another_host_has_published_meanwhile_is_not_replaced_unseen(swift: ObjectStore, tmp_path: Path) -> None:
    put(swift, b"v0", tmp_path)
    put(swift, b"v1", tmp_path, "r2")
    first = site_at(swift)
    (old,) = first.archived(NAME)
    seen = first.find(NAME)[0]
    put(swift, b"v2", tmp_path, "r3")
    for before in (seen, None):
        step = Publish(entry=replace(old, target=NAME, archives=""), before=before, turn=3)
        with pytest.raises(CCImagesError, match="prod/current was changed meanwhile"):
            first.act(step, None, stop=threading.Event(), report=print)
    assert current(swift) == b"v2"


@pytest.mark.parametrize(("late", "made"), [(b"theirs", False), (b"ours", True), (b"", True)])
def test_who_has_made_an_object_is_seen_afterwards(swift: ObjectStore, late: bytes, made: bool) -> None:
    client = swift.container("images")
    client.make()

    def after(method: str, path: str) -> None:
        swift.after = lambda method, path: None
        if late:
            client.write("x", late)

    swift.after = after
    assert client.claim("x", b"ours") is made
    assert client.claim("x", b"ours") is made, "also when the first answer was not seen"
    assert not client.claim("x", b"somebody else's")


def test_an_older_copy_that_comes_late_is_put_right(swift: ObjectStore, tmp_path: Path) -> None:
    put(swift, b"v0", tmp_path)
    late = swift.containers["images"]["prod/current"]
    put(swift, b"v1", tmp_path, "r2")
    swift.containers["images"]["prod/current"] = late
    assert not put(swift, b"v1", tmp_path, "r3").changed
    assert current(swift) == b"v1"


def test_lists_that_lag_behind_hide_nothing(swift: ObjectStore, tmp_path: Path) -> None:
    for number in range(4):
        swift.lag = 20
        assert put(swift, f"v{number}".encode(), tmp_path, f"r{number}").changed
        assert current(swift) == f"v{number}".encode()
        assert site_at(swift).find(NAME)[0].sha512 == hashlib.sha512(f"v{number}".encode()).hexdigest()


def test_a_version_that_comes_into_force_while_it_is_removed_stays(swift: ObjectStore, tmp_path: Path) -> None:
    put(swift, b"v0", tmp_path)
    put(swift, b"v1", tmp_path, "r2")
    first = site_at(swift)
    (old,) = first.archived(NAME)
    recalled = replace(old, target=NAME, archives="")

    def mark_comes_first(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("v1/manifest.json"):
            swift.after = lambda method, path: None
            second = site_at(swift)
            second.observe(NAME)
            holder = second.find(NAME)[0]
            with pytest.raises(CCImagesError, match="is gone"):
                second.act(Publish(entry=recalled, before=holder, turn=3), None, stop=threading.Event(), report=print)

    swift.after = mark_comes_first
    first.act(Delete(entry=old), None, stop=threading.Event(), report=print)
    assert current(swift) == b"v1"
    assert versions(swift) == [b"v1"]
    with pytest.raises(CCImagesError, match="was changed meanwhile"):
        first.act(Delete(entry=site_at(swift).find(NAME)[0]), None, stop=threading.Event(), report=print)
    with pytest.raises(CCImagesError, match="is gone"):
        first.act(Settle(entry=old), None, stop=threading.Event(), report=print)


def test_what_swift_refuses_is_said(swift: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(swift, b"v0", tmp_path)
    for status, said in ((403, "returned 403"), (413, "returned 413"), (500, "returned 500"), (202, "returned 202")):
        with monkeypatch.context() as patched:
            from tests.support import objectstore

            patched.setattr(ObjectStore, "stored", lambda *words, status=status: objectstore.Answer(status))
            with pytest.raises(CCImagesError, match=f"PUT of images/prod/versions/.* {said}"):
                put(swift, b"v1", tmp_path, "r2")
        assert current(swift) == b"v0"


def test_a_manifest_that_is_none_is_passed_over(swift: ObjectStore, tmp_path: Path) -> None:
    put(swift, b"v0", tmp_path)
    swift.container("images").write("prod/versions/20261122-v7/manifest.json", b"{")
    swift.container("images").write("prod/versions/notes", b"")
    assert put(swift, b"v1", tmp_path, "r2").changed
    assert pointed(swift)[NAME] == "20261122-v8", "its place is taken"
