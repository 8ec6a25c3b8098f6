"""What watches the hooks of a build in its sandbox, and the tree that it leaves there; see `toolbox/hooks.py`."""

from __future__ import annotations

import math
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from cc_images.builders.dib.build_log import Phases
from cc_images.errors import CCImagesError, Reason
from cc_images.host import process, record_files, terminal
from cc_images.host.root import TOOLBOX
from cc_images.host.sandbox import Sandbox
from cc_images.model.kept import LeftTree
from cc_images.model.plain_text import printable
from cc_images.model.record_shapes import LeftTreeShape

ELEMENT = "cc-debug"
"""The element that says which hook begins, and asks at one that fails."""

PACKING = 3600.0
"""Seconds that a tree may take to be packed, once a build has taken too long."""

TOOK_TOO_LONG = 124
"""The exit code that `hooks.py` has for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is wanted of the one who watches: a shell at a hook that fails, its tree, the tree after a phase."""

    shell: bool = False
    keep: bool = False
    until: str = ""

    @property
    def wanted(self) -> bool:
        """Whether anything is."""
        return self.shell or self.keep or bool(self.until)

    def command(self, words: list[str], sandbox: Sandbox, seconds: float) -> list[str]:
        """Return a command, and before it what watches it, if anything is wanted."""
        if not self.wanted:
            return words
        watching = [sys.executable, str(sandbox.place(TOOLBOX) / "hooks.py")]
        if self.shell:
            watching += ["--shell", str(sandbox.place(_socket(sandbox)))]
        elif self.keep:
            watching += ["--seconds", str(seconds)]
        if self.keep or self.until:
            watching += ["--keep", str(sandbox.place(sandbox.out)), *(["--only-until"] if not self.keep else [])]
        return [*watching, *words, ELEMENT]

    def timeout(self, seconds: float) -> float:
        """Return when the sandbox has to end at last, in seconds, if dib has so many."""
        if self.shell:
            return math.inf
        return seconds + PACKING if self.keep else seconds

    def lent(self, sandbox: Sandbox) -> AbstractContextManager[None]:
        """Lend the terminal to shells, if they are wanted."""
        return terminal.lent(_socket(sandbox)) if self.shell else nullcontext()


NOTHING = Watch()
"""Nothing is wanted, so nobody watches."""


def _socket(sandbox: Sandbox) -> Path:
    return sandbox.out / "shell.sock"


def left(sandbox: Sandbox) -> LeftTree | None:
    """Return the tree that a build has left in its sandbox, if it has."""
    said = record_files.found(sandbox.out / "kept.json", LeftTreeShape)
    if not said:
        return None
    known = {name: said[name] for name in LeftTreeShape.__struct_fields__ if name in said}
    known["trouble"] = printable(known.get("trouble", ""))
    file = sandbox.out / "kept.tar.zst"
    if not known["trouble"] and (not file.is_file() or file.is_symlink()):
        known["trouble"] = "the build has removed it"
    return LeftTree(file=file, **known)


def is_timeout(error: process.CommandFailed, sandbox: Sandbox) -> bool:
    """Say whether a build has failed because it took too long."""
    if isinstance(error, process.TimedOut):
        return True
    found = left(sandbox)
    return error.code == TOOK_TOO_LONG and found is not None and found.code is None


def stopped(until: str, sandbox: Sandbox, phases: Phases) -> Path:
    """Return the packed tree of a build that stopped after a phase. Raises CCImagesError when there is none."""
    found = left(sandbox)
    if found is not None and not found.trouble and found.phase == until:
        return found.file
    why = found.trouble if found is not None and found.trouble else f"dib ended in {phases.where}"
    raise CCImagesError(
        f"the build has no tree after {until}: {why}",
        hint="read the log, and make room in the store if that is full",
        reason=Reason.NO_RESULT,
    )
