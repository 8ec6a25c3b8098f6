"""The toolbox in keys: no change of it goes unnoticed, and only those that can change images move keys.

`python -m tests.unit.toolbox.test_toolbox_parts` writes the golden file, once the versions are right.
"""

from __future__ import annotations

import hashlib
import json
import re

from cc_images.builders.dib import command, toolbox_parts, twins
from cc_images.host.root import TOOLBOX
from tests.conftest import GOLDEN

RECORDED = GOLDEN / "toolbox.json"


def files() -> dict[str, str]:
    found = (path for path in TOOLBOX.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(TOOLBOX)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(found)}


def test_every_change_of_the_toolbox_was_judged() -> None:
    known, now = json.loads(RECORDED.read_text()), files()
    changed = sorted({path for path in known.keys() | now.keys() if known.get(path) != now.get(path)})
    assert not changed, (
        f"{', '.join(changed)}: if images can come out different, raise the version in builders/dib/toolbox_parts.py; "
        "then run `python -m tests.unit.toolbox.test_toolbox_parts`"
    )


def test_hooks_inside_an_image_mount_nothing() -> None:
    inside = ("pre-install.d", "install.d", "post-install.d", "finalise.d")
    elements = TOOLBOX / "elements"
    hooks = [path for phase in inside for path in elements.glob(f"*/{phase}/*")]
    called = [path for path in elements.glob("*/cc-*/*") if path.is_file() and path.parent.name == path.parts[-3]]
    assert len(hooks) > 8
    wrong = [path.name for path in (*hooks, *called) if re.search(r"^\s*u?mount ", path.read_text(), re.MULTILINE)]
    assert wrong == [], "where programs have an interpreter of their own, they are in a user namespace"


def test_the_versions_are_of_files_that_are_there() -> None:
    assert toolbox_parts.VERSIONS.keys() <= files().keys()
    assert all(number > 1 for number in toolbox_parts.VERSIONS.values())


def test_a_raised_version_moves_the_keys_of_those_that_use_the_part() -> None:
    assert command.tools_here()["toolbox"] == toolbox_parts.identity()
    tar, programs = {"tar": 99}, {"twins/programs": 99}
    assert toolbox_parts.identity(tar) not in (toolbox_parts.identity(), toolbox_parts.FIRST)
    assert toolbox_parts.identity_of_twins(tar) == toolbox_parts.FIRST_TWINS
    assert toolbox_parts.identity(programs) == toolbox_parts.FIRST
    assert toolbox_parts.identity_of_twins(programs) != toolbox_parts.FIRST_TWINS


def test_keys_of_before_there_were_versions_stay() -> None:
    assert toolbox_parts.identity({}) == "f58f73cfabed3a5b4fc995f730fd9244969ba32d6edd4b7e2cfe85a33be56f59"
    assert toolbox_parts.identity_of_twins({}) == "3fc023aa821739d8e74fa1e6cb42fd34e035a0411f83d70c9c325f06e1c3a46d"
    assert twins.digest() == toolbox_parts.identity_of_twins()


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(files(), indent=1) + "\n")
