"""Where the tree of a build is when it is packed: dib moves it away and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.toolbox import keep


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"mnt": ["etc"]}, "mnt"),
        ({"built": ["etc"]}, "built"),
        ({"mnt": ["etc"], "built": ["tmp"]}, "mnt"),
        ({"mnt": ["lost+found"], "built": ["etc"]}, "built"),
        ({"mnt": []}, "mnt"),
    ],
)
def test_the_tree_is_where_dib_has_it(tmp_path: Path, there: dict[str, list[str]], found: str) -> None:
    for place, names in there.items():
        (tmp_path / place).mkdir()
        for name in names:
            (tmp_path / place / name).mkdir()
    assert keep.tree_of(tmp_path) == tmp_path / found


def test_what_cannot_be_packed_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOUNT", "UMOUNT", "TAR"):
        monkeypatch.setenv(f"CC_IMAGES_{name}", "false")
    monkeypatch.setenv("CC_IMAGES_ROOTLESS", "")
    monkeypatch.setenv("CC_IMAGES_CORES", "1")
    keep.keep(tmp_path, tmp_path / "build", {"phase": "install", "hook": "50-x", "code": 7})
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert '"trouble": "it cannot be packed"' in (tmp_path / "kept.json").read_text()
