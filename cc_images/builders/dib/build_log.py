"""The output of a dib run: which hook runs, how long each took, and why the last one failed.

A hook's own last line is the cause, unless it only says that something failed: then the line that says why. What dib
prints while it clears up is no cause. Lines are shortened before patterns see them, so that none costs more than its
length.
"""

from __future__ import annotations

import re
import signal
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cc_images.errors import CCImagesError, Reason
from cc_images.host import process
from cc_images.model.phases import PHASES

ON_DISK = frozenset({"block-device", "pre-finalise", "finalise", "cleanup"})
"""Phases in which the tree lies on the image's own file system."""

LONGEST = 500
"""Characters of a line that are looked at."""

REMEMBERED = 60
"""Lines of the hook that runs."""

_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \| ")
_RUNNING = re.compile(r"^dib-run-parts Running (\S+)$")
_TARGET = re.compile(r"^dib-run-parts Target: ([a-z-]+)\.d$")
_SECONDS = re.compile(r"^dib-run-parts (\S+)\s+([\d.]+)$")
_NOISE = re.compile(r"^\++ |^dib-run-parts |^\s*$|^(?:INFO|DEBUG) diskimage_builder")
_CLEARING = re.compile(
    r"^Unmount /|State already cleaned|^Cleaning up |^kill(?:ing)? chroot processes|^Mountpoint .* skipping$",
    re.IGNORECASE,
)

_VAGUE = re.compile(
    "|".join(
        (
            r"^E: mmdebstrap failed|^E: setup failed|^E: (?:apt-get|run_chroot|env) |^E: Sub-process ",
            r"^E: Failed to fetch .*Hash|^E: Some index files failed|^E: Unable to fetch some archives",
            r"^tar: (?:Error is not recoverable|Exiting with failure)|^tar: Child returned status",
            r"^npm (?:ERR!|error) (?:A complete log|\s+/|$)|^make(?:\[\d+\])?: \*\*\* |^Traceback",
            r"^Errors were encountered|^dpkg: error processing|^subprocess\.CalledProcessError",
            r"returned (?:a )?non-zero exit status|^gzip: stdin|^xz: \(stdin\)|^fatal: could not fetch",
            r"^Error: Process completed|^I: (?:main|done|cleanup)|^W: |^N: |^\s+(?:File |at |\^)|^Killed$",
            r"^\S+ ended with \d+$",
            r"^(?:Exit|exit|Error|ERROR|failed|FAILED)\W*\d*$",
        )
    )
)
"""Lines that say that something failed, and not why."""

_TELLING = re.compile(
    r"error|fail|fatal|exception|cannot|can.t\b|could not|unable|not found|no such|denied|invalid|unbound|refuse"
    r"|expired|missing|unknown|unexpected|time.?out|timed out|mismatch|conflict|abort|panic|broken|\bnot\b|\bno\b"
    r"|^E:|^ERR|line \d+:|^\w[\w.-]*: |[A-Z]\w+(?:Error|Exception)",
    re.IGNORECASE,
)
"""Signs of a line that says why something went wrong; a line without one only happens to be the last."""

_PASSING = re.compile(
    r"Temporary failure resolving|Connection (?:timed out|refused|reset)|Network is unreachable|Hash Sum mismatch"
    r"|File has unexpected size|[Mm]irror sync in progress|\b(?:502|503|504) +[A-Z]|\b429 +Too Many"
)
"""Causes that are gone after a while: the network, or a mirror in the middle of an update."""

_HOSTS_ROOT = re.compile(
    r"Operation not permitted|takes the host's own root|must be superuser|chown: .*Invalid argument"
)

_REASONS: tuple[tuple[str, str], ...] = (
    (
        r"NO_PUBKEY|no public key|public key is not available|is not signed",
        "the repository is signed by a key that the build does not have: an artifact with the keyring makes it known,"
        " or the package that has it on this host (docs/adding-an-image.md)",
    ),
    (
        r"Release file .* (?:is expired|is not valid yet)|expired \(invalid since",
        "the mirror serves an old state, or this host's clock is wrong: use another mirror, or set the clock",
    ),
    (
        r"\b404 +Not Found|does not have a Release file|error: 404",
        "the address does not exist on the server: check release, component and mirror",
    ),
    (
        r"Could not resolve|Temporary failure resolving|Name or service not known|Could not connect|Connection refused"
        r"|Connection timed out|Network is unreachable",
        "check the network, the proxies and the address",
    ),
    (
        r"Unable to locate package|has no installation candidate|Couldn't find any package",
        "check the name of the package, and that the sources of the release have it",
    ),
)
"""Lines that say why, and what to do."""


@dataclass(slots=True)
class Phases:
    """The progress of dib, read from its output: the hook that runs, and the seconds that each hook took."""

    report: Callable[[str], None] = lambda hook: None
    current: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    said: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """The latest lines of the hook that runs, without those of dib."""
    _target: str = ""
    _clearing: bool = False
    _ended: bool = False
    """Whether the phase is over: until the next one dib itself is at work, which copies the tree into the disk."""

    def feed(self, line: str) -> None:
        """Take note of one line of dib's output."""
        stamp = _STAMP.match(line[:LONGEST])
        shown = line.rstrip("\r").rpartition("\r")  # what overwrote what a program had shown of its progress
        text = shown[2][:LONGEST] if shown[1] else _STAMP.sub("", line[:LONGEST])
        text = _STAMP.sub("", text) if stamp else text
        if running := _RUNNING.match(text):
            self._begin(running[1])
        elif target := _TARGET.match(text):
            self._target = target[1]
        elif self._target and (seconds := _SECONDS.match(text)):
            # hooks inside the image appear by their path there: _tmp_in_target.d_install.d_01-x
            hook = seconds[1].rpartition(f"{self._target}.d_")[2]
            self.timings[f"{self._target}.d/{hook}"] = float(seconds[2])
        elif "END PROFILING" in text:
            self._target, self._ended = "", True
            self.said.clear()
        elif _CLEARING.search(text):
            self._clearing = not (self._ended and text.startswith("Unmount"))
        elif not (self._clearing or _NOISE.match(text)):
            self.said.append(text.strip())

    def _begin(self, path: str) -> None:
        folder, _, hook = path.rpartition("/")
        phase = folder.rpartition("/")[2].removesuffix(".d")
        if not folder.endswith(".d") or phase not in PHASES:
            return
        self._clearing = self._ended = False  # dib unmounts between phases, too
        self.current = f"{phase}.d/{hook}"
        self.said.clear()  # what a hook that succeeded has said is no cause
        self.report(self.current)

    @property
    def where(self) -> str:
        """The hook that runs, or between which of them dib is, for people."""
        if self._ended:
            return f"its own work after {self.current.partition('/')[0]}"
        return self.current or "its start"

    @property
    def on_disk(self) -> bool:
        """Whether what is written now is written to the image's own file system."""
        return self.current.partition(".d/")[0] in ON_DISK


def explained(error: process.CommandFailed, phases: Phases, rootless: bool = False) -> CCImagesError:
    """Return the failure of a dib run in words: the hook, its cause, and what to do."""
    where = phases.where
    cause, hint = cause_of(phases.said)
    tail = [
        text for line in error.tail if not _NOISE.match(text := _STAMP.sub("", line)) and not _CLEARING.search(text)
    ]
    reason = Reason.DIB
    if not cause and error.code > 128:
        number = error.code - 128
        cause = f"was killed by signal {number}" + (" (memory?)" if number == signal.SIGKILL else "")
    elif not cause:
        cause = f"ended with code {error.code} and printed nothing"
    elif not _TELLING.search(cause):
        cause = f"ended with code {error.code} and gave no reason; its last line: {cause}"
    full = next(
        (line for line in phases.said if "No space left on device" in line or "write error: No space" in line), ""
    )
    if full:
        cause = full
        if phases.on_disk or "/mnt/" in full:
            reason, hint = (
                Reason.IMAGE_FULL,
                "the image's own file system is full: raise DIB_IMAGE_SIZE, or its partition's size",
            )
        else:
            reason = Reason.DISK_FULL
            hint = "free space in the store and memory on the host, or set CC_IMAGES_STORE to a larger file system"
    if rootless and not hint and any(_HOSTS_ROOT.search(line) for line in phases.said):
        hint = "a user namespace has no nodes, disks and ids above 65536; CC_IMAGES_ROOT=sudo builds as the host's root"
    around = f"read the log around {phases.current}" if phases.current and phases.current in where else "read the log"
    passing = reason is Reason.DIB and bool(_PASSING.search(cause))
    message = f"dib failed in {where}: {cause}"
    return CCImagesError(message, hint=hint or around, reason=reason, tail=tail or [cause], temporary=passing)


def cause_of(said: Iterable[str]) -> tuple[str, str]:
    """Return the line that says why a hook failed, and what to do about it if that is known; empty for silence."""
    lines = [line for line in said if line]
    for pattern, hint in _REASONS:
        if (last := lines[-1:]) and not _VAGUE.search(last[0]) and not re.search(pattern, last[0]):
            continue
        for line in reversed(lines):
            if re.search(pattern, line):
                return line, hint
    telling = next((line for line in reversed(lines) if not _VAGUE.search(line)), "")
    return telling or (lines[-1] if lines else ""), ""
