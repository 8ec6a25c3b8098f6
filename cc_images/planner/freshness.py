"""Freshness: what the store has of some recipes, and whether upstream has moved since in a way that matters."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress

from cc_images import clock
from cc_images.host import record_files
from cc_images.host.files import write_json
from cc_images.model import record_shapes
from cc_images.model.catalog import Build, Json, Layer
from cc_images.model.recipe import key_of
from cc_images.sources import upstream
from cc_images.sources.apt import Repositories
from cc_images.store.records import Store

REMEMBERED = 500
"""Answers that are remembered."""

SHA256 = 64
"""Letters of a digest; what two steps of a build have seen differently has more (see `recipe.merged`)."""


class World:
    """What the store has of some recipes, and whether upstream has moved since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._memory = store.root / "upstream.json"
        self._quiet = store.root / "quiet.json"
        self._stored: dict[str, list[Build | Layer]] = {}
        self._newest: dict[str, Build | Layer] = {}
        self._state = upstream.State(digests={}, troubles={})
        self._repositories = Repositories(store.root / "indices")
        self._compared: dict[tuple[str, str, str], list[str] | None] = {}

    def remember(self, asked: str, stored: Iterable[Build | Layer], current: str = "") -> None:
        """Take note of what is stored of an image, and of the version of it that was in force last."""
        for each in stored:
            if isinstance(each, Build) and each.version == current:
                self._newest[asked] = each
            self._newest.setdefault(asked, each)
            if each.asked == asked:
                self._stored.setdefault(asked, []).append(each)

    def ask(self, offline: bool, stop: threading.Event | None) -> None:
        """Ask upstream about everything that the noted builds and layers were made from."""
        every = [*self._newest.values(), *(each for found in self._stored.values() for each in found)]
        addresses = {address for each in every for address in each.upstream}
        self._state = upstream.look(addresses, self._memory, offline=offline, stop=stop)
        self._repositories = Repositories(self._store.root / "indices", offline, stop)

    def known(self, asked: str) -> tuple[str, ...]:
        """Return the versions of this recipe that the store has."""
        found = self._stored.get(asked, [])
        return tuple(each.version if isinstance(each, Build) else each.run for each in found)

    def of_recipe(self, asked: str) -> Build | Layer | None:
        """Return what is stored of this recipe: what upstream's state fits, else what was in force last, else any."""
        match, _ = self.match(asked)
        found = self._stored.get(asked, [])
        last = self._newest.get(asked)
        return match or (last if last in found else found[0] if found else None)

    def newest(self, asked: str) -> Build | Layer | None:
        """Return what was in force last of the image of which this is asked now, whatever it was made of."""
        return self._newest.get(asked)

    def match(self, asked: str) -> tuple[Build | Layer | None, str]:
        """Return the newest of this recipe for which upstream has not moved, and why that is not sure, if so."""
        for each in self._stored.get(asked, []):
            if not self.moved(each):
                troubles = [f"{address}: {why}" for address in each.upstream if (why := self._trouble(address))]
                nothing = "nothing is known of where its packages came from"
                return each, troubles[0] if troubles else "" if each.upstream else nothing
        return None, ""

    def moved(self, made: Build | Layer) -> list[str]:
        """Return the addresses that hold something else now than when this was made, and that matter to it.

        That apt's repositories have changed does not matter to a build while they offer just what it has installed. A
        layer is made again in any case: what starts from it would mix two states.
        """
        found = self._other(made)
        return [] if found and isinstance(made, Build) and self._news(made) == [] else found

    def news(self, made: Build | Layer) -> list[str]:
        """Return what has changed upstream since this was made: packages where that is known, else addresses."""
        return self._news(made) or [f"{address} has changed" for address in self._other(made)]

    def quiet(self, made: Build | Layer) -> str:
        """Say that repositories have changed and none of the packages, where that is so."""
        found = self._other(made)
        if not found or self._news(made) != []:
            return ""
        count = len(self._installed(made))
        some = "a repository has" if len(found) == 1 else f"{len(found)} repositories have"
        return f"{some} changed, and none of its {count} packages"

    def _other(self, made: Build | Layer) -> list[str]:
        return [
            address for address, digest in made.upstream.items() if self._state.digests.get(address, digest) != digest
        ]

    def _news(self, made: Build | Layer) -> list[str] | None:
        """Return what apt would install differently; None when something else has changed, or nobody can say."""
        asked = (made.tag, made.arch, made.version if isinstance(made, Build) else f"layer {made.run}")
        if asked not in self._compared:
            self._compared[asked] = self._compare(made)
        return self._compared[asked]

    def _compare(self, made: Build | Layer) -> list[str] | None:
        if not all(address.endswith("/InRelease") for address in self._other(made)):
            return None
        installed, digests = self._installed(made), self._indices(made)
        known = all(len(digest) == SHA256 for digest in digests.values())
        if not installed or not known or any(":" in name for name in installed):
            return None
        question = key_of({"installed": installed, "arch": made.arch, "indices": digests})
        if question in self._remembered():
            return []
        found = self._repositories.changed(installed, made.arch, digests)
        if found == []:
            self._remember(question)
        return found

    def _remembered(self) -> Json:
        """Return the questions that were answered with no news: what was found stays so without the network."""
        return record_files.recalled(self._quiet, record_shapes.MemoryShape, self._store.root) or {}

    def _remember(self, question: str) -> None:
        newest = sorted(self._remembered().items(), key=lambda each: str(each[1]))[-REMEMBERED:]
        kept = dict(newest) | {question: clock.now().isoformat()}
        with suppress(OSError):  # a full or foreign store must not keep anybody from looking
            write_json(self._quiet, record_files.encoded(record_shapes.MemoryShape, kept))

    def offered(self, asked: str) -> set[str] | None:
        """Return the names of what the repositories offer that the newest of a recipe's image has read, if kept."""
        made = self.newest(asked)
        return self._repositories.offered(made.arch, self._indices(made)) if made is not None else None

    def _indices(self, made: Build | Layer) -> dict[str, str]:
        return {
            address: self._state.digests.get(address, digest)
            for address, digest in made.upstream.items()
            if address.endswith("/InRelease")
        }

    def _installed(self, made: Build | Layer) -> Mapping[str, str]:
        """Return the packages of the image's own architecture: name → version."""
        details = self._store.details(made)
        seen = details.get("contents", {}).get("packages") or details.get("packages") or {}
        return {name.removesuffix(f":{made.arch}"): version for name, version in seen.items()}

    def notes(self) -> list[str]:
        """Return what the user should know: which addresses could not be asked."""
        return [f"{address}: {why}; --max-age decides" for address, why in self._state.troubles.items()]

    def _trouble(self, address: str) -> str:
        return self._state.troubles.get(address, "")
