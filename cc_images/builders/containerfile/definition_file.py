"""Definition files of the catalogue: each becomes a context with a Containerfile, kept in the store by its content."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from cc_images.builders.containerfile import context
from cc_images.builders.containerfile.definition import containerfile, stages
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Format, Image

SUFFIX = ".def"

KEPT = "definitions"
"""The folder of the store."""


def context_of(file: Path, images: Mapping[str, Image], store: Path) -> Path:
    """Return a folder with the Containerfile of a definition file, and the files beside it that its %files name.

    `images` are those of the catalogue. Raises UserError with the line for what cannot be built.
    """
    try:
        text = file.read_text()
        translated = containerfile(text, images, bases(images))
        found = [each for each in context.entries(file.parent) if each.kind != "folder" and _is_named(each.name, text)]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}", hint="correct it", reason=Reason.MISSING_FILE) from error
    except UserError as error:
        raise UserError(f"{file}: {error.message}", hint=error.hint, reason=error.reason) from error
    said = hashlib.sha256(f"{context.digest(found)} {translated}".encode()).hexdigest()
    place = store / KEPT / said
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{said}.{os.getpid()}")
        shutil.rmtree(new, ignore_errors=True)
        context.copied(found, new)
        (new / context.FILES[0]).write_text(translated)
        try:
            new.rename(place)
        except OSError:  # another process was first
            shutil.rmtree(new)
    return place


def bases(images: Mapping[str, Image]) -> dict[str, str]:
    """Return the catalogue's base images of containers by their distribution's release."""
    found: dict[str, str] = {}
    for each in images.values():
        if Format.OCI in each.formats and not each.depends and "DIB_RELEASE" in each.environment:
            found.setdefault(each.environment["DIB_RELEASE"], each.tag)
    return found


def _is_named(name: str, text: str) -> bool:
    """Say whether a section %files names a file, or a folder that has it."""
    sources = [
        shlex.split(line, comments=True)[0]
        for stage in stages(text)
        for section in stage.of("files")
        for line in section.lines
        if not section.words and line.strip() and not line.strip().startswith("#")
    ]
    return any(Path(name).match(each) or Path(name).is_relative_to(each) for each in sources)
