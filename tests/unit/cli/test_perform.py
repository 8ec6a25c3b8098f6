"""`cc-images perform` with what is no ticket."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from cc_images.cli.main import CARRIED_OUT
from tests.conftest import Cli


@pytest.mark.parametrize("make", [None, Path.mkdir, lambda path: path.write_text('{"token": "canary"}')])
def test_what_is_no_ticket_gets_one_message_and_is_not_shown(make: object, cli: Cli, tmp_path: Path) -> None:
    if callable(make):
        make(tmp_path / "ticket")
    said = cli("perform", str(tmp_path / "ticket"))
    assert said.returncode == 2
    assert "ticket" in said.stderr
    assert "Traceback" not in said.stderr
    assert "canary" not in said.stderr


def test_an_attempt_in_the_background_is_for_this_host(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "ticket").write_text("{}")
    said = cli("perform", "--detach", str(tmp_path / "ticket"))
    assert (said.returncode, "this is no ticket" in said.stderr) == (2, True), said.stderr


@pytest.mark.parametrize("place", ["file/store", "/proc/nothing/store"])
def test_a_host_whose_store_cannot_be_made_says_so_in_place_of_its_facts(place: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = cli("perform", "--facts", CC_IMAGES_STORE=str(tmp_path / place))
    assert (said.returncode, said.stdout) == (2, ""), said.stderr
    assert f"the store cannot be made: {tmp_path / place}: " in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.real
def test_a_host_whose_store_has_no_room_at_all_says_so_in_place_of_its_facts(cli: Cli, tmp_path: Path) -> None:
    (place := tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", place], check=True)
    try:
        subprocess.run(["sh", "-c", 'cat /dev/zero > "$0"/filler', place], stderr=subprocess.DEVNULL)
        said = cli("perform", "--facts", CC_IMAGES_STORE=str(place))
    finally:
        subprocess.run(["umount", place], check=True)
    assert (said.returncode, said.stdout) == (2, ""), said.stderr
    assert f"the store cannot be made: {place}: No space left on device" in said.stderr


def test_what_is_no_attempt_is_not_looked_for(cli: Cli) -> None:
    said = cli("perform", "--cancel", "../../etc")
    assert (said.returncode, "no attempt's id" in said.stderr) == (2, True)


@pytest.mark.parametrize("words", [["serve"], ["account", "list"]])
def test_the_service_without_its_libraries_says_what_to_install(words: list[str]) -> None:
    program = f"import sys; sys.modules['uvicorn'] = None; from cc_images.cli.main import run; sys.exit(run({words}))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (said.returncode, "needs uvicorn" in said.stderr, "Traceback" in said.stderr) == (2, True, False), (
        said.stderr
    )


@pytest.mark.parametrize("verb", sorted(CARRIED_OUT))
def test_each_verb_has_its_function(verb: str) -> None:
    module, _, name = CARRIED_OUT[verb].partition(".")
    assert callable(getattr(importlib.import_module(f"cc_images.cli.{module}"), name))
