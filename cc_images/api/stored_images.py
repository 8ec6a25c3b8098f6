"""Stored images: the files of the builds that a store has records of, as downloads have them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cc_images.config.loader import Config
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Format
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of a stored version. `file_name` is unique among all files of the store."""

    tag: str
    name: str
    arch: Arch
    version: str
    format: Format
    file_name: str
    digest: str
    sha512: str
    size: int
    created: datetime
    packages: int
    boot: str
    path: Path


def stored_files(config: Config, versions: Collection[tuple[str, str, str]] | None = None) -> Iterator[StoredFile]:
    """Yield the files of stored versions: of the catalogue in its order, then of other images; the newest first.

    Other images are those that were made by request. `versions` names those that are wanted, each by tag, architecture
    and version; None: all.
    """
    store = Store(config.store)
    for tag, arch in _images(config, store, versions):
        for build in store.builds(tag, arch) if versions is None else _named(store, tag, arch, versions):
            for output in build.outputs.values():
                yield StoredFile(
                    tag=tag,
                    name=build.published_name,
                    arch=arch,
                    version=build.version,
                    format=output.format,
                    file_name=_file_name(build.published_name, build, output.format),
                    digest=output.digest,
                    sha512=output.sha512,
                    size=output.size,
                    created=build.created,
                    packages=build.packages,
                    boot=build.boot,
                    path=store.blobs.path(output.digest),
                )


def _named(store: Store, tag: str, arch: Arch, versions: Collection[tuple[str, str, str]]) -> Iterator[Build]:
    """Yield those of some versions of an image that are stored, the newest first; no other record is read."""
    names = sorted((version for each, of, version in versions if (each, of) == (tag, arch)), reverse=True)
    yield from (found for name in names if (found := store.build(tag, arch, name)) is not None)


def _images(
    config: Config, store: Store, versions: Collection[tuple[str, str, str]] | None
) -> Iterator[tuple[str, Arch]]:
    """Yield the images of which files are wanted, by tag and architecture."""
    catalogue = [(image.tag, arch) for image in config.images.values() if not image.abstract for arch in image.arches]
    if versions is not None:
        wanted = {(tag, arch) for tag, arch, _ in versions}
    else:
        wanted = {(folder.parent.name, folder.name) for folder in (store.root / "builds").glob("*/*")}
    yield from (each for each in catalogue if each in wanted)
    others = sorted(wanted - {(tag, str(arch)) for tag, arch in catalogue})
    yield from ((tag, Arch(arch)) for tag, arch in others if arch in {each.value for each in Arch})


def _file_name(name: str, build: Build, form: Format) -> str:
    """Return a name by version; two formats of one suffix differ in the name of the format."""
    alike = [each for each in build.outputs if each.suffix == form.suffix]
    middle = f"-{form}" if len(alike) > 1 and form != form.suffix else ""
    return f"{name}-{build.version}{middle}.{form.suffix}"
