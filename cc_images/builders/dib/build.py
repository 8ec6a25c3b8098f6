"""Making: one run of dib for a disk or a layer, with all that goes in and all that it leaves.

Owns what a build starts from (its layer, its downloads, its artifacts) and what is kept of it. Tasks and their results
are the worker's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from cc_images.builders import provenance
from cc_images.builders.dib import command, twins
from cc_images.builders.dib.download_cache import Caches, Generation
from cc_images.builders.dib.element_modes import copy_normal, is_normal
from cc_images.builders.dib.elements import Elements, with_layout
from cc_images.builders.dib.layers import LAYER_ELEMENT, inherit, write_element
from cc_images.errors import CCImagesError
from cc_images.host import network, user_emulation
from cc_images.host.files import wait_for_lock
from cc_images.host.named_files import named_files
from cc_images.host.sandbox import TOOLBOX, Sandbox, remove
from cc_images.model.catalog import Arch, Build, Download, Json, Layer
from cc_images.model.events import Progress
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, LayerJob, Plan, PushJob, TwinsJob
from cc_images.model.recipe import key_of, merged
from cc_images.sources import upstream
from cc_images.store.records import Store
from cc_images.store.workspace import Run

LEAST_FREE = 3 << 30
"""Bytes that a build wants free in the store before it starts: a raw disk, its conversion, and some air."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a build starts from: where its elements are, the file of its layer, and the state that one was made of."""

    folders: tuple[Path, ...]
    file: Path | None = None
    upstream: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build has left: its file, the seconds per hook, the upstream state that it saw, and the most it took."""

    file: Path
    timings: Mapping[str, float]
    upstream: Mapping[str, str]
    peaks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where a run's builds are made, and what they need to know. `cores` are per task."""

    store: Store
    run: Run
    layers: Mapping[str, LayerJob]
    """Every layer that a build may start from, by what is asked of it."""
    moved: Callable[[Build | Layer], list[str]]
    """Which addresses hold something else now, by the look at the start, than when a build or layer was made."""
    details: Callable[[str], Json]
    """What a build or layer of which this was asked is made of."""
    folders: tuple[Path, ...]
    """Where elements are, the first one wins."""
    network: Mapping[str, str]
    progress: Progress
    stop: threading.Event
    variables: Callable[[str], Mapping[str, str]] = lambda tag: {}
    """The `DIB_*` that builds of an image get now."""
    secrets: Callable[[str], tuple[str, ...]] = lambda tag: ()
    """What no file of an image may contain."""
    declared: Callable[[str], tuple[str, ...]] = lambda tag: ()
    """The variables of an image that are declared secrets."""
    clouds: Mapping[str, str] = field(default_factory=dict)
    """The clouds.yaml entry of each site that is a cloud."""
    origin: Callable[[], Mapping[str, str]] = dict
    """The repository and the commit of the catalogue, as provenance says them."""
    cores: int = 1
    guest_cores: int = 1
    """Cores of one guest."""
    guests_at_once: int = 1
    tmpfs: Mapping[str, int] = field(default_factory=dict)
    """The size in MiB of the scratch folder of each build for which it lies in memory, by task."""
    offline: bool = False

    @contextmanager
    def lock(self, task: str, name: str) -> Iterator[None]:
        """Hold a lock of the store for a task, which is asleep while another run has it."""
        with self.store.lock(name, partial(self._sleep, task), self.stop):
            self.run.asleep.discard(task)
            yield

    def keep_lock(self, task: str, name: str) -> None:
        """Take such a lock until the run lets go of it."""
        self.run.keep(name, wait_for_lock(self.store.lock_path(name), partial(self._sleep, task), self.stop))
        self.run.asleep.discard(task)

    def _sleep(self, task: str) -> None:
        self.run.asleep.add(task)
        self.progress.step(task, "waiting for another run's")

    def note(self, artifact: Download) -> Path:
        """Return the note that says where this run has an artifact's file."""
        return self.run.work / "fetched" / artifact.identity

    def pin(self, plan: Plan) -> None:
        """Keep what stored builds the plan relies on readable until the run ends, whoever removes them meanwhile."""
        for task in plan.tasks:
            job = task.job
            if isinstance(job, (ConvertJob, BootJob, PushJob)) and job.version != self.run.version:
                build = self.store.build(job.tag, job.arch, job.version)
                if build is not None:
                    self.store.used(build)
                    self.run.pinned[job.tag, job.arch, job.version] = build
                    for output in build.outputs.values():
                        with suppress(FileNotFoundError):
                            self.run.use(self.store.blobs.path(output.digest))

    def stored(self, tag: str, arch: Arch, version: str) -> Build | None:
        """Return a build by its version: from the store, or as it was when the run began."""
        return self.store.build(tag, arch, version) or self.run.pinned.get((tag, arch, version))

    def layer(self, task: str, job: LayerJob, log: BinaryIO) -> tuple[Layer, Built | None]:
        """Make a layer and keep it in the store; return it, and None when another run has just made it."""
        with self.lock(task, f"layer {job.tag} {job.arch}"):
            if not job.force:
                for layer in self.store.layers(job.tag, job.arch):
                    if layer.asked == job.asked and layer.run not in job.known and not self.moved(layer):
                        return layer, None
            workspace = self.run.workspace(f"layer.{job.tag}", job.arch)
            make = self._make_twins if isinstance(job, TwinsJob) else self.make
            made = make(task, job, workspace, log)
            sealed = self.store.blobs.seal(made.file, sha512=False)
            details = self.details(job.asked) | {
                "timings": dict(made.timings),
                "packages": command.packages(made.file.parent),
            }
            layer = Layer(
                tag=job.tag,
                arch=job.arch,
                run=self.run.version,
                asked=job.asked,
                key=key_of(details["recipe"] | {"upstream": dict(made.upstream)}),
                digest=sealed.digest,
                size=sealed.size,
                upstream=made.upstream,
            )
            with self.store.lock("gc", shared=True):
                self.run.use(self.store.blobs.place(sealed))
                self.store.record_layer(layer, details)
            if job.force:
                self.store.forget(*(old for old in self.store.layers(job.tag, job.arch) if old.run != layer.run))
            remove(workspace)
        return layer, made

    def make(self, task: str, job: BuildJob, workspace: Path, log: BinaryIO) -> Built:
        """Run dib for a disk or a tree."""
        self._require_room()
        remove(workspace)  # of an attempt before this one, whose layer was damaged
        artifacts = self._place_artifacts(job, workspace)
        start = self._start(task, job, workspace, log)
        found = self._downloads(job)
        cache = next((each for each in found if each.path.parent.name == job.families[0]), None)
        named = [*named_files(job.environment).values(), *map(Path, artifacts.values())]
        sandbox = Sandbox(
            workspace=workspace,
            guards=self.run.work / "guards",
            visible=(*start.folders, *((start.file,) if start.file else ())),
            behind=(*named, *self._behind(start, job)),
            tmpfs_mib=self.tmpfs.get(task, 0),
            cores=self.cores,
            seeds=tuple(each.path for each in found),
            **self._network(job),
            **self._interpreter(task, job, workspace, log),
        )
        placed = {name: str(sandbox.place(Path(path))) for name, path in artifacts.items()}
        placed |= {name: f"file://{placed[name]}" for name, artifact in job.artifacts.items() if artifact.as_url}
        tree = isinstance(job, LayerJob)
        # a layer must not know what is not in its recipe
        own = {"CC_IMAGES_NAME": job.name, "CC_IMAGES_VERSION": job.version, "CC_IMAGES_KEY": job.asked}
        order = command.DibCommand(
            arch=job.arch,
            elements=(*job.content, *job.disk),
            folders=start.folders,
            packages=job.packages,
            environment={**self.network, **provenance.completed(job.environment, job.version, self.origin)}
            | placed
            | ({} if tree else own),
            timeout=job.timeout,
            offline=self.offline,
            layer=start.file,
            tree=tree,
            secrets=job.secrets,
        )
        try:
            file, timings = command.build(
                order, sandbox, log=log, stop=self.stop, report=lambda hook: self.progress.step(task, hook)
            )
        finally:
            if sandbox.twins is not None:
                log.write(twins.started(sandbox.twins).encode())
        self._keep_downloads(job, cache, sandbox.out, log)
        seen = merged(start.upstream, self._fetched(job), upstream.seen(sandbox.out))
        return Built(file=file, timings=timings, upstream=seen, peaks=sandbox.peaks())

    def _behind(self, start: Start, job: BuildJob) -> list[Path]:
        """Return what the elements of a build are, and have, behind links."""
        wanted = with_layout((*job.content, *job.disk), job.arch)
        layer = [LAYER_ELEMENT] if job.base is not None else []
        return Elements(start.folders).behind_links([*layer, *wanted])

    def _make_twins(self, task: str, job: LayerJob, workspace: Path, log: BinaryIO) -> Built:
        """Do for the twins of a release's programs what `make` does for what dib makes."""
        self._require_room()
        remove(workspace)
        keyrings = [*self._place_artifacts(job, workspace).values()]
        named = [*map(Path, keyrings), *twins.keyring_files(job.environment)]
        sandbox = Sandbox(
            workspace=workspace,
            guards=self.run.work / "guards",
            visible=tuple(each for each in named if each.is_absolute() and workspace not in each.parents),
            behind=tuple(each.resolve() for each in named),
            tmpfs_mib=self.tmpfs.get(task, 0),
            cores=self.cores,
            **self._network(job),
        )
        self.progress.step(task, "unpacking programs")
        placed = [str(sandbox.place(Path(each))) for each in keyrings]
        made = twins.make(job.arch, job.environment, placed, sandbox, network=self.network, log=log, stop=self.stop)
        return Built(file=made, timings={}, upstream=upstream.seen(sandbox.out), peaks=sandbox.peaks())

    def _network(self, job: BuildJob) -> dict[str, Any]:
        chosen = network.chosen(job.network, {**self.network, **job.environment})
        return {"network": chosen, "outlet": network.program() if chosen is network.Network.PRIVATE else ""}

    def _interpreter(self, task: str, job: BuildJob, workspace: Path, log: BinaryIO) -> dict[str, Any]:
        """Return what a sandbox needs to run the programs of another architecture; nothing for this host's own."""
        if not user_emulation.is_foreign(job.arch):
            return {}
        if not job.twins:
            return {"interpreter": user_emulation.registration(job.arch)}
        _, file = self._stored_layer(task, job.twins, job, log)
        folder = workspace / "twins"
        return {"interpreter": user_emulation.registration(job.arch, twins.unpack(file, folder)), "twins": folder}

    def _require_room(self) -> None:
        if (free := self.store.free_bytes()) < LEAST_FREE:
            raise CCImagesError(
                f"only {free >> 20} MiB are free at {self.store.root}; a build wants {LEAST_FREE >> 20} MiB",
                hint="run `cc-images prune`, or set CC_IMAGES_STORE to a folder on a larger file system",
                reason="disk-full",
            )

    def _start(self, task: str, job: BuildJob, workspace: Path, log: BinaryIO) -> Start:
        """Return what a build starts from; what is generated for it lies in the workspace.

        That are elements whose modes are not those that builds see, and the element that unpacks its layer.
        """
        elements = Elements(self.folders)
        generated = workspace / "elements"
        generated.mkdir(parents=True)
        start = Start(folders=(generated, *self.folders))
        wanted = [*with_layout((*job.content, *job.disk), job.arch)]
        if job.base is not None:
            layer, file = self._stored_layer(task, job.base.asked, job, log)
            write_element(generated / LAYER_ELEMENT, elements, inherit(elements, job.base.content), TOOLBOX / "layer")
            start = replace(start, file=file, upstream=layer.upstream)
            wanted.insert(0, LAYER_ELEMENT)
        together = Elements(start.folders)
        for name in together.closure(wanted):
            if not is_normal(together.path(name)):
                copy_normal(together.path(name), generated / name)
        return start

    def _keep_downloads(self, job: BuildJob, cache: Generation | None, out: Path, log: BinaryIO) -> None:
        """Promote what a build has downloaded; what was made is worth more than that, so a failure is only noted."""
        try:
            family = job.families[0]
            with self.store.lock(f"cache {family}"):
                used = cache.path if cache else None
                Caches(self.store.root).promote(family, self.run.version, used, out, remove)
        except (OSError, CCImagesError) as error:
            log.write(f"its downloads are not kept: {error}\n".encode())

    def _fetched(self, job: BuildJob) -> dict[str, str]:
        """Return what was found at the addresses of artifacts whose digest the catalogue does not say."""
        return {
            upstream.shown(artifact.url, "") or f"private:{artifact.shown}": Path(self.note(artifact).read_text()).name
            for artifact in job.artifacts.values()
            if not artifact.url.startswith("file:") and not artifact.sha256
        }

    def _downloads(self, job: BuildJob) -> list[Generation]:
        """Return what earlier builds of the image and of its ancestors have downloaded; it stays until the run ends."""
        found: list[Generation] = []
        for family in job.families:
            if (generation := Caches(self.store.root).newest(family)) is not None:
                self.run.keep(f"cache {family} {job.tag} {job.arch} {type(job).__name__}", generation.descriptor)
                found.append(generation)
        return found

    def _stored_layer(self, task: str, asked: str, job: BuildJob, log: BinaryIO) -> tuple[Layer, Path]:
        """Return a layer that a build relies on, and its file, read and found right; else make it anew.

        Of stored ones those serve that the plan found fresh, and those that were made since.
        """
        wanted = self.layers[asked]
        for _ in range(2):
            for layer in self.store.layers(wanted.tag, job.arch):
                stale = layer.run in wanted.known and layer.run != wanted.serves
                if layer.asked != asked or stale:
                    continue
                with suppress(FileNotFoundError):
                    file = self.run.use(self.store.blobs.path(layer.digest))
                    if self.store.blobs.is_intact(layer.digest, file):
                        self.store.used(layer)
                        return layer, file
            self.progress.step(task, "its layer is missing or damaged: making it anew")
            self.layer(task, replace(wanted, version=job.version, force=False), log)
        raise CCImagesError(
            f"the layer of {wanted.tag} vanished twice while it was made",
            hint="look for what removes files from the store",
            reason="gone",
        )

    def _place_artifacts(self, job: BuildJob, workspace: Path) -> dict[str, str]:
        """Name the build's artifacts in its workspace by links to the blobs, which the sandbox sees read-only."""
        places: dict[str, str] = {}
        for variable, artifact in job.artifacts.items():
            blob = Path(self.note(artifact).read_text())
            place = workspace / "artifacts" / variable / artifact.basename
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(blob)
            places[variable] = str(place)
        return places
