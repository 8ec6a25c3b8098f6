"""The files that builds by Spack get: Containerfiles that ours can read, scripts that a shell can, variables."""

from __future__ import annotations

import ast
import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from cc_images.builders.containerfile.containerfile import images, parsed
from cc_images.builders.spack import generated, recipes
from cc_images.builders.spack.generated import BEFORE, image_file, image_files, lock_files, previous_files, variables
from cc_images.model.container import PATH

SCRIPTS = f"{generated.OURS}/tools"


def test_the_containerfiles_name_their_images() -> None:
    file = parsed(image_file("tool", "runtime", "RUN true\n"), {}, "amd64")
    assert images(file.needed(file.target(""))) == ("tool", "runtime")
    assert file.begins(file.target("")) == "runtime"
    assert [each.word for each in file.stages[1].instructions][-1] == "RUN"
    lock = parsed(lock_files("{}", "tool", "", previous=False)["Containerfile"], {}, "amd64")
    assert images(lock.needed(lock.target(""))) == ("tool",)
    assert lock.begins(lock.target("")) == "scratch"


@pytest.mark.parametrize("key", ["", "a key"])
@pytest.mark.parametrize("compiles", [True, False])
def test_packages_are_compiled_in_a_padded_tree_and_installed_from_the_cache(key: str, compiles: bool) -> None:
    files = image_files("{}", "{}", key=key, compiles=compiles, jobs=3)
    script = files[f"{SCRIPTS}/install"]
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    lines = script.splitlines()
    assert lines[0] == "set -eu"
    assert ("spack gpg trust /opt/cc-images/key.asc" in lines) is bool(key)
    assert any("padded_length:128 -e /opt/spack-environment install" in each for each in lines) is compiles
    assert sum(each.endswith("--jobs 3 --use-buildcache only") for each in lines) == 1
    mirrors = json.loads(files[f"{SCRIPTS}/later/mirrors.yaml"])["mirrors"]
    assert mirrors["cc-images"]["url"] == "file:///run/cc-images/arrived"
    mirrors = json.loads(files[f"{SCRIPTS}/scope/mirrors.yaml"])["mirrors"]
    assert mirrors["cc-images"]["url"] == "file:///run/cc-images/packages"
    assert [*mirrors] == ["cc-images-drop", "cc-images"], "a package is in the one or already in the other"
    assert (mirrors["cc-images"]["signed"], mirrors["cc-images-drop"]["signed"]) == (bool(key), False)
    assert [name for name, each in mirrors.items() if each.get("autopush")] == ["cc-images-drop"]


def test_a_lock_keeps_to_the_one_before_and_a_target_is_required_of_all() -> None:
    plain = lock_files("{}", "tool", "", previous=False)
    assert "python" not in plain[f"{SCRIPTS}/concretize"]
    assert f"{SCRIPTS}/scope/concretizer.yaml" not in plain
    files = lock_files("{}", "tool", "x86_64_v3", previous=True) | previous_files("LOCK", ["zip@3: +x"])
    assert "target.py x86_64_v3 /opt/cc-images/scope" in files[f"{SCRIPTS}/concretize"]
    reuse = json.loads(files[f"{SCRIPTS}/scope/concretizer.yaml"])["concretizer"]["reuse"]
    assert reuse == {"from": [{"type": "environment", "path": "/opt/cc-images/previous"}]}
    assert json.loads(files[f"{SCRIPTS}/previous/spack.yaml"])["spack"]["specs"] == ["zip@3: +x"]


def test_the_scripts_of_python_are_ones() -> None:
    for script in (generated.FINISH_SCRIPT, generated.TARGET_SCRIPT):
        ast.parse(script)


@pytest.mark.parametrize(
    ("noted", "present", "expected"),
    [
        ({"PATH": f"/v/bin:{BEFORE}"}, {}, {"PATH": f"/v/bin:{PATH}"}),
        ({"PATH": f"/v/bin:{BEFORE}"}, {"PATH": "/x:/bin"}, {"PATH": "/v/bin:/x:/bin"}),
        ({"PATH": f"/v/bin:{BEFORE}"}, {"PATH": "/x:/v/bin:/bin"}, {"PATH": "/x:/v/bin:/bin"}),
        ({"PATH": f"/v/bin:{BEFORE}:/end"}, {"PATH": "/bin"}, {"PATH": "/v/bin:/bin:/end"}),
        ({"MANPATH": f"/v/man:{BEFORE}"}, {}, {"MANPATH": "/v/man:"}),
        ({"CMAKE_PREFIX_PATH": f"/v:{BEFORE}"}, {}, {"CMAKE_PREFIX_PATH": "/v"}),
        ({"HOME_OF_X": "/v/x"}, {"HOME_OF_X": "/old", "A": "b"}, {"HOME_OF_X": "/v/x", "A": "b"}),
    ],
)
def test_variables_are_laid_over_those_of_the_image(
    noted: dict[str, str], present: dict[str, str], expected: dict[str, str]
) -> None:
    assert variables(noted, present) == expected


STAND_IN = """
import sys, types

class Modifications:
    def group_by_name(self):
        return {"PATH": 1, "WORD": 1, "SPACK_ENV": 1, "CMAKE_PREFIX_PATH": 1, "MANPATH": 1, "AFTER": 1}
    def apply_modifications(self, found):
        found["PATH"] = "/v it's/bin:" + found["PATH"] + ":/end"
        found["WORD"] = "a b"
        found["MANPATH"] = "/v/man:" + found["MANPATH"]
        found["AFTER"] = found["AFTER"] + ":/last"
        found["CMAKE_PREFIX_PATH"] = "/v:" + found["CMAKE_PREFIX_PATH"]

environment = types.ModuleType("spack.environment")
environment.active_environment = lambda: None
environment.shell = types.SimpleNamespace(activate=lambda env: Modifications())
spack = types.ModuleType("spack")
spack.environment = environment
sys.modules |= {"spack": spack, "spack.environment": environment}
exec(open(sys.argv.pop(1)).read())
"""


def test_the_environment_is_activated_in_any_shell_once(tmp_path: Path) -> None:
    for name, text in {"finish.py": generated.FINISH_SCRIPT, "stand.py": STAND_IN}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "tree").mkdir()
    subprocess.run(
        ["python3", "stand.py", "finish.py", "tree", "note.json", "result/opt", BEFORE], cwd=tmp_path, check=True
    )
    noted = json.loads((tmp_path / "note.json").read_text())
    assert noted == {
        "AFTER": f"{BEFORE}:/last",
        "CMAKE_PREFIX_PATH": f"/v:{BEFORE}",
        "MANPATH": f"/v/man:{BEFORE}",
        "PATH": f"/v it's/bin:{BEFORE}:/end",
        "WORD": "a b",
    }
    folder = tmp_path / "result/opt"
    twice = '. ./activate.sh; . ./activate.sh; printf "%s\\n" "$PATH" "$CMAKE_PREFIX_PATH" "$WORD" "$MANPATH" "$AFTER"'
    for before in ({"PATH": "/bin"}, {"PATH": "/bin", "CMAKE_PREFIX_PATH": "/old"}):
        said = subprocess.run(
            ["/bin/sh", "-euc", twice],
            cwd=folder,
            env=before,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        old = before.get("CMAKE_PREFIX_PATH", "")
        assert said == ["/v it's/bin:/bin:/end", f"/v:{old}" if old else "/v", "a b", "/v/man:", "/last"]


WRITTEN = {"1": "a9b39cbe6d3f9b58"}
"""The digest of what is written, by the number that is part of keys."""


def test_other_texts_are_other_keys() -> None:
    """A change that gives other images raises `recipes.SCRIPTS`; one that does not has its new digest here."""
    texts = [
        *(lock_files("{}", "tool", "zen2", previous=each) for each in (False, True)),
        previous_files("{}", ["zip"]),
        {"Containerfile": image_file("tool", "runtime", "")},
        *(image_files("{}", "{}", key="key", compiles=each, jobs=2) for each in (False, True)),
    ]
    found = sha256(json.dumps([*texts, generated.APART], sort_keys=True).encode()).hexdigest()
    assert {recipes.SCRIPTS: found[:16]} == WRITTEN
