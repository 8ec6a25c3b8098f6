"""`cc-images show` of images for containers: what their README says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli, write_files

IMAGES = """\
Base: {builder: containerfile, version: "1"}
Kid: {builder: containerfile, depends: [Base], labels: {license: Apache-2.0}}
Bare: {builder: containerfile, context: elsewhere}
Tree: {elements: [debian-minimal], formats: [oci], container: {labels: {usage: in a catalogue}}}
Disk: {elements: [debian-minimal]}
"""


def test_sections_of_a_readme_are_shown(tmp_path: Path, cli: Cli) -> None:
    write_files(tmp_path, images=IMAGES)
    for name, text in {
        "containers/base": "# Base\n\n## Description\n\nA base.\n\nOf two paragraphs.\n\n## License\n\nMIT\n",
        "containers/kid": "# Kid\n\n## Usage\n\n    podman run KID\n",
        "elsewhere": "# Nothing\n",
    }.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "README.md").write_text(text)
        (tmp_path / name / "Containerfile").write_text("FROM scratch\n")

    def shown(tag: str) -> dict[str, str] | None:
        done = cli("show", "--json", tag)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] | None = json.loads(done.stdout)[0].get("readme")
        return found

    base = {"description": "A base.\n\nOf two paragraphs.", "usage": "", "license": "MIT"}
    assert shown("base") == base
    own = {"usage": "podman run KID", "license": "Apache-2.0"}
    assert shown("kid") == {"description": ""} | own, "those of its parent are not its own"
    assert shown("bare") == dict.fromkeys(base, "")
    assert shown("tree") == dict.fromkeys(base, "") | {"usage": "in a catalogue"}
    assert shown("disk") is None
    text = cli("show", "base").stdout
    assert "description:\n  A base.\n\n  Of two paragraphs.\n\nlicense:\n  MIT" in text
    assert "usage" not in text
