"""The manual is that of the parser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cc_images.cli.completion import PLACES
from cc_images.cli.help_texts import VERBS
from tests.conftest import REPOSITORY, Cli


def test_the_manual_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, REPOSITORY / "script" / "manual"], capture_output=True, text=True, check=True
    )
    assert (REPOSITORY / "docs" / "cli.md").read_text() == made.stdout, "script/manual > docs/cli.md"


def test_the_readme_and_the_manual_know_every_verb() -> None:
    manual, readme = (REPOSITORY / "docs" / "cli.md").read_text(), (REPOSITORY / "README.md").read_text()
    for verb in VERBS:
        assert f"## `cc-images {verb} " in manual
        assert f"cc-images {verb}" in readme


def test_the_man_page_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, REPOSITORY / "script/manual", "--man"], capture_output=True, text=True, check=True
    )
    assert (REPOSITORY / "cc_images/cli/cc-images.1").read_text() == made.stdout, "script/manual --man"


def test_man_page_and_completion_are_installed_for_a_user(cli: Cli, tmp_path: Path) -> None:
    said = cli("completion", "install", XDG_DATA_HOME=str(tmp_path / "share"))
    assert said.returncode == 0
    files = [Path(line) for line in said.stdout.splitlines()]
    assert [str(file.relative_to(tmp_path / "share")) for file in files] == [*PLACES.values()]
    assert all(file.stat().st_size > 0 for file in files)
    assert cli("completion", "man").stdout.startswith(".TH CC-IMAGES 1")
