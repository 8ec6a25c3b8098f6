"""Pending updates: what the repositories of builds have now that these lack."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cc_images.errors import CCImagesError, Reason
from cc_images.model.builds import Build
from cc_images.model.updates import Update
from cc_images.sources import upstream
from cc_images.sources.apt import Repositories
from cc_images.sources.changes import Changes
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True)
class Asked:
    """The answers of the repositories of some builds, and why some of them gave none."""

    changes: Changes
    troubles: Mapping[str, str]

    @classmethod
    def by_now(cls, store: Store, builds: Sequence[Build], *, offline: bool, stop: threading.Event | None) -> Asked:
        """Ask all repositories of the builds at once; `offline`: take what they have answered last."""
        addresses = {address for build in builds for address in build.upstream if address.endswith("/InRelease")}
        state = upstream.look(addresses, store.root / "upstream.json", offline=offline, stop=stop)
        repositories = Repositories(store.root / "indices", offline, stop)
        unseen = dict.fromkeys(addresses - state.digests.keys(), "it was never asked")
        return cls(Changes(store, state.digests, repositories), unseen if offline else {**state.troubles, **unseen})

    def updates(self, build: Build) -> list[Update]:
        """Return what a build lacks. Raises CCImagesError when nobody can say."""
        for address in build.upstream:
            if address in self.troubles:
                raise CCImagesError(f"{address}: {self.troubles[address]}", reason=Reason.FETCH)
        return self.changes.updates(build)

    def sources(self, build: Build) -> Mapping[str, str]:
        """Return the sources of packages, where they have other names. Raises CCImagesError when nobody can say."""
        return self.changes.sources(build)
