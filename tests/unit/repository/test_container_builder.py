"""The alias for one container from one recipe: exactly two arguments; and the module file that makes it known."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cc_images.config.builders import BUILDERS
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "contrib" / "container-builder"
ALIAS = FOLDER / "container-builder"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which a program that prints its words stands for cc-images."""
    program = tmp_path / "cc-images"
    program.write_text('#!/bin/sh\nfor each in "$@"; do echo "<$each>"; done\nexit 3\n')
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin"}


def run(environment: dict[str, str], *words: str) -> tuple[int, str]:
    done = subprocess.run([ALIAS, *words], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_two_words_are_handed_on_with_the_code_of_the_build(environment: dict[str, str]) -> None:
    code, said = run(environment, "a b.img", "c.recipe")
    assert (code, said) == (3, "<remote>\n<build>\n<a b.img>\n<c.recipe>\n")


@pytest.mark.parametrize("words", [(), ("a",), ("a", "b", "c"), ("--on", "x"), ("a", "--help"), ("a", "")])
def test_other_words_end_with_the_code_of_input(environment: dict[str, str], words: tuple[str, ...]) -> None:
    assert run(environment, *words) == (2, "")


def test_the_module_file_sets_the_path_and_the_builders_and_nothing_else() -> None:
    text = (FOLDER / "modulefile").read_text()
    assert text.startswith("#%Module")
    orders = re.findall(r"^(\S+-path|setenv|pushenv)\s+(\S+)", text, re.MULTILINE)
    assert orders == [("prepend-path", "PATH"), ("setenv", BUILDERS)]
    assert not re.search(r"(?i)token|passw|key\b", text)


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="needs tclsh")
def test_the_module_file_is_read_by_tcl(tmp_path: Path) -> None:
    script = tmp_path / "load.tcl"
    words = ("module-whatis", "conflict", "prepend-path", "setenv")
    stand_ins = "".join(f'proc {each} {{args}} {{ puts "{each} $args" }}\n' for each in words)
    script.write_text(f"{stand_ins}source {FOLDER / 'modulefile'}\nModulesHelp\n")
    done = subprocess.run(["tclsh", script], capture_output=True, text=True, check=True)
    assert f"setenv {BUILDERS} /etc/cc-images/builders.yaml" in done.stdout
