"""Builds by an ordinary user without sudo: the same bytes as root's, and nothing left however they end."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, lacking, write_files
from tests.real.conftest import Project, Watched
from tests.real.test_assembly import CATALOGUE, LAYOUT

pytestmark = pytest.mark.skipif(bool(why := lacking(("newuidmap", "fuse2fs"))), reason=why or "-")

TINY = """\
CC-By-Dib: {{elements: [tiny-os], disk: [block-device-efi, tiny-disk], assemble: false,
            artifacts: {{DIB_TINY_ROOT: {{url: "{root}"}}}}}}
"""


def ordinary(*folders: Path) -> tuple[str, ...]:
    """Return the words that make a command an ordinary user's, to whom these folders belong."""
    return (sys.executable, "-m", "tests.support.ordinary", *map(str, folders), "--")


@pytest.fixture
def owned(project: Project, tiny_root: Path) -> Project:
    """Return a project that belongs to an ordinary user; its disks have five partitions."""
    place = project.folder / "own"
    elements = place / "elements"
    (elements / "dpkg").mkdir(parents=True)
    for element in (REPOSITORY / "tests" / "elements").iterdir():
        (elements / element.name).symlink_to(element)
    shutil.copy(tiny_root, place / "root.tar")
    (place / "layout.yaml").write_text(LAYOUT)
    words = {"root": (place / "root.tar").as_uri(), "layout": place / "layout.yaml"}
    plain = CATALOGUE.replace('DIB_IMAGE_SIZE: "1"', 'DIB_IMAGE_SIZE: "1", DIB_TINY_NODELESS: "1"')
    images = plain.format(**words) + TINY.format(**words)
    write_files(place, images=images, sites="local: {directory: site, is_baremetal: true}")
    environment = project.environment | {"HOME": str(place), "CC_IMAGES_STORE": str(place / "store")}
    return replace(project, folder=place, environment=environment, through=ordinary(place))


def made(project: Project, ending: str) -> str:
    return (project.store / "images" / f"CC-Files.{ending}").resolve().name


def test_an_ordinary_user_comes_to_the_same_bytes_as_root(owned: Project) -> None:
    code, output = owned.run("-b", "-p", "-t", "4", "cc-files")
    assert code == 0, output
    owned.published("CC-Files")
    owned.assert_no_leftovers()
    _, seen = owned.run("inspect", "cc-files", "--json")
    code, output = owned.run("doctor")
    assert "in a user namespace, as an ordinary user" in output
    roots = replace(owned, through=(), environment=owned.environment | {"CC_IMAGES_STORE": str(owned.folder / "roots")})
    code, output = roots.run("-b", "-t", "1", "cc-files")
    assert code == 0, output
    for ending in ("raw", "qcow2"):
        other = (owned.folder / "roots" / "images" / f"CC-Files.{ending}").resolve().name
        assert made(owned, ending) == other, f"the digests of the {ending} files"
    _, by_root = roots.run("inspect", "cc-files", "--json")
    mine, its = json.loads(seen), json.loads(by_root)
    assert mine.pop("image") != its.pop("image"), "their times"
    assert mine == its


def test_root_without_the_right_to_mount_does_it_in_a_namespace(owned: Project) -> None:
    owned.through = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    code, output = owned.run("-b", "cc-files")
    assert code == 0, output
    owned.assert_nothing_leaked()


def test_what_takes_the_hosts_own_root_says_so_before_anything_runs(owned: Project) -> None:
    code, output = owned.run("-b", "cc-by-dib")
    assert code == 2, output
    assert "cc-by-dib (dib makes its disk) needs the host's own root, and `sudo -n` was refused" in output
    assert "run as root" in output
    code, output = owned.run("-b", "cc-files", CC_IMAGES_ROOT="sudo")
    assert code == 2, output
    assert "this needs root, and `sudo -n` was refused" in output


def test_an_element_that_makes_a_device_node_fails_with_advice(owned: Project) -> None:
    images = owned.folder / "images.yaml"
    images.write_text(images.read_text().replace(', DIB_TINY_NODELESS: "1"', ""))
    code, output = owned.run("-b", "cc-files")
    assert code == 3, output
    assert "dib failed in finalise.d/60-files: mknod: device: Operation not permitted" in output
    assert "what to do: a user namespace has no nodes" in output
    owned.assert_no_leftovers()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("latest", [4, pytest.param(12, marks=pytest.mark.deep)])
def test_a_kill_at_a_random_moment_leaves_nothing(owned: Project, number: signal.Signals, latest: float) -> None:
    moment = random.uniform(0, latest)
    print(f"killed {moment:.2f} s after the first task began")
    run = Watched(owned.start("-b", "-p", "-f", "cc-files"))
    run.wait_for(r"^\[.* started", 120)
    time.sleep(moment)
    run.end(number)
    owned.assert_nothing_leaked()
    code, output = owned.run("-b", "-p", "cc-files")
    assert code == 0, output
    owned.published("CC-Files")
    owned.assert_no_leftovers()


def test_what_a_namespace_left_is_removed_although_its_owners_are_nobody_here(owned: Project) -> None:
    code, output = owned.run("-b", "cc-files")
    assert code == 0, output
    dead = owned.store / "work" / "20260101T000000Z"
    (dead / "scratch").mkdir(parents=True)
    (dead / "lock").touch()
    (dead / "scratch" / "theirs").mkdir()
    (dead / "scratch" / "theirs" / "file").touch()
    for path in (dead / "scratch" / "theirs" / "file", dead / "scratch" / "theirs"):
        shutil.chown(path, 700041, 700041)
        path.chmod(0o700)
    _, output = owned.run("doctor", "--mend")
    assert "run 20260101T000000Z: removed its folder" in output
    assert not dead.exists()


def test_what_cannot_be_read_by_fuse_is_read_as_the_hosts_root(owned: Project) -> None:
    hidden = 'mount --bind /dev/null "$(command -v fuse2fs)"; exec "$@"'
    owned.through = ("unshare", "--mount", "sh", "-c", hidden, "sh")
    owned.environment = owned.environment | {"CC_IMAGES_ROOT": "namespace"}
    code, output = owned.run("-b", "cc-files")
    assert code == 0, output
    code, output = owned.run("inspect", "cc-files", "--json")
    assert json.loads(output)["facts"]["root"]["kind"] == "ext4", output
    owned.assert_no_leftovers()
