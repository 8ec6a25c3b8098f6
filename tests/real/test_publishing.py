"""Publishing to real Keystone and Glance services while the world does not stand still.

Answers are lost after their calls took effect, people act between two pushes, other hosts push the same name, and what
is left cannot be removed. `test_glance` has the site's own failures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from requests.adapters import HTTPAdapter

from cc_images.api.site_status import leftovers, site_status
from cc_images.config.loader import load
from cc_images.errors import CCImagesError
from cc_images.model.plan import Request
from cc_images.sites.base import Archive, Publication, Upload
from cc_images.sites.carrying import listed
from cc_images.sites.glance import GlanceSite
from cc_images.sites.publish import publish, recover, surplus
from cc_images.store.records import Store
from tests.conftest import DEEP, REPOSITORY, clean_environment, write_files
from tests.real.test_glance import by_hand, die_after, images, is_now, leftover, name, publication, put, rename, site
from tests.real.test_glance_crash import NAME, add_build, clear
from tests.support.gateway import Gateway, Instead
from tests.support.testbed import TestBed
from tests.unit.sites.test_sites import today

__all__ = ["name"]

LOST = Instead(504, done=True)


@pytest.fixture
def gateway(bed: TestBed, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Put a gateway before the site `metal`, through a clouds.yaml of its own."""
    with Gateway(bed.glance["metal"].listener.getsockname()[1]) as made:
        clouds = json.loads(bed.clouds.read_text())
        clouds["clouds"]["metal"]["image_endpoint_override"] = made.url
        (tmp_path / "clouds.yaml").write_text(json.dumps(clouds))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        yield made


def once(method: str, instead: Instead, skip: int = 0) -> Any:
    """Return a rule for one call of a method, after `skip` of them."""
    left = [None] * skip + [instead]

    def rule(which: str, path: str, number: int) -> Instead | None:
        return left.pop(0) if which == method and left else None

    return rule


# -- answers that are lost --------------------------------------------------------------------------------------------


def test_a_creation_whose_answer_is_lost_is_not_repeated(tmp_path: Path, name: str, gateway: Gateway) -> None:
    put(site(), publication(tmp_path, name, b"old"))
    gateway.rule = once("POST", LOST)
    put(site(), publication(tmp_path, name, b"new", run="r2"))
    is_now(name, b"new", b"old")
    assert not put(site(), publication(tmp_path, name, b"new", run="r3")).changed
    is_now(name, b"new", b"old")


def test_a_broken_upload_that_cannot_be_deleted_is_used_again(tmp_path: Path, name: str, gateway: Gateway) -> None:
    put(site(), publication(tmp_path, name, b"old"))
    broken = once("PUT", Instead(502))
    gateway.rule = lambda method, path, n: Instead(502) if method == "DELETE" else broken(method, path, n)
    put(site(), publication(tmp_path, name, b"new", run="r2"))
    assert recover(site(), name) == []
    is_now(name, b"new", b"old")


@pytest.mark.parametrize(("method", "times"), [("POST", 6), ("PUT", 1), ("PATCH", 1)])
def test_what_took_effect_and_was_answered_with_503_is_not_sent_again(
    tmp_path: Path, name: str, gateway: Gateway, method: str, times: int
) -> None:
    left = [Instead(503, done=True)] * times
    gateway.rule = lambda which, path, n: left.pop() if which == method and left else None
    put(site(), publication(tmp_path, name, b"one"))
    is_now(name, b"one")
    sent = Counter(call.split()[0] for call in gateway.calls)
    assert (sent["POST"], sent["PUT"]) == (1, 1)


@pytest.mark.parametrize("instead", [Instead(504), Instead(0, done=True)], ids=["504", "cut"])
def test_the_first_call_of_all_is_repeated(tmp_path: Path, name: str, gateway: Gateway, instead: Instead) -> None:
    gateway.rule = lambda method, path, number: instead if number == 1 else None
    put(site(), publication(tmp_path, name, b"one"))
    is_now(name, b"one")


@pytest.mark.parametrize("instead", [Instead(504), Instead(200), Instead(429), Instead(0, done=True)],
                         ids=["504", "html", "429", "cut"])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"], ids=["discovery", "token"])
def test_keystones_first_answers_may_be_lost(
    tmp_path: Path, name: str, bed: TestBed, monkeypatch: pytest.MonkeyPatch, method: str, instead: Instead
) -> None:
    clouds = json.loads(bed.clouds.read_text())
    auth = clouds["clouds"]["metal"]["auth"]
    with Gateway(int(auth["auth_url"].rpartition(":")[2].partition("/")[0]), once(method, instead)) as keystone:
        auth["auth_url"] = f"{keystone.url}/v3"
        (tmp_path / "clouds.yaml").write_text(json.dumps(clouds))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        assert site().find(name) == []


FAULTS = [Instead(500), LOST, Instead(409), Instead(200), Instead(0, done=True), Instead(200, body=b"{}")]
"""Refused for now, done and lost, in conflict, answered by somebody else, done and cut, answered with nothing."""

EVERY = 1 if DEEP else 2
"""Which calls get a fault: all of them, or every second one."""


def test_a_fault_at_any_call_is_survived(tmp_path: Path, name: str, gateway: Gateway) -> None:
    """One fault at a call of a replacement, another kind each time, leaves the wanted image all the same."""
    at, hit = 0, [""]
    while hit[0] or not at:
        at, hit[0] = at + EVERY, ""
        here = f"{name}-n{at}"
        for content in (b"a", b"b"):
            put(site(), publication(tmp_path, here, content), keep=1)
        begun = len(gateway.calls)

        def rule(method: str, path: str, number: int, at: int = at, begun: int = begun) -> Instead | None:
            if number - begun != at:
                return None
            hit[0] = f"{method} {at}"
            return FAULTS[at // EVERY % len(FAULTS)]

        gateway.rule = rule
        put(site(), publication(tmp_path, here, b"c", run="r2"), keep=1)
        gateway.rule = lambda method, path, number: None
        put(site(), publication(tmp_path, here, b"c", run="r3"), keep=1)
        put(site(), publication(tmp_path, here, b"d", run="r4"), keep=1)
        left = {which.removeprefix(here): state.split()[0] for which, state in images(here).items()}
        assert len(left) == 2, (hit[0], left)
        assert left[""] == "active", (hit[0], left)
    assert at > 14


def test_a_lost_answer_in_the_whole_program(tmp_path: Path, bed: TestBed, gateway: Gateway) -> None:
    clear()
    write_files(
        tmp_path,
        images=f"{NAME}: {{elements: [debian-minimal], disk: []}}",
        sites="metal: {cloud: metal, is_baremetal: true, visibility: private}",
    )
    store = Store(tmp_path / "store")
    environment = clean_environment(tmp_path) | {
        "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml"),
        "PYTHONPATH": str(REPOSITORY),
    }

    def cc_images(*words: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-m", "cc_images", *words], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, check=False)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    push = ("-p", "--no-boot-test", "cc-crash")
    add_build(store, "20260101T000000Z")
    assert cc_images(*push)[0] == 0
    new = add_build(store, "20260102T000000Z")
    gateway.rule = once("POST", LOST)
    for night in (1, 2, 3):
        code, said = cc_images(*push)
        assert code == 0, f"night {night}: {said}"
        assert images(NAME)[NAME].endswith(new)
        assert len(images(NAME)) == 2
    code, said = cc_images("status", "--sites", "cc-crash")
    assert (code, "20260102T000000Z" in said) == (0, True), said
    rename(site().find(NAME)[0].id, f"{NAME}-bad")
    rename(site().archived(NAME)[0].id, NAME)
    code, said = cc_images(*push)
    assert (code, "somebody gave the name CC-Crash to image" in said) == (0, True), said
    code, said = cc_images("status", "--sites", "cc-crash")
    assert "rolled back by hand; this store published 20260102T000000Z last" in said
    code, said = cc_images("plan", "--dry-run", *push)
    assert "changes nothing: rolled back by hand" in said
    code, said = cc_images("--force", *push)
    assert code == 0, said
    assert images(NAME)[NAME].endswith(new)
    clear()


# -- the vacant name --------------------------------------------------------------------------------------------------


def test_an_outage_between_the_renames_is_waited_for(tmp_path: Path, name: str, gateway: Gateway) -> None:
    put(site(), publication(tmp_path, name, b"old"))
    ends: list[float] = []

    def rule(method: str, path: str, number: int) -> Instead | None:
        if ends:
            return Instead(502) if time.monotonic() < ends[0] else None
        if method == "PATCH":
            ends.append(time.monotonic() + 3)
        return None

    gateway.rule = rule
    said: list[str] = []
    assert put(site(), publication(tmp_path, name, b"new"), say=said.append).changed
    assert f"metal: {name}: NO IMAGE HAS THIS NAME NOW" in said[0]
    is_now(name, b"new", b"old")


@pytest.mark.parametrize("by", ["push", "doctor"])
def test_a_vacancy_of_a_dead_host_is_filled_at_once_by_any_other(tmp_path: Path, name: str, by: str) -> None:
    put(site(), publication(tmp_path, name, b"old"))
    die_after(2, site(), publication(tmp_path, name, b"new", run="20261128T030000Z-gone-1"))
    fresh = Store(tmp_path / "fresh")
    if by == "doctor":
        assert recover(site(), name, fresh.knows) == ["finished the publication of run 20261128T030000Z-gone-1"]
        is_now(name, b"new", b"old")
    else:
        put(site(), publication(tmp_path, name, b"newer", run="r3"), ours=fresh.knows)
        is_now(name, b"newer", b"old", b"new")


def test_a_publication_that_the_site_refuses_again_and_again_is_undone(
    tmp_path: Path, name: str, gateway: Gateway
) -> None:
    """Each step but the last works, and the site answers all questions: the old image gets its name back."""
    put(site(), publication(tmp_path, name, b"old"))
    changes: list[None] = []

    def rule(method: str, path: str, number: int) -> Instead | None:
        if method == "PATCH":
            changes.append(None)
            return Instead(500) if 2 <= len(changes) <= 5 else None
        return None

    gateway.rule = rule
    with pytest.raises(CCImagesError, match="500"):
        put(site(), publication(tmp_path, name, b"new"))
    is_now(name, b"old")


# -- people -----------------------------------------------------------------------------------------------------------


def test_a_renamed_archive_is_kept(tmp_path: Path, name: str) -> None:
    for content in (b"v1", b"v2"):
        put(site(), publication(tmp_path, name, content), keep=1)
    rename(site().archived(name)[0].id, f"class-of-{name}")
    for content in (b"v3", b"v4"):
        put(site(), publication(tmp_path, name, content), keep=1)
    assert f"class-of-{name}" in images("class-of-")
    assert len(images(name)) == 2


def rolled_back(tmp_path: Path, name: str, *contents: bytes) -> None:
    """Publish contents, then give the name back to the first of them, as a person does."""
    for content in contents:
        put(site(), publication(tmp_path, name, content))
        time.sleep(1.1)  # Glance tells the age in seconds
    rename(site().find(name)[0].id, f"{name}-bad")
    rename(site().archived(name)[-1].id, name)


def test_retention_does_not_remove_what_was_rolled_back_to(tmp_path: Path, name: str) -> None:
    rolled_back(tmp_path, name, b"v1", b"v2", b"v3")
    assert [entry.name for entry in surplus(site(), name, 1, site().find(name))] == [f"{name}-{today()}.1"]
    put(site(), publication(tmp_path, name, b"v1"), keep=0)
    assert set(images(name)) == {name, f"{name}-bad"}
    put(site(), publication(tmp_path, name, b"v4"), keep=1)
    assert set(images(name)) == {name, f"{name}-bad", f"{name}-{today()}"}


def test_a_rollback_stands_until_there_is_a_newer_build(tmp_path: Path, name: str) -> None:
    rolled_back(tmp_path, name, b"v1 good", b"v2 bad")
    before = images(name)
    for _ in range(2):
        outcome = put(site(), publication(tmp_path, name, b"v2 bad"))
        assert (outcome.changed, outcome.same) == (False, False)
        assert "kept until there is a newer build" in outcome.kept
        assert images(name) == before
    assert put(site(), publication(tmp_path, name, b"v3")).changed
    put(site(), publication(tmp_path, name, b"v2 bad"), insist=True)
    assert len(site().find(name)) == 1


def test_a_withdrawn_name_stays_vacant_until_there_is_a_newer_build(tmp_path: Path, name: str) -> None:
    put(site(), publication(tmp_path, name, b"v1"))
    rename(site().find(name)[0].id, f"{name}-bad")
    assert "somebody took the name" in put(site(), publication(tmp_path, name, b"v1"), before=True).kept
    assert set(images(name)) == {f"{name}-bad"}
    assert put(site(), publication(tmp_path, name, b"v2")).changed


@pytest.mark.parametrize("how", ["hidden", "deactivated"])
def test_what_a_person_hid_or_deactivated_stays_so_and_is_said(tmp_path: Path, name: str, how: str) -> None:
    put(site(), publication(tmp_path, name, b"one"))
    (entry,) = site().find(name)
    if how == "hidden":
        site().patch(entry.id, {"os_hidden": True})
    else:
        site("metal-admin").call("POST", f"/images/{entry.id}/actions/deactivate")
    outcome = put(site(), publication(tmp_path, name, b"one"))
    assert (outcome.changed, outcome.same) == (False, True)
    assert f"somebody has {how} it" in outcome.kept
    assert put(site(), publication(tmp_path, name, b"one"), insist=True).changed
    (entry,) = site().find(name)
    assert (entry.hidden, entry.status) == (False, "active")


def test_the_same_bytes_in_another_format_are_replaced(tmp_path: Path, name: str) -> None:
    by_hand(name, b"one", disk_format="ami", container_format="ami")
    assert put(site(), publication(tmp_path, name, b"one")).changed
    assert site().find(name)[0].disk_format == "raw"


def test_a_staged_image_that_a_person_gave_the_name_is_published(tmp_path: Path, name: str) -> None:
    put(site(visibility="community"), publication(tmp_path, name, b"v1"))
    die_after(2, site(visibility="community"), publication(tmp_path, name, b"v2", run="r2"))
    rename(site().staged(name)[0].id, name)
    for _ in range(2):
        put(site(visibility="community"), publication(tmp_path, name, b"v3", run="r3"))
        is_now(name, b"v3", b"v1", b"v2", visibility="community")


def test_protection_and_tags_go_on_to_the_next_image_and_the_rest_is_said(tmp_path: Path, name: str) -> None:
    put(site(), publication(tmp_path, name, b"v1"))
    (first,) = site().find(name)
    site().patch(first.id, {"protected": True})
    site().patch(first.id, {"hw_vif_multiqueue_enabled": "true"}, new={"hw_vif_multiqueue_enabled"})
    outcome = put(site(), publication(tmp_path, name, b"v2"), keep=0)
    assert outcome.notes == (f"{name}-{today()} has hw_vif_multiqueue_enabled=true, and the new image has not",)
    assert site().find(name)[0].protected
    put(site(), publication(tmp_path, name, b"v3"), keep=0)
    assert site().find(name)[0].protected
    assert [entry.protected for entry in site().archived(name)] == [True], "the one that a person protected"
    for entry in [*site().find(name), *site().archived(name)]:
        site().patch(entry.id, {"protected": False})


def test_a_version_that_a_person_protected_again_stays(tmp_path: Path, name: str) -> None:
    put(site(), publication(tmp_path, name, b"v1"))
    site().patch(site().find(name)[0].id, {"protected": True})
    put(site(), publication(tmp_path, name, b"v2"))
    put(site(), publication(tmp_path, name, b"v3"))
    (second,) = [entry for entry in site().archived(name) if not entry.protected]
    rename(site().find(name)[0].id, f"{name}-bad")
    site().patch(second.id, {"name": name, "protected": True})
    put(site(), publication(tmp_path, name, b"v4"), keep=0)
    kept = site().get(second.id)
    assert kept is not None
    assert kept.protected
    for entry in site().listed():
        if entry.name.startswith(name):
            site().patch(entry.id, {"protected": False})


def test_a_rollback_that_the_catalogue_followed_is_over(tmp_path: Path, name: str) -> None:
    rolled_back(tmp_path, name, b"v1", b"v22")
    put(site(), publication(tmp_path, name, b"v1"))
    assert put(site(), publication(tmp_path, name, b"v22")).changed
    assert site().find(name)[0].size == 3


def test_an_unfinished_image_of_the_name_does_not_hide_the_first_visibility(tmp_path: Path, name: str) -> None:
    record = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private"}
    queued = site().call("POST", "/images", json=record)["id"]
    put(site(visibility=""), publication(tmp_path, name, b"one"))
    assert site().find(name)[0].visibility == "shared"
    site().call("DELETE", f"/images/{queued}")


def test_odd_tags_of_people_stop_nothing(tmp_path: Path, name: str) -> None:
    odd = leftover(
        name, name=f"other-{name}", tags=["cc-images", "cc-images:turn=abc", "cc-images:", "cc-images:x=y=z"]
    )
    site().patch(odd, {"os_hidden": True})
    put(site(), publication(tmp_path, name, b"one"))
    assert set(site().observe_each([name, f"{name}-2"])) == {name, f"{name}-2"}
    site().call("DELETE", f"/images/{odd}")


# -- two hosts --------------------------------------------------------------------------------------------------------


def test_two_hosts_that_begin_in_the_same_second_leave_each_other_alone(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(site(), publication(tmp_path, name, b"old"))
    now = datetime.now(UTC)
    stores = [Store(tmp_path / f"host{number}") for number in (1, 2)]
    runs = [store.start_run(now) for store in stores]
    assert runs[0].version == runs[1].version
    assert [store.knows(run.name) for store in stores for run in runs] == [True, False, False, True]
    assert not stores[1].knows(runs[0].version)
    with monkeypatch.context() as copied:
        copied.setattr("socket.gethostname", lambda: "another")
        assert not stores[0].knows(runs[0].name), "the store was copied to another host"
    started, go, content = threading.Event(), threading.Event(), os.urandom(8 << 20)

    def report(done: int) -> None:
        started.set()
        go.wait(20)

    first = publication(tmp_path, name, content, run=runs[0].name)
    thread = threading.Thread(target=put, args=(site(), first), kwargs={"report": report, "ours": stores[0].knows})
    thread.start()
    assert started.wait(20)
    with pytest.raises(CCImagesError, match="another host is publishing"):
        put(site(), publication(tmp_path, name, b"2", run=runs[1].name), ours=stores[1].knows)
    go.set()
    thread.join()
    is_now(name, content, b"old")


class Meeting(GlanceSite):
    """A site on which two hosts upload, and archive, at the same moment: neither has seen the other's upload before."""

    barrier = threading.Barrier(2)

    def act(self, step: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(step, Upload | Archive):
            with suppress(threading.BrokenBarrierError):
                self.barrier.wait(60 if isinstance(step, Upload) else 2)
        return super().act(step, *arguments, **keywords)


def test_two_hosts_that_swap_at_the_same_moment_leave_one_image(tmp_path: Path, name: str) -> None:
    put(site(), publication(tmp_path, name, b"old"))
    contents, ended = (b"from host 1", b"from host 2"), list[object]()
    Meeting.barrier = threading.Barrier(2)
    hosts = [site(), site()]
    for there in hosts:  # both have logged in before they meet: one that is late is no meeting
        there.find(name)
        there.__class__ = Meeting

    def push(there: GlanceSite, content: bytes, run: str) -> None:
        try:
            ended.append(publish(there, publication(tmp_path, name, content, run=run), stop=threading.Event()))
        except CCImagesError as error:
            ended.append(error.reason)

    threads = [
        threading.Thread(target=push, args=(there, content, f"h{number}-r"))
        for number, (there, content) in enumerate(zip(hosts, contents, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 2
    assert len(site().find(name)) == 1
    assert len(images(name)) == 3, f"the loser's image is archived: {ended}"
    put(site(), publication(tmp_path, name, b"next", run="r9"))
    assert len(site().find(name)) == 1


# -- what cannot be removed or told apart -----------------------------------------------------------------------------


def test_an_orphan_that_cannot_be_deleted_fails_no_push(tmp_path: Path, name: str, gateway: Gateway) -> None:
    put(site(), publication(tmp_path, name, b"old"))
    orphan = leftover(name)
    gateway.rule = lambda method, path, n: Instead(400) if method == "DELETE" and orphan in path else None
    for changed in (True, False):
        outcome = put(site(), publication(tmp_path, name, b"new"))
        assert outcome.changed == changed
        assert len(outcome.notes) == 1
        assert f"{orphan}) cannot be removed" in outcome.notes[0]
    gateway.rule = lambda method, path, n: None
    put(site(), publication(tmp_path, name, b"new"))
    is_now(name, b"new", b"old")


def test_an_orphan_that_lost_its_tags_is_found(tmp_path: Path, name: str) -> None:
    leftover(name, name=f"{name}.r1.staged", tags=[])
    assert [entry.name for entry in site().staged(name)] == [f"{name}.r1.staged"]
    with suppress(CCImagesError):
        recover(site(), name, lambda run: False)
    assert recover(site(), name) == ["removed the upload of run r1"]
    assert images(name) == {}


def test_a_site_with_another_digest_is_published_to(tmp_path: Path, name: str) -> None:
    """The site kvm of the test bed hashes with SHA-256."""
    put(site("kvm"), publication(tmp_path, name, b"one"))
    assert site("kvm").find(name)[0].algorithm == "sha256"
    assert not put(site("kvm"), publication(tmp_path, name, b"one")).changed
    assert put(site("kvm"), publication(tmp_path, name, b"two")).archived == f"{name}-{today()}"


# -- credentials ------------------------------------------------------------------------------------------------------


def test_a_role_that_may_only_read_is_told_so(tmp_path: Path, name: str, bed: TestBed,
                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    connection = site("metal-admin").cloud.connection()
    user = connection.identity.create_user(name=f"reader-{name}", password="not-a-secret", domain_id="default")
    project = connection.identity.find_project("demo")
    role = connection.identity.find_role("reader")
    connection.identity.assign_project_role_to_user(project, user, role)
    clouds = json.loads(bed.clouds.read_text())
    clouds["clouds"]["metal"]["auth"] |= {"username": f"reader-{name}"}
    (tmp_path / "clouds.yaml").write_text(json.dumps(clouds))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    with pytest.raises(CCImagesError, match="403") as caught:
        put(site(), publication(tmp_path, name, b"one"))
    assert caught.value.reason == "forbidden"
    assert "role" in caught.value.hint
    assert not caught.value.temporary


def test_an_application_credential_that_has_expired_is_told_so(
    tmp_path: Path, name: str, bed: TestBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = site().cloud.connection()
    ends = datetime.fromtimestamp(time.time() + 2, UTC)
    made = connection.identity.create_application_credential(
        connection.current_user_id, name, expires_at=f"{ends:%Y-%m-%dT%H:%M:%S.000000}"
    )
    clouds = json.loads(bed.clouds.read_text())
    auth = {"auth_url": clouds["clouds"]["metal"]["auth"]["auth_url"], "application_credential_id": made.id,
            "application_credential_secret": made.secret}  # fmt: skip
    clouds["clouds"]["metal"] |= {"auth_type": "v3applicationcredential", "auth": auth}
    (tmp_path / "clouds.yaml").write_text(json.dumps(clouds))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    time.sleep(3)
    with pytest.raises(CCImagesError, match="refuses the credentials") as caught:
        put(site(), publication(tmp_path, name, b"one"))
    assert made.secret not in str(caught.value)


# -- how much it asks -------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of HTTP calls that are made."""
    made: list[str] = []
    real = HTTPAdapter.send

    def send(self: HTTPAdapter, request: Any, **keywords: Any) -> Any:
        made.append(f"{request.method} {request.path_url}")
        return real(self, request, **keywords)

    monkeypatch.setattr(HTTPAdapter, "send", send)
    return made


def test_a_push_makes_few_calls(tmp_path: Path, name: str, calls: list[str]) -> None:
    counts = []
    for content in (b"1", b"1", b"2"):
        calls.clear()
        put(site(visibility=""), publication(tmp_path, name, content), keep=1)
        counts.append(len(calls))
    # one host may set a mark while another takes its own away: one tag a call, and a look at what is there then
    assert counts == [15, 7, 20], "first, nothing to do, replacement with a look at the members"


def test_status_logs_in_once_and_shows_what_is_wrong(tmp_path: Path, name: str, calls: list[str]) -> None:
    put(site(), publication(tmp_path, name, b"one"))
    second = by_hand(name, b"two")
    orphan = leftover(f"{name}-X")
    hidden = by_hand(f"{name}-Y", b"three")
    site().patch(hidden, {"os_hidden": True})
    tags = [f"{name}-{letter}" for letter in "XYZABCDEFGHIJ"]
    write_files(
        tmp_path,
        images="\n".join(f"{tag}: {{elements: [debian-minimal], disk: []}}" for tag in (name, *tags)),
        sites="metal: {cloud: metal, is_baremetal: true}\nkvm: {cloud: kvm}",
    )
    config = load({"CC_IMAGES_STORE": str(tmp_path / "store")}, tmp_path)
    calls.clear()
    found = {(each.site, each.name): each for each in site_status(Request(tags=("all",)), config)}
    assert sum("/auth/tokens" in call for call in calls) == 2
    assert len(calls) <= 10
    assert second in found["metal", name].error
    assert found["metal", f"{name}-X"].remarks[0].endswith("by run r0, not published")
    assert found["metal", f"{name}-Y"].remarks == ("hidden", "not made by cc-images")
    said = leftovers(config)
    assert f"site metal: {name}-X: upload of run r0" in said
    assert any(line.startswith(f"site metal: {name}: 2 images have this name") for line in said)
    for image_id in (second, orphan, hidden):
        site().call("DELETE", f"/images/{image_id}")


def test_pushes_while_somebody_lists_and_deletes(tmp_path: Path, name: str) -> None:
    """Twelve pushes of two hosts, while a person lists and deletes: one image has the name, and nothing is left."""
    over, seen = threading.Event(), list[int]()

    def meddle() -> None:
        there = site()
        while not over.is_set():
            found = there.listed(name=name)
            seen.append(sum(entry.complete for entry in found))
            for entry in there.listed(tag=f"cc-images:archives={name}")[:1]:
                with suppress(CCImagesError):  # a busy database leaves some half deleted
                    there.call("DELETE", f"/images/{entry.id}", fine=(404,))

    def push(host: str) -> None:
        for night in range(6):
            with suppress(CCImagesError):
                put(site(), publication(tmp_path, name, f"{host}{night}".encode(), run=f"{host}-{night}"),
                    ours=lambda run: run.startswith(host), keep=2)  # fmt: skip

    threads = [threading.Thread(target=push, args=(host,)) for host in ("a", "b")]
    watcher = threading.Thread(target=meddle)
    for thread in (*threads, watcher):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    watcher.join()
    outcome = put(site(), publication(tmp_path, name, b"last"), keep=0)
    left = whole(name) - {name}
    assert all(any(each in note for note in outcome.notes) for each in left), (images(name), outcome)
    if left:  # a removal that fails never fails a push, and the next look removes it
        recover(site(), name)
        put(site(), publication(tmp_path, name, b"last"), keep=0)
    assert whole(name) == {name}


def whole(name: str) -> set[str]:
    """Return the names of all images that are not deleted, not even half."""
    return {which for which, state in images(name).items() if state.startswith(("active", "queued", "saving"))}


def test_what_others_have_put_on_an_image_follows_its_name(tmp_path: Path, name: str, bed: TestBed) -> None:
    """Members are ids of projects, which Glance does not check."""

    def sent(content: bytes, **properties: str) -> Publication:
        plain = publication(tmp_path, name, content, **properties)
        return replace(plain, properties=listed(plain.properties))

    first, second = "1" * 32, "2" * 32
    put(site(visibility="shared"), sent(b"v1", hw_rng_model="virtio"), tags=frozenset({"amphora"}))
    (before,) = site().find(name)
    site().patch(before.id, {"trait:CUSTOM_X": "required"}, new={"trait:CUSTOM_X"})
    site().call("POST", f"/images/{before.id}/members", json={"member": first}, fine=(200,))
    outcome = put(site(visibility="shared"), sent(b"v2"), tags=frozenset({"amphora"}), members=frozenset({second}))
    assert outcome.notes == ()
    (now,) = site().find(name)
    assert now.properties["trait:CUSTOM_X"] == "required"
    assert "hw_rng_model" not in now.properties
    assert (now.tags, now.owes, now.visibility) == (frozenset({"amphora"}), False, "shared")
    assert site().members(now) == {first, second}
    (old,) = site().archived(name)
    assert (set(old.tags), set(site().members(old))) == (set(), {first}), "who looks for the tag finds one image"
    again = put(site(visibility="shared"), sent(b"v2", os_version="12"), members=frozenset({second}))
    assert again.changed, "properties alone"
    assert site().find(name)[0].properties["os_version"] == "12"
    assert put(site(visibility="shared"), sent(b"v2"), members=frozenset({second})).changed
    assert "os_version" not in site().find(name)[0].properties, "configured no more, and it was ours"


def test_a_new_version_gets_the_owner_of_the_one_before(tmp_path: Path, name: str) -> None:
    """An administrator publishes into another project, whose images sites.yaml names."""
    theirs = site("metal-other").project()

    def admin(**more: Any) -> GlanceSite:
        return site("metal-admin", visibility="shared", owners=(theirs,), **more)

    put(admin(), publication(tmp_path, name, b"v1"))
    (before,) = admin().find(name)
    assert before.owner == admin().project()
    admin().patch(before.id, {"owner": theirs})
    outcome = put(admin(), publication(tmp_path, name, b"v2"))
    assert (outcome.changed, outcome.notes) == (True, ())
    (now,) = admin().find(name)
    assert (now.id != before.id, now.owner) == (True, theirs)
    assert [entry.id for entry in admin().archived(name)] == [before.id], "what has another owner is archived as ours"
    assert not put(admin(), publication(tmp_path, name, b"v2")).changed

    put(admin(), publication(tmp_path, name, b"v3"), carry=False)
    assert admin().find(name)[0].owner == admin().project()
    with pytest.raises(CCImagesError, match="403") as refused:
        site("metal-other").patch(by_hand(name, b"x", cloud="metal-other"), {"owner": admin().project()})
    assert not refused.value.temporary, "who is no administrator gives nothing away, and a push says so"
