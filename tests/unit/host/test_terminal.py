"""Unit tests of lending the user's terminal to a shell in a sandbox."""

from __future__ import annotations

import os
import socket
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cc_images.host.terminal import lent


def test_what_was_typed_before_a_shell_is_there_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two shells the terminal is in its own mode; its bytes stay when that changes, if nobody flushes."""
    person, terminal = os.openpty()
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, SimpleNamespace(fileno=lambda: terminal))
    before = termios.tcgetattr(terminal)
    try:
        os.write(person, b"retry\r")
        echo = b""
        while not echo.endswith(b"\n"):  # the kernel takes what was typed a moment later
            echo += os.read(person, 100)
        with lent(tmp_path / "shell"), socket.socket(socket.AF_UNIX) as shell:
            shell.settimeout(20)
            shell.connect(str(tmp_path / "shell"))
            shell.sendall(b"\n")
            said = b""
            while not said.endswith(b"retry\n"):
                said += shell.recv(100)
        deadline = time.monotonic() + 20
        while termios.tcgetattr(terminal) != before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(person)
        os.close(terminal)
