"""Processors: the table is that of the real list, and GCC's options are those that it takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cc_images.model import targets

LIST = Path(os.environ.get("CC_IMAGES_SPACK", "")) / "lib/spack/spack/vendor/archspec/json/cpu/microarchitectures.json"


@pytest.mark.skipif(not LIST.is_file(), reason="CC_IMAGES_SPACK names no checkout of Spack")
def test_the_table_is_that_of_spack() -> None:
    real = json.loads(LIST.read_text())["microarchitectures"]

    def ancestors(name: str) -> set[str]:
        direct = real[name]["from"]
        direct = [direct] if isinstance(direct, str) else direct
        return {*direct}.union(*(ancestors(each) for each in direct))

    for name, target in targets.TARGETS.items():
        above = [each.name for each in targets.lineage(name)][1:]
        assert {*above} <= ancestors(name), name
        assert target.ancestor == "" or target.ancestor in real[name]["from"], name
        families = [each for each in (name, *ancestors(name)) if not real[each]["from"]]
        assert families == [targets.family(name)]
        options = [each["flags"].replace("{name}", each.get("name", name)) for each in real[name]["compilers"]["gcc"]]
        assert any(target.option in each.split() for each in options), (name, options)
    there = {each for each in real if not real[each]["vendor"].startswith("Apple")}
    of_ours = {each for each in there if {each, *ancestors(each)} & {*targets.FAMILIES.values()}}
    assert of_ours <= {*targets.TARGETS}, "none is missing"


def test_words_mean_targets() -> None:
    assert targets.target("rome").name == "zen2"
    assert targets.option("rome") == "-march=znver2"
    assert targets.option("zen4", (12, 2)) == "-march=znver3", "the nearest that this GCC knows"
    assert targets.option("zen4", (12, 3)) == "-march=znver4"
    assert targets.option("neoverse_v2", (4, 8)) == "-march=armv8-a"
    assert targets.option("grace", (14, 2)) == "-mcpu=neoverse-v2"
    assert [each.name for each in targets.lineage("x86_64_v3")] == ["x86_64_v3", "x86_64_v2", "x86_64"]
    assert not {*targets.OTHER_NAMES} & {*targets.TARGETS}
    with pytest.raises(KeyError):
        targets.target("z80")


@pytest.mark.skipif(shutil.which("gcc") is None or os.uname().machine != "x86_64", reason="needs a gcc for x86-64")
def test_gcc_takes_the_options() -> None:
    said = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout
    major, minor = (int(each) for each in said.split(".")[:2])
    listed = subprocess.run(["gcc", "--help=target", "-Q"], capture_output=True, text=True, check=True).stdout
    known = re.split(r"\s+", listed.partition("valid arguments for -march= option:")[2].partition("\n\n")[0])
    for name in targets.TARGETS:
        if targets.family(name) == "x86_64":
            assert targets.option(name, (major, minor)).removeprefix("-march=") in known, name
