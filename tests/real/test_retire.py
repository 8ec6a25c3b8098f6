"""Retirement at a real Keystone, Glance and Nova: who uses what, and a kill before and after each call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Format, Retirement
from cc_images.model.site import Site
from cc_images.sites import servers
from cc_images.sites.cloud import Patience
from cc_images.sites.entry import Entry
from cc_images.sites.glance import GlanceSite
from cc_images.sites.publish import retire
from tests.real.test_glance import publication, put
from tests.support.testbed import TestBed

NAME = "CC-Old"
RULES = Retirement(private_after=0, hide_after=0, delete_after=0, keep=0)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """Return services with a Nova for the site `metal`."""
    with TestBed(tmp_path_factory.mktemp("nova"), compute="metal") as made:
        yield made


@pytest.fixture
def admin(cloud: TestBed, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlanceSite]:
    """Return a site of the administrator, who may ask for all servers; its images go with the test."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.clouds))
    made = GlanceSite(
        Site(name="metal", cloud="metal-admin", visibility="public"),
        Format.RAW,
        Patience(answer=4.0, tries=2, pause=0.05),
    )
    yield made
    for entry in made.listed() + made.listed(os_hidden="true"):
        if entry.protected:
            made.patch(entry.id, {"protected": False})
        made.call("DELETE", f"/images/{entry.id}", fine=(404,))


def versions(site: GlanceSite, folder: Path, count: int = 3) -> list[Entry]:
    """Publish some versions; return the archived ones, the oldest first."""
    for number in range(count):
        put(site, publication(folder, NAME, f"v{number}".encode(), run=f"r{number}"))
    return list(reversed(site.archived(NAME)))


def retired(site: GlanceSite) -> list[str]:
    return retire(site, NAME, RULES, frozenset(), lambda run: True, stop=threading.Event())


def left(site: GlanceSite) -> dict[str, Entry]:
    return {entry.id: entry for entry in site.observe(NAME)}


def test_what_a_server_of_another_project_uses_is_hidden_and_stays(
    cloud: TestBed, admin: GlanceSite, tmp_path: Path
) -> None:
    assert cloud.nova is not None
    used, gone, unused = versions(admin, tmp_path, 4)
    cloud.nova.add_server(used.id)
    cloud.nova.add_server(gone.id, deleted=True)
    said = retired(admin)
    there = left(admin)
    assert used.id in there
    assert there[used.id].hidden
    assert there[used.id].visibility == "private"
    assert there[used.id].properties["build-retired"].startswith("hidden ")
    assert gone.id not in there, "its server is deleted"
    assert unused.id not in there
    assert f"{used.name} stays: 1 servers use it" in said
    assert len(admin.find(NAME)) == 1


def test_who_may_not_ask_deletes_nothing(cloud: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.clouds))
    demo = GlanceSite(Site(name="metal", cloud="metal"), Format.RAW)
    assert servers.count(demo.cloud, "0" * 36) is None
    (old,) = versions(demo, tmp_path, 2)
    said = retired(demo)
    assert f"{old.name} stays: nobody can say whether servers use it" in said
    assert left(demo)[old.id].hidden
    without = GlanceSite(Site(name="kvm", cloud="kvm-admin"), Format.RAW)
    assert servers.count(without.cloud, "0" * 36) is None, "there is no Nova"


def test_a_nova_that_is_away_deletes_nothing(cloud: TestBed, admin: GlanceSite, tmp_path: Path) -> None:
    (old,) = versions(admin, tmp_path, 2)
    cloud.compute.kill()
    try:
        said = retired(admin)
    finally:
        cloud.compute.restart()
    assert old.id in left(admin)
    assert any("nobody can say whether servers use it" in each for each in said)
    retired(admin)
    assert old.id not in left(admin)


@pytest.mark.parametrize(
    "after", [pytest.param(False, id="before", marks=pytest.mark.deep), pytest.param(True, id="after")]
)
def test_a_retirement_that_is_killed_at_a_call_is_finished_by_the_next(
    admin: GlanceSite, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call that changes something is once the last one of its run."""
    calls, last = 0, 0

    class Killed(BaseException):
        pass

    original = GlanceSite.call

    def call(self: GlanceSite, method: str, path: str, **arguments: object) -> object:
        nonlocal calls
        if method not in ("PATCH", "DELETE"):
            return original(self, method, path, **arguments)  # type: ignore[arg-type]
        calls += 1
        if calls == last and not after:
            raise Killed
        answer = original(self, method, path, **arguments)  # type: ignore[arg-type]
        if calls == last:
            raise Killed
        return answer

    for number in range(1, 7):
        last = number
        versions(admin, tmp_path, 3)
        with monkeypatch.context() as patched:
            calls = 0
            patched.setattr(GlanceSite, "call", call)
            with pytest.raises(Killed):
                retired(admin)
        assert len(admin.find(NAME)) == 1
        retired(admin)
        assert [entry.name for entry in left(admin).values()] == [NAME]
        (holder,) = left(admin).values()
        assert not holder.hidden
        admin.call("DELETE", f"/images/{holder.id}")


def test_a_protected_one_stays_and_a_person_has_the_last_word(admin: GlanceSite, tmp_path: Path) -> None:
    protected, shown = versions(admin, tmp_path, 3)
    admin.patch(protected.id, {"protected": True})
    rules = Retirement(private_after=0, keep=0)
    retire(admin, NAME, rules, frozenset(), lambda run: True, stop=threading.Event())
    admin.patch(shown.id, {"visibility": "public"})
    retire(admin, NAME, rules, frozenset(), lambda run: True, stop=threading.Event())
    assert left(admin)[shown.id].visibility == "public"
    retired(admin)
    assert protected.id in left(admin)
    with pytest.raises(CCImagesError):
        admin.call("DELETE", f"/images/{protected.id}")
