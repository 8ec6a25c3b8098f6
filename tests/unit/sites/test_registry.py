"""A registry: the steps of a push, at each of its calls, against one in memory."""

from __future__ import annotations

import hashlib
import random
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest

from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites import open_site
from cc_images.sites.base import Publication
from cc_images.sites.cloud import Patience
from cc_images.sites.manifests import digest_of
from cc_images.sites.publish import Terms, publish, recover, roll_back
from cc_images.sites.registry import RegistrySite
from cc_images.sites.registry_entries import entries
from cc_images.sites.registry_names import place_of
from cc_images.sites.rollbacks import Goal, choose
from cc_images.sites.skopeo import Skopeo, failure
from cc_images.sites.view import Memory, View, Wish
from tests.conftest import NOW, moments, samples
from tests.support.tagstore import TagStore, archive

NAME = "CC-X"
SITE = Site(name="reg", registry="registry.example.org/team")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ten seconds pass between two looks at the clock: images are told apart by the second."""
    seconds = count()
    monkeypatch.setattr("cc_images.clock.now", lambda: NOW + timedelta(seconds=10 * next(seconds)))


@pytest.fixture
def store() -> TagStore:
    return TagStore()


def site_at(store: TagStore, site: Site = SITE) -> RegistrySite:
    assert isinstance(open_site(site, Format.OCI), RegistrySite)
    return RegistrySite(site, Format.OCI, registry=store)


def made(tmp_path: Path, content: bytes, run: str = "r1", **properties: str) -> Publication:
    path = tmp_path / f"blob-{hashlib.sha256(content).hexdigest()[:8]}"
    if not path.exists():
        archive(path, content)
    written = path.read_bytes()
    properties = {"build-version": content.decode()} | properties
    return Publication(name=properties.pop("name", NAME), path=path, sha512=hashlib.sha512(written).hexdigest(),
                       size=len(written), properties=properties, run=run)  # fmt: skip


def put(store: TagStore, tmp_path: Path, content: bytes, run: str = "r1", version: str = "", **terms: Any) -> Any:
    said = {"registry-version": version} if version else {}
    wanted = made(tmp_path, content, run, **said)
    return publish(site_at(store), wanted, Terms(**{"pause": 0.0} | terms), stop=threading.Event())


def tags(store: TagStore, tmp_path: Path, *contents: bytes, repository: str = "cc-x") -> dict[str, str]:
    """Return which of the contents each tag has; records are left out."""
    known = dict(zip(is_(tmp_path, *contents), map(bytes.decode, contents), strict=True))
    found = store.tagged.get(repository, {}).items()
    return {tag: known.get(digest, digest) for tag, digest in found if not tag.endswith(".entry")}


def current(store: TagStore) -> str:
    raw = store.at("cc-x", "latest")
    return digest_of(raw) if raw is not None else ""


DIGESTS: dict[bytes, str] = {}


def is_(tmp_path: Path, *contents: bytes) -> list[str]:
    """Return the digests of the manifests that contents have."""
    for each in contents:
        DIGESTS[each] = DIGESTS.get(each) or archive(tmp_path / "known", each)
    return [DIGESTS[each] for each in contents]


def test_versions_have_tags_and_the_old_ones_are_archived(store: TagStore, tmp_path: Path) -> None:
    done = put(store, tmp_path, b"v0", "r0")
    assert (done.changed, done.address) == (True, "registry.example.org/team/cc-x:latest")
    assert tags(store, tmp_path, b"v0") == {"latest": "v0", "v0": "v0"}
    assert put(store, tmp_path, b"v1", "r1").archived == "cc-x:latest-20261122"
    assert tags(store, tmp_path, b"v0", b"v1") == {"latest": "v1", "v0": "v0", "v1": "v1", "latest-20261122": "v0"}
    put(store, tmp_path, b"v2", "r2")
    assert tags(store, tmp_path, b"v0", b"v1", b"v2") == {
        "latest": "v2", "v0": "v0", "v1": "v1", "v2": "v2", "latest-20261122": "v0", "latest-20261122.1": "v1"
    }  # fmt: skip
    before = len(store.calls)
    assert not put(store, tmp_path, b"v2", "r4").changed
    assert not [call for call in store.calls[before:] if not call.startswith(("tags", "manifest"))], "nothing was sent"
    assert [each.name for each in site_at(store).archived(NAME)] == ["CC-X-20261122.1", "CC-X-20261122"]


def test_retention_removes_versions_with_all_their_tags(store: TagStore, tmp_path: Path) -> None:
    for number in range(4):
        done = put(store, tmp_path, f"v{number}".encode(), f"r{number}", keep=1)
    assert done.removed == ("cc-x:latest-20261122.1",), "the tag that the registry had"
    assert set(tags(store, tmp_path, b"v2", b"v3")) == {"latest", "v2", "v3", "latest-20261122"}
    assert len(store.tagged["cc-x"]) == 6, "two records"
    assert not {*is_(tmp_path, b"v0", b"v1")} & store.repositories["cc-x"].keys(), "the manifests are gone"


def test_a_version_that_exists_with_other_bytes_is_refused(store: TagStore, tmp_path: Path) -> None:
    put(store, tmp_path, b"v0", "r0", version="2.1")
    before = (dict(store.tagged["cc-x"]), dict(store.repositories["cc-x"]))
    with pytest.raises(CCImagesError, match=r"team/cc-x:2\.1 exists with other bytes") as failed:
        put(store, tmp_path, b"v1", "r1", version="2.1")
    assert failed.value.exit_code == 3
    assert (store.tagged["cc-x"], store.repositories["cc-x"]) == before
    assert put(store, tmp_path, b"v1", "r1", version="2.2").changed
    assert tags(store, tmp_path, b"v0", b"v1") == {"latest": "v1", "2.1": "v0", "2.2": "v1", "latest-20261122": "v0"}


def test_a_planned_push_of_a_version_that_exists_is_known_to_be_refused(store: TagStore, tmp_path: Path) -> None:
    def refusal(content: bytes | None, version: str, **more: str) -> str:
        said = {"registry-version": version, **more}
        planned = made(tmp_path, content, **said) if content is not None else None
        return site_at(store).refusal(NAME, said if planned is None else planned.properties, planned)

    assert refusal(b"v1", "2.1") == refusal(None, "2.1") == "", "the repository does not exist"
    put(store, tmp_path, b"v0", "r0", version="2.1")
    before = len(store.calls)
    assert refusal(b"v1", "2.1") == "registry.example.org/team/cc-x:2.1 exists with other bytes"
    assert refusal(None, "2.1") == "registry.example.org/team/cc-x:2.1 exists, and the build may have other bytes"
    assert refusal(b"v0", "2.1") == refusal(b"v1", "2.2") == refusal(None, "2.2") == ""
    assert refusal(b"v1", "2.1", **{"registry-bump": "yes"}) == ""
    assert all(call.startswith(("tags", "manifest")) for call in store.calls[before:]), "nothing was changed"


def test_a_version_that_may_be_raised_gets_the_next_number(store: TagStore, tmp_path: Path) -> None:
    def pushed(content: bytes, run: str, **more: str) -> bool:
        wanted = made(tmp_path, content, run, **{"registry-version": "2.1", "registry-bump": "yes"}, **more)
        return publish(site_at(store), wanted, Terms(pause=0.0), stop=threading.Event()).changed

    assert all(pushed(f"v{number}".encode(), f"r{number}") for number in range(3))
    assert not pushed(b"v2", "r3")
    shown = tags(store, tmp_path, b"v0", b"v1", b"v2")
    assert {tag: content for tag, content in shown.items() if tag.startswith("2.1") or tag == "latest"} == {
        "2.1": "v0", "2.1.1": "v1", "2.1.2": "v2", "latest": "v2",
    }  # fmt: skip
    assert pushed(b"v2", "r4", os_distro="debian"), "properties alone"
    assert tags(store, tmp_path, b"v0", b"v1", b"v2") == shown


def test_a_rollback_moves_the_tag_back_and_stands(store: TagStore, tmp_path: Path) -> None:
    for number in range(3):
        put(store, tmp_path, f"v{number}".encode(), f"r{number}")
    choice, done = roll_back(site_at(store), NAME, lambda view: choose(view, Goal(version="v0")), "r9",
                             stop=threading.Event())  # fmt: skip
    assert (choice.after, done.changed) == ("v0", True)
    assert tags(store, tmp_path, b"v0", b"v1", b"v2") == {
        "latest": "v0", "v0": "v0", "v1": "v1", "v2": "v2", "latest-20261122.1": "v1", "latest-20261122": "v2",
    }  # fmt: skip
    assert put(store, tmp_path, b"v2", "r3").kept, "it stands until something newer comes"
    assert put(store, tmp_path, b"v3", "r5").changed
    assert current(store) == is_(tmp_path, b"v3")[0]


def test_two_versions_of_one_digest_are_told_apart(store: TagStore, tmp_path: Path) -> None:
    """A registry removes a manifest with all of its tags: what has the digest besides must stay."""
    for run, content in enumerate([b"v0", b"v1", b"v0", b"v2"]):
        assert put(store, tmp_path, content, f"r{run}").changed
    assert len(site_at(store).archived(NAME)) == 3
    put(store, tmp_path, b"v3", "r9", keep=2)
    assert [each.properties["build-version"] for each in site_at(store).archived(NAME)] == ["v2", "v0"]
    assert tags(store, tmp_path, b"v0", b"v2", b"v3") == {
        "latest": "v3", "v0": "v0", "v2": "v2", "v3": "v3", "latest-20261122.2": "v0", "latest-20261122.3": "v2",
    }  # fmt: skip


def test_tags_and_indexes_of_people_keep_their_manifests(store: TagStore, tmp_path: Path) -> None:
    put(store, tmp_path, b"v0", "r0")
    store.point("cc-x", is_(tmp_path, b"v0")[0], "course")
    put(store, tmp_path, b"v1", "r1", keep=0)
    assert tags(store, tmp_path, b"v0", b"v1") == {"latest": "v1", "v1": "v1", "course": "v0"}


def test_an_image_of_somebody_else_is_archived_and_never_removed(store: TagStore, tmp_path: Path) -> None:
    archive(tmp_path / "theirs", b"theirs")
    store.push(f"oci-archive:{tmp_path / 'theirs'}", "cc-x", "latest", folder=tmp_path)
    assert put(store, tmp_path, b"v0", keep=0).changed
    (old,) = (tag for tag in tags(store, tmp_path) if tag.startswith("latest-"))
    assert tags(store, tmp_path, b"theirs", b"v0") == {"latest": "v0", "v0": "v0", old: "theirs"}
    put(store, tmp_path, b"v1", "r2", keep=0)
    assert tags(store, tmp_path, b"theirs")[old] == "theirs"


def test_a_person_who_moves_the_tag_stands(store: TagStore, tmp_path: Path) -> None:
    put(store, tmp_path, b"v0", "r0")
    put(store, tmp_path, b"v1", "r1")
    store.point("cc-x", is_(tmp_path, b"v0")[0], "latest")
    assert put(store, tmp_path, b"v1", "r2", before=True).kept
    assert current(store) == is_(tmp_path, b"v0")[0]
    assert put(store, tmp_path, b"v2", "r3").changed
    assert current(store) == is_(tmp_path, b"v2")[0]


def test_where_nothing_can_be_removed_pushes_go_on_and_say_so(store: TagStore, tmp_path: Path) -> None:
    put(store, tmp_path, b"v0", "r0", keep=0)
    store.deletes = False
    done = put(store, tmp_path, b"v1", "r1", keep=0)
    assert done.changed
    assert any(note.startswith("cc-x:latest-20261122 (") and "cannot be removed" in note for note in done.notes)
    assert tags(store, tmp_path, b"v0", b"v1") == {"latest": "v1", "v0": "v0", "v1": "v1", "latest-20261122": "v0"}


def test_a_variant_has_the_repository_of_its_family(store: TagStore, tmp_path: Path) -> None:
    site = Site(name="reg", registry="registry.example.org/team", families={"CC-X-cuda12": ("CC-X", "cuda12")})
    put(store, tmp_path, b"v0")
    for run, content in (("r1", b"c0"), ("r2", b"c1")):
        wanted = made(tmp_path, content, run, name="CC-X-cuda12")
        done = publish(site_at(store, site), wanted, Terms(pause=0.0, keep=1), stop=threading.Event())
    assert (done.address, done.archived) == (
        "registry.example.org/team/cc-x:latest-cuda12", "cc-x:latest-cuda12-20261122",
    )  # fmt: skip
    assert tags(store, tmp_path, b"v0", b"c0", b"c1") == {
        "latest": "v0", "v0": "v0", "c0-cuda12": "c0", "c1-cuda12": "c1", "latest-cuda12": "c1",
        "latest-cuda12-20261122": "c0",
    }  # fmt: skip
    put(store, tmp_path, b"v1", "r9", keep=0)
    assert "latest-cuda12-20261122" in tags(store, tmp_path)


class Killed(BaseException):
    """The end of a process, as far as the registry can tell."""


def tripping(store: TagStore, at: int, after: bool, error: type[BaseException] = Killed) -> None:
    """Let the process end before or after its `at`-th call from now on; 0: never."""
    made = [0]

    def before(call: str, reference: str) -> None:
        made[0] += 1
        if made[0] == at and not after:
            raise error

    def afterwards(call: str, reference: str) -> None:
        if made[0] == at and after:
            raise error

    store.before, store.after = before, afterwards


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_push_that_is_killed_at_any_call_is_put_in_order(tmp_path: Path, after: bool) -> None:
    killed = 0
    for at in moments(130, 12):
        store = TagStore()
        put(store, tmp_path, b"v0")
        put(store, tmp_path, b"v1", "r2")
        tripping(store, at, after)
        try:
            put(store, tmp_path, b"v2", "r3", keep=1)
        except Killed:
            killed += 1
        else:
            break
        tripping(store, 0, after)
        assert current(store) in is_(tmp_path, b"v1", b"v2"), "a reader finds a whole version at any time"
        recover(site_at(store), NAME)
        assert current(store) in is_(tmp_path, b"v1", b"v2")
        put(store, tmp_path, b"v3", "r4", keep=1)
        has = tags(store, tmp_path, b"v0", b"v1", b"v2", b"v3")
        (old,) = {"v1", "v2"} & has.keys()
        name = next(tag for tag in has if tag.startswith("latest-"))
        assert has == {"latest": "v3", "v3": "v3", old: old, name: old}, at
        assert len(store.tagged["cc-x"]) == 6, "two records"
    assert killed > samples(4, 40)


@pytest.mark.parametrize("after", [False, True], ids=["lost", "answer-lost"])
def test_a_call_that_fails_once_or_for_good_is_undone_or_repeated(tmp_path: Path, after: bool) -> None:
    def failing(temporary: bool) -> Any:
        def error() -> CCImagesError:
            return CCImagesError("the registry does not answer", reason=Reason.UNREACHABLE, temporary=temporary)

        return error

    for temporary in (True, False):
        for at in range(1, 55, 1 if temporary else 2):
            store = TagStore()
            put(store, tmp_path, b"v0")
            made = [0]

            def rule(call: str, reference: str, made: Any = made, at: int = at, temporary: bool = temporary) -> None:
                made[0] += 1
                if made[0] == at:
                    raise failing(temporary)()

            store.after, store.before = (rule, store.before) if after else (store.after, rule)
            ended = ""
            try:
                put(store, tmp_path, b"v1", "r2", keep=1)
            except CCImagesError as error:
                ended = error.message
            store.before = store.after = lambda call, reference: None
            has = tags(store, tmp_path, b"v0", b"v1")
            if ended and current(store) == is_(tmp_path, b"v0")[0]:
                put(store, tmp_path, b"v1", "r3", keep=1)
                has = tags(store, tmp_path, b"v0", b"v1")
            else:
                assert current(store) == is_(tmp_path, b"v1")[0], (at, temporary, ended)
            assert has == {"latest": "v1", "v1": "v1", "v0": "v0", "latest-20261122": "v0"}, (at, temporary)


@pytest.mark.parametrize("seed", range(samples(8, 20)))
def test_in_any_order_of_pushes_rollbacks_and_kills_a_whole_version_is_in_force(tmp_path: Path, seed: int) -> None:
    chance, store = random.Random(seed), TagStore()
    put(store, tmp_path, b"first", "r0")
    known = [b"first"]
    for night in range(6):
        tripping(store, chance.randrange(1, 110), chance.random() < 0.5)
        with suppress(Killed, CCImagesError):
            if chance.random() < 0.3:
                roll_back(site_at(store), NAME, lambda view: choose(view, Goal()), f"b{night}", stop=threading.Event())
            else:
                known.append(chance.choice([*known, f"v{night}".encode(), f"v{night}".encode()]))
                put(store, tmp_path, known[-1], f"r{night + 1}", keep=chance.choice([0, 2]))
        assert current(store) in is_(tmp_path, *known)
    tripping(store, 0, False)
    put(store, tmp_path, b"last", "r99", keep=0, insist=True)
    assert tags(store, tmp_path, b"last") == {"latest": "last", "last": "last"}
    assert len(site_at(store).find(NAME)) == 1


def test_two_writers_of_one_name_end_with_one_of_them_in_force(tmp_path: Path) -> None:
    for at in range(1, 60):
        store = TagStore()
        put(store, tmp_path, b"v0")
        made_calls = [0]

        def before(call: str, reference: str, store: TagStore = store, calls: Any = made_calls, at: int = at) -> None:
            calls[0] += 1
            if calls[0] == at:
                with suppress(CCImagesError):
                    put(store, tmp_path, b"other", "r9", ours=lambda run: run == "r9")

        store.before = before
        with suppress(CCImagesError):
            put(store, tmp_path, b"v1", "r2", ours=lambda run: run == "r2")
        store.before = lambda call, reference: None
        assert current(store) in is_(tmp_path, b"v1", b"other"), at
        assert len(site_at(store).find(NAME)) == 1
        assert tags(store, tmp_path, b"v0").get("v0") == "v0", "the one that was replaced stays"


@pytest.mark.parametrize(
    ("said", "reason", "temporary"),
    [
        ("received unexpected HTTP status: 507 Insufficient Storage", Reason.QUOTA, False),
        ("received unexpected HTTP status: 500 Internal Server Error", Reason.SITE, True),
        ("unauthorized: authentication required", Reason.CREDENTIALS, False),
        ("http: server gave HTTP response to HTTPS client", Reason.SITE, False),
        ("requested access to the resource is denied", Reason.FORBIDDEN, False),
        ("dial tcp 127.0.0.1:5: connect: connection refused", Reason.UNREACHABLE, True),
        ("Manifest does not match provided manifest digest sha256:500", Reason.VERIFICATION, False),
        ("reading manifest 403-507 in h/x: something else", Reason.SITE, False),
    ],
)
def test_failures_of_skopeo_mean_something(said: str, reason: Reason, temporary: bool) -> None:
    found = failure("reg", "cc-x:latest", f'time="2026-11-22T00:00:00Z" level=fatal msg="{said}"')
    assert (found.message, found.reason, found.temporary) == (f"site reg: cc-x:latest: {said}", reason, temporary)


def test_without_skopeo_the_site_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CCImagesError, match="the program skopeo is missing") as failed:
        open_site(SITE, Format.OCI).find(NAME)
    assert failed.value.hint == "install the package skopeo"


def test_a_name_that_no_repository_can_have_is_refused(store: TagStore) -> None:
    with pytest.raises(CCImagesError, match=r"cc-x\+y cannot be the name of a repository"):
        site_at(store).find("CC-X+Y")


def test_a_file_that_is_no_archive_is_refused(store: TagStore, tmp_path: Path) -> None:
    wanted = replace(made(tmp_path, b"v0"), path=tmp_path / "junk")
    wanted.path.write_bytes(b"junk")
    with pytest.raises(CCImagesError, match="junk is no OCI archive of one image"):
        publish(site_at(store), wanted, Terms(pause=0.0), stop=threading.Event())
    assert not store.tagged


def test_another_version_of_the_same_bytes_is_a_tag_more(store: TagStore, tmp_path: Path) -> None:
    wanted = made(tmp_path, b"v0", "r0", **{"registry-version": "1.0"})
    put(store, tmp_path, b"v0", "r0", version="1.0")
    wanted = replace(wanted, properties={**wanted.properties, "registry-version": "1.1"}, run="r1")
    assert publish(site_at(store), wanted, Terms(pause=0.0), stop=threading.Event()).changed
    assert tags(store, tmp_path, b"v0") == {"latest": "v0", "1.0": "v0", "1.1": "v0"}
    put(store, tmp_path, b"v1", "r2", version="2.0", keep=0)
    assert tags(store, tmp_path, b"v1") == {"latest": "v1", "2.0": "v1"}
    wanted = replace(wanted, properties={**wanted.properties, "registry-version": "latest"}, run="r3")
    assert publish(site_at(store), wanted, Terms(pause=0.0), stop=threading.Event()).changed
    assert set(tags(store, tmp_path)) == {"latest", "2.0", "latest-20261122"}, "a version cannot have a name that moves"


def test_a_registry_that_is_away_for_a_moment_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "skopeo"
    program.write_text(
        "#!/bin/sh\n"
        f"if mkdir {tmp_path}/asked 2>/dev/null\n"
        "then echo 'received unexpected HTTP status: 503 Away' >&2; exit 1; fi\n"
        'echo \'{"Tags": ["a"]}\'\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert Skopeo(SITE, Patience(tries=2, pause=0.0)).tags("cc-x") == ["a"]
    (tmp_path / "asked").rmdir()
    with pytest.raises(CCImagesError, match="site reg: cc-x: received unexpected HTTP status: 503 Away"):
        Skopeo(SITE, Patience(tries=1)).tags("cc-x")


def test_whatever_tags_and_records_say_one_image_has_the_name_and_each_version_one_part() -> None:
    place = place_of(SITE, NAME, Format.OCI)
    kinds = list(product(["", NAME], [False, True], [False, True], [False, True], ["a", "b"]))
    keys = ("target", "publishing", "archived", "removed", "digest")
    for pair in product(kinds, kinds):
        records = [
            {"id": f"i{number}", "name": NAME, "published": NOW.isoformat(), "run": f"r{number}", "turn": number + 1,
             "size": 1, "sha512": f"sha-{kind[-1]}", "archive": "", **dict(zip(keys, kind, strict=True))}
            for number, kind in enumerate(pair)
        ]  # fmt: skip
        for latest in ("", "a", "b", "theirs"):
            tags = {place.latest: latest} if latest else {}
            found = entries(place, records, tags | {"latest-20261101": "old", "latest-20269999": "odd"}, NOW)
            view = View(Wish(name=NAME), found, Memory())
            assert len(view.holders) == bool(latest), (pair, latest)
            ours = [each for each in found if each.made]
            assert sorted(each.id for each in ours) == ["i0", "i1"]
            named = [each.name for each in found if each not in view.staged]
            assert len(named) == len({*named}), (pair, latest)
            for each in ours:
                parts = (each in view.holders, each in view.staged, each in view.archived)
                assert sum(parts) == 1, (pair, latest, each)
            if latest and (holder := view.holders[0]).made:
                assert holder.sha512 == f"sha-{latest}"
