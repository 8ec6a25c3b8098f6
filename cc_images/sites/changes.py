"""What is in force in a catalogue that is a container: a sequence of changes, of which `current` is a copy.

    <scope>/changes/<number>     JSON: all names and versions after this change; who made it; never written again
    <scope>/current              the names and versions of the last change, with its number beside it

Swift has no condition on overwriting an object, but one on making it. So a writer reads the last change, and makes the
next number with what it wants (`Objects.claim`): of two writers at the same moment one makes it, and the other one
fails, reads what there is now, and decides again. No change is lost, because each contains the one before it. The last
change is found without lists, which lag behind: from the number of `current` upwards until none is there.

`current` is written after that. A writer then looks whether it is a copy of the last change, and writes it again until
it is, so a slow writer does not leave an older copy. One that is killed before does not matter: the next writer begins
with that look. For the number that it has, `current` counts: if a conditional call that began before ends late and
writes over a change that was copied, it is the late writer who decides again. A reader, who reads `current` alone,
finds the names before a change or those after it.

A `current` without a number is a person's, and counts as the last change, unless a change was made from it. Only then a
list says where to begin.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from cc_images import clock
from cc_images.errors import CCImagesError, Reason
from cc_images.sites.catalogue_entries import CURRENT, places_of
from cc_images.sites.objects import Objects, Stored

NUMBER = "change"
"""The name under which `current` has the number of its change."""

COPIES = 8
"""How often `current` is written before others are left to do it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is in force: the version of each name, the number of the last change, and whether `current` says the same.

    `etag` is the entity tag of `current`.
    """

    number: int
    places: Mapping[str, str]
    copied: bool
    etag: str = ""


class Changes:
    """The sequence of changes of one scope, whose `current` is `shown` to people."""

    def __init__(self, objects: Objects, scope: str, shown: str) -> None:
        self._objects, self._scope, self._shown = objects, scope, shown

    def state(self) -> State:
        """Return what is in force. Raises CCImagesError for what is none of ours."""
        current = self._objects.read(f"{self._scope}/{CURRENT}")
        copied = _number(current)
        last, change = self._last(copied)
        places = self._places(current.content) if current is not None else {}
        etag = current.etag if current is not None else ""
        if change is None or (current is not None and not copied and change.get("before") != etag):
            return State(number=last, places=places, copied=True, etag=etag)
        return State(
            number=last, places=self._places(json.dumps(change.get("current")).encode()), copied=False, etag=etag
        )

    def change(self, before: State, places: Mapping[str, str]) -> State:
        """Let other names and versions be in force than those of `before`; return what is in force then.

        Raises CCImagesError if others have changed it since `before` was read.
        """
        said = {
            "format": 1,
            "current": dict(places),
            "before": before.etag,
            "writer": str(uuid.uuid4()),
            "written": clock.now().isoformat(),
        }
        if not self._objects.claim(self._path(before.number + 1), json.dumps(said, sort_keys=True).encode()):
            raise self.conflict()
        return self.settle()

    def settle(self) -> State:
        """Make `current` a copy of the last change; return what is in force."""
        for _ in range(COPIES):
            state = self.state()
            if state.copied:
                return state
            text = json.dumps(dict(state.places), indent=1, sort_keys=True)
            path = f"{self._scope}/{CURRENT}"
            self._objects.write(path, f"{text}\n".encode(), {NUMBER: str(state.number)})
        raise self.conflict()

    def conflict(self) -> CCImagesError:
        """Return the error for what others have changed meanwhile."""
        return CCImagesError(
            f"site {self._objects.cloud.site}: {self._shown} was changed meanwhile",
            hint="somebody else works in the catalogue; push again",
            reason=Reason.CONFLICT,
            temporary=True,
        )

    def _last(self, known: int) -> tuple[int, dict[str, object] | None]:
        """Return the number of the last change, and the change if it is later than `known`."""
        number = known or self._listed()
        found = self._objects.read(self._path(number)) if number > known else None
        while (following := self._objects.read(self._path(number + 1))) is not None:
            number, found = number + 1, following
        return number, _change(found) if found is not None else None

    def _listed(self) -> int:
        """Return the number of the last change that a list has; 0 without one."""
        prefix = f"{self._scope}/changes/"
        names = [path.removeprefix(prefix) for path, _ in self._objects.listed(prefix)]
        return max((int(each) for each in names if each.isdecimal()), default=0)

    def _places(self, content: bytes) -> dict[str, str]:
        return places_of(content, self._objects.cloud.site, self._shown)

    def _path(self, number: int) -> str:
        return f"{self._scope}/changes/{number:09}"


def _number(current: Stored | None) -> int:
    """Return the number of the change that `current` is a copy of; 0 for one that a person wrote."""
    said = current.said.get(NUMBER, "") if current is not None else ""
    return int(said) if said.isdecimal() and said.isascii() and len(said) < 10 else 0


def _change(found: Stored) -> dict[str, object]:
    try:
        said = json.loads(found.content)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
