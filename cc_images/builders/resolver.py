"""Builders to which the images of a catalog belong, and how they are resolved."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Protocol

from cc_images.builders.base import loaded
from cc_images.builders.resolved import Resolver
from cc_images.config.loader import Config
from cc_images.host.facts import HostFacts
from cc_images.model.catalog import Arch
from cc_images.store.records import Store


class ImageBuilder(Protocol):
    """The builders of a catalog's images, as one."""

    def host_facts(self, arches: Collection[Arch]) -> HostFacts:
        """Return what specs and keys take from this host, for builds of these architectures."""

    def resolver(
        self,
        config: Config,
        store: Store,
        host: HostFacts,
        *,
        fetch: bool,
        offline: bool = False,
        stop: threading.Event | None = None,
    ) -> Resolver:
        """Return a resolver for a configuration; without `fetch` only what is here already is looked at.

        Raises CCImagesError for sources that cannot be had.
        """


def image_builder() -> ImageBuilder:
    """Return the builders to which the images of a catalog belong, as one."""
    found: ImageBuilder = loaded("catalogue")
    return found
