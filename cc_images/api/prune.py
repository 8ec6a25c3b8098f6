"""Pruning: what the store holds, and the removal of what `store.retention` says should go; the build cache apart."""

from __future__ import annotations

from dataclasses import dataclass

from cc_images import clock
from cc_images.api import status
from cc_images.api.inventory import inventory
from cc_images.api.removal import pruned
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.cache_pruning import Dropped
from cc_images.builders.spack.kept_locks import needed
from cc_images.config.loader import Config
from cc_images.model.status import Holding
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """The outcome of pruning: what was removed, why, the bytes freed, and the bytes that the store still holds."""

    gone: tuple[tuple[Holding, str, int], ...]
    left: int


def prune(config: Config, *, keep: int, max_size: int | None = None, dry_run: bool = False) -> Pruned:
    """Remove from the store what is beyond the newest `keep` builds of each image, and above `max_size` bytes.

    With `dry_run` nothing is removed. Raises CCImagesError when the store cannot be written to.
    """
    store = Store(config.store)
    serving = status.serving(config, store, clock.now())
    gone = pruned(store, keep=keep, cap=max_size, dry_run=dry_run, serving=serving)
    left = sum(item.holding.size for item in inventory(store))
    left -= sum(freed for _, _, freed in gone) if dry_run else 0
    return Pruned(gone=tuple(gone), left=left)


def prune_build_cache(config: Config, *, dry_run: bool = False) -> tuple[Dropped, ...]:
    """Remove from the store's build cache the packages that no lock file needs which the store keeps.

    What a build uses stays. Other build caches are left alone: other hosts read them. Raises CCImagesError.
    """
    store = Store(config.store)
    with store.lock("gc", shared=True):
        caches = Caches((), config.store)
        return tuple(caches.prune(needed(store), clock.now().timestamp(), dry_run=dry_run))


def held(config: Config) -> list[Holding]:
    """Return what the store holds."""
    return [item.holding for item in inventory(Store(config.store))]
