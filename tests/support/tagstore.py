"""A registry in memory, for kills and changes by others between any two of its calls; and small OCI archives."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cc_images.errors import CCImagesError, Reason
from cc_images.model.stop import Stop
from cc_images.sites.manifests import MANIFEST, digest_of, manifest_of

T = TypeVar("T")

Rule = Callable[[str, str], None]


class TagStore:
    """One registry; rules are called before and after each call, with its name and tag or digest."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        """Manifests by repository and digest."""
        self.tagged: dict[str, dict[str, str]] = {}
        self.configurations: dict[str, bytes] = {}
        """Configurations of images by the digests of their manifests."""
        self.before: Rule = lambda call, reference: None
        self.after: Rule = lambda call, reference: None
        self.calls: list[str] = []
        self.deletes = True

    def tags(self, repository: str) -> list[str]:
        return self._call("tags", repository, lambda: sorted(self.tagged.get(repository, {})))

    def manifest(self, repository: str, reference: str) -> bytes | None:
        return self._call("manifest", reference, lambda: self.at(repository, reference))

    def push(self, source: str, repository: str, reference: str, *, folder: Path, stop: Stop | None = None) -> None:
        kind, _, path = source.partition(":")
        raw = _of_archive(Path(path)) if kind == "oci-archive" else _of_layout(Path(path))
        self._call("push", reference, lambda: self._put(repository, raw, reference))

    def manifests(self, repository: str, references: Sequence[str]) -> dict[str, bytes | None]:
        return {each: self.manifest(repository, each) for each in references}

    def configuration(self, repository: str, reference: str) -> bytes | None:
        return self._call("configuration", reference, lambda: self.configurations.get(reference))

    def note(self, repository: str, annotations: Mapping[str, str], tag: str, *, folder: Path | None) -> str:
        raw = manifest_of({}, {}, annotations)
        self._call("push", tag or digest_of(raw), lambda: self._put(repository, raw, tag or digest_of(raw)))
        return digest_of(raw)

    def point(self, repository: str, digest: str, tag: str) -> None:
        def act() -> None:
            raw = self.at(repository, digest)
            if raw is None:
                raise CCImagesError(f"{digest}: manifest unknown", reason=Reason.SITE)
            self._put(repository, raw, tag)

        self._call("point", tag, act)

    def delete(self, repository: str, digest: str) -> None:
        def act() -> None:
            if not self.deletes:
                raise CCImagesError("the operation is unsupported", reason=Reason.SITE)
            self.repositories.get(repository, {}).pop(digest, None)
            tagged = self.tagged.get(repository, {})
            for tag in [tag for tag, has in tagged.items() if has == digest]:
                del tagged[tag]

        self._call("delete", digest, act)

    def at(self, repository: str, reference: str) -> bytes | None:
        """Return a manifest as a reader finds it."""
        digest = self.tagged.get(repository, {}).get(reference, reference)
        return self.repositories.get(repository, {}).get(digest)

    def _put(self, repository: str, raw: bytes, reference: str) -> None:
        digest = digest_of(raw)
        self.repositories.setdefault(repository, {})[digest] = raw
        tagged = self.tagged.setdefault(repository, {})
        if reference.startswith("sha256:"):
            assert reference == digest
        else:
            tagged[reference] = digest

    def _call(self, call: str, reference: str, act: Callable[[], T]) -> T:
        self.calls.append(f"{call} {reference}")
        self.before(call, reference)
        answer = act()
        self.after(call, reference)
        return answer


def archive(path: Path, *layers: bytes, created: str = "") -> str:
    """Write an OCI archive of layers, which nobody unpacks; return the digest of its manifest."""
    blobs = {hashlib.sha256(each).hexdigest(): each for each in layers}
    diffs = [f"sha256:{digest}" for digest in blobs]
    system = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}
    config = json.dumps(system | ({"created": created} if created else {})).encode()
    blobs[hashlib.sha256(config).hexdigest()] = config
    made = json.loads(manifest_of({}, described(config, "application/vnd.oci.image.config.v1+json"), {}))
    made["layers"] = [described(each, "application/vnd.oci.image.layer.v1.tar+gzip") for each in layers]
    manifest = json.dumps(made).encode()
    blobs[hashlib.sha256(manifest).hexdigest()] = manifest
    top = {"schemaVersion": 2, "manifests": [described(manifest, MANIFEST)]}
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(top).encode()}
    files |= {f"blobs/sha256/{digest}": content for digest, content in blobs.items()}
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return digest_of(manifest)


def described(content: bytes, kind: str) -> dict[str, Any]:
    """Return a descriptor."""
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


def _of_archive(path: Path) -> bytes:
    with tarfile.open(path) as tar:
        index = json.loads(_member(tar, "index.json"))
        return _member(tar, f"blobs/sha256/{index['manifests'][0]['digest'].partition(':')[2]}")


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def _of_layout(folder: Path) -> bytes:
    index = json.loads((folder / "index.json").read_text())
    digest = str(index["manifests"][0]["digest"])
    return (folder / "blobs" / "sha256" / digest.partition(":")[2]).read_bytes()
