"""Image layouts for skopeo: the one in an OCI archive, one around a SIF file, and those of small manifests of ours.

Rules: the OCI image specification 1.1 (image-layout.md), and for SIF files the media types of Apptainer's `oras`.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cc_images.errors import CCImagesError, Reason
from cc_images.sites.manifests import MANIFEST, digest_of, manifest_of

CONFIG = "application/vnd.oci.image.config.v1+json"
OURS = "application/vnd.cc-images.entry.v1+json"
SIF_CONFIG = "application/vnd.sylabs.sif.config.v1+json"
SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"

_NO_SYSTEM = b'{"architecture":"amd64","config":{},"os":"linux","rootfs":{"diff_ids":[],"type":"layers"}}'
"""The configuration of manifests that are only there for their annotations: registries know its kind."""


def archived_digest(archive: Path) -> str:
    """Return the digest of the one image in an OCI archive. Raises CCImagesError for a file that is none."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name.removeprefix("./") == "index.json" else None
                if file is not None:
                    (manifest,) = json.load(file)["manifests"]
                    return str(manifest["digest"])
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise _no_archive(archive) from error
    raise _no_archive(archive)


def annotated(folder: Path, annotations: Mapping[str, str]) -> str:
    """Write the layout of a manifest that has annotations alone; return its digest."""
    config, layer = _blob(folder, _NO_SYSTEM), _blob(folder, b"{}")
    raw = manifest_of({"mediaType": OURS, **layer}, {"mediaType": CONFIG, **config}, annotations)
    return _layout(folder, raw)


def around_sif(folder: Path, file: Path, name: str, sha256: str) -> str:
    """Write the layout of a SIF file, which stays where it is; return the digest of its manifest."""
    config = _blob(folder, b"{}")
    blobs = folder / "blobs" / "sha256"
    (blobs / sha256).symlink_to(file.absolute())
    layer = {"digest": f"sha256:{sha256}", "size": file.stat().st_size, "mediaType": SIF_LAYER}
    title = {"org.opencontainers.image.title": name}
    raw = manifest_of({**layer, "annotations": title}, {"mediaType": SIF_CONFIG, **config}, {}, artifact=SIF_CONFIG)
    return _layout(folder, raw)


def _layout(folder: Path, manifest: bytes) -> str:
    top = {"mediaType": MANIFEST, **_blob(folder, manifest)}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    return digest_of(manifest)


def _blob(folder: Path, content: bytes) -> dict[str, Any]:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def _no_archive(file: Path) -> CCImagesError:
    return CCImagesError(
        f"{file.name} is no OCI archive of one image", hint="build it again with -b -f", reason=Reason.DAMAGED
    )
