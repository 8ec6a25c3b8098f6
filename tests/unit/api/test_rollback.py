"""Rollbacks and holds from the command line: two folders as sites, builds that the store has."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from cc_images.cli.main import main
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.store.holds import Holds
from cc_images.store.records import Store
from tests.conftest import Cli, clean_environment, forked, write_files

VERSIONS = ("20261101T000000Z", "20261102T000000Z", "20261103T000000Z")
OLD, BEFORE, BAD = VERSIONS


def add(store: Store, version: str) -> None:
    """Put a build into the store, whose image is its version."""
    staged = store.root / "staged"
    staged.write_text(version)
    blob = store.blobs.add(staged)
    output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1)
    build = Build(tag="cc-x", name="CC-X", arch=Arch.AMD64, version=version, recipe_key="a", key="k",
                  outputs={Format.QCOW2: output})  # fmt: skip
    store.record(build, {}, "CC-X")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a project whose three versions were published to both of its sites, and links to all that is in it."""
    folder = tmp_path_factory.mktemp("published")
    write_files(
        folder,
        images="CC-X: {elements: [debian-minimal], disk: []}\nCC-Y: {elements: [debian-minimal], disk: []}\n",
        sites="one: {directory: one, is_baremetal: true}\ntwo: {directory: two, is_baremetal: true}\n",
    )
    store = Store(folder / "store")
    store.root.mkdir()
    for version in VERSIONS:
        time.sleep(1.01)  # images are told apart by the second
        add(store, version)
        done = forked(main, ("-q", "-p", "--no-boot-test", "cc-x"), folder, clean_environment(folder))
        assert done.returncode == 0, done.stdout + done.stderr
    links = tmp_path_factory.mktemp("links")
    shutil.copytree(folder, links, copy_function=os.link, symlinks=True, dirs_exist_ok=True)
    return folder, links


@pytest.fixture
def tmp_path(project: tuple[Path, Path]) -> Path:
    """Return the project as it was: the same folders and files by their inodes, which are what a folder is known by."""
    folder, links = project
    for path in folder.iterdir():
        if path.is_file() or path.is_symlink():
            path.unlink()
        elif not (links / path.name).exists():
            shutil.rmtree(path)
        else:
            for inner in path.iterdir():
                shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
    shutil.copytree(links, folder, copy_function=os.link, symlinks=True, dirs_exist_ok=True)
    return folder


@pytest.fixture
def published(cli: Cli) -> Cli:
    """Return the command line in the project."""
    return cli


def names(tmp_path: Path, site: str = "one") -> str:
    """Return the version that has the name."""
    return (tmp_path / site / "CC-X.qcow2").read_text()


def test_a_bad_version_is_rolled_back_held_and_released(published: Cli, tmp_path: Path) -> None:
    shown = published("rollback", "cc-x", "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.count("would be rolled back") == 2
    assert names(tmp_path) == BAD, "nothing was changed"

    done = published("rollback", "cc-x", "--why", "no network on c6420", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["site"], row["before"], row["after"], row["done"]) for row in rows] == [
        ("one", BAD, BEFORE, True),
        ("two", BAD, BEFORE, True),
    ]
    assert (names(tmp_path), names(tmp_path, "two")) == (BEFORE, BEFORE)

    pushed = published("-p", "--no-boot-test", "cc-x")
    assert pushed.returncode == 0
    assert f"version {BAD} of cc-x amd64 is held (no network on c6420), and not pushed" in pushed.stdout
    assert names(tmp_path) == BEFORE
    assert "held" in published("list", "cc-x").stdout
    assert f"version {BAD} is held: no network on c6420" in published("status", "cc-x").stdout
    assert f"two {BEFORE}" in published("status", "cc-x").stdout, "and the store remembers where what is"

    released = published("release", "cc-x", BAD)
    assert released.returncode == 0
    again = published("-q", "-p", "--no-boot-test", "cc-x")
    assert again.returncode == 0, again.stderr
    assert (names(tmp_path), names(tmp_path, "two")) == (BAD, BAD)
    assert published("release", "cc-x", BAD).returncode == 2, "it is not held any more"


def test_a_site_and_a_version_may_be_named(published: Cli, tmp_path: Path) -> None:
    done = published("rollback", "cc-x", "--to", OLD, "-s", "two")
    assert done.returncode == 0, done.stderr
    assert (names(tmp_path), names(tmp_path, "two")) == (BAD, OLD)
    same = published("rollback", "cc-x", "--to", OLD, "-s", "two")
    assert (same.returncode, "it has the name already" in same.stdout) == (0, True)
    wrong = published("rollback", "cc-x", "--to", "20200101T000000Z")
    assert wrong.returncode == 3
    assert f"FAILED: no archived version 20200101T000000Z is there; archived: {BEFORE}, {OLD}" in wrong.stdout
    forward = published("rollback", "cc-x", "--to", BAD)
    assert forward.returncode == 0
    assert (names(tmp_path), names(tmp_path, "two")) == (BAD, BAD)
    holds = Holds(Store(tmp_path / "store")).of("cc-x", Arch.AMD64)
    assert not holds[BAD].released, "that is for a person to say"
    assert OLD not in holds, "it was replaced by a younger one"
    assert f"it is held: `cc-images release cc-x {BAD}`" in forward.stdout


def test_a_newer_build_is_published_in_spite_of_a_hold(published: Cli, tmp_path: Path) -> None:
    assert published("rollback", "cc-x").returncode == 0
    add(Store(tmp_path / "store"), "20261104T000000Z")
    done = published("-q", "-p", "--no-boot-test", "cc-x")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == "20261104T000000Z"


def test_a_version_is_held_before_it_was_published(published: Cli, tmp_path: Path) -> None:
    add(Store(tmp_path / "store"), "20261104T000000Z")
    assert published("hold", "cc-x", "20261104T000000Z", "--why", "the freeze").returncode == 0
    assert published("-q", "-p", "--no-boot-test", "cc-x").returncode == 0
    assert names(tmp_path) == BAD
    forced = published("-q", "-p", "--no-boot-test", "--version", "20261104T000000Z", "cc-x")
    assert forced.returncode == 0, "a person who names a version means it"
    assert names(tmp_path) == "20261104T000000Z"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rollback", "cc-z"), "there is no image cc-z"),
        (("rollback", "cc-x", "-s", "three"), "three"),
        (("hold", "cc-x", "20200101T000000Z", "--why", "x"), "is not in the store"),
        (("release", "cc-x", BAD), "is not held"),
        (("hold", "cc-x", BAD), "--why"),
    ],
)
def test_what_is_not_there_is_said(published: Cli, words: tuple[str, ...], said: str) -> None:
    done = published(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_image_that_no_site_has_says_so(published: Cli) -> None:
    done = published("rollback", "cc-y")
    assert done.returncode == 3
    assert done.stdout.count("FAILED: the site has no image of this name") == 2


@pytest.mark.long
def test_a_version_that_was_published_twice_is_rolled_back_too(published: Cli, tmp_path: Path) -> None:
    assert published("rollback", "cc-x").returncode == 0
    assert published("release", "cc-x", BAD).returncode == 0
    assert published("-q", "-p", "--no-boot-test", "cc-x").returncode == 0
    assert names(tmp_path) == BAD
    done = published("rollback", "cc-x", "--why", "bad after all")
    assert done.returncode == 0
    assert names(tmp_path) == BEFORE
    assert not Holds(Store(tmp_path / "store")).of("cc-x", Arch.AMD64)[BAD].released


@pytest.mark.long
def test_a_release_lets_peoples_changes_stand(published: Cli, tmp_path: Path) -> None:
    for words in (("rollback", "cc-x"), ("release", "cc-x", BAD), ("-q", "-p", "--no-boot-test", "cc-x")):
        assert published(*words).returncode == 0
    (tmp_path / "one" / "CC-X.qcow2").rename(tmp_path / "one" / "bad.qcow2")
    (tmp_path / "one" / "CC-X.qcow2").write_text("a person's")
    pushed = published("-p", "--no-boot-test", "cc-x")
    assert "kept until there is a newer build" in pushed.stdout
    assert names(tmp_path) == "a person's"


def test_the_rest_of_a_rollback_that_failed_at_one_site_is_done_again(published: Cli, tmp_path: Path) -> None:
    assert published("rollback", "cc-x", "-s", "one").returncode == 0
    done = published("rollback", "cc-x")
    assert done.returncode == 0
    assert (names(tmp_path), names(tmp_path, "two")) == (BEFORE, BEFORE), "and not one version more"
    assert f"it does not have {BAD}, which is the newest in force" in done.stdout


def test_a_folder_that_is_not_mounted_is_no_site_without_images(published: Cli, tmp_path: Path) -> None:
    (tmp_path / "two").rename(tmp_path / "away")
    (tmp_path / "two").mkdir()
    done = published("rollback", "cc-x")
    assert done.returncode == 3
    assert f"and version {BAD} was put there" in done.stdout
    assert names(tmp_path) == BEFORE


@pytest.mark.parametrize("why", ["caf\udce9", "two\nlines", "\x1b[31mred"])
def test_a_reason_that_cannot_be_printed_is_refused_and_no_hold_is_lost(
    published: Cli, tmp_path: Path, why: str
) -> None:
    assert published("hold", "cc-x", OLD, "--why", "good").returncode == 0
    for words in (("hold", "cc-x", BEFORE, "--why", why), ("rollback", "cc-x", "--why", why)):
        done = published(*words)
        assert done.returncode == 2
        assert "--why has characters that cannot be printed" in done.stderr
    assert published("hold", "cc-x", BEFORE, "--why", " ").returncode == 2
    assert [*Holds(Store(tmp_path / "store")).of("cc-x", Arch.AMD64)] == [OLD]


def test_a_secret_in_a_reason_is_not_kept(published: Cli) -> None:
    done = published("hold", "cc-x", OLD, "--why", "see https://me:secret@host.invalid/x")
    assert "secret" not in done.stdout
    assert "host.invalid" in done.stdout


def test_nothing_is_changed_when_the_hold_cannot_be_written(published: Cli, tmp_path: Path) -> None:
    (tmp_path / "store" / "locks" / "holds").mkdir()
    done = published("rollback", "cc-x")
    assert done.returncode not in (0, 1), done.stderr
    assert (names(tmp_path), names(tmp_path, "two")) == (BAD, BAD)


def test_holds_of_a_newer_version_stop_what_would_overlook_them(published: Cli, tmp_path: Path) -> None:
    assert published("hold", "cc-x", BAD, "--why", "no network").returncode == 0
    file = tmp_path / "store" / "holds.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"format": 2}))
    for words in (("-p", "--no-boot-test", "cc-x"), ("hold", "cc-x", OLD, "--why", "x")):
        done = published(*words)
        assert (done.returncode, "nobody knows what is held" in done.stdout + done.stderr) == (3, True)
    assert json.loads(file.read_text())["format"] == 2
    file.write_text(json.dumps(said | {"holds": [*said["holds"], {"tag": "cc-y", "since": "yesterday"}]}))
    assert "is held" in published("plan", "-p", "cc-x").stdout, "a damaged entry spoils no other"


def test_what_a_killed_rollback_left_is_put_in_order_although_the_version_is_held(
    published: Cli, tmp_path: Path
) -> None:
    assert published("hold", "cc-x", BAD, "--why", "bad").returncode == 0
    archived = next(path for path in (tmp_path / "one").glob("CC-X-*.json") if BEFORE in path.read_text())
    said = json.loads(archived.read_text())
    run = "20260101T000000Z-gone"
    staged = tmp_path / "one" / f".CC-X.{run}.qcow2.staged"
    marks = {"name": "CC-X", "run": run, "archives": "", "recalled": True}
    staged.with_name(f"{staged.name}.json").write_text(json.dumps(said | marks))
    archived.with_suffix(".qcow2").rename(staged)
    archived.unlink()
    pushed = published("-p", "--no-boot-test", "cc-x")
    assert pushed.returncode == 0, pushed.stderr
    assert "is held (bad)" in pushed.stdout
    assert not [path.name for path in (tmp_path / "one").glob(".*")]
    assert published("rollback", "cc-x", "-s", "one").returncode == 0
    assert names(tmp_path) == BEFORE


def test_the_page_for_users_shows_what_is_in_force(published: Cli, tmp_path: Path) -> None:
    assert published("rollback", "cc-x", "-s", "one", "--why", "no network").returncode == 0
    done = published("catalogue-page", "page", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 1
    (image,) = json.loads((tmp_path / "page" / "catalogue.json").read_text())["images"]
    assert {each["site"]: each["version"] for each in image["places"]} == {"one": BEFORE, "two": BAD}
    assert [(each["version"], each["held"]) for each in image["releases"]] == [
        (BAD, "no network"),
        (BEFORE, ""),
        (OLD, ""),
    ]
    assert BEFORE in (tmp_path / "page" / "index.html").read_text()
    assert (tmp_path / "page" / "feed.atom").exists()
    wrong = published("catalogue-page", "one/CC-X.qcow2")
    assert (wrong.returncode, "name a folder of yours" in wrong.stderr) == (2, True)


def test_a_runs_usual_sites_do_not_narrow_a_rollback(published: Cli, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("options: {site: [one]}\n")
    done = published("rollback", "cc-x", "--json", CC_IMAGES_SETTINGS=str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "one/CC-X.qcow2").read_text() == BEFORE
    assert (tmp_path / "two/CC-X.qcow2").read_text() == BEFORE


def test_a_dry_run_says_what_is_archived(published: Cli) -> None:
    rows = json.loads(published("rollback", "cc-x", "--dry-run", "--json").stdout)
    assert [row["note"] for row in rows] == [f"archived: {BEFORE}, {OLD}"] * 2
