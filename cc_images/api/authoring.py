"""A new image: its entry in images.yaml, its element, and the element's checks, written from a parent's."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.builders.dib.elements import Elements, own_elements
from cc_images.config.image_parts import NAME, usual_firmware
from cc_images.config.images import PACKAGE
from cc_images.config.loader import Config, load, packaged
from cc_images.config.yaml_text import quoted
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host.files import write_bytes
from cc_images.model.catalog import Arch, Format, Image
from cc_images.model.words import RESERVED

LONG = "A name of letters, digits, dot, underscore, plus and hyphen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The texts to be written: the entry, and the element's files."""

    entry: str
    folder: Path
    files: Mapping[str, str]


def new(environ: Mapping[str, str], cwd: Path, name: str, parent: str, packages: Sequence[str]) -> list[Path]:
    """Add an image that builds on another one, and return the files that were written or changed.

    The catalogue is read again afterwards; if it does not load any more, everything is as it was. Raises UserError for
    a name that is taken, a parent that is not there, and a catalogue that cannot be changed.
    """
    config = load(environ, cwd)
    file = config.files["images.yaml"]
    if file == packaged("images.yaml") and cwd.resolve() != file.parent.resolve():
        raise UserError(
            f"there is no images.yaml here, and {file} is the one that comes with cc-images",
            hint=f"cd {file.parent}, or begin an images.yaml of your own here",
            reason=Reason.READ_ONLY,
        )
    _require(config, name, parent, packages)
    draft = drafted(name, config.images[parent.lower()], packages, _elements(file))
    if draft.folder.exists():
        raise UserError(f"{draft.folder} already exists", hint="choose another name, or remove it")
    known = Elements((*config.elements, own_elements()))
    if known.has(name.lower()):
        where = known.path(name.lower()).parent
        raise UserError(f"{where} has an element {name.lower()} already", hint="choose another name")
    before = file.read_text()
    written = [draft.folder / each for each in draft.files]
    try:
        draft.folder.mkdir(parents=True)
        for path, text in zip(written, draft.files.values(), strict=True):
            path.write_text(text)
        _replace(file, f"{before.rstrip()}\n\n{draft.entry}" if before.strip() else draft.entry)
        load(environ, cwd)
    except (OSError, CCImagesError) as error:
        with suppress(OSError):
            if file.read_text() != before:
                _replace(file, before)
            for path in written:
                path.unlink(missing_ok=True)
            draft.folder.rmdir()
        if isinstance(error, OSError):
            what = f"{error.filename or file}: {error.strerror or error}"
            raise UserError(what, hint="work in a folder of yours") from error
        raise
    return [file, *written]


def _replace(file: Path, text: str) -> None:
    """Write a file in one step; a link stays one, and mode and owner stay what they were."""
    real = file.resolve()
    before = real.stat()
    write_bytes(real, text.encode())
    real.chmod(stat.S_IMODE(before.st_mode))
    with suppress(OSError):  # only root may
        os.chown(real, before.st_uid, before.st_gid)


def _elements(file: Path) -> Path:
    """Return where a catalogue's elements are: beside it, or where it is in `config`, beside that."""
    beside, above = file.parent / "elements", file.parent.parent / "elements"
    return above if file.parent.name == "config" and above.is_dir() and not beside.is_dir() else beside


def _require(config: Config, name: str, parent: str, packages: Sequence[str]) -> None:
    """Raise UserError for what cannot be written."""
    file = config.files["images.yaml"]
    if not NAME.match(name) or name.lower() in RESERVED or name.startswith("x-"):
        taken = name.lower() in RESERVED
        raise UserError(
            f"{name!r} is not an image's name" + (": it is a word of the command line" if taken else ""),
            hint=f"{LONG}, such as CC-Debian12-Emacs",
        )
    if name.lower() in config.images:
        raise UserError(f"there is an image {config.images[name.lower()].name} already", hint="choose another name")
    if parent.lower() not in config.images:
        known = ", ".join(image.name for image in config.images.values())
        raise UserError(f"there is no image {parent}", hint=f"known are {known}", reason=Reason.UNKNOWN_IMAGE)
    if not os.access(file, os.W_OK) or (file == packaged("images.yaml") and file.parent.name == "data"):
        raise UserError(
            f"{file} cannot be changed", hint="copy it to a folder of yours, and work there", reason=Reason.READ_ONLY
        )
    for package in packages:
        if not PACKAGE.match(package):
            raise UserError(f"{package!r} is not a package's name", hint="give each with a --package of its own")


def drafted(name: str, parent: Image, packages: Sequence[str], elements: Path) -> Draft:
    """Return the entry and the element of a new image; the keys that are not inherited are the parent's."""
    tag = name.lower()
    variant = name.removeprefix(parent.name).strip("-_.+").lower() or tag
    lines = [f"{name}:", f"  depends: [{parent.name}]"]
    if parent.arches != (Arch.AMD64,):
        lines.append(f"  arch: [{', '.join(parent.arches)}]")
    if parent.baremetal_only:
        lines.append("  baremetal-only: true")
    usual = Image(name=name)
    if parent.disk != usual.disk:
        lines.append(f"  disk: [{', '.join(parent.disk)}]")
    if Arch.AMD64 in parent.arches and set(parent.firmware) != usual_firmware(parent.disk):
        lines.append(f"  firmware: [{', '.join(parent.firmware)}]")
    lines += [
        f"  {key}: {getattr(parent, key)}"
        for key in ("timeout", "scratch")
        if getattr(parent, key) != getattr(usual, key)
    ]
    if parent.allow:
        lines.append(f"  allow: [{', '.join(parent.allow)}]")
    if parent.formats != (Format.QCOW2,):
        lines.append(f"  formats: [{', '.join(parent.formats)}]")
    lines.append(f"  provenance: {{variant: {variant}}}")
    if parent.properties:
        lines.append("  properties:")
        lines += [f"    {key}: {_quoted(value)}" for key, value in parent.properties.items()]
    if parent.eol:
        lines.append(f"  eol: {parent.eol}")
    heading = f"{parent.name} with {', '.join(packages)}." if packages else f"What {name} has beyond {parent.name}."
    files = {"README.rst": f"{'=' * len(tag)}\n{tag}\n{'=' * len(tag)}\n{heading}\n"}
    if packages:
        files["element-deps"] = "package-installs\n"
        files["package-installs.yaml"] = "".join(f"{quoted(each)}:\n" for each in packages)
    checked = [quoted(each.partition("=")[0]) for each in packages if not set("@*") & {*each}]
    files["checks.yaml"] = f"packages: [{', '.join(checked)}]\n" if checked else "# packages: [vim]\n"
    return Draft(entry="\n".join(lines) + "\n", folder=elements / tag, files=files)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
