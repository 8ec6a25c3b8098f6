"""A catalogue: versions in a folder, and the file that says which of them is in force."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cc_images.errors import CCImagesError
from cc_images.host.files import write_bytes
from cc_images.model.catalog import Format, Retirement
from cc_images.model.site import Site
from cc_images.sites import open_site
from cc_images.sites.catalogue import CatalogueSite
from cc_images.sites.folder import flushed
from cc_images.sites.publish import Terms, publish, recover, retire, roll_back
from cc_images.sites.rollbacks import Goal, choose
from tests.conftest import NOW, moments, samples
from tests.unit.sites.test_sites import publication

NAME = "CC-X"


def site_at(folder: Path) -> CatalogueSite:
    made = open_site(Site(name="catalogue", catalogue=str(folder), scope="prod"), Format.QCOW2)
    assert isinstance(made, CatalogueSite)
    return made


def put(folder: Path, content: bytes, tmp_path: Path, run: str = "r1", **terms: Any) -> Any:
    made = replace(publication(tmp_path, content), name=NAME, run=run)
    return publish(site_at(folder), made, Terms(**{"pause": 0.01} | terms), stop=threading.Event())


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ten seconds pass between two looks at the clock: images are told apart by the second."""
    seconds = count()
    monkeypatch.setattr("cc_images.clock.now", lambda: NOW + timedelta(seconds=10 * next(seconds)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "catalogue"


def current(folder: Path) -> bytes:
    """Return the image in force, as a reader finds it."""
    scope = folder / "prod"
    version = str(json.loads((scope / "current").read_text())[NAME])
    return (scope / "versions" / version / f"{NAME}.qcow2").read_bytes()


def versions(folder: Path) -> dict[str, bytes]:
    """Return the images of all whole versions, which a reader may have been told of."""
    every = sorted((folder / "prod" / "versions").glob("[0-9]*"))
    return {each.name: (each / f"{NAME}.qcow2").read_bytes() for each in every}


def test_versions_are_added_and_named_and_old_ones_stay(folder: Path, tmp_path: Path) -> None:
    for number in range(3):
        done = put(folder, f"v{number}".encode(), tmp_path, f"r{number}")
        assert done.changed
        assert done.address.endswith(f"-v{number + 1}")
    assert current(folder) == b"v2"
    assert [*versions(folder).values()] == [b"v0", b"v1", b"v2"]
    assert not put(folder, b"v2", tmp_path, "r4").changed
    assert len(versions(folder)) == 3
    newest = folder / "prod" / "versions" / json.loads((folder / "prod" / "current").read_text())[NAME]
    digest = hashlib.sha256(b"v2").hexdigest()
    assert (newest / "SHA256SUMS").read_text() == f"{digest}  {NAME}.qcow2\n"
    manifest = json.loads((newest / "manifest.json").read_text())
    assert (manifest["sha256"], manifest["size"], manifest["target"]) == (digest, 2, "")
    assert len(site_at(folder).archived(NAME)) == 2


def test_two_images_have_versions_of_their_own(folder: Path, tmp_path: Path) -> None:
    put(folder, b"one", tmp_path)
    other = replace(publication(tmp_path, b"other"), name="CC-Y", run="r2")
    publish(site_at(folder), other, Terms(), stop=threading.Event())
    said = json.loads((folder / "prod" / "current").read_text())
    assert sorted(said) == ["CC-X", "CC-Y"]
    assert len({*said.values()}) == 2


def test_a_rollback_names_an_older_version(folder: Path, tmp_path: Path) -> None:
    for number in range(3):
        made = replace(publication(tmp_path, f"v{number}".encode()), name=NAME, run=f"r{number}",
                       properties={"build-version": f"2026110{number}T000000Z"})  # fmt: skip
        publish(site_at(folder), made, Terms(), stop=threading.Event())
    goal = Goal(version="20261100T000000Z")
    choice, done = roll_back(site_at(folder), NAME, lambda view: choose(view, goal), "r9", stop=threading.Event())
    assert (choice.after, done.changed) == ("20261100T000000Z", True)
    assert current(folder) == b"v0"
    assert len(versions(folder)) == 3, "nothing was copied"
    assert publish(site_at(folder), made, Terms(), stop=threading.Event()).kept, "it stands until something newer comes"
    assert put(folder, b"v3", tmp_path, "r5").changed
    assert current(folder) == b"v3"


def test_retention_and_retirement_remove_old_versions(folder: Path, tmp_path: Path) -> None:
    for number in range(4):
        put(folder, f"v{number}".encode(), tmp_path, f"r{number}", keep=2)
    assert [*versions(folder).values()] == [b"v1", b"v2", b"v3"]
    rules = Retirement(delete_after=0, keep=1)
    done = retire(site_at(folder), NAME, rules, frozenset(), lambda run: True, stop=threading.Event())
    assert len(done) == 1
    assert [*versions(folder).values()] == [b"v2", b"v3"]


def test_a_person_who_names_an_older_version_by_hand_stands(folder: Path, tmp_path: Path) -> None:
    put(folder, b"v0", tmp_path)
    put(folder, b"v1", tmp_path, "r2")
    file = folder / "prod" / "current"
    (older, _) = versions(folder)
    file.write_text(json.dumps({NAME: older}))
    again = put(folder, b"v1", tmp_path, "r3", before=True)
    assert again.kept
    assert current(folder) == b"v0"
    assert put(folder, b"v2", tmp_path, "r4", before=False).changed
    assert current(folder) == b"v2"


@pytest.mark.parametrize("content", ["[]", "{", '{"CC-X": 1}'])
def test_a_file_that_names_no_versions_is_left_alone(folder: Path, tmp_path: Path, content: str) -> None:
    put(folder, b"v0", tmp_path)
    (folder / "prod" / "current").write_text(content)
    with pytest.raises(CCImagesError, match="is no JSON of names and versions"):
        put(folder, b"v1", tmp_path, "r2")
    assert (folder / "prod" / "current").read_text() == content


def test_somebody_who_changes_current_meanwhile_is_not_overwritten(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, b"v0", tmp_path)
    scope = folder / "prod"
    (version,) = versions(folder)
    original = Path.rename
    changed = [json.dumps({NAME: version, "CC-Other": version})]

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(".staged") and changed:
            (scope / "current").write_text(changed.pop())
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert put(folder, b"v1", tmp_path, "r2").changed
    assert current(folder) == b"v1"
    assert json.loads((scope / "current").read_text())["CC-Other"] == version, "and what they did is kept"


class Killed(BaseException):
    """The end of a process, as far as the folder can tell."""


def tripping(monkeypatch: pytest.MonkeyPatch, at: int, after: bool) -> None:
    """Let the process end before or after its `at`-th change of the folder."""
    changes = [0]

    def trip(change: Callable[..., Any]) -> Callable[..., Any]:
        def tripped(*words: Any, **more: Any) -> Any:
            changes[0] += 1
            if changes[0] == at and not after:
                raise Killed
            done = change(*words, **more)
            if changes[0] == at:
                raise Killed
            return done

        return tripped

    monkeypatch.setattr("cc_images.sites.catalogue.write_bytes", trip(write_bytes))
    monkeypatch.setattr("cc_images.sites.folder.flushed", trip(flushed))
    monkeypatch.setattr(Path, "rename", trip(Path.rename))
    monkeypatch.setattr("shutil.rmtree", trip(shutil.rmtree))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_push_that_is_killed_at_any_change_is_put_in_order(
    tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = 0
    for at in moments(40):
        folder = tmp_path / f"{after}{at}"
        put(folder, b"v0", tmp_path)
        put(folder, b"v1", tmp_path, "r2")
        with monkeypatch.context() as patched:
            tripping(patched, at, after)
            try:
                put(folder, b"v2", tmp_path, "r3", keep=1)
            except Killed:
                killed += 1
        assert current(folder) in (b"v1", b"v2"), "a reader finds a whole version at any time"
        recover(site_at(folder), NAME)
        put(folder, b"v3", tmp_path, "r4", keep=1)
        assert current(folder) == b"v3"
        left = [each.name for each in (folder / "prod" / "versions").iterdir() if each.name.startswith(".")]
        assert [each for each in left if each.endswith(".staged")] == []
        assert len(versions(folder)) == 2, at
    assert killed > samples(2, 12)


@pytest.mark.parametrize("seed", range(samples(8, 30)))
def test_in_any_order_of_pushes_rollbacks_and_kills_a_whole_version_is_in_force(
    tmp_path: Path, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    put(folder, b"first", tmp_path, "r0")
    for night in range(6):
        with monkeypatch.context() as patched, suppress(Killed, CCImagesError):
            tripping(patched, chance.randrange(1, 25), chance.random() < 0.5)
            if chance.random() < 0.3:
                roll_back(site_at(folder), NAME, lambda view: choose(view, Goal()), f"b{night}", stop=threading.Event())
            else:
                put(folder, f"v{night}".encode(), tmp_path, f"r{night + 1}", keep=chance.choice([0, 2]))
        assert current(folder)
    put(folder, b"last", tmp_path, "r99")
    assert current(folder) == b"last"
    assert len(site_at(folder).find(NAME)) == 1
