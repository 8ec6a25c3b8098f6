"""Freshness: the stored builds and layers of some recipes, and whether upstream has moved in a way that matters."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from cc_images.model.builds import Build, Layer
from cc_images.sources import upstream
from cc_images.sources.apt import Repositories
from cc_images.sources.changes import Changes
from cc_images.store.records import Store


def serving(store: Store, recipe_key: str, builds: Sequence[Build], current: str) -> Build | Layer | None:
    """Return which of an image's stored builds serves a recipe, by what upstream was at the last look."""
    world = World(store)
    world.remember(recipe_key, builds, current)
    world.ask(offline=True, stop=None)
    return world.of_recipe(recipe_key)


class World:
    """The stored builds and layers of some recipes, and whether upstream has moved since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._memory = store.root / "upstream.json"
        self._stored: dict[str, list[Build | Layer]] = {}
        self._newest: dict[str, Build | Layer] = {}
        self._state = upstream.State(digests={}, troubles={})
        self._changes = Changes(store, {}, Repositories(store.root / "indices"))

    def remember(self, recipe_key: str, stored: Iterable[Build | Layer], current: str = "") -> None:
        """Note the stored builds or layers of an image, and the version that was in force last."""
        for each in stored:
            if isinstance(each, Build) and each.version == current:
                self._newest[recipe_key] = each
            self._newest.setdefault(recipe_key, each)
            if each.recipe_key == recipe_key:
                self._stored.setdefault(recipe_key, []).append(each)

    def ask(self, offline: bool, stop: threading.Event | None) -> None:
        """Ask upstream about everything that the noted builds and layers were made from."""
        every = [*self._newest.values(), *(each for found in self._stored.values() for each in found)]
        addresses = {address for each in every for address in each.upstream}
        self._state = upstream.look(addresses, self._memory, offline=offline, stop=stop)
        repositories = Repositories(self._store.root / "indices", offline, stop)
        self._changes = Changes(self._store, self._state.digests, repositories)

    def known(self, recipe_key: str) -> tuple[str, ...]:
        """Return the versions of this recipe that the store has."""
        found = self._stored.get(recipe_key, [])
        return tuple(each.version if isinstance(each, Build) else each.run for each in found)

    def of_recipe(self, recipe_key: str) -> Build | Layer | None:
        """Return what is stored of this recipe: what upstream's state fits, else what was in force last, else any."""
        match, _ = self.match(recipe_key)
        found = self._stored.get(recipe_key, [])
        last = self._newest.get(recipe_key)
        return match or (last if last in found else found[0] if found else None)

    def newest(self, recipe_key: str) -> Build | Layer | None:
        """Return what was in force last of the image that has this recipe now, whatever it was made of."""
        return self._newest.get(recipe_key)

    def match(self, recipe_key: str) -> tuple[Build | Layer | None, str]:
        """Return the newest of this recipe for which upstream has not moved, and why that is not sure, if so."""
        for each in self._stored.get(recipe_key, []):
            if not self._changes.moved(each):
                troubles = [f"{address}: {why}" for address in each.upstream if (why := self._trouble(address))]
                nothing = "the sources of its packages are not known"
                return each, troubles[0] if troubles else "" if each.upstream else nothing
        return None, ""

    @property
    def state(self) -> Mapping[str, str]:
        """The state of upstream: address → digest, as far as it is known."""
        return self._state.digests

    def news(self, made: Build | Layer) -> list[str]:
        """Return what has changed upstream since this was made: packages where that is known, else addresses."""
        return self._changes.news(made)

    def quiet(self, made: Build | Layer) -> str:
        """Say that repositories have changed and none of the packages, where that is so."""
        return self._changes.quiet(made)

    def offered(self, recipe_key: str) -> set[str] | None:
        """Return the names of what the repositories offer that the newest of a recipe's image has read, if kept."""
        made = self.newest(recipe_key)
        return self._changes.offered(made) if made is not None else None

    def notes(self) -> list[str]:
        """Return notes for the user: which addresses could not be asked."""
        return [f"{address}: {why}; --max-age decides" for address, why in self._state.troubles.items()]

    def _trouble(self, address: str) -> str:
        return self._state.troubles.get(address, "")
