"""One outside command: argv list, explicit environment, log file, time-out; its whole process tree ends.

Owns subprocesses. Commands get no terminal and no shell; their standard input is a pipe that stays open for as long as
cc-images lives, so a child may take its closing as the order to end; or some bytes, and then its end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.model.plain_text import clean
from cc_images.model.stop import Stop

GRACE = 15.0
"""Seconds that a command has to end after it was asked, before it is killed."""

TAIL = 200
"""Lines of output that an error carries."""

LINE = 2000
"""Characters of a line that readers other than the log get."""

LOG = 256 << 20
"""Bytes of output that a log takes; the last lines stand at its end in any case."""

CHUNK = 1 << 16

MASK = b"***"
"""The stand-in for a secret."""


class CommandFailed(CCImagesError):
    """A command ended with a code other than 0. `tail` holds its last lines of output."""

    def __init__(
        self, program: str, code: int, tail: Sequence[str], *, message: str = "", reason: Reason = Reason.COMMAND
    ) -> None:
        last = next((f": {line.strip()}" for line in reversed(tail) if line.strip()), "")
        super().__init__(message or f"{program} ended with code {code}{last}", reason=reason, tail=tail)
        self.code = code


class TimedOut(CommandFailed):
    """A command was ended because it took too long."""

    def __init__(self, program: str, seconds: float, tail: Sequence[str]) -> None:
        message = f"{program} timed out after {seconds:.0f} seconds"
        super().__init__(program, -signal.SIGKILL, tail, message=message, reason=Reason.TIMEOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the output of a command goes, standard error included.

    `on_line` sees every line as it comes. `secrets` are masked before anybody sees the output, the log included.
    """

    log: BinaryIO | None = None
    on_line: Callable[[str], None] = lambda line: None
    secrets: Sequence[str] = ()
    limit: int = LOG
    """Bytes that the log takes; the last lines stand at its end in any case."""


SILENT = Output()


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    stop: Stop | None = None,
    output: Output = SILENT,
    die_with_us: bool = True,
    fed: bytes | None = None,
) -> str:
    """Run a command to its end and return the last lines of its output.

    `timeout` is in seconds. `fed` is all that stands on its standard input; it touches no disk. With `die_with_us` the
    kernel kills the command when the calling thread ends; leave it out only for a command that watches its standard
    input itself.

    Raises CommandFailed, TimedOut, Interrupted (when `stop` was set), and CCImagesError when the program is missing.
    """
    program = Path(argv[0]).name
    prefix = ["setpriv", "--pdeathsig", "KILL", "--"] if die_with_us else []
    search = (os.environ if env is None else env).get("PATH")
    if shutil.which(argv[0], path=search) is None:
        raise CCImagesError(
            f"the program {program} is missing",
            hint=f"install the package that has {program}, or run `make setup`",
            reason=Reason.MISSING_TOOL,
        )
    with nullcontext(subprocess.PIPE) if fed is None else _in_memory(fed) as stdin:
        process = subprocess.Popen(
            [*prefix, *argv],
            env=env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    reading = _Output(output)
    why = _awaited(process, reading, timeout, stop)
    if reading.troubles:
        raise reading.troubles[0]
    if why == "stopped":
        raise Interrupted(f"{program} was stopped")
    if why == "expired":
        raise TimedOut(program, timeout or 0, reading.tail)
    if process.returncode != 0:
        raise CommandFailed(program, process.returncode, reading.tail)
    return "\n".join(reading.tail)


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """Give a descriptor from which some bytes can be read; they lie in memory alone."""
    with open(os.memfd_create("input"), "w+b") as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


def _awaited(process: subprocess.Popen[bytes], reading: _Output, timeout: float | None, stop: Stop | None) -> str:
    """Read a command's output until its end; return why it was ended before, `stopped` or `expired`, or nothing."""
    assert process.stdout is not None
    reader = threading.Thread(target=reading.read, args=(process.stdout.fileno(),), daemon=True)
    reader.start()
    deadline = None if timeout is None else time.monotonic() + timeout
    why = ""
    try:
        while process.poll() is None and not (why or reading.troubles):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
            if stop is not None and stop.is_set():
                why = "stopped"
            elif deadline is not None and time.monotonic() > deadline:
                why = "expired"
    finally:
        if process.poll() is None:
            end(process)
        if process.stdin is not None:
            process.stdin.close()
        while reader.is_alive():  # a process that still holds the pipe keeps it open; what is in it belongs to the log
            before = reading.taken
            reader.join(GRACE)
            if reading.taken == before:
                break
    return why


def start(argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command that runs beside this thread and dies with it; `end` ends it. Its output goes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            env=env,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command and its process group: by closing its input and asking, and by SIGKILL after a while."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):  # behind sudo it is root's, and watches its input
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return


class _Output:
    """The output of a command: to the log as it is, to a listener line by line, and the last lines for an error."""

    def __init__(self, output: Output) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.troubles: list[Exception] = []
        self.taken = 0
        self._log, self._on_line, self._limit = output.log, output.on_line, output.limit
        self._secrets = sorted((each.encode() for each in output.secrets), key=len, reverse=True)
        self._held = b""

    def read(self, descriptor: int) -> None:
        """Read to the end, also after a trouble with the log or a listener: else the command would wait for ever."""
        begun = bytearray()
        while chunk := os.read(descriptor, CHUNK):
            self.taken += len(chunk)
            if self.troubles:
                continue
            try:
                chunk = self._masked(chunk)
                self._keep(chunk)
                *ended, last = chunk.split(b"\n")
                for part in ended:
                    self._say(bytes(begun) + part[:LINE])
                    begun.clear()
                begun += last[: max(0, LINE * 4 - len(begun))]
            except (OSError, ValueError) as error:  # a full disk, a closed terminal
                self.troubles.append(error)
        try:
            begun += self._held
            if self._log is not None and self._held:
                self._log.write(self._held)
            if begun and not self.troubles:
                self._say(bytes(begun))
            if self._log is not None and self.taken > self._limit:
                self._log.write("\n".join(("", *self.tail, "")).encode())
        except (OSError, ValueError) as error:
            self.troubles.append(error)

    def _masked(self, chunk: bytes) -> bytes:
        """Return output without the secrets; what may be the beginning of one is held back until more comes."""
        if not self._secrets:
            return chunk
        text, self._held = self._held + chunk, b""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        most = max(map(len, self._secrets)) - 1
        for length in range(min(most, len(text)), 0, -1):
            if any(secret.startswith(text[-length:]) for secret in self._secrets):
                self._held, text = text[-length:], text[:-length]
                break
        return text

    def _keep(self, chunk: bytes) -> None:
        if self._log is None or self.taken - len(chunk) > self._limit:
            return
        self._log.write(chunk)
        if self.taken > self._limit:
            self._log.write(
                f"\n… more than {self._limit >> 20} MiB: what follows is left out but for the last lines\n".encode()
            )
        self._log.flush()

    def _say(self, raw: bytes) -> None:
        line = clean(raw[: LINE * 4]).rstrip("\r")
        line = line if len(line) <= LINE else f"{line[:LINE]}…"
        self.tail.append(line)
        self._on_line(line)
