"""A person at a terminal, and a build whose hooks fail: shells in the tree and in the sandbox, and how they go on."""

from __future__ import annotations

import shlex
import shutil
import sys

import pytest

from tests.real.conftest import CATALOGUE, Project
from tests.real.test_terminal import Screen, screen

__all__ = ["screen"]

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")

COMMAND = f"{shlex.quote(sys.executable)} -m cc_images -b --debug-shell cc-breaks"

BREAKS = """\
CC-Breaks:
  elements: [tiny-os, breaks]
  disk: [block-device-efi, tiny-disk]
  artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}
CC-Kid: {depends: [CC-Tiny], elements: [], disk: [block-device-efi, tiny-disk]}
"""


@pytest.fixture(autouse=True)
def breaks(project: Project) -> None:
    """Add an image whose hooks fail, outside the tree and in it."""
    catalogue = project.folder / "images.yaml"
    root = catalogue.read_text().partition('{url: "')[2].partition('"')[0]
    catalogue.write_text(CATALOGUE.replace("TINY_ROOT_URL", root) + BREAKS.replace("TINY_ROOT_URL", root))


def test_a_person_mends_what_fails_and_goes_on(project: Project, screen: Screen) -> None:
    screen.type(COMMAND)
    screen.wait_for(r"50-breaks-outside of extra-data has failed with code 1: retry runs it again", seconds=120)
    screen.type('ls -d "$TARGET_ROOT/etc" && touch "$TMP_HOOKS_PATH/mended"; retry')
    screen.wait_for(r"50-breaks of install has failed with code 1", seconds=120)
    screen.type("cat /etc/debian_version; stty size; retry")
    screen.wait_for(r"^\d\d\.\d+$", r"^30 110$")
    screen.wait_until(lambda seen: seen[-1].endswith("#") and " install has failed " in seen[-2], seconds=120)
    screen.type("clear; touch /etc/mended; retry")
    screen.wait_for(r"^cc-images \S+ ok: 1 built", seconds=180)
    screen.type("clear; stty -a | tr ' ;' '\\n' | grep -x icanon")
    screen.wait_for(r"^icanon$")  # the terminal is as it was
    assert "never built" not in project.run("status", "cc-breaks")[1]
    screen.close()
    project.assert_no_leftovers()


def test_a_shell_opens_a_copy_of_a_layer(project: Project, screen: Screen) -> None:
    assert project.run("-q", "-b", "cc-kid")[0] == 0, "which starts from the layer of cc-tiny"
    screen.type(f"{shlex.quote(sys.executable)} -m cc_images shell cc-tiny")
    screen.wait_for(r"^a copy of cc-tiny amd64 \S+: what you change is gone when you leave", seconds=60)
    screen.type(
        "clear; id -u; touch /etc/changed && ls -1 /etc/changed /proc/self/status; test -c /dev/null && echo node"
    )
    screen.wait_for(r"^0$", r"^/etc/changed$", r"^/proc/self/status$", r"^node$")
    screen.type("exit")
    screen.wait_for(r"^\$\s*$")  # the terminal is the outer shell's again
    screen.type("clear; echo code $?")
    screen.wait_for(r"^(\$ )?code 0$")
    screen.close()
    project.assert_no_leftovers()


@pytest.mark.deep
def test_leaving_the_shell_ends_the_build(project: Project, screen: Screen) -> None:
    screen.type(COMMAND)
    screen.wait_for(r"50-breaks-outside of extra-data has failed", seconds=120)
    screen.type("continue")
    screen.wait_for(r"50-breaks of install has failed with code 1", seconds=120)
    screen.type("exit")
    screen.wait_for(r"^cc-images \S+ failed", seconds=120)
    screen.type("clear; echo still here $?")
    screen.wait_for(r"^still here")
    screen.close()
    project.assert_no_leftovers()


def test_without_a_terminal_that_is_said(project: Project) -> None:
    code, said = project.run("-b", "--debug-shell", "cc-breaks")
    assert code == 2
    assert "--debug-shell needs a terminal" in said
