"""Release notes: what a user of an image should know of a new version, as text or Markdown.

Pure; `boottest.contents` finds the differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cc_images.boottest import contents
from cc_images.model.catalog import Json

HEADINGS: Mapping[str, str] = {
    "system": "System and kernel",
    "packages": "Packages",
    "python": "Python packages",
    "sources": "Source packages",
    "users": "Accounts",
    "units": "Units that are enabled",
    "set-uid": "Files with special rights",
    "files": "Files of /etc, /opt and /usr/local",
    "size": "Size by folder",
}

SORTED = frozenset({"packages", "python", "sources"})
"""Subjects that have a section for each of SORTS."""

SORTS: Mapping[str, str] = {"+": "added", "-": "removed", "": "changed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One version of an image: what is inside, and the size of its smallest file in bytes."""

    name: str
    arch: str
    version: str
    size: int
    contents: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """The differences between two versions of an image, by subject, a phrase each."""

    old: Edition
    new: Edition
    differences: Mapping[str, Sequence[str]]

    def as_json(self) -> Json:
        """Return the notes as plain data."""
        return {
            "image": self.new.name,
            "arch": self.new.arch,
            "old": self.old.version,
            "new": self.new.version,
            "size": {"old": self.old.size, "new": self.new.size},
            "kernel": {"old": _kernel(self.old), "new": _kernel(self.new)},
            "differences": {subject: list(phrases) for subject, phrases in self.differences.items()},
        }


def compare(old: Edition, new: Edition) -> Notes:
    """Return what differs between two versions."""
    return Notes(old=old, new=new, differences=contents.differences(old.contents, new.contents))


def facts(notes: Notes) -> list[tuple[str, str]]:
    """Return the lines that stand above all details: a heading and its text each."""
    found = [("file", _step(_mib(notes.old.size), _mib(notes.new.size)))]
    if "kernels" in notes.new.contents and "kernels" in notes.old.contents:
        found.append(("kernel", _step(_kernel(notes.old), _kernel(notes.new))))
    counts = [str(len(contents.versions(each.contents))) for each in (notes.old, notes.new)]
    found.append(("packages", _step(*counts)))
    seen = contents.compared(notes.old.contents, notes.new.contents)
    why = ": one of the versions was never looked into" if len(seen) == 1 else ""
    found.append(("compared", f"{', '.join(seen)}{' only' * (len(seen) == 1)}{why}"))
    return found


def sections(notes: Notes) -> list[tuple[str, list[str]]]:
    """Return a heading and its phrases each; those of SORTED by whether something was added, removed or changed."""
    found: list[tuple[str, list[str]]] = []
    for subject, phrases in notes.differences.items():
        heading = HEADINGS.get(subject, subject)
        if subject not in SORTED:
            told = [each for each in phrases if not each.startswith("kernel ")]  # that stands above
            found += [(heading, told)] if told else []
            continue
        for sign, sort in SORTS.items():
            chosen = [each for each in phrases if (each[:1] if each[:1] in "+-" else "") == sign]
            if chosen:
                found.append((f"{heading} {sort}", [each.removeprefix(sign) for each in chosen]))
    return found


def text(notes: Notes) -> str:
    """Return the notes for a terminal."""
    lines = [f"{notes.new.name} {notes.new.arch}: {notes.old.version} → {notes.new.version}"]
    lines += [f"  {heading:10} {said}" for heading, said in facts(notes)]
    for heading, phrases in sections(notes):
        lines += [f"{heading}: {len(phrases)}", *(f"  {phrase}" for phrase in phrases)]
    return "\n".join(lines if notes.differences else [*lines, "nothing of what is compared differs"])


def markdown(notes: Notes) -> str:
    """Return the notes as Markdown."""
    lines = [f"# {notes.new.name} {notes.new.version} ({notes.new.arch})", ""]
    lines += [f"Changes since version {notes.old.version}.", ""]
    lines += [f"- **{heading}**: {said}" for heading, said in facts(notes)]
    for heading, phrases in sections(notes):
        lines += ["", f"## {heading} ({len(phrases)})", "", *(f"- `{phrase}`" for phrase in phrases)]
    return "\n".join(lines if notes.differences else [*lines, "", "Nothing of what is compared differs."])


def _step(old: str, new: str) -> str:
    return new if old == new else f"{old} → {new}"


def _kernel(edition: Edition) -> str:
    return ", ".join(edition.contents.get("kernels", [])) or "none"


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
