"""Spack's layout of a build cache in a registry: one manifest for a package, by its tag. Pure.

    NAME-VERSION-HASH.spack      manifest: configuration, layers, and our signed manifest as an annotation
    configuration                the spec as Spack reads it there, and what makes an image of it
    layers                       the packed spec that was signed, and last the archive, which is all that Spack takes

Spack signs nothing there and passes annotations over. The signed manifest has the text that other caches have; each
cache has a signature of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Any

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache_layout import Blob, Manifest, Odd

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

SIGNED = "cc-images.spack.manifest"
"""The annotation that has the signed manifest."""

_END, _MOST_OF_A_TAG = ".spec.manifest.json", 128
_NO_TAG = re.compile(r"[^A-Za-z0-9_.-]")
_ARCHITECTURES = {"sse2": "amd64", "asimd": "arm64"}
"""A feature that every processor of an architecture has → the name of that in images."""


def tag_of(path: str) -> str:
    """Return the tag of a package, from the path of its manifest in other caches. Raises ValueError for another."""
    if not layout.hash_of(path):
        raise ValueError(f"{path} is no manifest of a package")
    tag = _NO_TAG.sub("_", PurePosixPath(path).name.removesuffix(_END)) + ".spack"
    return tag if len(tag) <= _MOST_OF_A_TAG else tag[: _MOST_OF_A_TAG // 2] + tag[-_MOST_OF_A_TAG // 2 :]


def config_of(manifest: Manifest, packed_spec: bytes, files: str) -> bytes:
    """Return the configuration of a package; `files` is the digest of its unpacked archive. Raises Odd."""
    text = layout.unpacked_spec(packed_spec)
    said = json.loads(text)
    spec = hashlib.sha256(text).hexdigest()
    return _json({
        "architecture": _architecture(said),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in (spec, files)]},
        "config": {"Env": []},
        "spec": said["spec"],
        "buildcache_layout_version": said.get("buildcache_layout_version", 3),
        "binary_cache_checksum": {"hash_algorithm": "sha256", "hash": manifest.archive.digest},
        "archive_size": manifest.archive.size,
        "archive_compression": "gzip",
    })  # fmt: skip


def manifest_of(manifest: Manifest, config: Blob, signed: bytes) -> bytes:
    """Return the manifest of a package in a registry."""
    return _json({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _named(CONFIG, config),
        "layers": [_named(manifest.spec_type, manifest.spec), _named(LAYER, manifest.archive)],
        "annotations": {SIGNED: signed.decode("ascii")},
    })  # fmt: skip


def signed_in(content: bytes) -> bytes:
    """Return the signed manifest that a registry's has, its signature unseen. Raises Odd for one without, or of others.

    Its layers must be those that were signed: Spack would install others.
    """
    try:
        said = json.loads(content)
        signed = str(said.get("annotations", {}).get(SIGNED, "")).encode()
        layers = [(each["digest"], each["size"]) for each in said["layers"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Odd("its manifest in the registry is none") from error
    if not signed:
        raise Odd("its manifest in the registry has no signature: another program has pushed it")
    manifest = layout.parsed(layout.signed_text(signed))
    if layers != [(f"sha256:{each.digest}", each.size) for each in (manifest.spec, manifest.archive)]:
        raise Odd("its layers in the registry are not those that were signed")
    return signed


def _architecture(said: Any) -> str:
    """Return the architecture of a spec as images name it; of a target without features, its own name."""
    try:
        target = said["spec"]["nodes"][0]["arch"]["target"]
        if isinstance(target, str):
            return {"x86_64": "amd64", "aarch64": "arm64"}.get(target, target)
        found = [name for feature, name in _ARCHITECTURES.items() if feature in target["features"]]
        return found[0] if found else str(target["name"])
    except (KeyError, TypeError):
        return "unknown"


def _named(media: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media, "digest": f"sha256:{blob.digest}", "size": blob.size}


def _json(said: dict[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":"), sort_keys=True).encode()
