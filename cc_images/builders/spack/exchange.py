"""Packages that come into a build cache, and go from one to another: checked first, blobs before manifests."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache_layout import Blob, Manifest, Odd, Package
from cc_images.builders.spack.drop import Drop
from cc_images.builders.spack.places import Files, Folder, Part, Place, copied
from cc_images.builders.spack.signing import Keyring, Signer, fingerprint_of

_log = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")

AT_ONCE = 8
"""Questions that a cache is asked at a time."""


def take(drop: Drop, package: Package, folder: Folder, signer: Signer) -> bool:
    """Sign a package that a build has dropped, and put it into a cache; return False while it is not there.

    Raises Odd for one that is not whole or not what it says, CCImagesError when the cache or the key fails.
    """
    try:
        with drop.open(layout.manifest_path(package), layout.MOST_OF_A_MANIFEST) as file:
            manifest = layout.parsed(file.read(layout.MOST_OF_A_MANIFEST))
    except FileNotFoundError:
        return False
    with ExitStack() as stack:
        parts = [stack.enter_context(folder.part()) for _ in manifest.blobs]
        for part, blob in zip(parts, manifest.blobs, strict=True):
            try:
                with drop.open(blob.path, blob.size) as source:
                    _check(blob, copied(source, part.file, blob.size))
            except FileNotFoundError as error:
                raise Odd("a blob of it is missing") from error
        _place(parts, manifest, package)
    folder.write(layout.manifest_path(package), signer.signed(layout.manifest_text(manifest)).encode())
    for path in (layout.manifest_path(package), *(blob.path for blob in manifest.blobs)):
        drop.remove(path)
    return True


def bring(package: Package, place: Place, folder: Folder, keyring: Keyring) -> bool:
    """Copy a package from another cache into a folder of ours; return False when it has none that counts.

    Raises Odd for one that is not what it says, CCImagesError when a cache fails.
    """
    found = signed_manifests([package], place, keyring)
    if package.hash not in found:
        return False
    content, manifest = found[package.hash]
    with ExitStack() as stack:
        parts = [stack.enter_context(folder.part()) for _ in manifest.blobs]
        for part, blob in zip(parts, manifest.blobs, strict=True):
            place.fetch(blob, part.file)
            _check(blob, part.digest(blob.size))
        _place(parts, manifest, package)
    folder.write(layout.manifest_path(package), content)
    return True


def lacking(packages: Collection[Package], place: Place, keyring: Keyring) -> list[Package]:
    """Return the packages that another cache lacks, or has wrong as far as sizes and signatures tell.

    Raises CCImagesError when the cache cannot be read.
    """
    there = signed_manifests(packages, place, keyring)
    blobs = [blob for _, manifest in there.values() for blob in manifest.blobs]
    sizes = dict(zip(blobs, _each(lambda blob: place.size(blob.path), blobs), strict=True))
    return [
        package
        for package in packages
        if package.hash not in there or not all(sizes[blob] == blob.size for blob in there[package.hash][1].blobs)
    ]


def push(package: Package, folder: Folder, place: Place, signer: Signer) -> None:
    """Copy a package of ours into another cache that lacks it, signed for that.

    Raises CCImagesError when the other cache or the key fails, Odd when the package is gone here.
    """
    content = folder.read(layout.manifest_path(package), layout.MOST_OF_A_MANIFEST)
    if content is None:
        raise Odd("it is gone here")
    manifest = layout.parsed(layout.signed_text(content))
    for blob in manifest.blobs:
        if place.size(blob.path) != blob.size:
            place.put(blob.path, folder.root / blob.path)
    signed = signer.signed(layout.manifest_text(manifest)).encode()
    place.finish(layout.manifest_path(package), signed, folder.root)


def signed_manifests(
    packages: Collection[Package], place: Place, keyring: Keyring
) -> dict[str, tuple[bytes, Manifest]]:
    """Return the manifests that a cache has of packages and whose signatures count, by hash.

    Others are passed over, with a word in the log. Raises CCImagesError when the cache cannot be read.
    """

    def read(package: Package) -> tuple[bytes, Manifest] | ValueError | None:
        try:
            content = place.read(layout.manifest_path(package), layout.MOST_OF_A_MANIFEST)
            return None if content is None else (content, layout.parsed(layout.signed_text(content)))
        except ValueError as error:
            return error

    found: list[tuple[Package, bytes, Manifest]] = []
    for package, each in zip(packages, _each(read, packages), strict=True):
        if isinstance(each, ValueError):
            _log.warning("build cache: %s is passed over: %s", layout.label(package), each)
        elif each is not None:
            found.append((package, *each))
    good = keyring.verified([content for _, content, _ in found])
    for (package, _, _), is_good in zip(found, good, strict=True):
        if not is_good:
            _log.warning("build cache: %s is passed over: no trusted key has signed it", layout.label(package))
    return {
        package.hash: (content, manifest)
        for (package, content, manifest), is_good in zip(found, good, strict=True)
        if is_good
    }


def sound(package: Package, manifest: Manifest, folder: Folder) -> bool:
    """Say whether a folder of ours has the blobs of a package, unchanged, and its spec is that of the package."""
    try:
        if not all(map(folder.sound_blob, manifest.blobs)):
            raise Odd("a blob of it is missing or damaged")
        layout.check_spec((folder.root / manifest.spec.path).read_bytes(), package)
    except (Odd, OSError) as error:
        _log.warning("build cache: %s is passed over: %s", layout.label(package), error)
        return False
    return True


def prepare(place: Files, public_key: str) -> None:
    """Write what a cache has besides packages: the word on its layout, and the public key for those who trust it."""
    if place.read(layout.LAYOUT, 4096) is None:
        place.write(layout.LAYOUT, layout.LAYOUT_TEXT)
    fingerprint = fingerprint_of(public_key)
    if place.read(layout.key_path(fingerprint), layout.MOST_OF_A_MANIFEST) is None:
        blob = _written(place, public_key.encode())
        place.write(layout.key_path(fingerprint), layout.blobs_text((layout.KEY, "none", blob)).encode())
    known = _keys(place)
    if fingerprint not in known:
        said = json.dumps({"keys": {each: {} for each in sorted({*known, fingerprint})}})
        blob = _written(place, said.encode())
        place.write(layout.KEY_INDEX, layout.blobs_text((layout.KEYS, "none", blob)).encode())


def _keys(place: Files) -> Sequence[str]:
    """Return the fingerprints that the index of a cache's public keys names."""
    try:
        content = place.read(layout.KEY_INDEX, layout.MOST_OF_A_MANIFEST)
        (digest,) = layout.all_blobs(content or b"")
        return list(json.loads(place.read(layout.blob_path(digest), layout.MOST_OF_A_MANIFEST) or b"")["keys"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _written(place: Files, content: bytes) -> Blob:
    blob = layout.blob_of(content)
    place.write(blob.path, content)
    return blob


def _each(call: Callable[[S], T], things: Collection[S]) -> list[T]:
    """Return what a call says of each thing, some at a time: a cache may be far away. The first error ends it."""
    if len(things) < 2:
        return [*map(call, things)]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="build-cache") as pool:
        waiting = [pool.submit(call, each) for each in things]
        try:
            return [each.result() for each in waiting]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _check(blob: Blob, digest: str) -> None:
    if digest != blob.digest:
        raise Odd("a blob of it has another digest")


def _place(parts: Sequence[Part], manifest: Manifest, package: Package) -> None:
    """Put the blobs of a package into their places, once its spec is seen to be that of the package."""
    _, spec = parts
    layout.check_spec(spec.content(manifest.spec.size), package)
    for part, blob in zip(parts, manifest.blobs, strict=True):
        part.place(blob.path, is_blob=True)


def forget(package: Package, folder: Folder) -> None:
    """Remove a manifest that does not count from a folder of ours, so that no build takes it."""
    Path(folder.root, layout.manifest_path(package)).unlink(missing_ok=True)
