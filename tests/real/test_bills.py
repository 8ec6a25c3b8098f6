"""Bills of materials of a real build: the finished tree's own databases, pip's in /usr/local too, beside the image."""

from __future__ import annotations

import json
import shutil

from tests.conftest import REPOSITORY
from tests.real.conftest import Project

PIPPED = """\
#!/bin/bash
set -eu -o pipefail
folder=/usr/local/lib/python3.11/dist-packages/hammers-$DIB_HAMMERS.dist-info
mkdir -p "$folder"
printf 'Metadata-Version: 2.1\\nName: hammers\\nVersion: %s\\nLicense: MIT\\n' "$DIB_HAMMERS" > "$folder/METADATA"
"""

CLEAN = """\
#!/bin/bash
set -eu -o pipefail
sudo rm -f "$TARGET_ROOT"/etc/dib-manifests/dib_* "$TARGET_ROOT"/etc/resolv.conf*
sudo ln -s ../run/resolv.conf "$TARGET_ROOT/etc/resolv.conf"
"""


def test_a_build_has_its_bills_beside_it_and_in_its_record(project: Project) -> None:
    project.boots = True  # it is looked into, and no machine is started
    (project.folder / "elements").unlink()
    shutil.copytree(REPOSITORY / "tests/elements", project.folder / "elements")
    element = project.folder / "elements/pipped"
    for name, text in {"install.d/60-pipped": PIPPED, "cleanup.d/99-clean": CLEAN}.items():
        (element / name).parent.mkdir(parents=True)
        (element / name).write_text(text)
        (element / name).chmod(0o755)
    (element / "README.rst").write_text("pipped\n======\nA Python distribution.\n")
    images = project.folder / "images.yaml"
    images.write_text(
        images.read_text().replace("elements: [tiny-os]", "elements: [tiny-os, pipped]\n  boot: {level: inside}", 1)
    )
    for version in ("0.3", "0.4"):
        code, output = project.run("-b", "-p", "cc-tiny", DIB_HAMMERS=version)
        assert code == 0, output
    said = json.loads((project.site / "CC-Tiny.cdx.json").read_text())
    found = {each["purl"]: each for each in said["components"]}
    assert found["pkg:pypi/hammers@0.4"]["licenses"] == [{"license": {"name": "MIT"}}]
    assert [
        purl for purl in found if purl.startswith("pkg:deb/debian/libc6@") and "arch=amd64&distro=debian-12" in purl
    ]
    assert len(found) > 50
    (archived,) = project.site.glob("CC-Tiny-2*.spdx.json")
    assert "pkg:pypi/hammers@0.3" in archived.read_text()
    for name in ("CC-Tiny.cdx.json", "CC-Tiny.spdx.json"):
        assert (project.store / "images" / name).read_text() == (project.site / name).read_text()
    code, output = project.run("diff", "cc-tiny")
    assert "Python packages changed: 1\n  hammers 0.3 → 0.4" in output, output
