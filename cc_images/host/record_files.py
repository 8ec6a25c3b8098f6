"""Records: the JSON files that cc-images keeps, apart from the classes in memory.

Owns their formats. Each has a number; a file without one is of format 1. Keys that this version does not know are
ignored and kept when a record is written again. A record of a newer format is in use, never damaged: only the
cc-images that wrote it may remove it. A damaged one (torn, of a wrong shape, or no regular file) is moved into the
quarantine of its store and named once in the log. To change a format incompatibly: raise its number, decode the old
one too, add a golden file to `tests/golden`. `model.record_shapes` has the shape of each.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from cc_images.model.builds import Build, Layer, Output, moment
from cc_images.model.catalog import Arch, Format, Json
from cc_images.model.record_shapes import BuildShape, LayerShape, MemoryShape, OutputShape, Shape

LARGEST = 256 << 20
"""Bytes above which a file is no record."""

RENAMED = {"asked": "recipe_key"}
"""Keys of records that have another name in their classes."""

_log = logging.getLogger(__name__)


class Damaged(ValueError):
    """A file that is not the record which its name promises."""


class Newer(Exception):
    """A record in a format that a newer cc-images writes."""


def load(path: Path, shape: type[Shape]) -> Json:
    """Return the JSON object in a file, whose known keys have the right shapes.

    Raises OSError when it cannot be read, Damaged for anything that is no such record, and Newer for a later format.
    """
    return parsed(_content(path), shape, path.name)


def parsed(content: bytes, shape: type[Shape], name: str) -> Json:
    """Return the JSON object that a record has, whose name is for messages. Raises Damaged and Newer as `load` does."""
    plain = _object(content)
    number = plain.get("format", 1)
    if isinstance(number, int) and number > shape.FORMAT:
        raise Newer(f"{name} has format {number}; this cc-images knows {shape.FORMAT}")
    try:
        msgspec.convert(plain, shape)
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise Damaged(str(error)) from error
    return plain


def found(path: Path, shape: type[Shape]) -> Json:
    """Return what `load` returns of a file that a sandbox has left; empty for one that is missing or wrong."""
    try:
        return load(path, shape)
    except (OSError, Damaged, Newer):
        return {}


def fits(plain: object, shape: type[Shape]) -> bool:
    """Say whether an entry of a record has the right shape."""
    try:
        msgspec.convert(plain, shape)
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError):
        return False
    return True


def entries(path: Path, shape: type[Shape]) -> dict[str, Json]:
    """Return the entries by name of a memory at the top of a store; those of a wrong shape are left out."""
    found = recalled(path, MemoryShape, path.parent) or {}
    return {name: each for name, each in found.items() if name != "format" and fits(each, shape)}


def text(path: Path) -> str:
    """Return what a regular file has; empty for what is no such file. Raises OSError when it cannot be read."""
    try:
        return _content(path).decode(errors="replace")
    except (FileNotFoundError, Damaged):
        return ""


def recalled(path: Path, shape: type[Shape], root: Path) -> Json | None:
    """Return what `load` returns but for the format, or None; a damaged file goes into the quarantine of `root`."""
    try:
        return {key: value for key, value in load(path, shape).items() if key != "format"}
    except Damaged as error:
        set_aside(path, root, str(error))
    except (OSError, Newer):
        return None
    return None


def set_aside(path: Path, root: Path, why: str) -> None:
    """Move a damaged file into the quarantine of a store, and say so in the log."""
    aside = root / "quarantine" / f"{path.name.lstrip('.')}.{time.time_ns()}"
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
    except OSError:  # another user's store: it is passed over
        _log.warning("%s is damaged, and cannot be moved away: %s", path, why)
    else:
        _log.warning("%s was damaged and is in %s now: %s", path, aside.parent, why)


def _object(content: bytes) -> Json:
    """Return the JSON object in a file."""
    try:
        found = msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise Damaged("it is not a JSON object")
    return found


def _content(path: Path) -> bytes:
    """Return the content of a regular file; nothing else is opened, and no link is followed."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise Damaged("it is not a regular file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > LARGEST:
            raise Damaged(f"it has {status.st_size} bytes")
        return file.read()


# -- builds and layers -----------------------------------------------------------------------------------------------


def load_build(path: Path) -> Build:
    """Return the build that a file records; its names are those of its folders. Raises what `load` raises."""
    plain = load(path, BuildShape)
    _require_place(path, plain["tag"], plain["arch"], plain["version"])
    return decoded_build(plain)


def decoded_build(plain: Json) -> Build:
    """Return a build from what its record has."""
    outputs = {Format(name): _output(Format(name), output) for name, output in plain["outputs"].items()}
    known = _known(plain, BuildShape) | {"arch": Arch(plain["arch"]), "outputs": outputs}
    return Build(**known)


def _known(plain: Json, shape: type[Shape]) -> Json:
    """Return the known keys of a record of a build or layer, by the names that their classes have."""
    return {RENAMED.get(each, each): plain[each] for each in shape.__struct_fields__ if each in plain}


def _named(plain: Json) -> Json:
    """Return the fields of a build or layer by the names that their records have."""
    on_disk = {ours: theirs for theirs, ours in RENAMED.items()}
    return {on_disk.get(name, name): value for name, value in plain.items()}


def _output(name: Format, plain: Json) -> Output:
    return Output(**{each: plain[each] for each in OutputShape.__struct_fields__} | {"format": name})


def load_layer(path: Path) -> Layer:
    """Return the layer that a file records; its names are those of its folders. Raises what `load` raises."""
    plain = load(path, LayerShape)
    _require_place(path, plain["tag"], plain["arch"], plain["run"])
    return decoded_layer(plain)


def decoded_layer(plain: Json) -> Layer:
    """Return a layer from what its record has."""
    return Layer(**_known(plain, LayerShape) | {"arch": Arch(plain["arch"])})


def _require_place(path: Path, tag: str, arch: str, version: str) -> None:
    """Raise Damaged for a record that lies where one of another name should."""
    if (tag, arch, version) != (path.parent.parent.name, path.parent.name, path.stem):
        raise Damaged(f"it records {tag} {arch} {version}")
    try:
        moment(version)
    except ValueError as error:
        raise Damaged(f"{version} is no time") from error


def encoded(shape: type[Shape], data: Mapping[str, Any], path: Path | None = None) -> Json:
    """Return what is to be written: the data, its format, and the unknown keys of the record that is at `path`."""
    before: Json = {}
    if path is not None:
        with suppress(OSError, Damaged, Newer):
            before = load(path, shape)
    unknown = {key: value for key, value in before.items() if key not in shape.__struct_fields__}
    return unknown | {"format": shape.FORMAT} | dict(data)


def encoded_build(build: Build, path: Path | None = None) -> Json:
    """Return a build as its record has it."""
    plain = encoded(BuildShape, _named(asdict(build)), path)
    if not build.again:
        del plain["again"]
    if path is not None:
        with suppress(OSError, Damaged, Newer):
            before = load(path, BuildShape)["outputs"]
            plain["outputs"] = {
                name: {key: value for key, value in before.get(name, {}).items() if key not in output} | output
                for name, output in plain["outputs"].items()
            }
    return plain


def encoded_layer(layer: Layer, path: Path | None = None) -> Json:
    """Return a layer as its record has it."""
    return encoded(LayerShape, _named(asdict(layer)), path)
