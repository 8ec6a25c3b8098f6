"""diskimage-builder: the only place that knows how disk-image-create is run, and its `DIB_*` variables.

dib stays unmodified and is run as a program.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from cc_images.builders.dib import toolbox_parts, twins, watching
from cc_images.builders.dib.build_log import Phases, explained
from cc_images.builders.dib.layers import LAYER_ELEMENT
from cc_images.builders.dib.watching import NOTHING, Watch
from cc_images.clock import EPOCH
from cc_images.errors import CCImagesError, Reason
from cc_images.host import process, record_files
from cc_images.host.facts import MISSING, HostFacts
from cc_images.host.root import SYSTEM_PATH, TOOLBOX
from cc_images.host.sandbox import Sandbox
from cc_images.model import record_shapes
from cc_images.model.catalog import Arch, Format
from cc_images.model.redaction import secret_values

MINUTE = 60.0
"""Seconds of a minute of a build's timeout."""

TREE_TOOLS = ("mmdebstrap", "debootstrap")
"""Programs of the host that change what a tree is made of."""

DISK_TOOLS = ("mke2fs", "mke2fs.conf")
"""A program and its settings that change what a disk is made of besides."""

MKE2FS_SETTINGS = Path("/etc/mke2fs.conf")


def version() -> str:
    """Return the version of the installed dib."""
    return importlib.metadata.version("diskimage-builder")


class Made(Enum):
    """A result of dib: the type that it is asked for, the file's ending, and the elements that this takes."""

    DISK = ("raw", "raw")
    ASSEMBLED = ("tar", "raw", "cc-disk")
    """A disk that is put together from the finished tree; see `toolbox/disk`."""
    TREE = ("tar", "tar", "cc-tree")
    """A root tree, as zstd tar."""

    def __init__(self, kind: str, suffix: str, *elements: str) -> None:
        self.kind = kind
        self.suffix = suffix
        self.elements = elements


@dataclass(frozen=True, slots=True, kw_only=True)
class DibCommand:
    """An order to disk-image-create. `timeout` is in minutes; `offline` forbids dib to refresh its cache.

    With `layer`, the tree in that file comes first, through the element `cc-layer` in one of `folders`.
    """

    arch: Arch
    elements: tuple[str, ...]
    folders: tuple[Path, ...]
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 240
    offline: bool = False
    layer: Path | None = None
    makes: Made = Made.DISK
    secrets: tuple[str, ...] = ()
    """Variables that are declared secrets."""
    watch: Watch = NOTHING
    """What is wanted where its hooks fail, or after a phase of them."""


def build(
    order: DibCommand,
    sandbox: Sandbox,
    *,
    log: BinaryIO,
    stop: threading.Event,
    report: Callable[[str], None] = lambda hook: None,
) -> tuple[Path, Mapping[str, float]]:
    """Build a raw disk image, or a tree, in `sandbox`; return its path there and the seconds per hook.

    With `watch.until` the file is the packed tree after that phase.

    Raises CCImagesError with the hook that failed and the lines that tell why.
    """
    phases = Phases(report)
    name = sandbox.place(sandbox.out) / "disk"
    argv = ["disk-image-create", "-n", "-a", order.arch, "-t", order.makes.kind, "--no-tmpfs", "-o", str(name)]
    if order.offline:
        argv.append("--offline")
    if order.packages:
        argv += ["-p", ",".join(order.packages)]
    if options := order.environment.get("MKFS_OPTS"):  # which dib itself does not take from its environment
        argv += ["--mkfs-options", options]
    # the layer first: what it provides is left out only of what dib expands after it
    first = [LAYER_ELEMENT] if order.layer else []
    environment = {
        "ELEMENTS_PATH": ":".join(str(sandbox.place(each)) for each in (*order.folders, TOOLBOX / "elements")),
        "DIB_QUIET": "0",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "CC_IMAGES_OUT": str(name.parent),
        "CC_IMAGES_TREE": str(name) if order.makes is Made.TREE else "",
        "CC_IMAGES_RAW": f"{name}.raw" if order.makes is Made.ASSEMBLED else "",
        "CC_IMAGES_LAYER": str(sandbox.place(order.layer) if order.layer else ""),
        **({"CC_IMAGES_UNTIL": order.watch.until} if order.watch.until else {}),
        **order.environment,
    }
    words = [*argv, *first, *order.elements, *order.makes.elements, "cc-build"]
    seconds = order.timeout * MINUTE
    try:
        with order.watch.lent(sandbox):
            sandbox.run(
                order.watch.command(words, sandbox, seconds),
                environment,
                log=log,
                timeout=order.watch.timeout(seconds),
                stop=stop,
                on_line=phases.feed,
                secrets=secret_values(order.environment, order.secrets),
            )
    except process.CommandFailed as error:
        if watching.is_timeout(error, sandbox):
            raise _timed_out(order, phases, error) from error
        raise explained(error, phases, sandbox.rootless) from error
    if order.watch.until:
        return watching.stopped(order.watch.until, sandbox, phases), phases.timings
    return left(sandbox.out / f"disk.{order.makes.suffix}"), phases.timings


def _timed_out(order: DibCommand, phases: Phases, error: process.CommandFailed) -> CCImagesError:
    return CCImagesError(
        f"dib timed out after {order.timeout} minutes in {phases.where}",
        hint="raise the image's timeout in images.yaml",
        reason=Reason.TIMEOUT,
        tail=error.tail,
    )


def left(file: Path) -> Path:
    """Return a file that a build has left. Raises CCImagesError for anything but a regular file with one name."""
    try:
        status = file.lstat()
    except FileNotFoundError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        what = "left no result" if status is None else "left something other than a file"
        raise CCImagesError(
            f"the build {what} at {file.name}",
            hint="an element, such as no-final-image, removes or replaces dib's disk; leave it out",
            reason=Reason.NO_RESULT,
        )
    return file


RAMDISK: Mapping[Format, tuple[str, ...]] = {
    Format.KERNEL: ("kernel", "vmlinuz"),
    Format.INITRAMFS: ("initramfs", "initrd"),
}
"""Endings of the files that elements for ramdisks leave beside dib's own: ironic-ramdisk-base's, older ones'."""


def ramdisk(out: Path) -> dict[str, Path]:
    """Return the files of a ramdisk that elements have left; both, or none. Raises what `left` raises."""
    found: dict[str, Path] = {}
    for wanted, endings in RAMDISK.items():
        for file in (out / f"disk.{ending}" for ending in endings):
            if os.path.lexists(file):
                found.setdefault(wanted, left(file))
    return found if len(found) == len(RAMDISK) else {}


def packages(out: Path) -> dict[str, str]:
    """Return the versions of the image's packages by name, from the manifest that dib left in `out`."""
    found: dict[str, str] = {}
    for manifest in out.glob("*.d/dib-manifests/dib-manifest-dpkg-*"):
        if not manifest.resolve().is_relative_to(out.resolve()):
            continue
        listed = record_files.found(manifest, record_shapes.ManifestShape).get("packages", [])
        found |= {
            entry["package"]: entry["version"]
            for entry in listed
            if entry.get("status", "").startswith("ii") and entry.keys() >= {"package", "version"}
        }
    return dict(sorted(found.items()))


def tools(host: HostFacts, arch: Arch, tree: bool = False) -> dict[str, str]:
    """Return the tools that change what a build results in: dib's version, the others' digests.

    `tree` leaves out what matters to disks by dib only. For another architecture than the host's, its emulator is among
    them, and what may stand in for the image's programs.
    """
    found = {name: host.tools[name] for name in ("diskimage-builder", *TREE_TOOLS, *(() if tree else DISK_TOOLS))}
    if host.is_foreign(arch):
        found |= {"emulator": host.emulators[arch], "twins": host.tools["twins"]}
    return found | {"toolbox": host.tools["toolbox"]}


def tools_here() -> Mapping[str, str]:
    """Return the versions and digests of this host's tools that change what dib's builds result in."""
    found = {"diskimage-builder": version(), "toolbox": toolbox_parts.identity(), "twins": twins.digest()}
    for name in (*TREE_TOOLS, "mke2fs"):
        found[name] = _sha256(shutil.which(name, path=":".join(SYSTEM_PATH)))
    return found | {"mke2fs.conf": _sha256(MKE2FS_SETTINGS)}


def _sha256(path: str | Path | None) -> str:
    """Return the digest of a file of this host, or MISSING."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path and Path(path).is_file() else MISSING
