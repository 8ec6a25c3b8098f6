"""Run files as they are read: how a run that another program has started stands."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNote:
    """The contents of a run file; nothing is known of what a run has not yet written."""

    pid: int = 0
    ticks: int = 0
    """When the process began, by the kernel's clock: another process may get the same number."""
    run: str = ""
    remaining: float | None = None
    """Seconds that the run was expected to take when it was planned, at least."""
    state: str = ""
    """How it ended; empty: it has not."""
    exit_code: int | None = None
    message: str = ""
    hint: str = ""
    reason: str = ""


def read(path: Path) -> RunNote:
    """Return what a run file says; nothing when it cannot be read."""
    with suppress(OSError, ValueError, TypeError):
        said = json.loads(path.read_bytes())
        return RunNote(**{name: value for name, value in said.items() if name in RunNote.__dataclass_fields__})
    return RunNote()


def ticks(pid: int) -> int:
    """Return when a process began, in ticks since the host did; 0 for one that is gone."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0
