"""Files and folders that the commands of a build see, and the image does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cc_images.host.sandbox import Sandbox

PLACE = PurePosixPath("/run/cc-images")
"""The folder below which things are shown: it goes with the sandbox, and no layer has it."""

TAKEN = frozenset(
    {"apt-lists", "apt-sources", "apt.conf", "archives", "keep", "kept", "log", "note", "offer", "offered"}
)
"""Names there that `toolbox/containerfile.py` uses itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A file or folder of this host, and the absolute path at which all commands of a build see it.

    A writable one lies in the build's workspace: nothing else of the host can be changed from the sandbox.
    """

    source: Path
    place: str
    writable: bool = False


def outside(shown: Iterable[Shown], workspace: Path) -> tuple[Path, ...]:
    """Return the sources that a sandbox must be given besides its workspace."""
    found = tuple(each for each in shown if workspace not in each.source.parents)
    assert not any(each.writable for each in found), "only folders of the workspace can be written to"
    return tuple(each.source for each in found)


def volumes(shown: Iterable[Shown], sandbox: Sandbox) -> Iterator[str]:
    """Yield buildah's words for what is shown."""
    for each in shown:
        place = PurePosixPath(each.place)
        assert place.is_relative_to(PLACE), f"{place} would be left in a layer"
        assert place.relative_to(PLACE).parts[:1] not in ((), *((name,) for name in TAKEN)), f"{place} is taken"
        yield from ("--volume", f"{sandbox.place(each.source)}:{place}:{'rw' if each.writable else 'ro'}")
