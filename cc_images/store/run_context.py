"""The context of a run's tasks: its store, its workspace with notes, its stream of events.

A task that runs elsewhere opens the context from the notes in the run's workspace; inside the run's own process it is
handed in.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from cc_images.host import record_files
from cc_images.model import vault
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Download, Json
from cc_images.model.events import Bytes, Emit, Step, ignore
from cc_images.model.plain_text import printable
from cc_images.store import notes
from cc_images.store.leases import Leases, image_lease
from cc_images.store.notes import Fetched, RunSettings
from cc_images.store.records import Store
from cc_images.store.workspace import Run


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """A run as its tasks see it."""

    store: Store
    run: Run
    settings: RunSettings
    emit: Emit = ignore
    stop: threading.Event = field(default_factory=threading.Event)
    vault: dict[str, str] = field(default_factory=dict)
    """The secrets behind references in envelopes and settings."""

    @classmethod
    def opened(cls, root: Path, version: str, emit: Emit = ignore) -> RunContext:
        """Return the context of a run that lives in another process of this host. Raises FileNotFoundError."""
        store = Store(root)
        run = Run.joined(version, root / "work" / version, root / "logs" / version)
        return cls(
            store=store,
            run=run,
            settings=notes.read(run.work / "context.json", RunSettings),
            emit=emit,
            vault=notes.found(run.work / "secrets.json", dict[str, str]) or {},
        )

    def publish(self) -> None:
        """Write the notes from which `opened` makes a context."""
        notes.write(self.run.work / "context.json", self.settings)
        self._keep_vault()

    # -- secrets ------------------------------------------------------------------------------------------------

    def sealed(self, plain: Json, declared: Collection[str] = ()) -> Json:
        """Return plain data with references for its secrets; tasks elsewhere find them in the run's workspace."""
        known = len(self.vault)
        found: Json = vault.sealed(plain, self.vault, declared)
        if len(self.vault) > known:
            self._keep_vault()
        return found

    def unsealed(self, plain: Json) -> Json:
        """Return plain data with the secrets in place of references."""
        found: Json = vault.unsealed(plain, self.vault)
        return found

    def _keep_vault(self) -> None:
        notes.write(self.run.work / "secrets.json", self.vault, mode=0o600)

    @cached_property
    def network(self) -> Mapping[str, str]:
        """Variables of the network for builds, such as proxies, with secrets."""
        return self.unsealed(dict(self.settings.network))

    # -- notes --------------------------------------------------------------------------------------------------

    @cached_property
    def upstream(self) -> Mapping[str, str]:
        """The state of upstream as the plan saw it: address → digest."""
        return notes.found(self.run.work / "upstream.json", dict[str, str]) or {}

    def details(self, recipe_key: str) -> Json:
        """Return what is made with a recipe key: the recipe, files of elements, commits of sources."""
        return notes.read(self.run.work / "recipes" / f"{recipe_key}.json", dict[str, Any])

    def fetched(self, download: Download) -> Fetched:
        """Return where this run has the file of a download. Raises FileNotFoundError before it was fetched."""
        return notes.read(self._fetched(download), Fetched)

    def note_fetched(self, download: Download, blob: Path) -> None:
        """Note where the file of a download is, under a name that stays until the run ends."""
        notes.write(self._fetched(download), Fetched(path=str(self.run.use(blob))))

    def _fetched(self, download: Download) -> Path:
        return self.run.work / "fetched" / f"{download.identity}.json"

    def pin(self, build: Build) -> None:
        """Keep a stored build readable until the run ends, even if it is removed meanwhile."""
        self.store.used(build)
        notes.write(self._pinned(build.tag, build.arch, build.version), record_files.encoded_build(build))
        for output in build.outputs.values():
            with suppress(FileNotFoundError):
                self.run.use(self.store.blobs.path(output.digest))

    def stored(self, tag: str, arch: Arch, version: str) -> Build | None:
        """Return a build by its version: from the store, or as it was when the run began."""
        if (build := self.store.build(tag, arch, version)) is not None:
            return build
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return record_files.decoded_build(notes.read(self._pinned(tag, arch, version), dict[str, Any]))
        return None

    def _pinned(self, tag: str, arch: Arch, version: str) -> Path:
        return self.run.work / "pinned" / f"{tag}-{arch}-{version}.json"

    # -- locks and leases ---------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, task: str, name: str) -> Iterator[None]:
        """Hold a lock of the store for a task, which is asleep while another run has it."""
        with self.store.lock(name, partial(self._sleep, task), self.stop):
            self.run.wake(task)
            yield

    def lease_image(self, task: str, tag: str, arch: Arch) -> None:
        """Take the lease of an image that is built, on behalf of a task, which is asleep while another run has it."""
        try:
            Leases(self.store.root).take(image_lease(tag, arch), self.run, partial(self._sleep, task), self.stop)
        finally:
            self.run.wake(task)

    def release_image(self, tag: str, arch: Arch) -> None:
        """Give the lease of an image back."""
        Leases(self.store.root).release(image_lease(tag, arch), self.run)

    def _sleep(self, task: str) -> None:
        self.run.sleep(task)
        self.emit(Step(task=task, doing="waiting for another task's"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """A run's context as one task sees it. `log` is the task's log file."""

    run: RunContext
    task: str
    log: BinaryIO
    tmpfs_mib: int = 0
    """Size of the scratch folder of a build that lies in memory; 0: it lies on disk."""

    @property
    def store(self) -> Store:
        """The store."""
        return self.run.store

    @property
    def stop(self) -> threading.Event:
        """Set when the run shall end."""
        return self.run.stop

    def step(self, doing: str) -> None:
        """Say what the task does now; words of others lose what would steer a terminal."""
        self.run.emit(Step(task=self.task, doing=printable(doing)))

    def bytes(self, done: int, total: int) -> None:
        """Say that the task has moved `done` of `total` bytes (0: not known)."""
        self.run.emit(Bytes(task=self.task, done=done, total=total))
