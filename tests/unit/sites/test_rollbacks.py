"""Rollbacks: which version gets the name back, and every point at which that can fail or be killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cc_images import clock
from cc_images.errors import CCImagesError, Reason
from cc_images.sites.base import ImageSite, Publication
from cc_images.sites.entry import Entry
from cc_images.sites.publish import Outcome, Terms, publish, recover, roll_back
from cc_images.sites.rollbacks import Choice, Goal, choose
from cc_images.sites.view import Memory, View, Wish
from cc_images.testing import FakeSite
from tests.conftest import sampled
from tests.support.worlds import NAME, image
from tests.unit.sites.test_sites import Tripping, die, fail, files, publication, refuse, site_at


def version(content: str, name: str, age: int, **more: object) -> Entry:
    """Return an image whose version is its content."""
    archives = {} if name == NAME else {"archives": NAME}
    return image(content, name, age, properties={"build-version": content}, turn=age + 1, **archives | more)


OLD = version("v0", f"{NAME}-20260101", 0, successor="v1")
MIDDLE = version("v1", f"{NAME}-20260101.1", 1, successor="v2")
HOLDER = version("v2", NAME, 2)
BAD = version("v3", f"{NAME}-20260101.2", 3, successor="v2")


@pytest.mark.parametrize(
    ("seen", "to", "held", "expected"),
    [
        ([OLD, MIDDLE, HOLDER], "", (), MIDDLE),
        ([OLD, MIDDLE, HOLDER], "", ("v1",), OLD),
        ([OLD, replace(HOLDER, id="again", name=f"{NAME}-20260101.3", archives=NAME), HOLDER], "", (), OLD),
        ([OLD, HOLDER, BAD], "", (), OLD),
        ([OLD, HOLDER, BAD], "v3", (), BAD),
        ([OLD, MIDDLE, HOLDER], "v0", (), OLD),
        ([OLD, MIDDLE], "v0", (), OLD),
        ([OLD, MIDDLE], "", (), "no image has the name"),
        ([HOLDER, BAD], "", (), "nothing older"),
        ([OLD, HOLDER], "v7", (), "no archived version v7 is there; archived: v0"),
        ([version("v1", f"{NAME}-20260101", 1, status="deactivated"), HOLDER], "", (), "nothing older"),
        ([OLD, version("v1", "kept", 1), HOLDER], "", (), OLD),
        ([OLD, HOLDER, version("v9", NAME, 9)], "", (), "2 images have the name"),
    ],
)  # fmt: skip
def test_the_version_that_gets_the_name(seen: Sequence[Entry], to: str, held: Sequence[str], expected: object) -> None:
    found = choose(View(Wish(name=NAME, wanted=False), seen, Memory()), Goal(version=to, held=held))
    if isinstance(expected, Entry):
        assert found.target is expected
    else:
        assert found.target is None
        assert str(expected) in found.why


def test_the_version_that_has_the_name_already() -> None:
    found = choose(View(Wish(name=NAME), [OLD, HOLDER], Memory()), Goal(version="v2"))
    assert found == Choice(holder=HOLDER, note="it has the name already")
    assert choose(View(Wish(name=NAME), [], Memory()), Goal(version="v2")).empty
    elsewhere = choose(View(Wish(name=NAME), [OLD, HOLDER], Memory()), Goal(bad="v3"))
    assert (elsewhere.target, elsewhere.note) == (None, "it does not have v3, which is the newest in force")


# -- in a folder, with faults ------------------------------------------------------------------------------------------

VERSIONS = (b"v1", b"v2", b"v3")


def put(site: ImageSite, wanted: Publication, *, insist: bool = False) -> Outcome:
    return publish(site, wanted, Terms(pause=0.01, insist=insist), stop=threading.Event())


def back(site: ImageSite, to: bytes = b"v2", run: str = "r9") -> Outcome:
    goal = Goal(version=to.decode())
    _, outcome = roll_back(
        site, "CC-X", lambda view: choose(view, goal), run, Terms(pause=0.01), stop=threading.Event()
    )
    return outcome


def published(tmp_path: Path, content: bytes) -> Publication:
    return publication(tmp_path, content, **{"build-version": content.decode()})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder to which three versions were published, one an hour."""
    began = clock.now()
    for hour, content in enumerate(VERSIONS):
        monkeypatch.setattr(clock, "now", lambda hour=hour: began + timedelta(hours=hour))
        put(site_at(tmp_path / "site"), published(tmp_path, content))
    return tmp_path / "site"


def holder(folder: Path) -> bytes:
    """Check that nothing is lost and nothing is left; return what has the name."""
    found = files(folder)
    assert sorted(found.values()) == sorted(VERSIONS)
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    return found["CC-X.qcow2"]


def test_an_archived_version_has_the_name_again_and_the_bad_one_stays_away(folder: Path, tmp_path: Path) -> None:
    site = site_at(folder)
    outcome = back(site)
    assert outcome.changed
    assert outcome.archived.startswith("CC-X-")
    assert holder(folder) == b"v2"
    kept = put(site, published(tmp_path, b"v3"))
    assert (kept.changed, kept.same) == (False, False)
    assert "it was rolled back here" in kept.kept
    assert holder(folder) == b"v2"
    assert back(site, b"v1").changed
    assert holder(folder) == b"v1"
    assert back(site, b"v3").changed, "and forward again"
    assert holder(folder) == b"v3"
    assert put(site, published(tmp_path, b"v4")).changed, "a newer build is published as ever"
    assert files(folder)["CC-X.qcow2"] == b"v4"


def test_retention_keeps_the_good_version_not_the_younger_bad_one(folder: Path, tmp_path: Path) -> None:
    back(site_at(folder))
    terms = Terms(pause=0.01, keep=1)
    outcome = publish(site_at(folder), published(tmp_path, b"v4"), terms, stop=threading.Event())
    assert len(outcome.removed) == 2
    assert sorted(files(folder).values()) == [b"v2", b"v4"]


def test_a_person_may_publish_over_a_rollback(folder: Path, tmp_path: Path) -> None:
    back(site_at(folder))
    assert put(site_at(folder), published(tmp_path, b"v3"), insist=True).changed
    assert files(folder)["CC-X.qcow2"] == b"v3"


@pytest.mark.parametrize("how", [fail, refuse, die])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", sampled(range(1, 5), 2))
def test_every_step_of_a_rollback_can_fail_or_be_the_last(
    folder: Path, tmp_path: Path, at: int, after: bool, how: object
) -> None:
    tripping = Tripping(site_at(folder), at, after, how)  # type: ignore[arg-type]
    if how is die:
        if os.fork() == 0:
            back(tripping)
            os._exit(0)
        os.wait()
    else:
        with suppress(CCImagesError):
            back(tripping)
        assert holder(folder) in (b"v2", b"v3"), "undone, or finished"
    put(site_at(folder), published(tmp_path, b"v3"))
    between = holder(folder)
    assert between in (b"v2", b"v3")
    back(site_at(folder), run="r10")
    assert holder(folder) == b"v2"
    assert recover(site_at(folder), "CC-X") == []


def test_an_image_that_somebody_took_meanwhile_is_not_recalled(tmp_path: Path) -> None:
    site = FakeSite()
    for content in (b"v1", b"v2"):
        put(site, published(tmp_path, content))
    (target,) = site.archived("CC-X")
    del site.images[target.id]
    with pytest.raises(CCImagesError, match="was changed by somebody else") as caught:
        roll_back(site, "CC-X", lambda view: Choice(target=target), "r9", Terms(pause=0.01), stop=threading.Event())
    assert caught.value.reason is Reason.CONFLICT
