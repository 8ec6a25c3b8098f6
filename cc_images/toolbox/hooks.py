"""Hooks of a build that ask: runs dib, and answers what the element cc-debug says through a pipe beside the hooks.

    hooks.py [--shell SOCKET] [--keep FOLDER [--only-until]] [--seconds N] COMMAND…

The element says which hook begins, which one has failed, and that the hooks of the phase to stop after are over; what
is in `asking` says the same of dib's installation of packages. A hook that failed opens a shell for the user at SOCKET
(see `shells`). One that stays failed, a build that takes longer than N seconds, and one that has come to that phase
leave their tree in FOLDER (see `keep`); with --only-until the last one alone.

Exit code: the command's, 128 + signal when it was killed; 0 when it was stopped after the phase, 124 when it
took too long. Runs as a script with the standard library only.
"""

from __future__ import annotations

import argparse
import glob
import math
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc_images.toolbox import keep, shells
else:  # a script
    import keep
    import shells

BUILDS = "/tmp/dib_build.*"
"""Where dib builds: `hooks`, and the tree in `mnt` or `built`."""

TOOK_TOO_LONG = 124

TICK = 0.2


def main(words: list[str]) -> int:
    """Run the command, and answer each hook that asks."""
    options = _options(words)
    ends = time.monotonic() + options.seconds
    asking = str(Path(__file__).with_name("asking"))
    environment = {**os.environ, "PATH": f"{asking}:{os.environ['PATH']}"}
    child = subprocess.Popen(options.command, stdin=subprocess.DEVNULL, env=environment)
    hook, folder, pipe, said = "", "", None, b""
    while child.poll() is None:
        if time.monotonic() > ends:
            os.kill(-1, signal.SIGSTOP)  # every process of the sandbox but this one and its first
            _keep(options, None, hook, folder)
            return TOOK_TOO_LONG
        if pipe is None:
            pipe = _pipe()
            time.sleep(0 if pipe is not None else TICK)
            continue
        if not select.select([pipe], [], [], TICK)[0]:
            continue
        *lines, said = (said + os.read(pipe, 4096)).split(b"\n")
        for line in lines:
            word, code, hook, folder = line.decode().split(" ", 3)
            if word == "over":
                _keep(options, None, hook, folder)
                return 0
            if word == "failed":
                _answer(_next(options, int(code), hook, folder))
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _options(words: list[str]) -> argparse.Namespace:
    made = argparse.ArgumentParser(allow_abbrev=False)
    made.add_argument("--shell", default="")
    made.add_argument("--keep", default="")
    made.add_argument("--only-until", action="store_true")
    made.add_argument("--seconds", type=float, default=math.inf)
    made.add_argument("command", nargs=argparse.REMAINDER)
    return made.parse_args(words)


def _pipe() -> int | None:
    """Return the pipe through which hooks ask, once it is there; opened both ways, so that it never ends."""
    found = glob.glob(f"{BUILDS}/hooks/cc-ask")
    return os.open(found[0], os.O_RDWR) if found else None


def _answer(word: str) -> None:
    Path(glob.glob(f"{BUILDS}/hooks/cc-answer")[0]).write_text(f"{word}\n")


def _next(options: argparse.Namespace, code: int, hook: str, folder: str) -> str:
    """Return how a build goes on after a hook that failed: `retry`, `continue` or `fail`."""
    word = "fail"
    if options.shell:
        word = shells.shell(options.shell, Path(glob.glob(f"{BUILDS}/hooks")[0]), hook, code, folder)
    if word not in ("retry", "continue") and not options.only_until:
        _keep(options, code, hook, folder)
    return word


def _keep(options: argparse.Namespace, code: int | None, hook: str, folder: str) -> None:
    """Keep the tree, if that is wanted and there is one; what is in the folder says whether it is kept."""
    builds = glob.glob(BUILDS)
    if options.keep and builds:
        phase = os.path.basename(folder).removesuffix(".d")
        keep.keep(Path(options.keep), Path(builds[0]), {"phase": phase, "hook": hook, "code": code})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
