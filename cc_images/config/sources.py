"""Third-party elements: the entries of third-party.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from cc_images.config.yaml_file import Section
from cc_images.model.element_source import ElementSource

_COMMIT = re.compile(r"[0-9a-f]{7,40}\Z")
_REF = re.compile(r"(?!-)[^\s~^:?*\[\\\x00-\x1f\x7f]+\Z")


def repository(section: Section, key: str = "repo") -> str:
    """Read the address of a repository, as git takes it. What is wrong is noted in the section."""
    said = section.text(key)
    try:
        urlsplit(said)
    except ValueError as error:
        section.problem(key, f"is no address: {error}")
    if not said.isprintable():
        section.problem(key, f"{said!r} has characters that no address has")
    return said


def source_of(section: Section) -> ElementSource:
    """Read an entry. What is wrong is noted in the section."""
    refs = {key: section.text(key, _REF, "the name of a branch or a tag") for key in ("branch", "ref", "tag")}
    source = ElementSource(
        name=section.name,
        repo=repository(section),
        branch=next((said for said in refs.values() if said), "main"),
        elements_directory=section.text("elements_directory") or ".",
        commit=section.text("commit", _COMMIT, "7 to 40 hexadecimal digits"),
    )
    if sum(map(bool, refs.values())) > 1:
        section.problem("", "has more than one of branch, ref and tag, which mean the same")
    folder = Path(source.elements_directory)
    if folder.is_absolute() or ".." in folder.parts:
        section.problem("elements_directory", f"{folder} leads out of the repository")
    if not source.repo:
        section.problem("repo", "is missing; give the repository's address")
    section.close()
    return source
