"""Unit tests of the order that the image cc-spack-builder gives to Spack's files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "containers" / "cc-spack-builder" / "ordered.py"

PACKAGES = {
    "perl": "    externals:\n    - spec: perl@5.36.0~cpanm\n      prefix: /usr\n    buildable: false\n",
    "gcc": "    externals:\n    - spec: gcc@12.2.0 languages:='c,c++'\n      prefix: /usr\n"
    "      extra_attributes:\n        compilers:\n          c: /usr/bin/gcc\n",
    "pkgconfig": "    buildable: false\n",
}


def ordered(folder: Path, names: list[str], specs: list[str]) -> tuple[str, str]:
    folder.mkdir()
    packages, index = folder / "packages.yaml", folder / "index.json"
    packages.write_text("packages:\n" + "".join(f"  {name}:\n{PACKAGES[name]}" for name in names))
    pairs = [[{"name": f"virtual-{each}"}, [{"name": each} for each in specs]] for each in specs]
    index.write_text(json.dumps({"provider_index": {"providers": dict.fromkeys(specs, pairs)}}))
    subprocess.run([sys.executable, SCRIPT, packages, index], check=True)
    return packages.read_text(), index.read_text()


@pytest.mark.parametrize("names", [["gcc", "perl", "pkgconfig"], ["pkgconfig", "perl", "gcc"]])
def test_files_are_the_same_bytes_in_whatever_order_spack_wrote_them(tmp_path: Path, names: list[str]) -> None:
    found = ordered(tmp_path / "a", names, ["b", "a"])
    assert found == ordered(tmp_path / "b", ["perl", "gcc", "pkgconfig"], ["a", "b"])
    said = yaml.safe_load(found[0])["packages"]
    assert said == {name: yaml.safe_load(PACKAGES[name]) for name in PACKAGES}
    assert json.loads(found[1])["provider_index"]["providers"]["a"][0] == [
        {"name": "virtual-a"},
        [{"name": "a"}, {"name": "b"}],
    ]
