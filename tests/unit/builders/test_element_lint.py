"""Elements as dib reads them: what it would pass over is said, what it would refuse is refused when planned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cc_images.builders.dib import element_files
from cc_images.builders.dib.element_files import Digests, fingerprints, mentions
from cc_images.builders.dib.element_lint import ignored_hooks, unknown_folders
from cc_images.builders.dib.elements import Elements, own_elements, with_layout
from cc_images.errors import UserError
from cc_images.host import files
from tests.conftest import REPOSITORY


def element(root: Path, name: str, files: dict[str, str] | None = None) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (files or {}).items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_hooks_that_dib_ignores_are_named_with_the_remedy(tmp_path: Path) -> None:
    hooks = ("install.d/50-agent.sh", "install.d/50-plain", "install.d/README.rst", "post-install.d/50-agent",
             "environment.d/10-x.bash", "environment.d/10 x")  # fmt: skip
    folder = element(tmp_path, "my-agent", dict.fromkeys(hooks, "#!/bin/sh\n"))
    (folder / "install.d/50-plain").chmod(0o755)
    (folder / "install.d/50-agent.sh").chmod(0o755)
    assert list(ignored_hooks(folder)) == [
        "my-agent/install.d/50-agent.sh never runs, because of its name: rename it to 50-agent",
        "my-agent/post-install.d/50-agent never runs, because it is not executable: chmod +x 50-agent",
        "my-agent/environment.d/10 x never runs, because of its name: rename it to 10",
    ]
    (folder / "instal.d").mkdir()
    assert list(unknown_folders(folder)) == ["my-agent/instal.d is no phase of dib's: nothing in it runs"]


def test_links_that_lead_nowhere_or_in_a_circle_are_told_and_harm_no_one(tmp_path: Path) -> None:
    folder = element(tmp_path, "x", {"install.d/10-x": "", "element-provides": "operating-system\n"})
    (folder / "install.d/50-gone").symlink_to("/nonexistent/hook")
    assert [each for each in ignored_hooks(folder) if "leads nowhere" in each] == [
        "x/install.d/50-gone never runs, because it is a link that leads nowhere: remove it"
    ]
    (tmp_path / "circle").symlink_to("circle")
    (folder / "static").mkdir()
    (folder / "static/circle").symlink_to("circle")
    elements = Elements((tmp_path,))
    assert elements.closure(["x"]) == ("x",)
    assert "static/circle ->" in elements.files("x")


def test_our_own_elements_have_no_such_hooks() -> None:
    root = REPOSITORY
    folders = [path for place in ("elements", "tests/elements") for path in (root / place).iterdir() if path.is_dir()]
    assert not [line for folder in folders for line in (*ignored_hooks(folder), *unknown_folders(folder))]


@pytest.fixture
def elements(tmp_path: Path) -> Elements:
    for name, provides in {"os-a": "operating-system", "os-b": "operating-system", "layout-a": "block-device",
                           "layout-b": "block-device", "plain": ""}.items():  # fmt: skip
        element(tmp_path, name, {"element-provides": provides + "\n"})
    element(tmp_path, "vm", {"element-deps": "block-device\n"})
    element(tmp_path, "with-vm", {"element-deps": "vm\n"})
    element(tmp_path, "two", {"element-deps": "plain vm\n"})
    (tmp_path / "other-name").symlink_to("plain")
    (tmp_path / "folder").mkdir()
    element(tmp_path, "odd", {"element-deps/x": ""})
    return Elements((tmp_path,))


def test_two_systems_and_two_layouts_are_refused(elements: Elements) -> None:
    with pytest.raises(UserError, match="operating-system is provided by element os-a and by element os-b"):
        elements.closure(("os-a", "os-b"))
    with pytest.raises(UserError, match="block-device is provided by element layout-a and by element layout-b"):
        elements.closure(("os-a", "layout-a", "layout-b"))
    with pytest.raises(UserError, match="element layout-a provides element block-device, which is named as well"):
        elements.closure(("os-a", "layout-a", "block-device"))


def test_vm_alone_has_dibs_default_layout() -> None:
    assert with_layout(("vm",), "amd64") == ("vm", "block-device-mbr")
    assert with_layout(("vm",), "arm64") == ("vm", "block-device-efi")
    assert with_layout(("vm", "block-device-gpt"), "amd64") == ("vm", "block-device-gpt")
    assert with_layout(("x",), "amd64") == ("x",)


def test_lists_are_read_as_dib_reads_them(elements: Elements) -> None:
    with pytest.raises(UserError, match="'plain vm' is not one name"):
        elements.closure(("os-a", "two"))
    with pytest.raises(UserError, match="element-deps is not a file"):
        elements.closure(("os-a", "odd"))
    with pytest.raises(UserError, match="element other-name is not in any elements folder"):
        elements.closure(("os-a", "other-name"))


def test_what_belongs_to_the_disk_is_found_behind_content(elements: Elements) -> None:
    assert elements.disk_part(("os-a", "with-vm")) == "vm"
    assert elements.disk_part(("os-a", "layout-a")) == "layout-a"
    assert elements.disk_part(("os-a", "plain")) == ""


def test_packages_that_leave_again_are_noticed(tmp_path: Path) -> None:
    text = "gcc:\n  build-only: {}\n"
    for name, value in {"a": "true", "b": "True", "c": "false", "d": "no"}.items():
        element(tmp_path, name, {"package-installs.yaml": text.format(value)})
    found = Elements((tmp_path,))
    assert [name for name in "abcd" if found.removes_packages(name)] == ["a", "b"]


def test_large_files_are_read_once_and_never_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = element(tmp_path, "x") / "static" / "driver"
    large.parent.mkdir()
    with large.open("wb") as file:
        file.truncate(2 << 20)
    memory, read = tmp_path / "store" / "elements.json", list[str]()

    def digest(path: Path) -> str:
        read.append(path.name)
        return files.file_digest(path)

    monkeypatch.setattr(element_files, "file_digest", digest)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read as a whole"))
    for _ in range(2):
        digests = Digests(memory)
        before = dict(fingerprints(large.parent.parent, digests))
        digests.keep()
    assert read == ["driver"]
    times = large.stat()
    with large.open("r+b") as changed:
        changed.write(b"x")
    os.utime(large, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert dict(fingerprints(large.parent.parent, Digests(memory))) != before, "the inode's own time tells"


def test_a_word_is_found_in_files_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "hook").write_text("echo $DIB_ONE_AND_MORE; echo ${DIB_ONE}")
    (tmp_path / "other").write_text("DIB_ONE_AND_MORE")
    assert [mentions(tmp_path / name, "DIB_ONE") for name in ("empty", "hook", "other")] == [False, True, False]


def test_a_device_among_an_elements_files_is_refused(tmp_path: Path) -> None:
    os.mkfifo(element(tmp_path, "x") / "pipe")
    with pytest.raises(UserError, match="is neither a file nor a folder"):
        dict(fingerprints(tmp_path / "x", Digests()))


def test_dibs_own_elements_are_read(tmp_path: Path) -> None:
    found = Elements((own_elements(),))
    for name in ("debian-minimal", "ubuntu-minimal", "vm", "block-device-efi", "package-installs"):
        assert found.files(name)
