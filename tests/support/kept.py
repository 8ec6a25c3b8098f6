"""The project and the store that cc-images 0.1.0 has left, on a host with the same tools."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cc_images import clock
from cc_images.builders.dib import command
from cc_images.store.blobs import MARK

NEXT_DAY = datetime(2026, 11, 29, 3, tzinfo=UTC)
"""A day after its builds were made: they are fresh, whenever the test runs."""

TOOLS = {"diskimage-builder": "3.43.0", "toolbox": "kept"}


def kept_project(kept: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Copy both to a folder; return the variables with which cc-images works there."""
    shutil.copytree(kept / "project", folder, dirs_exist_ok=True)
    shutil.copytree(kept / "store", folder / "store")
    for blob in (folder / "store/blobs").glob("*/*/*"):
        blob.chmod(0o444)
        os.utime(blob, ns=(MARK, MARK))
    monkeypatch.setattr(clock, "now", lambda: NEXT_DAY)
    monkeypatch.setattr(command, "tools", lambda host, arch, tree=False: TOOLS)
    return {"HOME": str(folder), "CC_IMAGES_STORE": str(folder / "store"), "CC_IMAGES_SETTINGS": ""}
