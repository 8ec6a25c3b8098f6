"""Elements have the same modes in builds, whatever the umask of the checkout was."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cc_images.builders.dib.element_modes import copy_normal, is_normal, lost, make_normal
from cc_images.builders.dib.elements import Elements
from cc_images.builders.dib.layers import inherit, write_element


def cloned(folder: Path, umask: int) -> Path:
    element = folder / f"clone-{umask:o}" / "mine"
    before = os.umask(umask)
    try:
        for name, mode in {"bin/tool": 0o777, "static/etc/x.conf": 0o666, "install.d/10-x": 0o777}.items():
            path = element / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode)
    finally:
        os.umask(before)
    (element / "install.d/20-again").symlink_to("10-x")
    (element / "static/outside").symlink_to(folder / "shared")
    return element


def modes(element: Path) -> dict[str, int]:
    return {str(path.relative_to(element)): stat.S_IMODE(path.stat().st_mode) for path in sorted(element.rglob("*"))}


def test_a_copy_is_what_another_umask_would_have_given(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("s")
    usual, private = cloned(tmp_path, 0o022), cloned(tmp_path, 0o077)
    assert (is_normal(usual), is_normal(private), is_normal(cloned(tmp_path, 0o002))) == (True, False, False)
    copy_normal(private, tmp_path / "copy")
    assert is_normal(tmp_path / "copy")
    assert modes(tmp_path / "copy") == modes(usual)
    assert os.readlink(tmp_path / "copy/install.d/20-again") == "10-x"
    assert not (tmp_path / "copy/static/outside").is_symlink()
    assert (tmp_path / "copy/static/outside").read_text() == "s"


def test_a_generated_element_is_normal_whatever_it_was_copied_from(tmp_path: Path) -> None:
    private = cloned(tmp_path, 0o077)
    make_normal(private)
    assert is_normal(private)


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    element = cloned(tmp_path, 0o077)
    (element / "static/up").symlink_to("..")
    (element / "far").symlink_to(tmp_path / "around")
    (tmp_path / "around").mkdir()
    (tmp_path / "around/back").symlink_to(tmp_path / "around")
    (element / "loop").symlink_to("loop")
    (element / "whole").symlink_to(element / "bin/tool")
    copy_normal(element, tmp_path / "copy")
    assert (tmp_path / "copy/far").is_dir()
    assert os.readlink(tmp_path / "copy/loop") == "loop"
    assert not (tmp_path / "copy/whole").is_symlink(), "its target is the original, with the original's mode"


def test_a_mode_that_was_given_on_purpose_is_named(tmp_path: Path) -> None:
    element = cloned(tmp_path, 0o022)
    assert list(lost(element)) == []
    (element / "static/etc/x.conf").chmod(0o440)
    assert list(lost(element)) == ["mine/static/etc/x.conf has the mode 0440, and builds see 0644: let a hook set it"]
    for umask in (0o077, 0o002, 0o027):
        other = cloned(tmp_path, umask)
        assert list(lost(other)) == []
        (other / "static/etc/x.conf").chmod(0o440)
        assert len(list(lost(other))) == 1


def test_the_element_of_a_layer_is_normal_in_a_private_checkout(tmp_path: Path) -> None:
    system = tmp_path / "elements/system"
    (system / "finalise.d").mkdir(parents=True)
    (system / "element-provides").write_text("operating-system\n")
    elements = Elements((tmp_path / "elements",))
    (tmp_path / "unpack").mkdir(0o700)
    before = os.umask(0o077)
    try:
        write_element(tmp_path / "layer", elements, inherit(elements, ("system",)), tmp_path / "unpack")
    finally:
        os.umask(before)
    assert is_normal(tmp_path / "layer")
