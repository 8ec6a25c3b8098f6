"""The manual is that of the parser."""

from __future__ import annotations

import subprocess
import sys

from cc_images.words import VERBS
from tests.conftest import REPOSITORY


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
