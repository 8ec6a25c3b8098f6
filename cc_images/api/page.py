"""The page of a run: written from its journal."""

from __future__ import annotations

import os
from pathlib import Path

from cc_images.model.catalog import Json
from cc_images.report import html
from cc_images.store import journal


def page_path(root: Path, run: str) -> Path:
    """Return where the report of a run is."""
    return journal.folder(root) / f"{run}.html"


def write_page(root: Path, told: Json) -> Path:
    """Write the report of a run and return where it is."""
    path = page_path(root, told["run"])
    write_file(path, html.page(told))
    return path


def write_file(path: Path, text: str) -> None:
    """Write a file in one step, readable for all users."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staged.write_text(text, encoding="utf-8", errors="backslashreplace")
        staged.chmod(0o644)
        staged.rename(path)
    except OSError:
        staged.unlink(missing_ok=True)
        raise
