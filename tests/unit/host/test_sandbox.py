"""What is checked before a sandbox is entered; entering itself is in tests/real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, UserError
from cc_images.host import root


def as_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sudo: str) -> None:
    """Pretend to be an ordinary user whose sudo is this script."""
    (tmp_path / "sudo").write_text(f"#!/bin/sh\n{sudo}\n")
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(root, "why_no_namespace", lambda: "nobody has no 65536 subordinate ids in /etc/subuid")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_a_refused_sudo_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_user(monkeypatch, tmp_path, "echo 'sudo: a password is required' >&2; exit 1")
    with pytest.raises(UserError, match="`sudo -n` was refused: sudo: a password is required") as caught:
        root.require_host({"sh": "dash"})
    assert "no user namespace either: nobody has no 65536 subordinate ids" in caught.value.message
    assert "sudo -v" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_granted_sudo_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_user(monkeypatch, tmp_path, "exit 0")
    root.require_host({"sh": "dash"})
    assert root.as_root() == ("sudo", "-n", "--")


def test_a_namespace_comes_before_sudo_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_user(monkeypatch, tmp_path, "echo 'sudo: a password is required' >&2; exit 1")
    monkeypatch.setattr(root, "why_no_namespace", lambda: "")
    root.require_host({"sh": "dash"})
    assert root.as_root()[-1].endswith("rootless.py")
    with pytest.raises(UserError, match="cc-x needs the host's own root, and `sudo -n` was refused: sudo: a password"):
        root.require_host({"sh": "dash"}, hosts=["cc-x"])
    monkeypatch.setenv("CC_IMAGES_ROOT", "sudo")
    assert root.as_root() == ("sudo", "-n", "--")
    monkeypatch.setenv("CC_IMAGES_ROOT", "su")
    with pytest.raises(UserError, match="CC_IMAGES_ROOT=su is no way to root"):
        root.require_root()
    (tmp_path / "left" / "over").mkdir(parents=True)
    root.remove(tmp_path / "left")
    assert not (tmp_path / "left").exists(), "a run that is refused leaves nothing"


def test_root_is_root_where_itmay_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(root, "why_no_namespace", lambda: "")
    monkeypatch.setattr(root, "may_mount", lambda: True)
    assert root.as_root() == ()
    monkeypatch.setattr(root, "may_mount", lambda: False)
    assert root.as_root()[-1].endswith("rootless.py"), "in a container without rights"
    assert root.as_root(hosts=True) == ()


def test_every_missing_tool_is_named_with_its_package() -> None:
    with pytest.raises(
        CCImagesError, match=r"no-such-tool \(package a-package\), nor-this \(package another\)"
    ) as caught:
        root.require_host({"no-such-tool": "a-package", "sh": "dash", "nor-this": "another"})
    assert caught.value.exit_code == 3


def test_fat_needs_a_driver_or_fuse() -> None:
    assert "fusefat" not in root.build_tools(kernel_has_fat=True)
    with pytest.raises(CCImagesError, match="fusefat; this kernel has no FAT driver"):
        root.require_tools(root.build_tools(kernel_has_fat=False), ("/nowhere",))
