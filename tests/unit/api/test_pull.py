"""Pulls from the command line: a catalogue in a folder and on loopback, and folders as the sites that pull."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cc_images import clock
from cc_images.cli.main import main
from cc_images.model.catalog import Arch
from cc_images.model.status import Hold
from cc_images.store.holds import Holds
from cc_images.store.records import Store
from tests.conftest import Cli, clean_environment, forked, write_files
from tests.unit.api.test_rollback import add

V1, V2 = "20261101T000000Z", "20261102T000000Z"
PUSH = ("-q", "-p", "--no-boot-test", "cc-x")


class Served:
    """A folder on loopback; `asked` has the paths of images that were fetched."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *words: object) -> None:
                if self.path.endswith(".qcow2"):
                    asked.append(self.path)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/prod"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that has published one version in its catalogue."""
    folder = tmp_path_factory.mktemp("project")
    write_files(
        folder,
        images="CC-X: {elements: [debian-minimal], disk: []}\n",
        sites="all: {catalogue: catalogue, scope: prod}\n",
    )
    (folder / "store").mkdir()
    release(folder, V1)
    return folder


@pytest.fixture
def published(cli: Cli, project: Path, tmp_path: Path) -> Iterator[tuple[Cli, Served]]:
    """Return the command line in a copy of the project, and its catalogue on loopback."""
    shutil.copytree(project, tmp_path, symlinks=True, dirs_exist_ok=True)
    served = Served(tmp_path / "catalogue")
    yield cli, served
    served.server.shutdown()
    served.server.server_close()


def release(tmp_path: Path, version: str) -> None:
    """Build a version, so to speak, and publish it in the catalogue: a minute ago, or later if there is one already."""
    add(Store(tmp_path / "store"), version)
    before = list((tmp_path / "catalogue" / "prod" / "versions").glob("*"))
    moment = clock.now() - timedelta(minutes=1) + timedelta(seconds=2 * len(before))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cc_images.clock.now", lambda: moment)  # images are told apart by the second
        done = forked(main, PUSH, tmp_path, clean_environment(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Return a project with two sites and a store of its own, which has no images."""
    folder = tmp_path / "other"
    folder.mkdir()
    write_files(folder, sites="one: {directory: one}\ntwo: {directory: two}\n")
    return folder


def pulled(cli: Cli, other: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Pull in another project; return the exit code, and a row for each site."""
    done = cli("pull", "--json", *words, cwd=other, CC_IMAGES_STORE=str(other / "store"))
    assert done.stdout, done.stderr
    return done.returncode, {row["site"]: row for row in json.loads(done.stdout)}


def has(other: Path, site: str = "one") -> str:
    file = other / site / "CC-X.qcow2"
    return file.read_text() if file.exists() else ""


def test_sites_get_what_a_catalogue_has(published: tuple[Cli, Served], other: Path, tmp_path: Path) -> None:
    cli, served = published
    code, rows = pulled(cli, other, served.address, "--dry-run")
    assert (code, rows["one"]["note"], has(other)) == (0, "would be published", "")
    code, rows = pulled(cli, other, served.address, "-s", "one")
    assert code == 0
    assert rows["one"]["done"]
    assert (has(other), has(other, "two")) == (V1, "")
    said = json.loads((other / "one" / "CC-X.json").read_text())
    assert said["properties"]["build-version"] == V1
    code, rows = pulled(cli, other, served.address)
    assert rows["one"]["note"] == "it has it"
    assert (has(other), has(other, "two")) == (V1, V1)
    assert len(served.asked) == 1, "the bytes came once, for both sites"

    release(tmp_path, V2)
    code, rows = pulled(cli, other, str(tmp_path / "catalogue" / "prod"), "cc-*")
    assert (rows["one"]["before"], rows["one"]["after"], has(other)) == (V1, V2, V2)
    status = cli("rollback", "cc-x", "--dry-run")
    assert V1 in status.stdout, "the catalogue itself can be rolled back"


def test_what_the_catalogue_goes_back_to_is_brought_back_without_bytes(
    published: tuple[Cli, Served], other: Path, tmp_path: Path
) -> None:
    cli, served = published
    pulled(cli, other, served.address)
    release(tmp_path, V2)
    pulled(cli, other, served.address)
    assert cli("rollback", "cc-x").returncode == 0
    fetched = len(served.asked)
    code, rows = pulled(cli, other, served.address)
    assert code == 0
    assert rows["one"]["after"] == V1
    assert has(other) == V1
    assert len(served.asked) == fetched
    assert pulled(cli, other, served.address)[1]["one"]["note"] == "it has it"


def test_a_version_that_is_held_here_is_not_pulled(published: tuple[Cli, Served], other: Path, tmp_path: Path) -> None:
    cli, served = published
    pulled(cli, other, served.address)
    (other / "images.yaml").write_text("CC-X: {elements: [debian-minimal], disk: []}\n")
    here = {"cwd": other, "CC_IMAGES_STORE": str(other / "store")}
    release(tmp_path, V2)
    pulled(cli, other, served.address)
    assert cli("rollback", "cc-x", "--why", "no network", **here).returncode == 0
    code, rows = pulled(cli, other, served.address)
    assert code == 0
    assert rows["one"]["note"] == f"version {V2} is held here: no network"
    assert has(other) == V1


def test_a_person_who_rolled_back_by_hand_stands(published: tuple[Cli, Served], other: Path, tmp_path: Path) -> None:
    cli, served = published
    pulled(cli, other, served.address)
    release(tmp_path, V2)
    pulled(cli, other, served.address)
    one = other / "one"
    (one / "CC-X.qcow2").unlink()
    archived = next(file for file in one.glob("CC-X-*.qcow2"))
    archived.rename(one / "CC-X.qcow2")
    code, rows = pulled(cli, other, served.address, "-s", "one")
    assert code == 0
    assert not rows["one"]["done"]
    assert has(other) == V1


@pytest.mark.parametrize("what", ["flipped", "shorter", "gone", "manifest", "another", "current", "path"])
def test_what_is_damaged_is_refused_by_name(
    published: tuple[Cli, Served], other: Path, tmp_path: Path, what: str
) -> None:
    cli, served = published
    scope = tmp_path / "catalogue" / "prod"
    place = json.loads((scope / "current").read_text())["CC-X"]
    version = scope / "versions" / place
    image, manifest = version / "CC-X.qcow2", version / "manifest.json"
    said = json.loads(manifest.read_text())
    if what == "flipped":
        image.write_text(V2)
    elif what == "shorter":
        image.write_text("2")
    elif what == "gone":
        image.unlink()
    elif what == "manifest":
        manifest.write_text("{}")
    elif what == "another":
        manifest.write_text(json.dumps(said | {"name": "CC-Y"}))
    elif what == "current":
        (scope / "current").write_text('["CC-X"]')
    else:
        (scope / "current").write_text('{"CC-X": "../../../etc"}')
    for source in (served.address, str(scope)):
        done = cli("pull", source, cwd=other, CC_IMAGES_STORE=str(other / "store"))
        assert done.returncode == 3, done.stderr
        told = done.stdout + done.stderr
        assert "CC-X" in told or "current" in told
        assert "Traceback" not in told
        assert not (other / "one" / "CC-X.qcow2").exists()


def test_what_is_not_there_is_said(published: tuple[Cli, Served], other: Path) -> None:
    cli, served = published
    for words, said in (
        (("swift://metal/images",), "swift://metal/images is no address such as swift://CLOUD/CONTAINER/SCOPE"),
        (("nowhere",), "nowhere is neither an address, nor a folder"),
        ((served.address, "cc-z"), "the catalogue has no image cc-z"),
        ((served.address, "-s", "three"), "there is no site three"),
    ):
        done = cli("pull", *words, cwd=other, CC_IMAGES_STORE=str(other / "store"))
        assert done.returncode == 2
        assert said in done.stderr
    away = cli("pull", served.address.replace("prod", "none"), cwd=other, CC_IMAGES_STORE=str(other / "store"))
    assert away.returncode == 3
    assert "current cannot be read" in away.stderr


def test_a_site_that_takes_another_format_is_left_out(published: tuple[Cli, Served], other: Path) -> None:
    cli, served = published
    write_files(other, sites="one: {directory: one, formats: [raw]}\ntwo: {directory: two}\n")
    code, rows = pulled(cli, other, served.address)
    assert code == 0
    assert rows["one"]["note"] == "left out: it takes raw, and the catalogue has qcow2"
    assert rows["two"]["done"]


@pytest.mark.long
def test_what_another_host_has_rolled_back_stands(published: tuple[Cli, Served], other: Path, tmp_path: Path) -> None:
    cli, served = published
    pulled(cli, other, served.address)
    release(tmp_path, V2)
    pulled(cli, other, served.address)
    (other / "images.yaml").write_text("CC-X: {elements: [debian-minimal], disk: []}\n")
    assert cli("rollback", "cc-x", cwd=other, CC_IMAGES_STORE=str(tmp_path / "third")).returncode == 0
    assert has(other) == V1
    code, rows = pulled(cli, other, served.address)
    assert code == 0
    assert "it was rolled back here" in rows["one"]["note"]
    assert has(other) == V1
    release(tmp_path, "20261103T000000Z")
    pulled(cli, other, served.address)
    assert has(other) == "20261103T000000Z"


def test_a_site_with_a_wave_or_another_architecture_is_left_out_unless_it_is_named(
    published: tuple[Cli, Served], other: Path
) -> None:
    cli, served = published
    sites = "one: {directory: one, wave: 2}\ntwo: {directory: two, arch: arm64}\nthree: {directory: three}\n"
    write_files(other, sites=sites)
    _, rows = pulled(cli, other, served.address)
    assert "has a wave or a gate of its own" in rows["one"]["note"]
    assert rows["two"]["note"] == "left out: it takes arm64, and this is for amd64"
    assert (has(other), has(other, "two"), has(other, "three")) == ("", "", V1)
    pulled(cli, other, served.address, "-s", "one")
    assert has(other) == V1


def test_a_hold_on_another_image_is_no_reason(published: tuple[Cli, Served], other: Path) -> None:
    cli, served = published
    store = Store(other / "store")
    store.root.mkdir()
    Holds(store).put(Hold(tag="cc-y", arch=Arch.AMD64, version=V1, since=0, why="bad"))
    pulled(cli, other, served.address)
    assert has(other) == V1


@pytest.mark.parametrize("name", ["name", "visibility", "id", "os_glance_x", "a b"])
def test_properties_that_are_a_sites_own_are_refused(
    published: tuple[Cli, Served], other: Path, tmp_path: Path, name: str
) -> None:
    cli, served = published
    scope = tmp_path / "catalogue" / "prod"
    manifest = next(scope.glob("versions/*/manifest.json"))
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(said | {"properties": {**said["properties"], name: "evil"}}))
    code, rows = pulled(cli, other, served.address)
    assert code == 3
    assert f"the property {name!r} is none that an image may have" in rows["one"]["error"]


def test_json_that_is_too_deep_is_refused(published: tuple[Cli, Served], other: Path, tmp_path: Path) -> None:
    cli, served = published
    (tmp_path / "catalogue" / "prod" / "current").write_text("[" * 200_000)
    done = cli("pull", served.address, cwd=other, CC_IMAGES_STORE=str(other / "store"))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
