"""Launched runs: `cc-images` in a process of its own, which outlives the program that has started it.

Each has a folder with the file `lock`, which the process holds from its first moment to its last, the run file
`run.json`, and `log`, all that it prints. A program that was killed and starts again finds there how the run stands.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cc_images.api.run_note import RunNote, read, ticks
from cc_images.errors import UserError
from cc_images.host.files import clear_errors, is_held, try_lock

LAST = 4096
"""Bytes at the end of a log that are read for its last lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A launched run as it was observed: whether its process lives, and its run file."""

    alive: bool
    note: RunNote


class Launcher:
    """Launches runs in a working folder with an environment."""

    def __init__(self, cwd: Path, environ: Mapping[str, str]) -> None:
        self._cwd = cwd
        self._environ = dict(environ)
        self._children: list[subprocess.Popen[bytes]] = []

    def launch(self, folder: Path, words: Sequence[str], files: Mapping[str, str] = MappingProxyType({})) -> bool:
        """Start `cc-images` with these words, of which the first is a verb or an option that takes no other word.

        `files` are texts that it reads, by their names in the folder; nobody else may read them. False when a run in
        this folder still lives. Raises CCImagesError when the folder cannot be written to.
        """
        with clear_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = try_lock(folder / "lock")
            if lock is None:
                return False
            try:
                (folder / "run.json").unlink(missing_ok=True)
                for name, text in files.items():
                    _write_private(folder / name, text)
                log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                try:
                    self._start([words[0], "--run-file", str(folder / "run.json"), *words[1:]], lock, log)
                finally:
                    os.close(log)
            finally:
                os.close(lock)
        return True

    def _start(self, words: Sequence[str], lock: int, log: int) -> None:
        self._children = [each for each in self._children if each.poll() is None]
        command = [sys.executable, "-P", "-m", "cc_images", *words]
        self._children.append(
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._cwd, env=self._environ,
                start_new_session=True, pass_fds=(lock,),
            )
        )  # fmt: skip

    def reap(self) -> None:
        """Let the kernel forget processes that have ended."""
        self._children = [each for each in self._children if each.poll() is None]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder of launched runs, so that no other program launches any there. Raises UserError."""
    refusal = UserError(f"another service is at work in {folder}", hint="end it first, or use another store")
    with only(folder / "lock", refusal):
        yield


@contextmanager
def only(lock: Path, refusal: UserError) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be. Raises the refusal when another program has it."""
    with clear_errors(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = try_lock(lock)
    if descriptor is None:
        raise refusal
    try:
        yield
    finally:
        os.close(descriptor)


def held(lock: Path) -> bool:
    """Say whether another program holds the lock of a file. None is made."""
    return is_held(lock)


def observe(folder: Path) -> Seen:
    """Return how a launched run stands. What a dead one has written is complete."""
    alive = False
    with suppress(FileNotFoundError):
        alive = is_held(folder / "lock")
    return Seen(alive=alive, note=read(folder / "run.json"))


def stop(folder: Path) -> bool:
    """Ask the process of a launched run to stop, and say whether that was possible; a second time ends it at once."""
    note = read(folder / "run.json")
    if not note.pid or ticks(note.pid) != note.ticks:
        return False
    with suppress(ProcessLookupError):
        os.kill(note.pid, signal.SIGTERM)
        return True
    return False


def remove(folder: Path) -> bool:
    """Remove the folder of a launched run that is over; False when its process lives.

    Raises CCImagesError when that is not possible.
    """
    with clear_errors(folder):
        if not folder.exists():
            return True
        lock = try_lock(folder / "lock")
        if lock is None:
            return False
        try:
            shutil.rmtree(folder)
        finally:
            os.close(lock)
    return True


def last_lines(folder: Path, most: int = 1) -> list[str]:
    """Return the last lines that a launched run has printed."""
    with suppress(OSError), (folder / "log").open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - LAST))
        return log.read().decode(errors="replace").strip().splitlines()[-most:]
    return []


def _write_private(path: Path, text: str) -> None:
    """Write a file that was not there before, so that it is nobody else's."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
