"""Queries about one name that any site can answer, from one observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cc_images.sites.base import Publication
from cc_images.sites.entry import Entry
from cc_images.sites.view import Memory, View, Wish


class Queries:
    """Queries that a site gets for its `observe`."""

    shares = False

    def members(self, entry: Entry) -> frozenset[str]:
        """Return the projects that an image is shared with: none."""
        return frozenset()

    def users(self, entry: Entry) -> int | None:
        """Return how many servers use an image: none, as far as a folder can know."""
        return 0

    def shown(self, archived: str) -> str:
        """Return how the site itself names an archived version: by that name."""
        return archived

    def refusal(self, name: str, properties: Mapping[str, str], publication: Publication | None) -> str:
        """Return why the site would refuse a push that is planned: it takes every version."""
        return ""

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return all images that concern the name."""
        raise NotImplementedError

    def observe_each(self, names: Sequence[str]) -> dict[str, list[Entry]]:
        """Return all images that concern each of several names."""
        return {name: self.observe(name, lost=True) for name in names}

    def find(self, name: str) -> list[Entry]:
        """Return the published images that have exactly this name."""
        return self._view(name).holders

    def staged(self, name: str) -> list[Entry]:
        """Return uploads for this name that were not published."""
        return self._view(name, lost=True).staged

    def archived(self, name: str) -> list[Entry]:
        """Return the archived versions of a name that cc-images made, newest first."""
        return self._view(name).archived

    def _view(self, name: str, *, lost: bool = False) -> View:
        return View(Wish(name=name), self.observe(name, lost=lost), Memory())
