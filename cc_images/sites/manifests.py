"""Manifests by the OCI image specification (manifest.md): their digests, annotations, and those of one layer. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(raw: bytes) -> str:
    """Return a manifest's digest."""
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def annotation(raw: bytes, name: str) -> str:
    """Return an annotation of a manifest; empty if it has none."""
    with suppress(ValueError, AttributeError, TypeError, RecursionError):
        found = json.loads(raw).get("annotations", {}).get(name, "")
        return found if isinstance(found, str) else ""
    return ""


def manifest_of(
    layer: Mapping[str, Any], config: Mapping[str, Any], annotations: Mapping[str, str], artifact: str = ""
) -> bytes:
    """Return a manifest of one layer; `artifact` is its kind where it is no system."""
    made = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact, "config": dict(config),
            "layers": [dict(layer)], "annotations": dict(annotations)}  # fmt: skip
    kept = {name: value for name, value in made.items() if value}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()
