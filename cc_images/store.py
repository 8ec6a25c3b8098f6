"""The store: everything that cc-images keeps, and the rules that make it survive a kill at any moment.

    blobs/sha256/ab/ab12…               immutable files, named by the digest of their content
    builds/<tag>/<arch>/<version>.json  one record a build, written last
    images/<Name>[-ARM64].<suffix>      names for people: links to the newest blobs
    sources/                            git mirrors and checkouts of third-party elements
    logs/<run>/<task>.log               one a task
    runs/<run>.json                     journal of a run: plan, results, timings
    work/<run>/…                        private to a run, locked while it lives, reaped when it is dead
    locks/                              one file a lock

Files are staged below work/, flushed to disk, then renamed: a blob exists whole or not at all, and a record names only
blobs that exist. A run holds `work/<run>/lock`, and each sandbox of it `work/<run>/guards`, so that the next run can
tell a dead run from one whose sandboxes are still being taken down.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cc_images.errors import CCImagesError, Interrupted
from cc_images.model import VERSION_FORMAT, Arch, Build, Format, Json

CHUNK = 1 << 20
GUARD_WAIT = 60.0
"""Seconds that a dead run's sandboxes get to disappear; the kernel takes well under one."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file in the store: its digests and its size in bytes."""

    path: Path
    digest: str
    sha512: str
    size: int


class Run:
    """One run's identity and private folder; holds the run's lock until `close`."""

    def __init__(self, version: str, work: Path, logs: Path) -> None:
        self.version = version
        self.work = work
        self.logs = logs
        self._lock = _locked(work / "lock", fcntl.LOCK_EX)

    def log_path(self, task: str) -> Path:
        """Return the log file of a task."""
        return self.logs / f"{task.replace('/', '_').replace(' ', '-')}.log"

    def workspace(self, tag: str, arch: Arch) -> Path:
        """Return the folder in which one image is built and converted."""
        return self.work / f"{tag}-{arch}"

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)


class Store:
    """The folder `root`; made when it is first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- runs ---------------------------------------------------------------------------------------------------

    def start_run(self, now: datetime) -> Run:
        """Return a new run named after `now` (UTC, whole seconds; `.002`, `.003` … for more within one second).

        Raises CCImagesError when the store cannot be written to.
        """
        stamp = now.astimezone(UTC).strftime(VERSION_FORMAT)
        with clear_errors(self.root), self.lock("runs"):
            taken = {path.name for path in [*(self.root / "work").glob("*"), *(self.root / "logs").glob("*")]}
            names = (stamp if n == 1 else f"{stamp}.{n:03}" for n in range(1, 1000))
            version = next(name for name in names if name not in taken)
            work, logs = self.root / "work" / version, self.root / "logs" / version
            work.mkdir(parents=True)
            logs.mkdir(parents=True)
            return Run(version, work, logs)

    def knows(self, run: str) -> bool:
        """Say whether a run was one of this store's."""
        return not run or (self.root / "logs" / run).is_dir()

    def reap(self, remove: Callable[[Path], None]) -> list[str]:
        """Remove the folders of dead runs with `remove`, and return their names. Living runs are not touched."""
        reaped: list[str] = []
        if not (self.root / "work").is_dir():
            return reaped
        with clear_errors(self.root), self.lock("runs"):
            for work in sorted(path for path in (self.root / "work").iterdir() if path.is_dir()):
                if (lock := _try_lock(work / "lock")) is None:
                    continue
                try:
                    _wait_for_guards(work)
                    remove(work)
                    reaped.append(work.name)
                finally:
                    os.close(lock)
        return reaped

    def journal_path(self, run: Run) -> Path:
        """Return where a run's journal is."""
        return self.root / "runs" / f"{run.version}.json"

    def finish_run(self, run: Run, journal: Json, remove: Callable[[Path], None]) -> None:
        """Remove the run's private folder, write its journal, let go of its lock."""
        try:
            _wait_for_guards(run.work)
            remove(run.work)
            with clear_errors(self.root):
                write_json(self.journal_path(run), journal)
        finally:
            run.close()

    @contextmanager
    def lock(
        self, name: str, waiting: Callable[[], None] = lambda: None, stop: threading.Event | None = None
    ) -> Iterator[None]:
        """Hold the store's lock `name`; `waiting` is called once when another process has it.

        Raises Interrupted when `stop` is set while it waits.
        """
        path = self.root / "locks" / name.replace("/", "_").replace(" ", "-")
        with clear_errors(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            told = False
            while (descriptor := _try_lock(path)) is None:
                if not told:
                    waiting()
                told = True
                if stop is not None and stop.is_set():
                    raise Interrupted("waiting for another run was ended")
                time.sleep(0.05)
        try:
            yield
        finally:
            os.close(descriptor)

    # -- blobs --------------------------------------------------------------------------------------------------

    def blob_path(self, digest: str) -> Path:
        """Return where the blob with this digest is, or would be."""
        return self.root / "blobs" / "sha256" / digest[:2] / digest

    def add(self, staged: Path) -> Blob:
        """Take over a file that is complete and lies on the store's file system: hash, flush, rename."""
        sha256, sha512, size = hashlib.sha256(), hashlib.sha512(), 0
        with clear_errors(self.root):
            with staged.open("rb") as file:
                while chunk := file.read(CHUNK):
                    sha256.update(chunk)
                    sha512.update(chunk)
                    size += len(chunk)
                os.fsync(file.fileno())
            path = self.blob_path(sha256.hexdigest())
            path.parent.mkdir(parents=True, exist_ok=True)
            staged.chmod(0o444)
            staged.rename(path)
            _flush_folder(path.parent)
        return Blob(path, sha256.hexdigest(), sha512.hexdigest(), size)

    def free_bytes(self) -> int:
        """Return how much the store's file system has left, in bytes."""
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        return shutil.disk_usage(folder).free

    # -- builds -------------------------------------------------------------------------------------------------

    def builds(self, tag: str, arch: Arch) -> Iterator[Build]:
        """Yield the recorded builds of an image whose blobs exist, newest first. Unreadable records are passed over."""
        records = (self.root / "builds" / tag / arch).glob("*.json")
        for path in sorted(records, key=lambda record: record.stem, reverse=True):
            with suppress(ValueError, KeyError, TypeError, AttributeError, OSError):
                build = Build.from_json(json.loads(path.read_text()))
                sizes = [(self.blob_path(output.digest), output.size) for output in build.outputs.values()]
                if sizes and all(blob.is_file() and blob.stat().st_size == size for blob, size in sizes):
                    yield build

    def build(self, tag: str, arch: Arch, version: str) -> Build | None:
        """Return one build by its version."""
        return next((build for build in self.builds(tag, arch) if build.version == version), None)

    def record(self, build: Build, published_name: str) -> None:
        """Write or replace a build's record, then point the human names at its blobs."""
        folder = self.root / "builds" / build.tag / build.arch
        with clear_errors(self.root):
            write_json(folder / f"{build.version}.json", build.as_json())
            newest = next(self.builds(build.tag, build.arch), None)
            if newest is None or newest.version != build.version:
                return
            _point(folder / "current", Path(f"{build.version}.json"))
            for disk_format in set(Format) - set(build.outputs):
                if disk_format.suffix not in {output.format.suffix for output in build.outputs.values()}:
                    self.image_link(published_name, disk_format).unlink(missing_ok=True)
            for output in build.outputs.values():
                link = self.image_link(published_name, output.format)
                _point(link, Path(os.path.relpath(self.blob_path(output.digest), link.parent)))

    def image_link(self, published_name: str, disk_format: Format) -> Path:
        """Return the name for people of an image's newest output."""
        return self.root / "images" / f"{published_name}.{disk_format.suffix}"

    def forget(self, build: Build) -> None:
        """Remove a build's record, and the blobs that no other record names."""
        (self.root / "builds" / build.tag / build.arch / f"{build.version}.json").unlink(missing_ok=True)
        others = [path.read_text() for path in (self.root / "builds").glob("*/*/*.json") if path.is_file()]
        for output in build.outputs.values():
            if not any(output.digest in other for other in others):
                self.blob_path(output.digest).unlink(missing_ok=True)


def write_json(path: Path, data: Json, staged: Path | None = None) -> None:
    """Write a JSON file so that readers see the old one or the new one, also after a crash.

    `staged` is the name of the unfinished file, for a caller that looks for it after a crash.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = staged or path.with_name(f".{path.name}.{os.getpid()}")
    with staged.open("w") as file:
        json.dump(data, file, indent=1, sort_keys=True, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    staged.rename(path)
    _flush_folder(path.parent)


def _point(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to `target`, replacing an old one in one step."""
    link.parent.mkdir(parents=True, exist_ok=True)
    staged = link.with_name(f".{link.name}.{os.getpid()}")
    staged.unlink(missing_ok=True)
    staged.symlink_to(target)
    staged.rename(link)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(path: Path, how: int) -> int:
    """Open `path` and lock it; return the descriptor that holds the lock. Raises BlockingIOError with LOCK_NB."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try_lock(path: Path) -> int | None:
    try:
        return _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def _wait_for_guards(work: Path) -> None:
    """Wait until no sandbox of the run is left."""
    deadline = time.monotonic() + GUARD_WAIT
    while time.monotonic() < deadline:
        if (descriptor := _try_lock(work / "guards")) is not None:
            os.close(descriptor)
            return
        time.sleep(0.05)
    raise CCImagesError(
        f"a sandbox of {work.name} is still running",
        hint="look for its processes (`enter.py`), then start again",
        reason="busy",
        temporary=True,
    )


@contextmanager
def clear_errors(root: Path) -> Iterator[None]:
    """Turn what a file system says about a lack of room or rights into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CCImagesError(
                f"the store {root} is full",
                hint="free some space there, or set CC_IMAGES_STORE to a folder on a larger file system",
                reason="disk-full",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.ENOENT, errno.ELOOP):
            raise CCImagesError(
                f"the store {root} cannot be written to: {error.strerror}",
                hint="set CC_IMAGES_STORE to a folder of yours",
                reason="store-unwritable",
            ) from error
        raise
