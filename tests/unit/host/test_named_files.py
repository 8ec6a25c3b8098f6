"""Files that variables name: every existing path in a value counts, and nothing of the system itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cc_images.config.variables import expanded
from cc_images.errors import UserError
from cc_images.host.named_files import missing_files, named_files, stamp


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "layout.yaml"
    path.write_text("64MiB")
    return path


@pytest.mark.parametrize(
    "value",
    ["file://{}", "--keyring={}", "--a {} --b", "/nowhere,{}", "/nowhere:{}", "deb [signed-by={}] http://m x", "x={}",
     "'{}'", '["{}"]', "{}:ro", "first\n{}\nlast"],
)  # fmt: skip
def test_a_path_anywhere_in_a_value_counts(file: Path, value: str) -> None:
    assert named_files({"DIB_X": value.format(file)}) == {f"DIB_X {file}": file}


def test_a_value_that_is_a_path_counts_by_the_variable_alone(tmp_path: Path, file: Path) -> None:
    odd = tmp_path / "a b, c"
    odd.mkdir()
    assert named_files({"DIB_A": str(file), "DIB_B": str(odd)}) == {"DIB_A": file, "DIB_B": odd}


@pytest.mark.parametrize(
    "value",
    ["/", "/proc", "/proc/1/environ", "/dev/zero", "/usr", "/etc", "https://m.invalid/etc/hostname", "a/etc/hostname",
     "/nowhere/at/all", "", "\0", "/" * 5000, "http://127.0.0.1:99999/etc/passwd"],
)  # fmt: skip
def test_what_is_no_input_is_not_walked(value: str) -> None:
    began = time.process_time()
    assert named_files({"DIB_X": value}) == {}
    assert time.process_time() - began < 1


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert named_files({"DIB_X": str(tmp_path / "pipe")}) == {}


def test_an_edit_changes_the_stamp(file: Path) -> None:
    before = stamp(file)
    file.write_text("128MiB")
    assert stamp(file) != before


def test_a_folder_of_too_many_files_is_refused(file: Path) -> None:
    (file.parent / "two").touch()
    with pytest.raises(UserError, match="has more than 1 files"):
        stamp(file.parent, most=1)


def test_files_of_an_address_that_are_not_here_are_named() -> None:
    said = missing_files({"DIB_X": "file:///nowhere/x.yaml", "DIB_Y": "/opt/in/the/image"})
    assert said == ["DIB_X names /nowhere/x.yaml, which this host does not have"]


def test_homes_and_relative_paths_are_made_absolute(file: Path, tmp_path: Path) -> None:
    values = {"A": "~/.ssh/id.pub", "B": "./layout.yaml", "C": "./not-here", "D": "~user/x", "E": "a/b"}
    assert expanded(values, Path("/home/me"), tmp_path) == values | {
        "A": "/home/me/.ssh/id.pub", "B": str(file)
    }  # fmt: skip
