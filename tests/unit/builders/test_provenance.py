"""The variable that tells builds where they come from."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from cc_images.builders import provenance
from cc_images.model.catalog import Image

VERSION = "20261121T120102Z"


def decoded(text: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(base64.b64decode(text))
    return found


def test_a_build_gets_what_chameleons_elements_read() -> None:
    image = Image(name="CC-X", provenance={"distro": "debian", "release": "bookworm"})
    environment = {provenance.PROVENANCE: provenance.stated(image), "DIB_X": "1"}
    repository = {"build-repo": "https://r.invalid/x", "build-repo-commit": "c"}
    done = provenance.completed(environment, VERSION, lambda: repository)
    assert decoded(done[provenance.PROVENANCE]) == repository | {
        "build-distro": "debian",
        "build-release": "bookworm",
        "build-variant": "",
        "build-tag": VERSION,
        "build-timestamp": "2026-11-21T12:01:02Z",
    }
    assert done["DIB_X"] == "1"


def test_what_the_user_sets_stays() -> None:
    for mine in ("mine", base64.b64encode(b"[]").decode()):
        assert provenance.completed({provenance.PROVENANCE: mine}, VERSION, dict) == {provenance.PROVENANCE: mine}


def test_the_repository_is_that_of_the_catalogue_without_its_password(tmp_path: Path) -> None:
    assert provenance.origin(tmp_path) == {"build-repo": "", "build-repo-commit": ""}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "1"], check=True)
    subprocess.run([*git, "remote", "add", "origin", "https://me:geheim@r.invalid/x.git"], check=True)
    found = provenance.origin(tmp_path)
    assert found["build-repo"] == "https://r.invalid/x.git"
    assert len(found["build-repo-commit"]) == 40
