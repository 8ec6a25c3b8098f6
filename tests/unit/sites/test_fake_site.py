"""The site in memory that ships for tests of plugins: publishing works on it as on a real one."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, Reason
from cc_images.sites.base import Act, Publication, Publish
from cc_images.sites.publish import Terms, publish
from cc_images.testing import FakeSite


def publication(folder: Path, content: bytes, run: str) -> Publication:
    path = folder / "disk"
    path.write_bytes(content)
    return Publication(name="CC-X", path=path, sha512=hashlib.sha512(content).hexdigest(), size=len(content),
                       properties={}, run=run)  # fmt: skip


def test_versions_are_published_archived_and_dropped(tmp_path: Path) -> None:
    site, stop = FakeSite(), threading.Event()
    for number in range(4):
        assert publish(site, publication(tmp_path, b"v%d" % number, f"r{number}"), Terms(keep=2), stop=stop).changed
    assert not publish(site, publication(tmp_path, b"v3", "r4"), stop=stop).changed
    (holder,) = site.find("CC-X")
    assert site.content[holder.id] == b"v3"
    assert len(site.archived("CC-X")) == 2


def test_an_answer_that_is_lost_is_looked_for(tmp_path: Path) -> None:
    lost = [CCImagesError("no answer", reason=Reason.UNREACHABLE, temporary=True)]

    def failing(step: Act) -> None:
        if isinstance(step, Publish) and lost:
            raise lost.pop()

    site = FakeSite(failing)
    assert publish(site, publication(tmp_path, b"one", "r1"), stop=threading.Event()).changed
    assert [entry.name for entry in site.images.values()] == ["CC-X"]


def test_a_refusal_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    def failing(step: Act) -> None:
        if isinstance(step, Publish):
            raise CCImagesError("no", reason=Reason.FORBIDDEN)

    site = FakeSite(failing)
    with pytest.raises(CCImagesError):
        publish(site, publication(tmp_path, b"one", "r1"), stop=threading.Event())
    assert not site.images
