"""Patterns of the catalog: matched in bounded time."""

from __future__ import annotations

import subprocess
import sys

MATCHING = 5.0
"""Seconds that the comparison of one answer with a regular expression may take."""


def fits(pattern: str, text: str) -> bool:
    """Say whether a regular expression fits an answer: apart, since one with nested repetitions may take for ever."""
    program = "import re, sys; p, _, t = sys.stdin.read().partition('\\0'); sys.exit(not re.search(p, t, re.MULTILINE))"
    try:
        said = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program], input=f"{pattern}\0{text}", text=True, timeout=MATCHING,
            errors="replace", capture_output=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return said.returncode == 0
