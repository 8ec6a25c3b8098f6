"""Trees of builds that failed or stopped after a phase: kept as they were, opened by a person, and never a build."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, lacking
from tests.real.conftest import CATALOGUE, Project
from tests.real.test_assembly import LAYOUT
from tests.real.test_rootless import ordinary
from tests.real.test_terminal import Screen, screen

__all__ = ["screen"]

IMAGES = """\
CC-Halts: {elements: [tiny-os, halts], disk: [block-device-efi, tiny-disk], timeout: 1,
           artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}}
CC-Packages: {elements: [tiny-os, halts], packages: [nosuchpackage], disk: [block-device-efi, tiny-disk],
              artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}}
CC-Files: {elements: [tiny-os, tiny-files, halts], disk: [block-device-gpt, tiny-disk], checks: {},
           artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}, environment:
           {DIB_BLOCK_DEVICE_CONFIG: "file://LAYOUT", DIB_IMAGE_SIZE: "1", DIB_TINY_NODELESS: "1"}}
CC-Parent: {elements: [tiny-os, halts], disk: [block-device-efi, tiny-disk],
            artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}}
CC-Heir: {depends: [CC-Parent], elements: [], disk: [block-device-efi, tiny-disk]}
CC-Kid: {depends: [CC-Tiny], elements: [halts], disk: [block-device-efi, tiny-disk]}
"""

HALT = """\
#!/bin/bash
# Leaves marks in the tree, and fails where DIB_HALT says so.
set -eu -o pipefail
tree=TREE
echo geheim > "$tree/etc/halts-PHASE"
chown 12:34 "$tree/etc/halts-PHASE"
setfattr -n user.mark -v PHASE "$tree/etc/halts-PHASE" 2> /dev/null || true
[ "${DIB_HALT:-}" != PHASE ] || exit 7
[ "${DIB_HANG:-}" != PHASE ] || sleep 600
"""

INSTALLER = """\
#!/bin/bash
set -eu -o pipefail
echo '#!/bin/sh' > /usr/local/bin/install-packages
echo 'echo "E: there is no $*"; exit 9' >> /usr/local/bin/install-packages
chmod 755 /usr/local/bin/install-packages
"""
"""A hook that makes what installs packages fail."""

INSIDE = ("pre-install", "install", "post-install", "finalise")


@pytest.fixture(autouse=True)
def halts(project: Project) -> None:
    """Add images with an element that has a hook in each phase but those that cannot fail."""
    catalogue = project.folder / "images.yaml"
    root = catalogue.read_text().partition('{url: "')[2].partition('"')[0]
    layout = project.folder / "layout.yaml"
    layout.write_text(LAYOUT)
    catalogue.write_text((CATALOGUE + IMAGES).replace("TINY_ROOT_URL", root).replace("LAYOUT", str(layout)))
    elements = project.folder / "elements"
    elements.unlink()
    (elements / "dpkg").mkdir(parents=True)
    for element in (REPOSITORY / "tests" / "elements").iterdir():
        (elements / element.name).symlink_to(element)
    for phase in (*INSIDE, "root", "extra-data", "post-root", "pre-finalise", "cleanup"):
        hook = elements / "halts" / f"{phase}.d" / "55-halts"
        hook.parent.mkdir(parents=True)
        tree = "" if phase in INSIDE else "${TMP_MOUNT_PATH:-$TARGET_ROOT}"
        hook.write_text(HALT.replace("TREE", tree).replace("PHASE", phase))
        hook.chmod(0o755)
    installer = elements / "halts" / "install.d" / "99-installer"
    installer.write_text(INSTALLER)
    installer.chmod(0o755)


def kept(project: Project, tag: str = "cc-halts") -> dict[str, object]:
    """Return the one record of a kept tree."""
    (record,) = (project.store / "kept" / tag / "amd64").glob("*.json")
    found: dict[str, object] = json.loads(record.read_text())
    return found


def members(project: Project, tag: str = "cc-halts") -> dict[str, tarfile.TarInfo]:
    """Return what is in the one kept tree."""
    (packed,) = (project.store / "kept" / tag / "amd64").glob("*.tar.zst")
    assert stat.S_IMODE(packed.stat().st_mode) == 0o600
    plain = subprocess.run(["zstd", "-dcq", str(packed)], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        return {each.name.removeprefix("./"): each for each in archive}


def assert_no_build(project: Project) -> None:
    assert not list(project.store.glob("builds/cc-halts/**/*.json"))
    assert not list((project.store / "images").glob("CC-Halts*")) if (project.store / "images").exists() else True
    project.assert_no_leftovers()


@pytest.mark.parametrize(
    "phase",
    [
        "root",
        "finalise",
        *(pytest.param(each, marks=pytest.mark.deep) for each in ("extra-data", "install", "post-root")),
    ],
)
def test_the_tree_is_kept_as_the_failing_hook_left_it(project: Project, phase: str) -> None:
    code, said = project.run("-b", "--keep-failed", "cc-halts", DIB_HALT=phase)
    assert code == 3, said
    assert "`cc-images shell -a amd64 cc-halts --kept` opens the tree that it has left" in said
    assert "note: --keep-failed: the tree of a build that fails is kept" in said
    found = kept(project)
    assert (found["phase"], found["hook"], found["code"], found["until"]) == (phase, "55-halts", 7, False)
    assert found["task"] == "build cc-halts amd64"
    inside = members(project)
    mark = inside[f"etc/halts-{phase}"]
    assert (mark.uid, mark.gid) == (12, 34)
    assert "bin" in inside
    assert "etc/debian_version" in inside
    for folder in ("proc", "sys"):
        assert not [name for name in inside if name.startswith(f"{folder}/")], "what is mounted is left out"
    assert not [name for name in inside if name.startswith(("dev/pts/", "tmp/in_target.d/", "tmp/cc-debug"))]
    assert_no_build(project)


def test_packages_that_cannot_be_installed_leave_the_tree_too(project: Project) -> None:
    code, said = project.run("-b", "--keep-failed", "cc-packages")
    assert code == 3, said
    assert "E: there is no nosuchpackage" in said
    found = kept(project, "cc-packages")
    assert (found["phase"], found["hook"], found["code"]) == ("install", "install-packages", 9)
    assert "etc/halts-install" in members(project, "cc-packages")
    project.assert_no_leftovers()


@pytest.mark.deep
def test_a_build_that_takes_too_long_leaves_its_tree(project: Project) -> None:
    code, said = project.run("-b", "--keep-failed", "cc-halts", DIB_HANG="install")
    assert code == 3, said
    assert "dib timed out after 1 minutes in install.d/55-halts" in said
    found = kept(project)
    assert (found["phase"], found["hook"], found["code"], found["until"]) == ("install", "55-halts", None, False)
    assert "etc/halts-install" in members(project)
    assert_no_build(project)


def test_a_newer_tree_replaces_it_and_a_good_build_removes_it(project: Project) -> None:
    project.run("-q", "-b", "--keep-failed", "cc-halts", DIB_HALT="install")
    first = kept(project)
    code, said = project.run("status")
    assert code == 0, said
    assert "cc-halts amd64, install.d/55-halts failed with code 7" in said
    project.run("-q", "-b", "--keep-failed", "cc-halts", DIB_HALT="extra-data")
    second = kept(project)
    assert second["phase"] == "extra-data"
    assert str(second["run"]) > str(first["run"])
    project.run("-q", "-b", "cc-halts", DIB_HALT="extra-data")
    assert kept(project) == second, "without the option nothing is kept, and what was stays"
    assert project.run("-q", "-b", "cc-halts")[0] == 0
    assert not list(project.store.glob("kept/*/*/*"))
    project.assert_no_leftovers()


@pytest.mark.parametrize(
    "phase", ["install", *(pytest.param(each, marks=pytest.mark.deep) for each in ("block-device", "finalise"))]
)
def test_a_build_stops_after_a_phase(project: Project, phase: str) -> None:
    code, said = project.run("-b", "--until", phase, "cc-halts")
    assert code == 0, said
    assert f"stopped after {phase}; cc-images shell -a amd64 cc-halts --kept" in said
    assert f"the image until {phase}, and no further: its tree is kept" in said
    assert " ok: 1 kept in " in said
    found = kept(project)
    assert (found["phase"], found["code"], found["until"]) == (phase, None, True)
    inside = members(project)
    assert ("etc/halts-install" in inside, "etc/halts-finalise" in inside) == (True, phase == "finalise")
    assert "etc/halts-cleanup" not in inside
    assert_no_build(project)
    code, said = project.run("plan", "-b", "cc-halts")
    assert "never built" in said, "it counts for nothing"


def test_a_failure_before_that_phase_fails(project: Project) -> None:
    code, said = project.run("-b", "--until", "post-root", "cc-halts", DIB_HALT="install")
    assert code == 3, said
    assert "dib failed in install.d/55-halts" in said
    assert not list(project.store.glob("kept/*/*/*"))
    assert_no_build(project)


@pytest.mark.deep
def test_an_image_with_a_layer_stops_in_the_layers_hooks_and_a_child_in_its_own(project: Project) -> None:
    assert project.run("-q", "-b", "cc-kid")[0] == 0, "which starts from the layer of cc-tiny"
    builds = sorted(project.store.glob("builds/*/*/*.json"))
    code, said = project.run("-b", "--until", "install", "cc-tiny", "cc-kid")
    assert code == 0, said
    assert "the image's layer until install" in said
    assert kept(project, "cc-tiny")["until"] is True
    assert kept(project, "cc-kid")["until"] is True
    assert "etc/halts-install" in members(project, "cc-kid")
    assert "etc/halts-install" not in members(project, "cc-tiny")
    assert sorted(project.store.glob("builds/*/*/*.json")) == builds
    assert project.run("-b", "cc-kid")[1].count("cached"), "what is stored serves as before"
    project.assert_no_leftovers()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_person_looks_at_the_kept_tree(project: Project, screen: Screen) -> None:
    project.run("-q", "-b", "--keep-failed", "cc-halts", DIB_HALT="install")
    (packed,) = (project.store / "kept/cc-halts/amd64").glob("*.tar.zst")
    before = packed.read_bytes()
    shell = f"{shlex.quote(sys.executable)} -m cc_images shell cc-halts"
    screen.type(shell)
    screen.wait_for(
        r"has no layer of cc-halts for amd64, but a tree is kept \(install.d/55-halts failed with",
        r"what to do: `cc-images shell -a amd64 cc-halts --kept` opens it",
    )
    screen.type(f"clear; {shell} --kept")
    screen.wait_for(
        r"^a copy of cc-halts amd64 \S+ \(kept\): what you change is gone when you leave; install.d/55-halts"
    )
    screen.type("clear; cat /etc/halts-install; touch /etc/changed && ls -1 /etc/changed /proc/self/status")
    screen.wait_for(r"^geheim$", r"^/etc/changed$", r"^/proc/self/status$")
    screen.type("exit")
    screen.wait_for(r"^\$\s*$")
    screen.type(f"clear; {shell} --kept --read-only")
    screen.wait_for(r"^a copy of cc-halts amd64 \S+ \(kept\): nothing can be written; install.d/55-halts")
    screen.type("clear; touch /etc/changed; mount -o remount,rw /; touch /etc/changed; cat /etc/halts-install")
    screen.wait_for(r"touch: cannot touch '/etc/changed': Read-only file system", r"^geheim$")
    screen.type("clear; ls /etc/changed; echo null > /dev/null && echo node")
    screen.wait_for(r"cannot access '/etc/changed'", r"^node$")
    screen.type("exit")
    screen.wait_for(r"^\$\s*$")
    screen.close()
    assert packed.read_bytes() == before
    project.assert_no_leftovers()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
@pytest.mark.deep
def test_the_layer_is_opened_unless_the_kept_tree_is_asked_for(project: Project, screen: Screen) -> None:
    assert project.run("-q", "-b", "cc-kid")[0] == 0, "which starts from the layer of cc-tiny"
    assert project.run("-q", "-b", "--until", "root", "cc-tiny")[0] == 0
    shell = f"{shlex.quote(sys.executable)} -m cc_images shell cc-tiny"
    screen.type(shell)
    screen.wait_for(r"gone when you leave; a tree is kept, too", seconds=60)
    screen.type("exit")
    screen.wait_for(r"^\$\s*$")
    screen.type(f"clear; {shell} --kept")
    screen.wait_for(r"\(kept\): what you change is gone when you leave; stopped after root$", seconds=60)
    screen.type("exit")
    screen.wait_for(r"^\$\s*$")
    screen.close()
    project.assert_no_leftovers()


def ordinary_users(project: Project, tiny_root: Path) -> Project:
    """Return the same project as an ordinary user's, with a store of its own."""
    place = project.folder / "own"
    place.mkdir()
    shutil.copy(tiny_root, place / "root.tar")
    shutil.copy(project.folder / "layout.yaml", place / "layout.yaml")
    for name in ("images.yaml", "sites.yaml"):
        text = (project.folder / name).read_text().replace(tiny_root.as_uri(), (place / "root.tar").as_uri())
        (place / name).write_text(text.replace(str(project.folder / "layout.yaml"), str(place / "layout.yaml")))
    shutil.copytree(project.folder / "elements", place / "elements", symlinks=True)
    environment = project.environment | {"HOME": str(place), "CC_IMAGES_STORE": str(place / "store")}
    return Project(place, environment, through=ordinary(place))


def described(found: dict[str, tarfile.TarInfo]) -> dict[str, tuple[object, ...]]:
    """Return what is known of each entry, but for a folder of dib's with a random name."""
    return {
        name: (each.type, each.mode, each.uid, each.gid, each.linkname)
        for name, each in found.items()
        if not name.startswith("tmp/profiledir.")
    }


@pytest.mark.skipif(bool(why := lacking(("newuidmap", "fuse2fs"))), reason=why or "-")
@pytest.mark.parametrize(
    ("tag", "phase", "options"),
    [
        pytest.param("cc-parent", "extra-data", ("--until", "post-root", "--keep-failed"), marks=pytest.mark.deep),
        pytest.param("cc-parent", "install", ("--until", "post-root", "--keep-failed"), marks=pytest.mark.deep),
        pytest.param("cc-parent", "", ("--until", "post-root"), marks=pytest.mark.deep),
        ("cc-files", "finalise", ("--keep-failed",)),
    ],
)
def test_an_ordinary_user_keeps_the_same(
    project: Project, tag: str, phase: str, options: tuple[str, ...], tiny_root: Path
) -> None:
    mine = ordinary_users(project, tiny_root)
    for each in (project, mine):
        code, said = each.run("-b", *options, tag, DIB_HALT=phase)
        assert code == (3 if phase else 0), said
        each.assert_no_leftovers()
        assert kept(each, tag)["phase"] == (phase or "post-root")
    assert described(members(mine, tag)) == described(members(project, tag))
    assert members(mine, tag)[f"etc/halts-{phase or 'install'}"].uid == 12
