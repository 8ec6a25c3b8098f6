"""A folder as a site, while people work in it with mv, cp, ln and rm, and file systems lack what others have."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites.directory import DirectorySite
from cc_images.sites.publish import Terms, publish, recover
from tests.unit.sites.test_sites import (
    Tripping,
    check_whole,
    die,
    fail,
    files,
    publication,
    put,
    refuse,
    site_at,
    today,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "site"


def move(folder: Path, old: str, new: str) -> None:
    """Rename an image and its description, as a careful person does."""
    for ending in (".qcow2", ".json"):
        (folder / f"{old}{ending}").rename(folder / f"{new}{ending}")


def test_a_persons_image_is_archived_after_a_dead_push(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), publication(tmp_path, b"v1"))
    if os.fork() == 0:
        put(Tripping(site_at(folder), 1, True, die), publication(tmp_path, b"v2"))
        os._exit(0)
    os.wait()
    move(folder, "CC-X", "CC-X-20250101")
    (folder / "CC-X.qcow2").write_bytes(b"the person's emergency image")
    put(site_at(folder), publication(tmp_path, b"v3"))
    check_whole(folder, b"v3")
    assert files(folder) == {
        "CC-X.qcow2": b"v3",
        "CC-X-20250101.qcow2": b"v1",
        f"CC-X-{today()}.qcow2": b"the person's emergency image",
    }


def test_another_file_of_the_same_size_is_seen_and_never_deleted(tmp_path: Path, folder: Path) -> None:
    site = DirectorySite(Site(name="local", directory=str(folder)), Format.RAW)
    put(site, publication(tmp_path, b"v1"))
    (folder / "CC-X.raw").write_bytes(b"HA")
    outcome = put(site, publication(tmp_path, b"v1"))
    assert (outcome.changed, outcome.same) == (False, False)
    assert "kept until there is a newer build" in outcome.kept
    publish(site, publication(tmp_path, b"v2"), Terms(keep=0), stop=threading.Event())
    assert files(folder) == {"CC-X.raw": b"v2", f"CC-X-{today()}.raw": b"HA"}


@pytest.mark.parametrize("how", ["mv", "ln", "cp"])
def test_a_rollback_by_hand_stands(tmp_path: Path, folder: Path, how: str) -> None:
    for content in (b"v1", b"v2"):
        put(site_at(folder), publication(tmp_path, content))
    archived = f"CC-X-{today()}"
    move(folder, "CC-X", "CC-X-bad")
    if how == "mv":
        move(folder, archived, "CC-X")
    elif how == "ln":
        os.link(folder / f"{archived}.qcow2", folder / "CC-X.qcow2")
    else:
        shutil.copy(folder / f"{archived}.qcow2", folder / "CC-X.qcow2")
    before = files(folder)
    for _ in range(2):
        assert "somebody gave the name" in put(site_at(folder), publication(tmp_path, b"v2")).kept
        assert files(folder) == before
    publish(site_at(folder), publication(tmp_path, b"v3"), Terms(keep=5), stop=threading.Event())
    assert files(folder)["CC-X.qcow2"] == b"v3"
    assert files(folder)["CC-X-bad.qcow2"] == b"v2"
    assert b"v1" in files(folder).values()
    assert not put(site_at(folder), publication(tmp_path, b"v3")).changed


def test_a_copied_folder_is_known_by_its_bytes(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), publication(tmp_path, b"v1"))
    shutil.copytree(folder, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "CC-X.qcow2")
    assert not put(site_at(tmp_path / "copy"), publication(tmp_path, b"v1")).changed


def test_descriptions_of_older_versions_serve(tmp_path: Path, folder: Path) -> None:
    for content in (b"v1", b"v2"):
        put(site_at(folder), publication(tmp_path, content))
    for path in folder.glob("*.json"):
        said = json.loads(path.read_text())
        kept = {key: value for key, value in said.items() if key not in ("inode", "modified", "turn", "successor")}
        path.write_text(json.dumps(kept))
    assert [entry.made for entry in site_at(folder).find("CC-X")] == [True]
    assert not put(site_at(folder), publication(tmp_path, b"v2")).changed
    outcome = publish(site_at(folder), publication(tmp_path, b"v3"), Terms(keep=1), stop=threading.Event())
    assert len(outcome.removed) == 1
    check_whole(folder, b"v3")


def test_a_longer_name_is_another_image(tmp_path: Path, folder: Path) -> None:
    other = replace(publication(tmp_path, b"other"), name="CC-X.Y")
    if os.fork() == 0:
        put(Tripping(site_at(folder), 1, True, die), other)
        os._exit(0)
    os.wait()
    assert site_at(folder).staged("CC-X") == []
    put(site_at(folder), publication(tmp_path, b"v1"))
    assert len(site_at(folder).staged("CC-X.Y")) == 1


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_published_to(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As NFS without its lock daemon answers."""

    def flock(descriptor: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("cc_images.sites.folder.fcntl.flock", flock)
    put(site_at(folder), publication(tmp_path, b"v1"))
    check_whole(folder, b"v1")
    assert "no locks" in caplog.text


def test_an_archive_that_cannot_be_removed_fails_no_push(tmp_path: Path, folder: Path) -> None:
    class Kept(DirectorySite):
        def _discard(self, *paths: Path) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    put(site_at(folder), publication(tmp_path, b"v1"))
    site = Kept(Site(name="local", directory=str(folder)), Format.QCOW2)
    outcome = publish(site, publication(tmp_path, b"v2"), Terms(keep=0), stop=threading.Event())
    assert outcome.changed
    assert "cannot be removed: site local: " in outcome.notes[0]


def test_a_link_that_a_person_made_is_archived_as_it_is(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), publication(tmp_path, b"v1"))
    (folder / "mine.qcow2").write_bytes(b"mine")
    (folder / "CC-X.qcow2").unlink()
    (folder / "CC-X.qcow2").symlink_to("mine.qcow2")
    outcome = put(site_at(folder), publication(tmp_path, b"v2"))
    assert outcome.changed
    assert (folder / f"{outcome.archived}.qcow2").is_symlink()
    check_whole(folder, b"v2")
    assert sorted(files(folder).values()) == [b"mine", b"mine", b"v2"]


@pytest.mark.parametrize("said", ["2024-01-01T00:00:00", "2024-01-01t00:00:00z", "0001-01-01T00:00:00+14:00", "never"])
def test_an_odd_date_in_a_description_stops_nothing(tmp_path: Path, folder: Path, said: str) -> None:
    for content in (b"v1", b"v2"):
        put(site_at(folder), publication(tmp_path, content))
    for path in folder.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"published": said}))
    assert put(site_at(folder), publication(tmp_path, b"v3")).changed
    assert recover(site_at(folder), "CC-X") == []
    check_whole(folder, b"v3")


def test_a_copied_folder_is_read_once(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"v1", b"v2", b"v3"):
        put(site_at(folder), publication(tmp_path, content))
    shutil.copytree(folder, tmp_path / "copy")
    read: list[Path] = []
    real = DirectorySite.hashed

    def hashed(self: DirectorySite, file: Path, status: os.stat_result) -> str:
        read.append(file)
        return real(self, file, status)

    monkeypatch.setattr(DirectorySite, "hashed", hashed)
    for name in (tmp_path / "copy").glob("*.qcow2"):
        os.utime(name)
    assert not put(site_at(tmp_path / "copy"), publication(tmp_path, b"v3")).changed
    assert len(read) == 3
    assert not put(site_at(tmp_path / "copy"), publication(tmp_path, b"v3")).changed
    assert len(read) == 3


def test_an_empty_folder_is_no_known_place(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    assert site_at(folder).place() == ""
    put(site_at(folder), publication(tmp_path, b"v1"))
    assert site_at(folder).place() != ""


class Killed(BaseException):
    """The end of a process, as far as the folder can tell."""


def killed() -> None:
    raise Killed


class Person:
    """Somebody who works in the folder; everything that the person put there stays, unless the person removes it."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.own: set[bytes] = set()

    def act(self) -> None:
        """Do one thing."""
        images = sorted(self.folder.glob("CC-X*.qcow2"))
        current = self.folder / "CC-X.qcow2"
        match self.chance.randrange(5):
            case 0:
                content = f"person {self.chance.random()}".encode()
                if current.exists():
                    self.own.discard(current.read_bytes())
                    current.unlink()
                current.write_bytes(content)
                self.own.add(content)
            case 1 if current.exists():
                current.rename(self.folder / f"CC-X-bad{self.chance.randrange(1000)}.qcow2")
            case 2 if images and not current.exists():
                self.chance.choice(images).rename(current)
            case 3 if images and not current.exists():
                os.link(self.chance.choice(images), current)
            case 4 if images:
                gone = self.chance.choice(images)
                self.own.discard(gone.read_bytes())
                gone.unlink()


@pytest.mark.parametrize("seed", range(10))
def test_a_folder_in_which_anything_happens_loses_nothing_of_a_person(tmp_path: Path, folder: Path, seed: int) -> None:
    anything_happens(tmp_path, folder, seed)


def anything_happens(tmp_path: Path, folder: Path, seed: int) -> None:
    """Let nights, faults and a person change the folder by chance, and check what is left."""
    chance = random.Random(seed)
    person = Person(folder, chance)
    folder.mkdir()
    for night in range(chance.randrange(2, 7)):
        if chance.random() < 0.5:
            person.act()
        how: Any = chance.choice([fail, refuse, killed, killed])
        site = Tripping(site_at(folder), chance.randrange(6), chance.random() < 0.5, how)
        with suppress(CCImagesError, Killed):
            publish(
                site,
                publication(tmp_path, f"v{night}".encode()),
                Terms(keep=chance.choice([0, 2])),
                stop=threading.Event(),
            )
        left = {path.read_bytes() for path in folder.glob("*.qcow2")}
        assert person.own <= left, "a person's file is gone"
    with suppress(CCImagesError):
        recover(site_at(folder), "CC-X")
    for _ in range(2):
        publish(site_at(folder), publication(tmp_path, b"last"), Terms(keep=0), stop=threading.Event())
    check_whole(folder, b"last")
    left = {path.read_bytes() for path in folder.glob("*.qcow2")}
    assert person.own <= left


def test_flock_is_the_folders(folder: Path, tmp_path: Path) -> None:
    """The lock is one that other programs see."""
    with site_at(folder).exclusive(threading.Event()):
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
