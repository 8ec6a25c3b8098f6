"""What hangs on an image follows its name: properties of others, tags, members, being hidden."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.sites.base import Act, Describe, Give, Publication, Share, Upload
from cc_images.sites.carrying import LISTED, carried, described, listed, set_by_others
from cc_images.sites.entry import Entry
from cc_images.sites.publish import Outcome, Terms, publish
from cc_images.testing import FakeSite
from tests.support.worlds import NAME, image
from tests.unit.sites.test_sites import publication


class Shared(FakeSite):
    """A site that shares images with projects."""

    shares, visibility = True, "shared"

    def __init__(self) -> None:
        super().__init__(self._share)
        self.shared: dict[str, set[str]] = {}
        self.refuses = ""
        self.steps: list[Act] = []

    def members(self, entry: Entry) -> frozenset[str]:
        return frozenset(self.shared.get(entry.id, set()))

    def _share(self, step: Act) -> None:
        self.steps.append(step)
        if isinstance(step, Share):
            if step.project == self.refuses:
                raise CCImagesError("the site refuses that")
            self.shared.setdefault(step.entry.id, set()).add(step.project)


def sent(tmp_path: Path, content: bytes, **properties: str) -> Publication:
    plain = publication(tmp_path, content, **properties)
    return replace(plain, properties=listed(plain.properties))


def put(site: FakeSite, wanted: Publication, **terms: object) -> Outcome:
    return publish(site, wanted, Terms(pause=0.01, **terms), stop=threading.Event())  # type: ignore[arg-type]


def holder(site: FakeSite) -> Entry:
    (found,) = site.find("CC-X")
    return found


def by_hand(site: FakeSite, **changes: object) -> Entry:
    """Let a person change the image that has the name."""
    before = holder(site)
    properties = {**before.properties, **changes.pop("properties", {})}  # type: ignore[dict-item]
    site.images[before.id] = replace(before, properties=properties, **changes)  # type: ignore[arg-type]
    return site.images[before.id]


def test_properties_of_others_go_on_and_ours_are_ours(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1", os_type="linux", hw_rng_model="virtio"))
    by_hand(site, properties={"trait:CUSTOM": "required", "hw_rng_model": "changed"})
    outcome = put(site, sent(tmp_path, b"v2", os_type="linux"))
    found = holder(site).properties
    assert (found["trait:CUSTOM"], found["os_type"], found[LISTED]) == ("required", "linux", "os_type")
    assert "hw_rng_model" not in found, "it is configured no more, whoever changed its value"
    assert outcome.notes == ()
    put(site, sent(tmp_path, b"v3", os_type="linux"), carry=False)
    assert "trait:CUSTOM" not in holder(site).properties


def test_a_property_that_the_site_refuses_is_said_and_refuses_no_swap(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    by_hand(site, properties={"protected_by_policy": "x"})
    real = site.act

    def act(step: Act, *words: object, **how: object) -> Entry | None:
        if isinstance(step, Describe) and "protected_by_policy" in step.wanted.properties:
            raise CCImagesError("the site refuses that")
        return real(step, *words, **how)  # type: ignore[arg-type]

    site.act = act  # type: ignore[method-assign]
    outcome = put(site, sent(tmp_path, b"v2"))
    assert outcome.changed
    assert outcome.notes == ("it has not got what others have set on the image before it: the site refuses that",)
    assert "protected_by_policy" not in holder(site).properties


def test_a_property_that_is_configured_no_more_is_removed_without_sending_bytes(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1", os_type="linux", hw_rng_model="virtio"))
    by_hand(site, properties={"theirs": "stays"})
    site.steps.clear()
    assert put(site, sent(tmp_path, b"v1", os_type="windows")).changed
    assert [type(step) for step in site.steps] == [Describe]
    assert holder(site).properties == {"os_type": "windows", "theirs": "stays", LISTED: "os_type"}
    assert not put(site, sent(tmp_path, b"v1", os_type="windows")).changed


def test_an_image_of_an_older_version_is_not_changed_for_the_list_alone(tmp_path: Path) -> None:
    site = Shared()
    put(site, publication(tmp_path, b"v1", os_type="linux"))
    by_hand(site, properties={"theirs": "x"})
    assert not put(site, sent(tmp_path, b"v1", os_type="linux")).changed
    outcome = put(site, sent(tmp_path, b"v2", os_type="linux"))
    assert "theirs=x, and the new image has not" in outcome.notes[0], "nobody knows whose it was"


def test_tags_move_to_the_new_image(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"), tags=frozenset({"amphora"}))
    by_hand(site, tags=frozenset({"amphora", "theirs"}))
    put(site, sent(tmp_path, b"v2"), tags=frozenset({"amphora", "more"}))
    assert holder(site).tags == {"amphora", "theirs", "more"}
    assert [entry.tags for entry in site.archived("CC-X")] == [frozenset()]
    assert not put(site, sent(tmp_path, b"v2"), tags=frozenset({"amphora"})).changed
    put(site, sent(tmp_path, b"v3"), carry=False)
    assert holder(site).tags == frozenset()


def test_a_staged_image_has_no_tags_by_which_it_might_be_taken(tmp_path: Path) -> None:
    site = Shared()
    seen: list[frozenset[str]] = []
    real = site.act

    def act(step: Act, *words: object, **how: object) -> Entry | None:
        seen.extend(entry.tags for entry in site.staged("CC-X"))
        return real(step, *words, **how)  # type: ignore[arg-type]

    site.act = act  # type: ignore[method-assign]
    put(site, sent(tmp_path, b"v1"), tags=frozenset({"amphora"}))
    assert seen
    assert set(seen) == {frozenset()}


def test_members_follow_and_configured_ones_come_in_addition(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    site.shared[holder(site).id] = {"p1", "p2"}
    outcome = put(site, sent(tmp_path, b"v2"), members=frozenset({"p3"}))
    assert site.shared[holder(site).id] == {"p1", "p2", "p3"}
    assert not holder(site).owes
    assert outcome.notes == ()
    assert not put(site, sent(tmp_path, b"v2"), members=frozenset({"p3"})).changed
    put(site, sent(tmp_path, b"v3"), carry=False)
    assert holder(site).id not in site.shared


def test_a_member_that_is_refused_is_said_and_is_no_failure(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    site.shared[holder(site).id] = {"gone", "p2"}
    site.refuses = "gone"
    outcome = put(site, sent(tmp_path, b"v2"))
    assert outcome.notes == ("it is not shared with gone: the site refuses that",)
    assert site.shared[holder(site).id] == {"p2"}


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("after", [False, True])
def test_whatever_call_is_the_last_the_next_push_brings_everything(tmp_path: Path, at: int, after: bool) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    by_hand(site, properties={"theirs": "x"}, tags=frozenset({"t"}))
    site.shared[holder(site).id] = {"p1", "p2"}
    real, count = site.act, 0

    class Killed(BaseException):
        pass

    def act(step: Act, *words: object, **how: object) -> Entry | None:
        nonlocal count
        count += 1
        if count == at and not after:
            raise Killed
        answer = real(step, *words, **how)  # type: ignore[arg-type]
        if count == at:
            raise Killed
        return answer

    site.act = act  # type: ignore[method-assign]
    killed = False
    try:
        put(site, sent(tmp_path, b"v2"))
    except Killed:
        killed = True
    site.act = real  # type: ignore[method-assign]
    put(site, sent(tmp_path, b"v2"))
    found = holder(site)
    assert (found.properties["theirs"], set(found.tags), found.owes) == ("x", {"t"}, False)
    assert site.shared[found.id] == {"p1", "p2"}
    assert all(not entry.tags for entry in site.archived("CC-X"))
    assert killed or at > 6


def test_a_visibility_that_a_person_changes_during_the_upload_is_the_new_ones(tmp_path: Path) -> None:
    site = Shared()
    site.visibility = ""
    put(site, sent(tmp_path, b"v1"))
    real = site.act

    def act(step: Act, *words: object, **how: object) -> Entry | None:
        answer = real(step, *words, **how)  # type: ignore[arg-type]
        if isinstance(step, Upload):
            by_hand(site, visibility="community")
        return answer

    site.act = act  # type: ignore[method-assign]
    put(site, sent(tmp_path, b"v2"))
    assert holder(site).visibility == "community"


def test_a_protection_that_a_person_took_from_an_image_is_not_lent_again(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    by_hand(site, protected=True)
    put(site, sent(tmp_path, b"v2"))
    assert (holder(site).protected, holder(site).lent) == (True, True)
    by_hand(site, protected=False)
    put(site, sent(tmp_path, b"v3"))
    assert not holder(site).protected


@pytest.mark.parametrize("kind", [Describe, Share, Give])
def test_what_fails_for_a_moment_is_carried_over_all_the_same(tmp_path: Path, kind: type) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    site.shared[by_hand(site, owner="p9", properties={"theirs": "x"}).id] = {"p1"}
    real, failed = site.act, list[Act]()

    def act(step: Act, *words: object, **how: object) -> Entry | None:
        if isinstance(step, kind) and not failed:
            failed.append(step)
            raise CCImagesError("the site is down", temporary=True)
        return real(step, *words, **how)  # type: ignore[arg-type]

    site.act = act  # type: ignore[method-assign]
    assert put(site, sent(tmp_path, b"v2")).notes == ()
    now = holder(site)
    assert (now.owner, now.properties["theirs"], site.shared[now.id], len(failed)) == ("p9", "x", {"p1"}, 1)


@pytest.mark.parametrize("next_one", [b"v2", b"v3"])
def test_members_of_which_nobody_could_say_are_asked_for_again(tmp_path: Path, next_one: bytes) -> None:
    """Until they are known, the image that has them stays, whatever `keep` says."""
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    old = holder(site)
    site.shared[old.id] = {"p1"}
    real = site.members

    def silent(entry: Entry) -> frozenset[str]:
        raise CCImagesError("the site is down", temporary=True)

    site.members = silent  # type: ignore[method-assign]
    assert "nobody can say" in put(site, sent(tmp_path, b"v2"), keep=0).notes[0]
    assert holder(site).owes
    assert old.id in site.images
    site.members = real  # type: ignore[method-assign]
    put(site, sent(tmp_path, next_one), keep=0)
    assert site.shared[holder(site).id] == {"p1"}
    assert old.id not in site.images


def test_a_rollback_gets_what_is_on_the_image_that_it_replaces() -> None:
    once = image("v1", NAME, 1, properties=listed({"a": "1"}) | {"trait": "old", "gone": "x"})
    now = image("v2", NAME, 2, properties=listed({"a": "2"}) | {"trait": "new"})
    assert carried(now, once) == listed({"a": "1"}) | {"trait": "new"}
    assert carried(replace(now, made=False), once) == once.properties, "nobody knows whose its properties are"


def test_the_owner_goes_on_and_one_that_is_refused_is_no_failure(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    by_hand(site, owner="p1")
    assert put(site, sent(tmp_path, b"v2")).notes == ()
    assert holder(site).owner == "p1"
    by_hand(site, owner="")
    assert not put(site, sent(tmp_path, b"v2")).changed
    assert holder(site).owner == "", "it was taken back from the new image"
    by_hand(site, owner="p1")
    put(site, sent(tmp_path, b"v3"), carry=False)
    assert holder(site).owner == ""
    by_hand(site, owner="p2")
    real = site.act

    def act(step: Act, *words: object, **how: object) -> Entry | None:
        if isinstance(step, Give):
            raise CCImagesError("the site refuses that")
        return real(step, *words, **how)  # type: ignore[arg-type]

    site.act = act  # type: ignore[method-assign]
    outcome = put(site, sent(tmp_path, b"v4"))
    assert outcome.changed
    assert outcome.notes == ("it does not belong to project p2, as the image before it does: the site refuses that",)


def test_a_hidden_image_stays_hidden_and_force_shows_it(tmp_path: Path) -> None:
    site = Shared()
    put(site, sent(tmp_path, b"v1"))
    by_hand(site, hidden=True)
    outcome = put(site, sent(tmp_path, b"v2"))
    assert holder(site).hidden
    assert outcome.kept == "somebody has hidden it, and it stays hidden; --force publishes over it"
    put(site, sent(tmp_path, b"v3"), insist=True)
    assert not holder(site).hidden


# -- values ------------------------------------------------------------------------------------------------------------


def test_what_others_have_set_is_what_we_have_not() -> None:
    ours = image("x", NAME, 1, properties=listed({"a": "1", "min_disk": "5"}) | {"b": "2", "build-key": "k"})
    assert set_by_others(ours) == {"b": "2"}
    assert set_by_others(replace(ours, made=False)) == {}
    assert described(ours, listed({"c": "3"})) == {"b": "2", "c": "3", "min_disk": "5", "build-key": "k", LISTED: "c"}
