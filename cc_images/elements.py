"""Elements on disk: which ones a build would use, what is in them, and a fingerprint of each.

They are read without importing dib, so that a plan costs milliseconds and does not depend on the order of Python's
sets, as dib's own expansion does.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import stat
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cc_images.errors import UserError

CHECKS = "checks.yaml"
"""The file of an element that says what must hold in a running image which has it."""

_NOT_BUILT = frozenset({CHECKS, "README.rst", "README.md"})
"""Files of an element that no build reads."""

SHELL_TIMEOUT = 10.0
"""Seconds that reading the environment.d of some elements may take."""

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+|declare\s+-x\s+)?([A-Za-z_]\w*)=", re.MULTILINE)


def own_elements() -> Path:
    """Return the folder of the elements that come with dib."""
    found = importlib.util.find_spec("diskimage_builder")
    assert found is not None, "diskimage-builder is a dependency"
    assert found.submodule_search_locations
    return Path(next(iter(found.submodule_search_locations))) / "elements"


class Elements:
    """The elements in some folders; a folder named earlier wins over a later one. What was read once is kept."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._paths: dict[str, Path] = {}
        for folder in reversed(self.folders):
            self._paths |= {entry.name: Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()}
        self._files: dict[str, Mapping[str, str]] = {}
        self._digests: dict[str, str] = {}
        self._texts: dict[str, bytes] = {}
        self._exports: dict[str, frozenset[str]] = {}
        self._lists: dict[tuple[str, str], frozenset[str]] = {}
        self._closures: dict[tuple[str, ...], tuple[str, ...]] = {}

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
        queue, seen, provided = deque((name, "") for name in wanted), set(wanted), set[str]()
        while queue:
            name, user = queue.popleft()
            if name in provided:
                continue
            if name not in self._paths:
                raise UserError(_missing(name, user), hint=_similar(name, self._paths), reason="missing-element")
            provided |= self.provides(name)
            for needed in sorted(self._list(name, "element-deps") - seen - provided):
                seen.add(needed)
                queue.append((needed, name))
        if "operating-system" not in provided:
            raise UserError(
                f"none of {', '.join(wanted)} is an operating system",
                hint="name an element such as debian-minimal, or one that depends on it",
                reason="missing-element",
            )
        return tuple(sorted(seen - provided))

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
        """Return what an element stands for besides itself."""
        return self._list(name, "element-provides")

    def files(self, name: str) -> Mapping[str, str]:
        """Return the files of an element that builds read: relative path → mode and sha256 of the content."""
        if name not in self._files:
            found = _fingerprints(self._paths[name], "", frozenset())
            self._files[name] = dict(sorted(each for each in found if each[0] not in _NOT_BUILT))
        return self._files[name]

    def mentions(self, name: str, word: str) -> bool:
        """Say whether any file of an element contains a word, not as a part of a longer one."""
        if name not in self._texts:
            paths = [self._paths[name] / file for file in self.files(name) if not file.endswith(" ->")]
            self._texts[name] = b"\n".join(path.read_bytes() for path in paths)
        text, sought = self._texts[name], word.encode()
        return sought in text and re.search(rb"(?<!\w)" + re.escape(sought) + rb"(?!\w)", text) is not None

    def exports(self, name: str) -> frozenset[str]:
        """Return the variables that an element's environment.d sets."""
        if name not in self._exports:
            folder = self._paths[name] / "environment.d"
            texts = [path.read_text(errors="replace") for path in folder.glob("*") if path.is_file()]
            self._exports[name] = frozenset(_ASSIGNMENT.findall("\n".join(texts)))
        return self._exports[name]

    def default(self, names: Iterable[str], variable: str, environment: Mapping[str, str], arch: str) -> str:
        """Return what one variable will be, see `defaults`."""
        return self.defaults(names, (variable,), environment, arch)[variable]

    def defaults(
        self, names: Iterable[str], variables: Sequence[str], environment: Mapping[str, str], arch: str
    ) -> dict[str, str]:
        """Return what variables will be once dib has read the environment.d of these elements; empty if nothing.

        The files are shell, and nobody has looked at those of third parties: a restricted shell reads them, which can
        neither write files nor run programs, and whatever it leaves in the background ends with it. It can read what
        its user can, as a build can.
        """
        files = [file for name in names for file in (self._paths[name] / "environment.d").glob("*") if file.is_file()]
        texts = [file.read_text(errors="replace") for file in sorted(files, key=lambda file: file.name)]
        shown = " ".join(f'"${{{name}:-}}"' for name in variables)
        script = "\n".join(("enable -n kill", *texts, f"printf '\\x1e%s' {shown}"))
        shell = subprocess.Popen(
            [shutil.which("bash") or "bash", "--restricted", "--noprofile", "--norc", "-c", script],
            env={**environment, "ARCH": arch, "PATH": "/nonexistent"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = shell.communicate(timeout=SHELL_TIMEOUT)
        except subprocess.TimeoutExpired:
            said = ""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        values = said.rsplit("\x1e", len(variables))[1:]
        if len(values) != len(variables):  # the files have ended the shell
            values = [""] * len(variables)
        return dict(zip(variables, map(str.strip, values), strict=True))

    def digest(self, name: str) -> str:
        """Return the sha256 of what `files` says."""
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(json.dumps(self.files(name)).encode()).hexdigest()
        return self._digests[name]

    def _list(self, name: str, file: str) -> frozenset[str]:
        if (name, file) not in self._lists:
            try:
                self._lists[name, file] = frozenset((self._paths[name] / file).read_text().split())
            except FileNotFoundError:
                self._lists[name, file] = frozenset()
        return self._lists[name, file]


def _fingerprints(folder: Path, prefix: str, above: frozenset[Path]) -> Iterable[tuple[str, str]]:
    """Yield path and fingerprint of all below a folder. Links are followed, as dib does, but never in a circle.

    Of a mode only the right to execute counts, so that the umask of a checkout does not; files below `static` keep
    their modes in images, so there the whole mode counts.
    """
    above |= {folder.resolve()}
    for entry in os.scandir(folder):
        path, name = Path(entry.path), prefix + entry.name
        if entry.is_symlink():
            yield f"{name} ->", os.readlink(path)
        if entry.is_dir():
            if entry.name != "__pycache__" and path.resolve() not in above:
                yield from _fingerprints(path, f"{name}/", above)
        elif entry.is_file():
            mode = stat.S_IMODE(entry.stat().st_mode)
            shown = mode if name.startswith("static/") else 0o755 if mode & stat.S_IXUSR else 0o644
            yield name, f"{shown:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _missing(name: str, user: str) -> str:
    return f"element {name} is not in any elements folder" + (f" (element {user} depends on it)" if user else "")


def _similar(name: str, known: Iterable[str]) -> str:
    other = {each.lower(): each for each in known}
    close = [other[each] for each in difflib.get_close_matches(name.lower(), other, n=1)]
    return (f"did you mean {close[0]}? Or " if close else "") + (
        "make it in the folder elements, or name the right ones with elements: ([] for none of its own)"
        " in images.yaml, or add the repository that has it to third-party.yaml"
    )
