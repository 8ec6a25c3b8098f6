"""diskimage-builder: the only place that knows how disk-image-create is run, and its `DIB_*` variables.

dib stays unmodified and is run as a program.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shutil
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cc_images import foreign, process, records, toolbox_parts, twins
from cc_images.errors import CCImagesError
from cc_images.layering import LAYER_ELEMENT
from cc_images.model import Arch
from cc_images.sandbox import SYSTEM_PATH, TOOLBOX, Sandbox

PHASES = ("root", "extra-data", "pre-install", "install", "post-install", "post-root", "block-device", "pre-finalise",
          "finalise", "cleanup")  # fmt: skip
"""dib's hook phases in the order in which it runs them."""

MINUTE = 60.0
"""Seconds of a minute of a build's timeout."""

EPOCH = 1_700_000_000
"""Seconds since 1970 that reproducible tools take for the time of a build (SOURCE_DATE_EPOCH)."""

_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \| ")
_RUNNING = re.compile(r"dib-run-parts Running \S*?/([a-z-]+)\.d/(\S+)$")
_TARGET = re.compile(r"dib-run-parts Target: ([a-z-]+)\.d$")
_SECONDS = re.compile(r"dib-run-parts (\S+)\s+([\d.]+)$")
_NOISE = re.compile(r"^\++ |^dib-run-parts Sourcing |^Unmount /|State already cleaned|^\s*$")
_TELLING = re.compile(
    r"(?!W: )(?:^E: |^error: |.*\bERROR\b|.*No space left on device|.*command not found|.*: cannot |^Err:"
    r"|.*: No such file or directory|.*: Permission denied)",
    re.IGNORECASE,
)


def version() -> str:
    """Return the version of the installed dib."""
    return importlib.metadata.version("diskimage-builder")


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
            self.telling.clear()  # what a hook that succeeded has said is no cause
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
        elif _TELLING.match(text):
            self.telling.append(text.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What disk-image-create is told. `timeout` is in minutes; `offline` forbids dib to refresh its cache.

    With `layer`, the tree in that file comes first, through the element `cc-layer` in one of `folders`. With `tree` the
    result is a root tree as zstd tar and not a raw disk.
    """

    arch: Arch
    elements: tuple[str, ...]
    folders: tuple[Path, ...]
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 240
    offline: bool = False
    layer: Path | None = None
    tree: bool = False


def build(
    order: Order,
    sandbox: Sandbox,
    *,
    log: BinaryIO,
    stop: threading.Event,
    report: Callable[[str], None] = lambda hook: None,
) -> tuple[Path, Mapping[str, float]]:
    """Build a raw disk image, or a tree, in `sandbox`; return its path there and the seconds per hook.

    Raises CCImagesError with the hook that failed and the lines that tell why.
    """
    phases = Phases(report)
    name = sandbox.place(sandbox.out) / "disk"
    kind, extra = ("tar", ["cc-tree"]) if order.tree else ("raw", [])
    argv = ["disk-image-create", "-n", "-a", order.arch, "-t", kind, "--no-tmpfs", "-o", str(name)]
    if order.offline:
        argv.append("--offline")
    if order.packages:
        argv += ["-p", ",".join(order.packages)]
    # the layer first: what it provides is left out only of what dib expands after it
    first = [LAYER_ELEMENT] if order.layer else []
    environment = {
        "ELEMENTS_PATH": ":".join(str(sandbox.place(each)) for each in (*order.folders, TOOLBOX / "elements")),
        "DIB_QUIET": "0",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "CC_IMAGES_OUT": str(name.parent),
        "CC_IMAGES_TREE": str(name) if order.tree else "",
        "CC_IMAGES_LAYER": str(sandbox.place(order.layer) if order.layer else ""),
        **order.environment,
    }
    try:
        sandbox.run(
            [*argv, *first, *order.elements, *extra, "cc-build"],
            environment,
            log=log,
            timeout=order.timeout * MINUTE,
            stop=stop,
            on_line=phases.feed,
        )
    except process.TimedOut as error:
        error.message = f"dib was still in {phases.current or 'its start'} after {order.timeout} minutes"
        error.hint = "raise the image's timeout in images.yaml"
        raise
    except process.CommandFailed as error:
        raise _explained(error, phases) from error
    return left(sandbox.out / f"disk.{kind}"), phases.timings


def left(file: Path) -> Path:
    """Return a file that a build has left. Raises CCImagesError for anything but a regular file with one name."""
    try:
        status = file.lstat()
    except FileNotFoundError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        what = "left no result" if status is None else "left something else than a file"
        raise CCImagesError(
            f"the build {what} at {file.name}",
            hint="an element removes or replaces the disk that dib makes, such as no-final-image; leave it out",
            reason="no-result",
        )
    return file


def packages(out: Path) -> dict[str, str]:
    """Return the versions of the image's packages by name, from the manifest that dib left in `out`."""
    found: dict[str, str] = {}
    for manifest in out.glob("*.d/dib-manifests/dib-manifest-dpkg-*"):
        if not manifest.resolve().is_relative_to(out.resolve()):
            continue
        listed = records.found(manifest, records.ManifestShape).get("packages", [])
        found |= {
            entry["package"]: entry["version"]
            for entry in listed
            if entry.get("status", "").startswith("ii") and entry.keys() >= {"package", "version"}
        }
    return dict(sorted(found.items()))


def tools(arch: Arch, tree: bool = False) -> dict[str, str]:
    """Return what identifies the programs that change what a build results in: dib's version, the others' digests.

    `tree` leaves out what matters to disks only. For another architecture than this host's, its emulator is among them,
    and what may stand in for the image's programs.
    """
    found = {"diskimage-builder": version()}
    for name in ("mmdebstrap", "debootstrap", *(() if tree else ("mke2fs",))):
        path = shutil.which(name, path=":".join(SYSTEM_PATH))
        found[name] = _sha256(Path(path).read_bytes()) if path else "missing"
    if not tree:
        settings = Path("/etc/mke2fs.conf")
        found["mke2fs.conf"] = _sha256(settings.read_bytes()) if settings.is_file() else "missing"
    if foreign.is_foreign(arch):
        found |= {"emulator": foreign.emulator_digest(arch), "twins": twins.digest()}
    return found | {"toolbox": toolbox_parts.identity()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
