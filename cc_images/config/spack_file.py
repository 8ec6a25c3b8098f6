"""The spack.yaml of an environment: read with positions, and checked as far as that needs no Spack."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cc_images.config.yaml_file import LISTED, Document, Section
from cc_images.config.yaml_text import choice
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Json

KEYS = (
    *("specs", "packages", "concretizer", "config", "view", "repos", "include", "include_concrete", "definitions"),
    *("env_vars", "mirrors", "develop", "compilers", "toolchains", "modules"),
)
"""The keys of an environment that count for an image."""

PASSED_OVER = ("container", "ci", "cdash", "bootstrap", "upstreams")
"""Keys of an environment that say nothing of an image."""

REACHING = ("include", "include_concrete", "repos", "develop", "definitions")
"""Keys that may name other files of the folder."""

LARGEST = 1 << 20
"""Bytes that the file may have."""

_ELSEWHERE = re.compile(r"/|~|\$|[a-z+]+://|git@|(?:.*/)?\.\.(?:/|\Z)")


def environment_of(file: Path, title: str) -> Json:
    """Return the section `spack` of a file. Raises UserError with the line of each mistake; `title` names the file."""
    problems: list[str] = []
    found: Json = {}
    if file.is_file() and file.stat().st_size > LARGEST:
        problems.append(f"{title}: has {file.stat().st_size >> 10} KiB; {LARGEST >> 10} are the most")
    else:
        found = _read(Document(file, problems, title), problems, title)
    if problems:
        more = [f"{len(problems) - LISTED} more mistakes"] if len(problems) > LISTED else []
        raise UserError("\n".join([*problems[:LISTED], *more]), hint="correct the file", reason=Reason.VALUE)
    return found


def _read(document: Document, problems: list[str], title: str) -> Json:
    whole = document.whole()
    if whole is None:
        if not problems:
            problems.append(f"{title}: is empty; write spack: {{specs: [NAME]}}")
        return {}
    if "spack" not in whole:
        whole.problem("", "has no section spack, in which an environment is")
        return {}
    try:
        plain = document.construct(document.root) if document.root is not None and not problems else {}
    except ValueError as error:
        whole.problem("spack", str(error))
        return {}
    section = whole.child("spack")
    whole.close()
    if problems:
        return {}
    try:
        found: Json = json.loads(json.dumps(plain["spack"] or {}, default=str))
    except (ValueError, RecursionError):
        section.problem("", "cannot be written as JSON")
        return {}
    found = {name: value for name, value in found.items() if name not in PASSED_OVER}
    _check(section, found)
    return found


def _check(section: Section, found: Json) -> None:
    for name in found:
        if name.rstrip(":") not in KEYS:
            section.problem(name, f"unknown key; {choice(name, KEYS)}")
    specs = found.get("specs")
    if not isinstance(specs, list) or not specs:
        section.problem("specs", "is missing; list what to install, such as [zip]")
    for each in specs if isinstance(specs, list) else ():
        if not isinstance(each, str | dict) or not each or (isinstance(each, str) and not each.isprintable()):
            section.problem("specs", f"{str(each)[:40]!r} is no spec, such as zip@3.0")
    _check_mapping(section, "config", found.get("config"))
    _check_packages(section, found.get("packages"))
    view = found.get("view", True)
    if not isinstance(view, bool | str):
        section.problem("view", "has settings, but its place and form are those of the image; remove them")
    for key in ("include", "repos"):
        for name in _places(found.get(key)):
            if _ELSEWHERE.match(name):
                section.problem(key, f"{name[:60]!r} is not below the folder, whose files alone are in the build")


def _check_mapping(section: Section, key: str, value: object, form: str = "setting: value") -> None:
    if value is not None and not isinstance(value, dict):
        section.problem(key, f"must be a mapping ({form})")


def _check_packages(section: Section, packages: object) -> None:
    _check_mapping(section, "packages", packages, "package: settings")
    for name, settings in packages.items() if isinstance(packages, dict) else ():
        if settings is not None and not isinstance(settings, dict):
            section.problem(f"packages.{name}", "must be a mapping (setting: value)")
        for key, value in settings.items() if isinstance(settings, dict) else ():
            if key.rstrip(":") == "require" and value is not None and not isinstance(value, str | list):
                section.problem(f"packages.{name}", f"{key} must be a spec, or a list of requirements")
            if key.rstrip(":") == "providers" and value is not None and not isinstance(value, dict):
                section.problem(f"packages.{name}", f"{key} must be a mapping (virtual package: providers)")


def _places(value: object) -> list[str]:
    """Return the texts of a list or mapping that may be places."""
    each: list[object] = [*value.values()] if isinstance(value, dict) else [*value] if isinstance(value, list) else []
    return [text for one in each for text in ([one.get("path")] if isinstance(one, dict) else [one])
            if isinstance(text, str)]  # fmt: skip
