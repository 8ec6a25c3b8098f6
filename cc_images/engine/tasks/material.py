"""Materials of outputs: the disk or tree that a build has left or that is stored, and the tree in a disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cc_images.boottest import inspector
from cc_images.engine.tasks.stored import intact
from cc_images.errors import CCImagesError, Reason
from cc_images.host.containers import archive
from cc_images.host.files import Written
from cc_images.host.root import remove
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Format, Material
from cc_images.model.container import NOTHING_SAID
from cc_images.outputs import disk, tree
from cc_images.outputs.disk import Source
from cc_images.store import notes
from cc_images.store.notes import Evidence
from cc_images.store.run_context import RunContext, TaskContext


@dataclass(slots=True, kw_only=True)
class Materials:
    """A disk, or a file with a tree, and finished files besides; `folder` has room for what is made on the way."""

    source: Source
    folder: Path
    run: tree.Run = (NOTHING_SAID, Arch.AMD64)
    parts: Mapping[Format, Path] = field(default_factory=dict)
    seed: Callable[[Format], Path | None] = lambda wanted: None
    """Finds a file in a format of which the writer may take what has not changed."""
    packed: Path | None = None
    """The tree as a zstd tar, once it is there."""

    def write(self, wanted: Format, target: Path, context: TaskContext) -> Written | None:
        """Write an output; return its digests where the writer knows them."""
        if wanted is self.source.format is Format.OCI:
            self.source.file.rename(target)
            return None
        cores, log, stop = context.run.settings.cores, context.log, context.stop
        if wanted in self.parts:
            self.parts[wanted].rename(target)
            return None
        if wanted.is_disk:
            seed = self.seed(wanted) if self.source.format is Format.RAW else None
            return disk.convert(replace(self.source, seed=seed), target, wanted, cores=cores, log=log, stop=stop)
        run = self.run
        if self.source.format is Format.OCI:
            said, arch = run
            run = replace(archive.read(self.source.file).configuration, compression=said.compression), arch
        tree.convert(self._tree(context), target, wanted, run, cores=cores, log=log, stop=stop)
        return None

    def clear_up(self) -> None:
        """Remove what was made on the way."""
        remove(self.folder / "tree")
        (self.folder / "tree.tar").unlink(missing_ok=True)

    def _tree(self, context: TaskContext) -> Path:
        """Return the tree as a zstd tar: the build's own, or that of a stored file, or of the disk."""
        source = self.source
        if self.packed is None and source.format.is_disk:
            context.step("the tree out of the disk")
            folder, guards = self.folder / "tree", context.run.run.work / "guards"
            self.packed = inspector.packed(source.file, folder, guards=guards, log=context.log, stop=context.stop)
        elif self.packed is None:
            self.packed = self.folder / "tree.tar"
            tree.opened(source.file, source.format, self.packed, log=context.log, stop=context.stop)
        return self.packed


def in_order(source: Format, wanted: Format) -> tuple[bool, bool]:
    """Return a key that sorts formats: a disk or tree that is moved, and not copied, comes after what is made of it."""
    return wanted is source, wanted is Format.TAR


def built(makes: Material, workspace: Path) -> Materials:
    """Return what the run's own build has left."""
    evidence = notes.read(workspace / "evidence.json", Evidence)
    file = workspace / evidence.file
    parts = {Format(name): workspace / each for name, each in evidence.parts.items()}
    if makes is Material.TREE:
        source = Source(file=file, format=tree.held(file), virtual_size=0)
        packed = file if source.format is Format.TAR else None
        return Materials(source=source, folder=workspace, parts=parts, packed=packed)
    source = Source(file=file, format=Format.RAW, virtual_size=file.stat().st_size)
    return Materials(source=source, folder=workspace, parts=parts)


def stored(build: Build, run: RunContext, workspace: Path) -> Materials:
    """Return the disk or tree of a stored build; of disks raw is the dearest to read.

    Raises CCImagesError for one that has neither.
    """
    usable = [each for each in build.outputs.values() if each.format.is_disk or each.format in tree.SOURCES]
    if not usable:
        raise CCImagesError(
            f"version {build.version} of {build.tag} has nothing that other formats can be made from",
            hint="build it again with -b -f",
            reason=Reason.GONE,
        )
    output = min(usable, key=lambda each: (not each.format.is_disk, each.format is not Format.QCOW2))
    source = Source(file=intact(output, run), format=output.format, virtual_size=output.virtual_size)
    return Materials(source=source, folder=workspace)
