"""A real run in a real terminal: what stands on the screen while it is at work, narrow and wide, and afterwards."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.conftest import Project

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")


class Screen:
    """A tmux of its own with one window."""

    def __init__(self, folder: Path, environment: dict[str, str], columns: int, rows: int) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        environment = {name: value for name, value in environment.items() if not name.startswith("TMUX")}
        command = [*self._tmux, "new-session", "-d", "-x", str(columns), "-y", str(rows), "sh"]
        subprocess.run(command, cwd=folder, env=environment, check=True)
        self.type("PS1='$ '; clear")

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False)

    def type(self, line: str) -> None:
        subprocess.run([*self._tmux, "send-keys", line, "Enter"], check=True)

    def press(self, key: str) -> None:
        subprocess.run([*self._tmux, "send-keys", key], check=True)

    def resize(self, columns: int, rows: int) -> None:
        subprocess.run([*self._tmux, "resize-window", "-x", str(columns), "-y", str(rows)], check=True)

    def lines(self, colours: bool = False) -> list[str]:
        """Return what is on the screen, without the empty lines at its end."""
        words = ["capture-pane", "-p", *(["-e"] if colours else [])]
        said = subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True).stdout
        return said.rstrip().splitlines()

    def wait_for(self, *patterns: str, seconds: float = 60) -> list[str]:
        """Return what is on the screen once each pattern is found in a line of it, all at one time."""

        def has_all(seen: list[str]) -> bool:
            return all(any(re.search(pattern, line) for line in seen) for pattern in patterns)

        return self.wait_until(has_all, seconds)

    def wait_until(self, shown: Callable[[list[str]], bool], seconds: float = 60) -> list[str]:
        """Return what is on the screen once it is as wanted; a look may fall between two lines that are drawn anew."""
        deadline = time.monotonic() + seconds
        while not shown(seen := self.lines()):
            assert time.monotonic() < deadline, "the screen is never as wanted:\n" + "\n".join(seen)
            time.sleep(0.1)
        return seen


@pytest.fixture
def screen(project: Project) -> Iterator[Screen]:
    made = Screen(project.folder, project.environment | {"LANG": "C.UTF-8"}, 110, 30)
    yield made
    made.close()


COMMAND = f"{shlex.quote(sys.executable)} -m cc_images -b -p --no-boot-test"


def test_the_screen_shows_bars_that_fit_and_nothing_of_them_stays(project: Project, screen: Screen) -> None:
    screen.type(f"DIB_TINY_LINGER=4 {COMMAND} -t 2 cc-tiny cc-tiny-too")
    screen.wait_for(
        r"^build cc-tiny-too amd64 .*install\.d/",
        r"^build cc-tiny amd64  █*░+  0:\d\d, no earlier run  \S+$",
        r"^\d of 7 tasks  █*░+  0:\d\d \(\d tasks without an earlier run\)$",
    )
    screen.wait_for(r"^cc-images \S+ ok: 2 built, 2 pushed", seconds=240)
    screen.type("clear")
    screen.type(f"DIB_TINY_LINGER=4 {COMMAND} -f -t 2 cc-tiny cc-tiny-too")
    screen.wait_for(
        r"^build cc-tiny amd64  █+░+  0:\d\d, about 0:\d\d left  install\.d/",
        r"^\d of 7 tasks  █*░*  0:\d\d, about 0:\d\d left$",
    )
    assert "\033[36m█" in "".join(screen.lines(colours=True))
    screen.resize(44, 30)
    screen.wait_until(ends_with_cut_bars)
    screen.resize(110, 50)
    seen = screen.wait_for(
        r"^cc-images \S+ ok: 2 built, 2 pushed",
        r"^done     build cc-tiny amd64  \d+\.\d s$",
        r"^push cc-tiny amd64 to local +done",
        seconds=240,
    )
    assert not [line for line in seen if "left" in line or "█" in line], "the bars are gone"


def ends_with_cut_bars(seen: list[str]) -> bool:
    """Tell whether the bars of the run and of two builds, a line each and once each, are the last on the screen."""
    bars = [number for number, line in enumerate(seen) if re.match(r"(build cc-tiny(-too)?|\d of 7) ", line)]
    if bars != list(range(len(seen)))[-3:] or not bars:
        return False
    total, *builds = seen[-3:]
    cut = [line for line in builds if re.match(r"build cc-tiny(-too)? amd64 .*…$", line)]
    return len(cut) == 2 and re.match(r"\d of 7 tasks  █*░*  0:\d\d, ", total) is not None


def test_control_c_ends_a_run_and_leaves_a_clean_screen(project: Project, screen: Screen) -> None:
    screen.type(f"NO_COLOR=1 DIB_TINY_LINGER=3 {COMMAND} cc-tiny")
    screen.wait_for(r"^build cc-tiny amd64 .*install\.d/")
    assert "\033[3" not in "".join(screen.lines(colours=True)), "NO_COLOR"
    screen.press("C-c")
    seen = screen.wait_for(r"^cc-images \S+ interrupted: ")
    assert [line for line in seen if line.startswith("stopped  build cc-tiny amd64")]
    assert not [line for line in seen if "earlier run  " in line], "the bar is gone"
    screen.type("echo code $?")
    screen.wait_for(r"^(\$ )?code 130$")
    screen.close()
    project.assert_no_leftovers()
