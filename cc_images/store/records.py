"""The store: everything that cc-images keeps, and the rules that make it survive a kill at any moment.

    blobs/sha256/ab/ab12…               immutable files, named by the digest of their content (see `blobs`)
    builds/<tag>/<arch>/<version>.json  one record a build, written last; `.more` beside it says what it was made of,
                                        `.cdx` and `.spdx` what is in it (see `bills`)
    layers/<tag>/<arch>/<run>.json      the same for root trees that builds start from
    kept/<tag>/<arch>/<run>.tar.zst     the tree of a build that failed or was to stop (see `kept`)
    boots/<digest>.json                 that the blob of this digest has passed a boot test, and which one
    artifacts/<digest>.json             what fetched files are, and when they were used last
    partial/<artifact>/                 unfinished downloads, which the next try goes on with
    caches/<family>/<generation>/       downloads of builds, shared read-only (see `builders.download_cache`)
    images/<Name>[-ARM64].<suffix>      names for people: links to the newest blobs, and to their bills of materials
    sources/                            git mirrors and checkouts of third-party elements
    accelerators.json                   which hosts run guests accelerated
    indices/                            what apt's repositories offered, by the digests of their indices
    quiet.json                          of what repositories offered it was found that it is no news for an image
    upstream.json                       what repositories held when they were asked last
    quarantine/                         blobs whose content was not what their name says
    logs/<run>/<task>.log               one a task; `run.log` has what modules logged
    runs/<run>.json                     journal of a run: plan, results, timings; its report is `.html` beside it
    runs/<run>/events.jsonl             the run's stream of events
    history.json                        what tasks took
    published.json                      what was put where, as far as this store did it
    attempts/<attempt>/                 one try to do an image's tasks on another host (see `remote.attempt_files`)
    machines/<builder>/                 machines of a cloud that were made for builds (see `remote.machine_files`)
    service.sqlite                      accounts and requests of the service, unless its database is elsewhere
    service/<build>/                    what the run of a request says of itself, and prints (see `api.launch`)
    work/<run>/…                        private to a run, locked while it lives, reaped when it is dead
    locks/                              one file a lock

Files are staged below work/, flushed to disk, then renamed: a blob exists whole or not at all, and a record names only
blobs that exist. A run holds `work/<run>/lock`, and each sandbox of it `work/<run>/guards`, so that the next run can
tell a dead run from one whose sandboxes are still being taken down. A run that reads a blob links it below its own
folder first (`Run.use`): removal of the blob meanwhile takes nothing away. A process that removes blobs which no record
names holds the lock `gc`; one that has placed blobs and not yet written their record holds it shared.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cc_images.host import record_files
from cc_images.host.files import clear_errors, point, write_json
from cc_images.model import record_shapes
from cc_images.model.builds import Build, Layer
from cc_images.model.catalog import Arch, Format, Json
from cc_images.store import bills
from cc_images.store.blobs import Blobs
from cc_images.store.workspace import RunFolders

T = TypeVar("T")

_log = logging.getLogger(__name__)

USED_AGAIN = 3600.0
"""Seconds within which a second use of a record is not noted."""


class Store(RunFolders):
    """The folder `root`; made when it is first written to. Waiting for its locks ends when `stop` is set."""

    def __init__(self, root: Path, stop: threading.Event | None = None) -> None:
        super().__init__(root, stop)
        self.blobs = Blobs(root)
        self._read: dict[Path, tuple[tuple[int, int, int], Any]] = {}
        """Records by their files as they were read: inode, size, and time of change in nanoseconds."""

    # -- builds -------------------------------------------------------------------------------------------------

    def builds(self, tag: str, arch: Arch) -> Iterator[Build]:
        """Yield the recorded builds of an image whose blobs look intact, newest first; others are passed over."""
        yield from filter(None, map(self._whole, _newest_first(self.root.joinpath("builds", tag, arch))))

    def _whole(self, path: Path) -> Build | None:
        build = self._recorded(path, record_files.load_build)
        outputs = build.outputs.values() if build is not None else ()
        return build if outputs and all(self.blobs.looks_intact(each.digest, each.size) for each in outputs) else None

    def _recorded(self, path: Path, load: Callable[[Path], T]) -> T | None:
        """Return what a file records; None for one that is gone, of a newer format, or damaged: that is set aside."""
        try:
            status = path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._read.get(path)
            if known is None or known[0] != stamp:
                known = self._read[path] = (stamp, load(path))
            found: T = known[1]
            return found
        except record_files.Damaged as error:
            record_files.set_aside(path, self.root, str(error))
        except (OSError, record_files.Newer):
            pass
        return None

    def is_newer(self, path: Path) -> bool:
        """Say whether a record has a format that only a newer cc-images reads: it is in use, and not ours to remove."""
        try:
            record_files.load(
                path, record_shapes.BuildShape if path.parts[-4] == "builds" else record_shapes.LayerShape
            )
        except record_files.Newer:
            return True
        except (OSError, record_files.Damaged):
            return False
        return False

    def in_force(self, tag: str, arch: Arch) -> Build | None:
        """Return the build that the last run which built the image found to serve; else the newest; None without any.

        It need not be the newest: after a change was taken back, an older build serves again.
        """
        builds = list(self.builds(tag, arch))
        current = self.current(tag, arch)
        return next((build for build in builds if build.version == current), builds[0] if builds else None)

    def current(self, tag: str, arch: Arch) -> str:
        """Return the version to which the human names of an image point; empty when there are none."""
        with suppress(OSError):
            return (self.root.joinpath("builds", tag, arch, "current")).readlink().stem
        return ""

    def recorded(self, tag: str, arch: Arch) -> str:
        """Return the version of the newest record of an image, whole or not; empty when there is none."""
        return next(
            (path.name.removesuffix(".json") for path in _newest_first(self.root.joinpath("builds", tag, arch))), ""
        )

    def build(self, tag: str, arch: Arch, version: str) -> Build | None:
        """Return one build by its version."""
        build = self._whole(self.root / "builds" / tag / arch / f"{Path(version).name}.json")
        return build if build is not None and build.version == version else None

    def details(self, made: Build | Layer) -> Json:
        """Return what a build or layer was made of: `recipe`, `files` of elements, `timings`, `packages`; or {}.

        Of a build that was looked into, `contents` too, and of one that was booted, `boot`.
        """
        path = self.record_path(made).with_suffix(".more")
        return record_files.recalled(path, record_shapes.DetailsShape, self.root) or {}

    def record_path(self, made: Build | Layer) -> Path:
        """Return where the record of a build or layer is."""
        if isinstance(made, Build):
            return self.root.joinpath("builds", made.tag, made.arch, f"{made.version}.json")
        return self.root.joinpath("layers", made.tag, made.arch, f"{made.run}.json")

    def record(self, build: Build, details: Json, published_name: str) -> None:
        """Write or replace a build's record, then point the human names at its blobs."""
        path = self.record_path(build)
        with clear_errors(self.root):
            write_json(path.with_suffix(".more"), record_files.encoded(record_shapes.DetailsShape, details))
            write_json(path, record_files.encoded_build(build, path))
            newest = next(self.builds(build.tag, build.arch), None)
            named = (newest.version if newest else "", self.current(build.tag, build.arch))
            if build.version in named:
                self.point_names(build, published_name)

    def point_names(self, build: Build, published_name: str) -> None:
        """Point the human names at the blobs of the build that is in force."""
        point(self.record_path(build).with_name("current"), Path(f"{build.version}.json"))
        for disk_format in set(Format) - set(build.outputs):
            if disk_format.suffix not in {output.format.suffix for output in build.outputs.values()}:
                self.image_link(published_name, disk_format).unlink(missing_ok=True)
        for output in build.outputs.values():
            link = self.image_link(published_name, output.format)
            point(link, Path(os.path.relpath(self.blobs.path(output.digest), link.parent)))
        bills.point_names(self.record_path(build), self.root / "images", published_name)

    def image_link(self, published_name: str, disk_format: Format) -> Path:
        """Return the name for people of an image's newest output."""
        return self.root / "images" / f"{published_name}.{disk_format.suffix}"

    # -- layers -------------------------------------------------------------------------------------------------

    def layers(self, tag: str, arch: Arch) -> Iterator[Layer]:
        """Yield the recorded layers of an image whose blob looks intact, newest first; others are passed over."""
        for path in _newest_first(self.root.joinpath("layers", tag, arch)):
            layer = self._recorded(path, record_files.load_layer)
            if layer is not None and self.blobs.looks_intact(layer.digest, layer.size):
                yield layer

    def record_layer(self, layer: Layer, details: Json) -> None:
        """Write a layer's record; the blob is in its place."""
        path = self.record_path(layer)
        with clear_errors(self.root):
            write_json(path.with_suffix(".more"), record_files.encoded(record_shapes.DetailsShape, details))
            write_json(path, record_files.encoded_layer(layer, path))

    # -- boot tests ---------------------------------------------------------------------------------------------

    def passes(self, digests: Iterable[str]) -> dict[str, str]:
        """Return the test keys of those blobs that have passed a boot test, by digest."""
        found: dict[str, str] = {}
        for digest in digests:
            said = record_files.recalled(self.root / "boots" / f"{digest}.json", record_shapes.PassShape, self.root)
            if said is not None:
                found[digest] = said["asked"]
        return found

    def broken(self, digest: str, test_key: str) -> dict[str, list[str]] | None:
        """Return what is wrong by each contract with a blob that has passed this boot test; None: it has not."""
        said = record_files.recalled(self.root / "boots" / f"{digest}.json", record_shapes.PassShape, self.root)
        return dict(said.get("broken", {})) if said is not None and said["asked"] == test_key else None

    def note_pass(self, digest: str, said: Json) -> None:
        """Note that a blob has passed a boot test; the key `asked` names the test."""
        with clear_errors(self.root):
            write_json(self.root / "boots" / f"{digest}.json", record_files.encoded(record_shapes.PassShape, said))

    def forget_pass(self, digest: str) -> None:
        """Forget that a blob has passed: it was tested again and did not."""
        (self.root / "boots" / f"{digest}.json").unlink(missing_ok=True)

    def note_boot(self, build: Build, level: str, said: Json, contents: Json) -> None:
        """Write into a build's record how far it got in its newest boot test, and what was seen inside."""
        path = self.record_path(build)
        with clear_errors(self.root), self.lock("gc"):  # alone: another run may record one more format
            newest = self.build(build.tag, build.arch, build.version)
            if newest is not None:
                details = self.details(newest) | {"boot": said, "contents": contents}
                write_json(path.with_suffix(".more"), record_files.encoded(record_shapes.DetailsShape, details))
                write_json(path, record_files.encoded_build(replace(newest, boot=level), path))

    def note_artifact(self, digest: str, name: str) -> None:
        """Note what a fetched file is, and that it was of use now."""
        with clear_errors(self.root):
            path = self.root / "artifacts" / f"{digest}.json"
            write_json(path, record_files.encoded(record_shapes.ArtifactShape, {"name": name}, path))

    def artifact_name(self, digest: str) -> str:
        """Return what a fetched file is called; empty for a blob that is none."""
        said = record_files.recalled(self.root / "artifacts" / f"{digest}.json", record_shapes.ArtifactShape, self.root)
        return str(said["name"]) if said else ""

    # -- both ---------------------------------------------------------------------------------------------------

    def used(self, made: Build | Layer) -> None:
        """Note that a build or layer was of use now; `prune` asks for it."""
        path, now = self.record_path(made), time.time()
        with suppress(OSError):
            if now - path.stat().st_mtime > USED_AGAIN:
                os.utime(path, (now, now))

    def forget(self, *gone: Build | Layer | Path) -> int:
        """Remove records, or what lies where they should, and the blobs that no other one names; return the bytes."""
        with self.collecting() as names:
            return sum(self.forget_one(made, names) for made in gone)

    @contextmanager
    def collecting(self) -> Iterator[Counter[str]]:
        """Keep all processes from recording, and yield how many records name each blob, readable or not."""
        with self.lock("gc"):
            yield self.named()

    def forget_one(self, made: Build | Layer | Path, names: Counter[str]) -> int:
        """Do what `forget` does for one record while `collecting`, and take its names out of `names`."""
        path = made if isinstance(made, Path) else self.record_path(made)
        doomed: set[str] = set()
        with suppress(OSError):
            doomed = _digests_in(record_files.text(path))
        path.unlink(missing_ok=True)
        path.with_suffix(".more").unlink(missing_ok=True)
        bills.forget(path)
        names.subtract(doomed)
        loose = [each for each in doomed if names[each] <= 0]
        for digest in loose:
            (self.root / "boots" / f"{digest}.json").unlink(missing_ok=True)
        return sum(self.blobs.remove(digest) for digest in loose)

    def named(self) -> Counter[str]:
        """Return how many records name each blob, whether they can be read or not."""
        every = (*self.root.glob("builds/*/*/*.json"), *self.root.glob("layers/*/*/*.json"))
        return Counter(digest for path in every for digest in _digests_in(record_files.text(path)))


def digests(made: Build | Layer) -> list[str]:
    """Return the digests of the blobs that a record names."""
    return [made.digest] if isinstance(made, Layer) else [output.digest for output in made.outputs.values()]


def _digests_in(text: str) -> set[str]:
    return set(re.findall(r"\b[0-9a-f]{64}\b", text))


def _newest_first(folder: Path) -> list[Path]:
    try:
        names = [entry.name.removesuffix(".json") for entry in os.scandir(folder) if entry.name.endswith(".json")]
    except OSError:
        return []
    return [folder / f"{name}.json" for name in sorted(names, reverse=True)]
