"""A container from one recipe: an entry of the catalogue made on the fly, an ordinary run, and its file put in place.

The recipe is a Containerfile or a definition file of Apptainer, which are told apart by content. Its images of the
catalogue become the entry's parents. Only the recipe travels to a builder host, and the context, if one is named.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from cc_images.builders.containerfile import context
from cc_images.builders.containerfile.definition import containerfile, is_definition
from cc_images.builders.containerfile.definition_file import bases
from cc_images.builders.containerfile.standalone import parents
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host.files import flush_folder, refusal, try_lock
from cc_images.model.builds import Output
from cc_images.model.catalog import Arch, Format, Image
from cc_images.model.plan import Request
from cc_images.store.records import Store
from cc_images.store.workspace import log_path

CHUNK = 1 << 20
"""Bytes that are copied at a time."""

LARGEST = 1 << 20
"""Bytes of a recipe at most."""

T = TypeVar("T")

_CONTAINERFILE = re.compile(r"(?i:from|arg)\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order: the file to be made, and of what."""

    target: Path
    recipe: Path
    context: Path | None = None
    """The folder whose files the recipe may copy; None: there are none."""
    on: str = ""
    """The only builder that may build."""

    @property
    def name(self) -> str:
        """The name of the entry: the same for each build of the same file."""
        place = hashlib.sha256(os.fsencode(os.path.realpath(self.target))).hexdigest()
        stem = re.sub(r"[^A-Za-z0-9]+", "-", self.target.name.partition(".")[0]).strip("-")[:40]
        return f"{stem or 'container'}-r{place[:8]}"


@contextmanager
def prepared(order: Order, config: Config) -> Iterator[tuple[Request, Config]]:
    """Yield a request for a run, and a configuration that has the entry; its folder goes with the run.

    Raises UserError for a recipe that cannot be built, and a file that cannot be written.
    """
    _require_place(order.target)
    said = _text(order.recipe)
    with tempfile.TemporaryDirectory(prefix="cc-images-recipe-") as made:
        text = _named(order.recipe, lambda: as_containerfile(said, config))
        folder = _context(order, said, text, Path(made) / "context")
        entry = _named(order.recipe, lambda: _entry(order, text, folder, config))
        own = replace(config, images={**config.images, entry.tag: entry})
        yield Request(tags=(entry.tag,), arches=entry.arches, build=True, jobs=0, on=order.on), own


def as_containerfile(text: str, config: Config) -> str:
    """Return a recipe as a Containerfile. Raises UserError for what is neither kind, or cannot be built."""
    if is_definition(text):
        return containerfile(text, config.images, bases(config.images))
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if not _CONTAINERFILE.match(f"{first} "):
        raise UserError(
            f"it is no recipe: it begins with {first[:40]!r}" if first else "it has nothing in it",
            hint="a Containerfile begins with FROM or ARG, a definition file of Apptainer with Bootstrap",
            reason=Reason.VALUE,
        )
    return text


def _named(recipe: Path, do: Callable[[], T]) -> T:
    """Return what something gives, whose mistakes are those of a recipe."""
    try:
        return do()
    except UserError as error:
        raise UserError(f"{recipe}: {error.message}", hint=error.hint, reason=error.reason) from error


def placed(order: Order, request: Request, config: Config, wanted: Format = Format.SIF) -> Output:
    """Put the image that a run has made in its place, in a format, and return it.

    The bytes are compared with their digest on the way, and the file gets its name when it is whole and on the disk.
    Raises CCImagesError; the old file, if there is one, is as it was then.
    """
    (tag,), (arch,) = request.tags, request.arches
    store = Store(config.store)
    build = store.in_force(tag, arch)
    if build is None or wanted not in build.outputs:
        raise CCImagesError("the image is not in the store any more", hint="build it again", reason=Reason.GONE)
    output = build.outputs[wanted]
    target = Path(os.path.realpath(order.target))
    staged = target.with_name(f".{target.name}.part")
    try:
        if (lock := try_lock(staged)) is None:
            raise CCImagesError(f"{target} is being written by another process", reason=Reason.BUSY)
        try:
            _copied(store.blobs.path(output.digest), staged, output.digest)
            staged.rename(target)
            flush_folder(target.parent)
        except BaseException:
            with suppress(OSError):
                staged.unlink()
            raise
        finally:
            os.close(lock)
    except OSError as error:
        raise CCImagesError(
            f"{target} cannot be written: {error.strerror}; it is as it was",
            hint="make room, and run it again: nothing is built twice",
            reason=Reason.DISK_FULL,
        ) from error
    return output


def log_of(config: Config, run: str, task: str) -> Path:
    """Return the log of a run's task."""
    return log_path(config.store / "logs" / run, task)


def _copied(blob: Path, staged: Path, digest: str) -> None:
    """Copy a file, and compare its digest. Raises OSError, and CCImagesError for a damaged one."""
    found = hashlib.sha256()
    with blob.open("rb") as source, staged.open("r+b") as file:
        file.truncate()
        while piece := source.read(CHUNK):
            found.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if found.hexdigest() != digest:
        raise CCImagesError(
            f"{blob} is damaged", hint="`cc-images doctor --mend` removes it; build again", reason=Reason.GONE
        )


def _require_place(target: Path) -> None:
    """Raise UserError unless a file can be written there."""
    folder = Path(os.path.realpath(target)).parent
    why = "is a folder" if target.is_dir() else ""
    if not why and not folder.is_dir():
        why = f"cannot be written: there is no folder {folder}"
    if not why and (trouble := refusal(folder)):
        why = f"cannot be written: {trouble}"
    if why:
        raise UserError(f"{target} {why}", hint="name a file in a folder of yours", reason=Reason.VALUE)


def _text(recipe: Path) -> str:
    """Return the text of a recipe. Raises UserError."""
    try:
        if recipe.stat().st_size > LARGEST:
            raise UserError(f"{recipe} is too large for a recipe", hint="name a text", reason=Reason.VALUE)
        return recipe.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UserError(f"{recipe} cannot be read: {why}", hint="name a recipe", reason=Reason.MISSING_FILE) from error


def _context(order: Order, said: str, text: str, made: Path) -> Path:
    """Return the folder that is built from: the context itself if it has the Containerfile, else a new one."""
    if order.context is None:
        made.mkdir()
    else:
        if not order.context.is_dir():
            raise UserError(f"--context {order.context} is no folder", hint="name one", reason=Reason.MISSING_FILE)
        with suppress(UserError, OSError):
            if said == text and context.file_of(order.context).samefile(order.recipe):
                return order.context.absolute()
        context.copied(context.entries(order.context), made)
    (made / context.FILES[0]).write_text(text)
    return made


def _entry(order: Order, text: str, folder: Path, config: Config) -> Image:
    """Return the entry of the catalogue. Raises UserError for what the Containerfile cannot say."""
    name, arch = order.name, _arch(order.on, config)
    named, arguments = parents(text, arch, config.images)
    said = {"context": str(folder)} | ({"build-args": arguments} if arguments else {})
    for each in named:
        if arch not in config.images[each].arches:
            raise UserError(f"FROM {each}: it is not made for {arch}", hint="name another image", reason=Reason.VALUE)
    return Image(
        name=name,
        arches=(arch,),
        depends=named,
        disk=(),
        formats=(Format.SIF,),
        firmware=(),
        builder="containerfile",
        containerfile=said,
    )


def _arch(on: str, config: Config) -> Arch:
    """Return the architecture: that of the environment, this host's, or the one of the builder that is named."""
    if config.arches:
        return config.arches[0]
    own = next((each for each in Arch if each.machine == os.uname().machine), Arch.AMD64)
    named = next((each.architectures for each in config.builders if each.name == on), ())
    return Arch(named[0]) if named and own.value not in named else own
