"""The thread that takes a build's packages out of its drop folder, each as soon as it is whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache_layout import Package
from cc_images.builders.spack.drop import Drop
from cc_images.errors import CCImagesError

TICK = 0.5
"""Seconds between two looks into a drop folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is done with packages: `take` one from the drop, `arrived` when it is in the cache, `push` it on."""

    take: Callable[[Package], bool]
    arrived: Callable[[Package], None]
    push: Callable[[Sequence[Package]], None]
    """Called for packages that arrived, and once more for all at the end."""
    told: Callable[[str], None]


@dataclass(slots=True)
class Publishing:
    """The packages of one build on their way from its drop folder into the caches."""

    drop: Drop
    packages: Sequence[Package]
    steps: Steps
    done: set[str] = field(default_factory=set)
    _tried: dict[str, tuple[int, int, int] | None] = field(default_factory=dict)
    _why: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take packages while the block runs, and at its end all that are left, also after a failure."""
        ended = threading.Event()
        thread = threading.Thread(target=self._work, args=(ended,), name="build-cache", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _work(self, ended: threading.Event) -> None:
        while not ended.wait(TICK):
            if arrived := self._round(again=False):
                self.steps.push(arrived)
        self._round(again=True)
        self.steps.push(self.packages)
        for package in self.packages:
            if package.hash in self._why:
                self.steps.told(f"{layout.label(package)} does not go into the build cache: {self._why[package.hash]}")
        self._tell_others()

    def _round(self, *, again: bool) -> list[Package]:
        """Take what is there; `again`: also what was refused before and has not changed since."""
        taken = []
        for package in self.packages:
            state = self.drop.state(layout.manifest_path(package))
            if package.hash in self.done or state is None or (not again and self._tried.get(package.hash) == state):
                continue
            try:
                came = self.steps.take(package)
            except (OSError, ValueError, CCImagesError) as error:
                self._tried[package.hash] = state
                self._why[package.hash] = error.message if isinstance(error, CCImagesError) else str(error)
                continue
            if came:
                self.done.add(package.hash)
                self._why.pop(package.hash, None)
                self.steps.arrived(package)
                taken.append(package)
        return taken

    def _tell_others(self) -> None:
        """Say how many packages the build has dropped that it was not asked for; they are left alone."""
        ours = {layout.manifest_path(package) for package in self.packages}
        there = [f"{layout.SPECS}/{name}/{file}" for name in self.drop.names(layout.SPECS)[:10_000]
                 for file in self.drop.names(f"{layout.SPECS}/{name}")]  # fmt: skip
        odd = [path for path in there if path not in ours]
        if odd:
            self.steps.told(f"{len(odd)} files in the build's drop folder are none of its packages: they are not taken")
