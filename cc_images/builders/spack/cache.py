"""The build cache of Spack packages: one in the store that builds read, and others that share packages with it.

    STORE/spack/cache    signed packages in Spack's layout; builds see it read-only
    STORE/spack/locks    locks of packages; see `package_locks`

Builds read the store's cache alone: a package of another cache is copied into it before, digests and signature checked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack import exchange
from cc_images.builders.spack.cache_layout import Manifest, Odd, Package
from cc_images.builders.spack.cache_pruning import Dropped, dropped
from cc_images.builders.spack.drop import Drop
from cc_images.builders.spack.oci import Repository
from cc_images.builders.spack.package_locks import PackageLocks, offset
from cc_images.builders.spack.places import Files, Folder, Place
from cc_images.builders.spack.publishing import Publishing, Steps
from cc_images.builders.spack.s3 import Bucket
from cc_images.builders.spack.signing import Keyring, Signer
from cc_images.errors import CCImagesError, Reason
from cc_images.model.build_cache import BuildCache

_log = logging.getLogger(__name__)

T = TypeVar("T")

AWAY = 300.0
"""Seconds for which a cache that failed is not asked again while a build waits."""


@dataclass(frozen=True, slots=True)
class _Other:
    """A cache of sites.yaml, its place, and the key that signs there."""

    cache: BuildCache
    place: Place
    signer: Signer


class Caches:
    """The store's build cache and those of sites.yaml; `home` is the GnuPG home of our key, if not the usual one."""

    def __init__(self, caches: Sequence[BuildCache], store: Path, home: Path | None = None) -> None:
        self.folder = store / "spack" / "cache"
        self._locks = store / "spack" / "locks"
        self._here = Folder(self.folder)
        self._signer = Signer.of("", home)
        self._others = [
            _Other(each, _place_of(each), Signer.of(each.key) if each.key else self._signer) for each in caches
        ]
        self._away: dict[str, float] = {}
        self._prepared: set[str] = set()
        self._held: dict[str, PackageLocks] = {}
        self._verified: dict[str, tuple[tuple[int, int, int], Manifest]] = {}

    @cached_property
    def public_key(self) -> str:
        """The armored public keys whose packages builds may install: ours, which is made on first use, and others'."""
        return "".join([self._signer.public_key(), *self._foreign_keys])

    def known(self, packages: Collection[Package]) -> frozenset[str]:
        """Return the hashes of packages that are in a cache, signed by a key that counts. Changes nothing.

        A cache that does not answer has none. Raises CCImagesError for a trusted key that is none.
        """
        left = [package for package in packages if not package.external]
        found = self._sound(left)
        for other in self._others:
            left = [package for package in left if package.hash not in found]
            look = partial(self._signed_there, left, other.place)
            found |= self._asked(other, "", look, set())
        return frozenset(found)

    @contextmanager
    def wanted(self, packages: Sequence[Package], stop: threading.Event) -> Iterator[None]:
        """Hold the locks of a build's packages: shared of those in the cache, alone of those that it compiles.

        Packages of other caches are copied first, and those that another build compiles are waited for.
        Raises Interrupted when `stop` is set meanwhile.
        """
        self._prepare()
        mine = {package.hash: package for package in packages if not package.external}
        with PackageLocks(self._locks) as locks:
            try:
                self._sound(list(mine.values()))  # all signatures at once; each is looked at again under its lock
                for name in sorted(mine, key=offset):
                    self._take(mine[name], locks, stop)
                yield
            finally:
                for name in [each for each, by in self._held.items() if by is locks]:
                    del self._held[name]

    @contextmanager
    def publishing(self, drop: Path, packages: Sequence[Package], told: Callable[[str], None]) -> Iterator[None]:
        """Take what a build drops into the caches, each package when it is whole; at the end, all that is left.

        The lock of a package that arrived is shared from then on. What cannot be taken or pushed is in the log; the
        build goes on.
        """
        self._prepare()
        mine = [package for package in packages if not package.external]
        steps = Steps(
            take=partial(self._taken, Drop(drop)),
            arrived=partial(self._arrived, told),
            push=partial(self._push, told),
            told=told,
        )
        with Publishing(Drop(drop), mine, steps).running():
            yield

    def prune(self, needed: Collection[str], now: float, *, dry_run: bool) -> list[Dropped]:
        """Remove packages of the store's cache whose hashes are not needed and that no build uses; return them."""
        with PackageLocks(self._locks) as locks:
            return dropped(self._here, locks, needed, now, dry_run=dry_run)

    # -- one package ----------------------------------------------------------------------------------------------

    def _take(self, package: Package, locks: PackageLocks, stop: threading.Event) -> None:
        label = layout.label(package)
        waiting = partial(_log.info, "waiting for %s, which another run builds", label)
        if locks.take(package.hash, lambda: bool(self._sound([package])), stop, waiting):
            return
        exchange.forget(package, self._here)
        for other in self._others:
            bring = partial(exchange.bring, package, other.place, self._here, self._keyring)
            if self._asked(other, label, bring, False):
                _log.info("%s came from the build cache %s", label, other.cache.name)
                locks.share(package.hash)
                return
        self._held[package.hash] = locks

    def _taken(self, drop: Drop, package: Package) -> bool:
        """Take a package; one that is here stays as it is: other images have it, and this build had no need of it."""
        if self._sound([package]):
            drop.remove(layout.manifest_path(package))
            raise Odd("it is there, and no build replaces it")
        return exchange.take(drop, package, self._here, self._signer)

    def _arrived(self, told: Callable[[str], None], package: Package) -> None:
        if (locks := self._held.pop(package.hash, None)) is not None:
            locks.share(package.hash)
        told(f"{layout.label(package)} is in the build cache")

    def _push(self, told: Callable[[str], None], packages: Sequence[Package]) -> None:
        for other in self._others:
            if not other.cache.push or self._is_away(other):
                continue
            try:
                if other.cache.name not in self._prepared and isinstance(other.place, Files):
                    exchange.prepare(other.place, other.signer.public_key())
                    self._prepared.add(other.cache.name)
                here = self._sound(packages)
                mine = [package for package in packages if package.hash in here]
                for package in exchange.lacking(mine, other.place, self._keyring):
                    exchange.push(package, self._here, other.place, other.signer)
                    told(f"{layout.label(package)} is in the build cache {other.cache.name}")
            except (CCImagesError, Odd, OSError) as error:
                self._away[other.cache.name] = time.monotonic()
                told(f"build cache {other.cache.name}: {error}; the next build brings it what it lacks")

    def _sound(self, packages: Sequence[Package]) -> set[str]:
        """Return the hashes of packages that are right in the store's cache. A manifest is verified once."""
        states = {package.hash: self._state(package) for package in packages}
        fresh = [
            package for package in packages
            if (state := states[package.hash]) and self._verified.get(package.hash, (None,))[0] != state
        ]  # fmt: skip
        for name, (_, manifest) in exchange.signed_manifests(fresh, self._here, self._keyring).items():
            if (state := states[name]) is not None:
                self._verified[name] = state, manifest
        return {
            package.hash
            for package in packages
            if (seen := self._verified.get(package.hash)) is not None
            and seen[0] == states[package.hash]
            and exchange.sound(package, seen[1], self._here)
        }

    def _signed_there(self, packages: Collection[Package], place: Place) -> set[str]:
        return set(exchange.signed_manifests(packages, place, self._keyring))

    def _state(self, package: Package) -> tuple[int, int, int] | None:
        return Drop(self.folder).state(layout.manifest_path(package))

    # -- keys and places ------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        for path in self._here.forgotten_parts(time.time()):
            with suppress(OSError):  # another user's, who shares the store
                path.unlink()
        exchange.prepare(self._here, self._signer.public_key())

    @cached_property
    def _foreign_keys(self) -> tuple[str, ...]:
        named = [other.signer.public_key() for other in self._others if other.cache.key]
        files = dict.fromkeys(file for other in self._others for file in other.cache.trust)
        return (*named, *map(_key_in, files))

    @property
    def _keyring(self) -> Keyring:
        return self._full_keyring if self._signer.is_made() else Keyring(self._foreign_keys)

    @cached_property
    def _full_keyring(self) -> Keyring:
        return Keyring([self.public_key])

    def _is_away(self, other: _Other) -> bool:
        return time.monotonic() - self._away.get(other.cache.name, -AWAY) < AWAY

    def _asked(self, other: _Other, label: str, call: Callable[[], T], nothing: T) -> T:
        """Ask another cache; where it fails, or has something that is not right, say so in the log and go on."""
        if self._is_away(other):
            return nothing
        try:
            return call()
        except Odd as error:
            _log.warning("build cache %s: %s is passed over: %s", other.cache.name, label, error)
        except CCImagesError as error:
            self._away[other.cache.name] = time.monotonic()
            _log.warning("build cache %s: %s", other.cache.name, error.message)
        return nothing


def _place_of(cache: BuildCache) -> Place:
    if cache.folder:
        return Folder(Path(cache.folder))
    return Repository(cache) if cache.repository else Bucket(cache)


def _key_in(file: str) -> str:
    """Return the public keys of a file: builds see them, so it may have nothing else."""
    try:
        text = Path(file).read_text()
    except (OSError, UnicodeError) as error:
        raise CCImagesError(
            f"the public key {file} of a build cache cannot be read: {error}",
            hint="correct `trust` in sites.yaml", reason=Reason.MISSING_FILE,
        ) from error  # fmt: skip
    if "PRIVATE KEY" in text:
        raise CCImagesError(
            f"{file} is trusted for a build cache, and has a private key",
            hint="write it there with `gpg --armor --export KEY`; see `trust` in sites.yaml", reason=Reason.SIGNATURE,
        )  # fmt: skip
    return text
