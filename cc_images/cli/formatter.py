"""The help of the command line, as wide as the terminal."""

from __future__ import annotations

import argparse
import os


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, which is asked once: argparse asks for each argument, and imports shutil for it."""

    columns = 0

    def __init__(self, prog: str) -> None:
        if not Formatter.columns:
            Formatter.columns = _columns()
        super().__init__(prog, width=Formatter.columns - 2)


def _columns() -> int:
    """Return the columns of the terminal, by COLUMNS where it is set; 80 where there is none."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
