"""diskimage-builder: the only place that knows disk-image-create, its elements on disk and its `DIB_*` variables.

dib stays unmodified and is run as a program. Elements are read here without importing it, so that a plan costs
milliseconds and does not depend on the order of Python's sets, as dib's own expansion does.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cc_images import process
from cc_images.errors import CCImagesError, UserError
from cc_images.model import Arch
from cc_images.sandbox import SYSTEM_PATH, TOOLBOX, Sandbox

PHASES = ("root", "extra-data", "pre-install", "install", "post-install", "post-root", "block-device", "pre-finalise",
          "finalise", "cleanup")  # fmt: skip
"""dib's hook phases in the order in which it runs them."""

_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \| ")
_RUNNING = re.compile(r"dib-run-parts Running \S*?/([a-z-]+)\.d/(\S+)$")
_TARGET = re.compile(r"dib-run-parts Target: ([a-z-]+)\.d$")
_SECONDS = re.compile(r"dib-run-parts (\S+)\s+([\d.]+)$")
_NOISE = re.compile(r"^\++ |^dib-run-parts Sourcing |^Unmount /|State already cleaned|^\s*$")
_TELLING = re.compile(
    r"^E: |^error: |\bERROR\b|No space left on device|command not found|: cannot |^Err:", re.IGNORECASE
)


def version() -> str:
    """Return the version of the installed dib."""
    return importlib.metadata.version("diskimage-builder")


def own_elements() -> Path:
    """Return the folder of the elements that come with dib."""
    found = importlib.util.find_spec("diskimage_builder")
    assert found is not None, "diskimage-builder is a dependency"
    assert found.submodule_search_locations
    return Path(next(iter(found.submodule_search_locations))) / "elements"


class Elements:
    """The elements in some folders; a folder named earlier wins over a later one."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._paths: dict[str, Path] = {}
        for folder in reversed(self.folders):
            self._paths |= {entry.name: Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()}
        self._files: dict[str, Mapping[str, str]] = {}
        self._lists = functools.cache(self._read_list)

    def closure(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return all elements that dib would use, sorted: the wanted and their dependencies, less what is provided.

        Raises UserError for an element that is not there, and when none of them is an operating system. The rules are
        those of dib's element-deps and element-provides.
        """
        wanted = tuple(wanted)
        queue, seen, provided = deque((name, "") for name in wanted), set(wanted), set[str]()
        while queue:
            name, user = queue.popleft()
            if name in provided:
                continue
            if name not in self._paths:
                raise UserError(_missing(name, user), hint=_similar(name, self._paths), reason="missing-element")
            provided |= self._lists(name, "element-provides")
            for needed in sorted(self._lists(name, "element-deps") - seen - provided):
                seen.add(needed)
                queue.append((needed, name))
        if "operating-system" not in provided:
            raise UserError(
                f"none of {', '.join(wanted)} is an operating system",
                hint="name an element such as debian-minimal, or one that depends on it",
                reason="missing-element",
            )
        return tuple(sorted(seen - provided))

    def files(self, name: str) -> Mapping[str, str]:
        """Return an element's files: relative path → mode and sha256 of the content."""
        if name not in self._files:
            root = self._paths[name]
            self._files[name] = dict(sorted(_fingerprints(root, "", frozenset())))
        return self._files[name]

    def _read_list(self, name: str, file: str) -> frozenset[str]:
        try:
            return frozenset((self._paths[name] / file).read_text().split())
        except FileNotFoundError:
            return frozenset()


def _fingerprints(folder: Path, prefix: str, above: frozenset[Path]) -> Iterable[tuple[str, str]]:
    """Yield path and fingerprint of all below a folder. Links are followed, as dib does, but never in a circle.

    Of a mode only the right to execute counts, so that the umask of a checkout does not; files below `static` keep
    their modes in images, so there the whole mode counts.
    """
    above |= {folder.resolve()}
    for entry in os.scandir(folder):
        path, name = Path(entry.path), prefix + entry.name
        if entry.is_symlink():
            yield f"{name} ->", os.readlink(path)
        if entry.is_dir():
            if entry.name != "__pycache__" and path.resolve() not in above:
                yield from _fingerprints(path, f"{name}/", above)
        elif entry.is_file():
            mode = stat.S_IMODE(entry.stat().st_mode)
            shown = mode if name.startswith("static/") else 0o755 if mode & stat.S_IXUSR else 0o644
            yield name, f"{shown:o} {_sha256(path.read_bytes())}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _missing(name: str, user: str) -> str:
    return f"element {name} is not in any elements folder" + (f" (element {user} depends on it)" if user else "")


def _similar(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else "add the folder that has it to third-party.yaml"


@dataclass(slots=True)
class Phases:
    """What dib is doing, read from its output: the hook that runs, and the seconds that each hook took."""

    report: Callable[[str], None] = lambda hook: None
    current: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    telling: deque[str] = field(default_factory=lambda: deque(maxlen=5))
    """The latest lines that look like the cause of a failure."""
    _target: str = ""

    def feed(self, line: str) -> None:
        """Take note of one line of dib's output."""
        text = _STAMP.sub("", line)
        if running := _RUNNING.search(text):
            phase = running[1]
            self.current = f"{phase}.d/{running[2]}"
            if phase in PHASES:
                self.report(self.current)
        elif target := _TARGET.search(text):
            self._target = target[1]
        elif self._target and (seconds := _SECONDS.search(text)):
            # hooks inside the image appear by their path there: _tmp_in_target.d_install.d_01-x
            hook = seconds[1].rpartition(f"{self._target}.d_")[2]
            self.timings[f"{self._target}.d/{hook}"] = float(seconds[2])
        elif "END PROFILING" in text:
            self._target = ""
        elif _TELLING.search(text):
            self.telling.append(text.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What disk-image-create is told. `timeout` is in minutes; `offline` forbids dib to refresh its cache."""

    arch: Arch
    elements: tuple[str, ...]
    folders: tuple[Path, ...]
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 240
    offline: bool = False


def build(
    order: Order,
    sandbox: Sandbox,
    *,
    log: BinaryIO,
    stop: threading.Event,
    report: Callable[[str], None] = lambda hook: None,
) -> tuple[Path, Mapping[str, float]]:
    """Build a raw disk image in `sandbox`; return its path there and the seconds per hook.

    Raises CCImagesError with the hook that failed and the lines that tell why.
    """
    phases = Phases(report)
    argv = ["disk-image-create", "-n", "-a", order.arch, "-t", "raw", "--no-tmpfs", "-o", str(sandbox.out / "disk")]
    if order.offline:
        argv.append("--offline")
    if order.packages:
        argv += ["-p", ",".join(order.packages)]
    environment = {
        "ELEMENTS_PATH": ":".join(map(str, order.folders)),
        "DIB_QUIET": "0",
        "SOURCE_DATE_EPOCH": "1700000000",
        **order.environment,
    }
    try:
        sandbox.run(
            [*argv, *order.elements],
            environment,
            log=log,
            timeout=order.timeout * 60,
            stop=stop,
            on_line=phases.feed,
        )
    except process.TimedOut as error:
        error.message = f"dib was still in {phases.current or 'its start'} after {order.timeout} minutes"
        error.hint = "raise the image's timeout in images.yaml"
        raise
    except process.CommandFailed as error:
        raise _explained(error, phases) from error
    return sandbox.out / "disk.raw", phases.timings


def packages(out: Path) -> dict[str, str]:
    """Return the versions of the image's packages by name, from the manifest that dib left in `out`."""
    found: dict[str, str] = {}
    for manifest in out.glob("*.d/dib-manifests/dib-manifest-dpkg-*"):
        listed = json.loads(manifest.read_text())["packages"]
        found |= {entry["package"]: entry["version"] for entry in listed if entry["status"].startswith("ii")}
    return dict(sorted(found.items()))


def tools() -> dict[str, str]:
    """Return what identifies the programs that change what a build results in: dib's version, the others' digests."""
    found = {"diskimage-builder": version()}
    for name in ("mmdebstrap", "debootstrap", "mke2fs"):
        path = shutil.which(name, path=":".join(SYSTEM_PATH))
        found[name] = _sha256(Path(path).read_bytes()) if path else "missing"
    settings = Path("/etc/mke2fs.conf")
    found["mke2fs.conf"] = _sha256(settings.read_bytes()) if settings.is_file() else "missing"
    toolbox = sorted(path for path in TOOLBOX.iterdir() if path.is_file())
    found["toolbox"] = _sha256(b"".join(path.name.encode() + path.read_bytes() for path in toolbox))
    return found


def _explained(error: process.CommandFailed, phases: Phases) -> CCImagesError:
    cause = phases.telling[-1] if phases.telling else next((line for line in reversed(error.tail) if line), "")
    full = any("No space left on device" in line for line in (*phases.telling, *error.tail))
    tail = [text for line in error.tail if not _NOISE.search(text := _STAMP.sub("", line))]
    failure = process.CommandFailed("disk-image-create", error.code, tail, reason="disk-full" if full else "dib")
    failure.message = f"dib failed in {phases.current or 'its start'}: {_STAMP.sub('', cause)}"
    failure.hint = (
        "free space in the store and memory on the host, or set CC_IMAGES_STORE to a larger file system"
        if full
        else f"read the log around {phases.current}"
        if phases.current
        else "read the log"
    )
    return failure
