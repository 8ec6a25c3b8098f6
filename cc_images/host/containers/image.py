"""OCI images: a tree with its configuration as an archive of an image layout, which skopeo, podman and Apptainer read.

Rules: the OCI image specification 1.1 (image-layout.md, manifest.md, config.md). Times are the epoch of builds, JSON
has its keys in order, layers are gzip without a name: the same tree and configuration are the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from cc_images.clock import EPOCH
from cc_images.host import environment, process
from cc_images.host.containers.archive import Layer, Piece
from cc_images.host.containers.layer import write_layer
from cc_images.host.containers.members import Heeding
from cc_images.host.full import translated
from cc_images.model.catalog import Arch
from cc_images.model.container import PATH, Configuration

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

COMPRESSIONS = {"": ("gzip -n -6", LAYER), "zstd": ("zstd -q -T1 -9", LAYER.replace("gzip", "zstd"))}
"""The command and the kind of layers by what is said of their compression; one thread gives the same bytes always."""

CREATED = datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_oci(
    tree: Path, target: Path, said: Configuration, arch: Arch, *, log: BinaryIO, stop: threading.Event
) -> None:
    """Write a tree as an image of one layer."""
    file, gzipped = target.with_suffix(".layer"), target.with_suffix(".layer.gz")
    try:
        write_layer(tree, file, stop)
        layer = packed(file, gzipped, stop, log, compression=said.compression)
        write_image(target, [layer], config_of(said, arch), said.labels, stop)
    finally:
        file.unlink(missing_ok=True)
        gzipped.unlink(missing_ok=True)


def packed(
    plain: Path, target: Path, stop: threading.Event, log: BinaryIO | None = None, *, compression: str = ""
) -> Layer:
    """Compress an uncompressed layer, by gzip unless something else is said."""
    command, kind = COMPRESSIONS[compression]
    with plain.open("rb") as file:
        diff_id = hashlib.file_digest(file, "sha256").hexdigest()
    with translated(target):
        process.run(
            ["sh", "-c", f'{command} < "$1" > "$2"', "layer", str(plain), str(target)],
            env=environment.plain(),
            output=process.Output(log=log),
            stop=stop,
        )
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Layer(digest=digest, diff_id=diff_id, kind=kind, piece=Piece(path=target, size=target.stat().st_size))


def write_image(
    target: Path, layers: Sequence[Layer], said: Mapping[str, Any], labels: Mapping[str, str], stop: threading.Event
) -> None:
    """Write an archive of layers, the lowest first, and a configuration, which is told of them."""
    diff_ids = [f"sha256:{each.diff_id}" for each in layers]
    history = [{"created": CREATED, "created_by": "cc-images"} for _ in layers]
    config = encoded({**said, "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history})
    _archive(target, layers, config, encoded(manifest_of(config, layers, labels)), stop)


def config_of(said: Configuration, arch: Arch) -> dict[str, Any]:
    """Return the configuration of an image without layers; empty keys are left out."""
    variables = {"PATH": PATH} | dict(said.environment)
    wanted = {
        "User": said.user,
        "WorkingDir": said.folder,
        "Entrypoint": list(said.entrypoint),
        "Cmd": list(said.command),
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Labels": dict(said.labels),
        "ExposedPorts": {port: {} for port in said.ports},
        "Volumes": {folder: {} for folder in said.volumes},
    }
    return {
        "created": CREATED,
        "architecture": arch.value,
        "os": "linux",
        "config": {name: value for name, value in wanted.items() if value},
    }


def manifest_of(config: bytes, layers: Sequence[Layer], annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest of a configuration and layers."""
    made = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(CONFIG, hashlib.sha256(config).hexdigest(), len(config)),
        "layers": [described(each.kind, each.digest, each.piece.size) for each in layers],
        "annotations": {name: value for name, value in annotations.items() if name.startswith("org.opencontainers.")},
    }
    return {name: value for name, value in made.items() if value}


def described(kind: str, digest: str, size: int) -> dict[str, Any]:
    """Return a descriptor."""
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def encoded(plain: Mapping[str, Any]) -> bytes:
    """Return JSON with its keys in order."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _archive(target: Path, layers: Sequence[Layer], config: bytes, manifest: bytes, stop: threading.Event) -> None:
    """Write the archive of a layout."""
    digests = {hashlib.sha256(each).hexdigest(): each for each in (config, manifest)}
    top = described(MANIFEST, hashlib.sha256(manifest).hexdigest(), len(manifest))
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", encoded({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}))
        for folder in ("blobs", "blobs/sha256"):  # without them Apptainer cannot unpack it
            tar.addfile(_folder(folder))
        for digest, content in sorted(digests.items()):
            _add(tar, f"blobs/sha256/{digest}", content)
        for digest, piece in sorted({each.digest: each.piece for each in layers}.items()):
            with piece.opened() as file:
                tar.addfile(_member(f"blobs/sha256/{digest}", piece.size), cast("BinaryIO", Heeding(file, stop)))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_member(name, len(content)), BytesIO(content))


def _folder(name: str) -> tarfile.TarInfo:
    made = _member(name, 0)
    made.type, made.mode = tarfile.DIRTYPE, 0o755
    return made


def _member(name: str, size: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.mtime, made.mode = size, EPOCH, 0o644
    return made
