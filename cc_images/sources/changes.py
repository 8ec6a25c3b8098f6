"""Changes upstream since something was built, and whether they matter to it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from cc_images import clock
from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.host.files import write_json
from cc_images.model import record_shapes
from cc_images.model.builds import Build, Layer
from cc_images.model.catalog import Json
from cc_images.model.recipe import key_of
from cc_images.model.updates import Update
from cc_images.sources.apt import Repositories
from cc_images.store.records import Store

REMEMBERED = 500
"""Answers that are remembered."""

SHA256 = 64
"""Letters of a digest; what two steps of a build have seen differently has more (see `recipe.merged`)."""


class Changes:
    """The changes upstream, by a state (address → digest), since builds and layers of a store were made."""

    def __init__(self, store: Store, state: Mapping[str, str], repositories: Repositories) -> None:
        self._store = store
        self._state = state
        self._repositories = repositories
        self._quiet = store.root / "quiet.json"
        self._compared: dict[tuple[str, str, str], list[str] | None] = {}

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

    def offered(self, made: Build | Layer) -> set[str] | None:
        """Return the names of what the repositories offer that a build or layer has read, if kept."""
        return self._repositories.offered(made.arch, self._indices(made))

    def updates(self, made: Build | Layer) -> list[Update]:
        """Return the packages of which its repositories have a later version now. Raises CCImagesError if unknown."""
        installed, indices = self._installed(made), self._indices(made)
        if not installed or not indices:
            raise CCImagesError("its record does not say which packages it has, or from where", reason=Reason.FETCH)
        return self._repositories.updates(installed, made.arch, indices)

    def sources(self, made: Build | Layer) -> Mapping[str, str]:
        """Return the sources of packages, where they have other names. Raises CCImagesError if unknown."""
        return self._repositories.sources(made.arch, self._indices(made))

    def _other(self, made: Build | Layer) -> list[str]:
        return [address for address, digest in made.upstream.items() if self._state.get(address, digest) != digest]

    def _news(self, made: Build | Layer) -> list[str] | None:
        """Return what apt would install differently; None when something else has changed, or if that is not known."""
        name = (made.tag, made.arch, made.version if isinstance(made, Build) else f"layer {made.run}")
        if name not in self._compared:
            self._compared[name] = self._compare(made)
        return self._compared[name]

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

    def _indices(self, made: Build | Layer) -> dict[str, str]:
        return {
            address: self._state.get(address, digest)
            for address, digest in made.upstream.items()
            if address.endswith("/InRelease")
        }

    def _installed(self, made: Build | Layer) -> Mapping[str, str]:
        """Return the packages of the image's own architecture: name → version."""
        details = self._store.details(made)
        seen = details.get("contents", {}).get("packages") or details.get("packages") or {}
        return {name.removesuffix(f":{made.arch}"): version for name, version in seen.items()}
