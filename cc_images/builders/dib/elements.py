"""Elements on disk: which ones a build would use, what is in them, and a fingerprint of each.

They are read without importing dib, so that a plan costs milliseconds and does not depend on the order of Python's
sets, as dib's own expansion does.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import os
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cc_images.builders.dib.element_environment import EnvironmentFiles
from cc_images.builders.dib.element_files import Digests, digest_of, fingerprints, mentions
from cc_images.errors import Reason, UserError

CHECKS = "checks.yaml"
"""The file of an element that says what must hold in a running image which has it."""

VARIABLES = "variables.yaml"
"""The file of an element that says which values its variables may have."""

_NOT_BUILT = frozenset({CHECKS, VARIABLES, "README.rst", "README.md"})
"""Files of an element that no build reads."""

DISK = frozenset({"vm", "bootloader"})
"""Elements that turn a tree into a disk; so do all that stand for `block-device`, or need it."""

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+|declare\s+-x\s+)?([A-Za-z_]\w*)=", re.MULTILINE)


@functools.cache
def own_elements() -> Path:
    """Return the folder of the elements that come with dib."""
    found = importlib.util.find_spec("diskimage_builder")
    assert found is not None, "diskimage-builder is a dependency"
    assert found.submodule_search_locations
    return Path(next(iter(found.submodule_search_locations))) / "elements"


def with_layout(wanted: Sequence[str], arch: str) -> tuple[str, ...]:
    """Return elements with the layout that dib adds to `vm` when none is named; rule: dib's _arg_defaults_hack."""
    if "vm" not in wanted or any(name.startswith("block-device-") for name in wanted):
        return tuple(wanted)
    return (*wanted, "block-device-efi" if arch == "arm64" else "block-device-mbr")


class MissingElement(UserError):
    """An element is in none of the folders."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint, reason=Reason.MISSING_ELEMENT)


class Elements:
    """The elements in some folders; a folder named earlier wins over a later one. Each file is read once."""

    def __init__(self, folders: Sequence[Path], memory: Path | None = None) -> None:
        self.folders = tuple(folders)
        self._paths: dict[str, Path] = {}
        for folder in reversed(self.folders):
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if os.path.isdir(entry.path)]
            # a link is known by the name of the folder that it leads to, as in dib
            self._paths |= {
                os.path.basename(os.path.realpath(each.path)) if each.is_symlink() else each.name: Path(each.path)
                for each in found
            }
        self._file_digests = Digests(memory)
        self._files: dict[str, Mapping[str, str]] = {}
        self._digests: dict[str, str] = {}
        self._mentioned: dict[tuple[str, str], bool] = {}
        self._exports: dict[str, frozenset[str]] = {}
        self._lists: dict[tuple[str, str], frozenset[str]] = {}
        self._closures: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._environments: dict[tuple[Path, ...], EnvironmentFiles] = {}

    def closure(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return all elements that dib would use, sorted: the wanted and their dependencies, less what is provided.

        Raises UserError for an element that is not there, and when none of them is an operating system. The rules are
        those of dib's element-deps and element-provides.
        """
        wanted = tuple(wanted)
        if wanted not in self._closures:
            self._closures[wanted] = self._expand(wanted)
        return self._closures[wanted]

    def _expand(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        queue, seen = deque((name, "") for name in dict.fromkeys(wanted)), set(wanted)
        provided: dict[str, str] = {}
        while queue:
            name, user = queue.popleft()
            if name in provided:
                continue
            if name not in self._paths:
                raise MissingElement(_missing(name, user), hint=_similar(name, self._paths))
            for each in sorted(self.provides(name)):
                if each in provided:
                    raise _provided_twice(each, provided[each], name)
                provided[each] = name
            for needed in sorted(self._list(name, "element-deps") - seen - provided.keys()):
                seen.add(needed)
                queue.append((needed, name))
        for name in wanted:
            if name in provided:
                raise _provided_twice(name, provided[name], name)
        if "operating-system" not in provided:
            raise MissingElement(
                f"none of {', '.join(wanted)} is an operating system",
                hint="name an element such as debian-minimal, or one that depends on it",
            )
        return tuple(sorted(seen - provided.keys()))

    def in_order(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return what `closure` returns, so that an element stands after those that it depends on."""
        wanted = tuple(wanted)
        used = self.closure(wanted)
        ordered: dict[str, None] = {}
        stack = [(name, False) for name in reversed(wanted)]
        entered: set[str] = set()
        while stack:
            name, left = stack.pop()
            if left:
                ordered[name] = None
            elif name not in entered and name in self._paths:
                entered.add(name)
                if name in used:
                    stack.append((name, True))
                stack.extend((needed, False) for needed in sorted(self._list(name, "element-deps"), reverse=True))
        return tuple(ordered)

    def has(self, name: str) -> bool:
        """Say whether there is an element of this name."""
        return name in self._paths

    def path(self, name: str) -> Path:
        """Return an element's folder."""
        return self._paths[name]

    def behind_links(self, wanted: Iterable[str]) -> list[Path]:
        """Return where the links among the files of what a build uses lead, and the elements themselves, resolved.

        A sandbox shows the folders of elements, and what is behind a link may lie elsewhere.
        """
        found: dict[Path, None] = {}
        for name in self.closure(wanted):
            folder = self._paths[name]
            found[folder.resolve()] = None
            for root, folders, files in os.walk(folder):
                links = (Path(root, each) for each in (*folders, *files) if os.path.islink(os.path.join(root, each)))
                found.update(dict.fromkeys(each.resolve() for each in links))
        return [path for path in found if path.exists()]

    def provides(self, name: str) -> frozenset[str]:
        """Return the elements that an element provides besides itself."""
        return self._list(name, "element-provides")

    def needed_by(self, name: str) -> frozenset[str]:
        """Return the elements on which an element depends directly."""
        return self._list(name, "element-deps")

    def needs(self, name: str, other: str) -> bool:
        """Say whether an element depends on another one directly."""
        return other in self._list(name, "element-deps")

    def files(self, name: str) -> Mapping[str, str]:
        """Return the files of an element that builds read: relative path → mode and sha256 of the content."""
        if name not in self._files:
            found = fingerprints(self._paths[name], self._file_digests)
            self._files[name] = dict(sorted(each for each in found if each[0] not in _NOT_BUILT))
        return self._files[name]

    def keep(self) -> None:
        """Save the digests that took long to compute."""
        self._file_digests.keep()

    def mentions(self, name: str, word: str) -> bool:
        """Say whether any file of an element contains a word, not as a part of a longer one."""
        if (name, word) not in self._mentioned:
            files = (self._paths[name] / file for file in self.files(name) if not file.endswith((" ->", "/")))
            self._mentioned[name, word] = any(mentions(file, word) for file in files)
        return self._mentioned[name, word]

    def hooks_mention(self, name: str, word: str) -> bool:
        """Say the same of an element without its `static` files, which may be large, and are copied, not run."""
        if (name, f"{word} in hooks") not in self._mentioned:
            passed = (" ->", "/")
            files = (each for each in self.files(name) if not each.endswith(passed) and not each.startswith("static/"))
            found = any(mentions(self._paths[name] / file, word) for file in files)
            self._mentioned[name, f"{word} in hooks"] = found
        return self._mentioned[name, f"{word} in hooks"]

    def exports(self, name: str) -> frozenset[str]:
        """Return the variables that an element's environment.d sets."""
        if name not in self._exports:
            folder = self._paths[name] / "environment.d"
            texts = [path.read_text(errors="replace") for path in folder.glob("*") if path.is_file()]
            self._exports[name] = frozenset(_ASSIGNMENT.findall("\n".join(texts)))
        return self._exports[name]

    def default(self, names: Iterable[str], variable: str, environment: Mapping[str, str], arch: str) -> str:
        """Return the value of one variable; see `defaults`."""
        return self.defaults(names, (variable,), environment, arch)[variable]

    def defaults(
        self, names: Iterable[str], variables: Sequence[str], environment: Mapping[str, str], arch: str
    ) -> dict[str, str]:
        """Return the values of variables after dib has read the environment.d of these elements; empty for unset ones.

        One shell answers for all builds for which the answer must be the same.
        """
        files = [file for name in names for file in (self._paths[name] / "environment.d").glob("*") if file.is_file()]
        ordered = tuple(sorted(files, key=lambda file: file.name))
        if ordered not in self._environments:
            self._environments[ordered] = EnvironmentFiles(ordered)
        return self._environments[ordered].values(variables, environment, arch)

    def digest(self, name: str) -> str:
        """Return the sha256 of what `files` says."""
        if name not in self._digests:
            self._digests[name] = digest_of(self.files(name))
        return self._digests[name]

    def _read_list(self, name: str, file: str) -> frozenset[str]:
        """Return the names in a file of an element, one a line as in dib. Raises UserError for what is no list."""
        path = self._paths[name] / file
        if not os.path.lexists(path):
            return frozenset()
        if not path.is_file():
            raise UserError(
                f"{path} is not a file", hint="a list of elements is a text, one name a line", reason=Reason.ODD_FILE
            )
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
        if wrong := next((line for line in lines if len(line.split()) > 1), ""):
            raise UserError(f"{path}: {wrong!r} is not one name", hint="write one name a line", reason=Reason.ODD_FILE)
        return frozenset(filter(None, lines))

    def disk_part(self, wanted: Sequence[str]) -> str:
        """Return the first of the wanted elements, or of those that they need, that belongs to the disk."""
        queue, seen = deque(wanted), set(wanted)
        while queue:
            name = queue.popleft()
            if name not in self._paths:
                continue
            needed = self._list(name, "element-deps")
            if name in DISK or "block-device" in self.provides(name) or "block-device" in needed:
                return name
            queue.extend(sorted(needed - seen))
            seen |= needed
        return ""

    def removes_packages(self, name: str) -> bool:
        """Say whether an element takes packages out again once all are installed: a child in one go would have them."""
        file = self._paths[name] / "package-installs.yaml"
        text = file.read_text(errors="replace") if file.is_file() else ""
        return re.search(r"^\s+(?:build-only|uninstall):\s*(?i:true|yes|on|1)\s*$", text, re.MULTILINE) is not None

    def _list(self, name: str, file: str) -> frozenset[str]:
        if (name, file) not in self._lists:
            self._lists[name, file] = self._read_list(name, file)
        return self._lists[name, file]


def _provided_twice(what: str, one: str, other: str) -> UserError:
    if one == other or what == other:
        return UserError(
            f"element {one} provides element {what}, which is named as well",
            hint=f"leave one of {what} and {one} out",
            reason=Reason.PROVIDED_TWICE,
        )
    return UserError(
        f"{what} is provided by element {one} and by element {other}",
        hint="name one of them only: an image has one of each",
        reason=Reason.PROVIDED_TWICE,
    )


def _missing(name: str, user: str) -> str:
    return f"element {name} is not in any elements folder" + (f" (element {user} depends on it)" if user else "")


def _similar(name: str, known: Iterable[str]) -> str:
    other = {each.lower(): each for each in known}
    close = [other[each] for each in difflib.get_close_matches(name.lower(), other, n=1)]
    return (f"did you mean {close[0]}? Or " if close else "") + (
        "make it in the folder elements, or name the right ones with elements: ([] for none of its own)"
        " in images.yaml, or add the repository that has it to third-party.yaml"
    )
