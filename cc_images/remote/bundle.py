"""Bundles: all that the tasks of one chain need on another host, as JSON, with files and layers by digest.

No path of the head is in it: files that a build reads travel in one archive, and stand below BUNDLED in the spec.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from msgspec import convert, to_builtins

from cc_images.builders.base import BUNDLED, Packing, builder
from cc_images.clock import EPOCH
from cc_images.engine.envelope import Envelope
from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.host.environment import variable
from cc_images.model.builds import Layer
from cc_images.model.catalog import Json
from cc_images.model.plan import BuildJob
from cc_images.store.blobs import Blob
from cc_images.store.notes import RunSettings
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext

FORMAT = 1

HERE = "here"
"""Stands in an envelope that travels for the store and the run of the host that does it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The tasks of one chain, and their inputs. Values that are secrets are references."""

    run: str
    """The run at the head: the version of what is built."""
    envelopes: tuple[Json, ...]
    settings: RunSettings
    files: str = ""
    """The digest of the archive with the files that a build reads; empty: none."""
    layers: tuple[Json, ...] = ()
    """The layers that a build relies on: `record` and `details` of each."""
    downloads: Mapping[str, str] = field(default_factory=dict)
    """Digests of downloads, by their identities."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Json] = field(default_factory=dict)
    """Recipe, files of elements and commits of sources, by recipe key."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of the head's environment that the build takes as secrets."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What a builder host must have as the head has it; see `equality.unequal`."""
    tasks_at_once: int = 1

    @property
    def inputs(self) -> frozenset[str]:
        """The digests of all files that it needs."""
        layers = (each["record"]["digest"] for each in self.layers)
        return frozenset(filter(None, (self.files, *layers, *self.downloads.values())))

    def as_json(self) -> Json:
        """Return the bundle as plain data."""
        plain = to_builtins(self, str_keys=True)
        assert isinstance(plain, dict)
        return plain | {"format": FORMAT}

    @classmethod
    def from_json(cls, plain: Json) -> Bundle:
        """Return the bundle that plain data has. Raises CCImagesError for a newer format or anything else."""
        if plain.get("format") != FORMAT:
            raise _unreadable(f"it has format {plain.get('format')}, and this cc-images knows {FORMAT}")
        try:
            return convert({name: each for name, each in plain.items() if name != "format"}, cls)
        except ValueError as error:
            raise _unreadable(str(error)) from error


def _unreadable(why: str) -> CCImagesError:
    return CCImagesError(
        f"the head's bundle is not readable: {why}",
        hint="let head and builder host have the same version of cc-images",
        reason=Reason.UNFIT,
    )


def made(envelopes: Sequence[Envelope], context: RunContext, folder: Path, facts: Mapping[str, str]) -> Bundle:
    """Return the bundle of a chain's tasks; its files are in the store. `folder` is a new place for what is copied.

    Raises CCImagesError for inputs that are gone, and for a builder whose builds cannot travel.
    """
    first = envelopes[0].job
    assert isinstance(first, BuildJob)
    used = {key: _layer(key, envelopes[0], context) for key in first.spec.relies_on}
    fetched = {each.identity: Path(context.fetched(each).path) for each in first.spec.artifacts.values()}
    archive = ""
    packed = builder(first.spec.builder)
    assert isinstance(packed, Packing), "placement keeps others at the head"
    spec = packed.packed(first.spec, folder / "files")
    if (folder / "files").exists():
        sealed = context.store.blobs.seal(_packed(folder / "files", folder / "files.tar"), sha512=False)
        with context.store.lock("gc", shared=True):
            context.run.use(_kept(sealed, context.store))
        archive = sealed.digest
    layers = {key: _bare(envelopes[0].layers[key]) for key in first.spec.relies_on}
    sent = [replace(envelopes[0], job=replace(first, spec=spec), layers=layers), *envelopes[1:]]
    values = {name: value for name in spec.secrets if (value := variable(name))}
    return Bundle(
        run=context.run.version,
        envelopes=tuple(context.sealed(replace(each, store=HERE, run=HERE).as_json(), each.secrets) for each in sent),
        settings=replace(context.settings, clouds={}, debug=False, keep_failed=False, sign="", began=0.0),
        files=archive,
        layers=tuple(
            {"record": record_files.encoded_layer(layer), "details": context.store.details(layer)}
            for layer, _ in used.values()
        ),
        downloads={identity: path.name for identity, path in fetched.items()},
        upstream=context.upstream,
        details={key: context.details(key) for key in (first.spec.recipe_key,)},
        variables=context.sealed(values, [*values]),
        facts=facts,
    )


def _bare(job: Any) -> Any:
    """Return a layer's job without what only its own build reads: elsewhere it is never built."""
    spec = job.spec
    empty = {name: type(getattr(spec, name))() for name in ("folders", "environment", "folder") if hasattr(spec, name)}
    return replace(job, spec=replace(spec, artifacts={}, **empty))


def _layer(key: str, envelope: Envelope, context: RunContext) -> tuple[Layer, Path]:
    """Return a stored layer that a build relies on, read and found right, and a name of its file that stays."""
    wanted = envelope.layers[key]
    for layer in context.store.layers(wanted.tag, wanted.arch):
        stale = layer.run in wanted.known and layer.run != wanted.serves
        if layer.recipe_key != key or stale:
            continue
        with suppress(FileNotFoundError):
            file = context.run.use(context.store.blobs.path(layer.digest))
            if context.store.blobs.is_intact(layer.digest, file):
                context.store.used(layer)
                return layer, file
    raise CCImagesError(
        f"the layer of {wanted.tag} is not in the store, or damaged", hint="run it again", reason=Reason.GONE
    )


def _kept(sealed: Blob, store: Store) -> Path:
    """Return the place of a sealed file: chains with the same files share one, and a run has one name for it."""
    if store.blobs.looks_intact(sealed.digest, sealed.size):
        sealed.path.unlink()
        return store.blobs.path(sealed.digest)
    return store.blobs.place(sealed)


def _packed(folder: Path, target: Path) -> Path:
    """Write a folder as an archive that is the same for the same files."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = EPOCH
        return member

    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False, filter=plain)
    return target


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the archive of a bundle into a new folder. Raises CCImagesError for one that leaves it."""
    folder.mkdir(parents=True)
    try:
        with tarfile.open(archive) as found:
            found.extractall(folder, filter="tar")
    except (tarfile.TarError, OSError) as error:
        raise _unreadable(f"its files cannot be unpacked: {error}") from error


def placed(plain: Any, folder: Path) -> Any:
    """Return plain data with a folder of this host in place of BUNDLED."""
    if isinstance(plain, Mapping):
        return {key: placed(value, folder) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [placed(value, folder) for value in plain]
    return plain.replace(BUNDLED, str(folder)) if isinstance(plain, str) else plain


def digests(made: Json) -> dict[str, int]:
    """Return the digests of the files that were made, with their sizes in bytes."""
    found = {each["digest"]: each["size"] for each in made.get("outputs", ())}
    if "layer" in made:
        found[made["layer"]["record"]["digest"]] = made["layer"]["record"]["size"]
    return found
