"""Spack's layout of a build cache, version 3: names of files, manifests and what they say. Pure.

    v3/layout.json
    v3/manifests/spec/NAME/NAME-VERSION-HASH.spec.manifest.json    clearsigned: digest and size of two blobs
    v3/manifests/key/FINGERPRINT.key.manifest.json, keys.manifest.json
    v3/manifests/index/index.manifest.json
    blobs/sha256/DI/DIGEST                                         packages, their specs, keys, the index

A package has two blobs: the archive of its files, and its spec with those of its dependencies.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

ARCHIVE = "application/vnd.spack.install.v2.tar+gzip"
KEY, KEYS = "application/pgp-keys", "application/vnd.spack.keyindex.v1+json"

LAYOUT = "v3/layout.json"
LAYOUT_TEXT = b'{"signing": "gpg"}'
SPECS = "v3/manifests/spec"
KEY_INDEX = "v3/manifests/key/keys.manifest.json"

MOST_OF_A_MANIFEST, MOST_OF_A_SPEC, MOST_OF_AN_ARCHIVE = 1 << 16, 1 << 26, 1 << 36
"""Bytes that a file of its kind may have at most; of a spec also when it is unpacked."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")
_HASH = re.compile(r"[a-z2-7]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SPEC = re.compile(r"application/vnd\.spack\.spec\.v[0-9]{1,3}\+json")
_FILE = re.compile(r"([^/]+)/[^/]+-([a-z2-7]{32})\.spec\.manifest\.json")
_IMPOLITE = re.compile(r"[^A-Za-z0-9_+.-]")
"""What Spack replaces in a file's name."""

_SIGNED = re.compile(
    r"-----BEGIN PGP SIGNED MESSAGE-----\r?\nHash: [A-Za-z0-9]{1,16}\r?\n\r?\n"
    r"(?P<text>(?:(?!-)[^\n]*\n)+)"
    r"-----BEGIN PGP SIGNATURE-----\r?\n(?:[A-Z][A-Za-z]*: [^\n]*\n)*\r?\n(?:[A-Za-z0-9+/=]+\r?\n)+"
    r"-----END PGP SIGNATURE-----\s*"
)
"""A clearsigned text and nothing else, so that nobody can read another part of it than the signature is about."""


class Package(Protocol):
    """A package of a lock file, as far as a build cache is concerned."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def external(self) -> bool: ...


class Odd(ValueError):
    """A file of a build cache is not what Spack writes."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob as a manifest names it: its sha256 and its size in bytes."""

    digest: str
    size: int

    @property
    def path(self) -> str:
        """Its place in the cache."""
        return blob_path(self.digest)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A package's manifest: the archive of its files, its spec, and the latter's media type."""

    archive: Blob
    spec: Blob
    spec_type: str

    @property
    def blobs(self) -> tuple[Blob, Blob]:
        """What it names."""
        return self.archive, self.spec


def label(package: Package) -> str:
    """Return a package's name as Spack writes it for people."""
    return f"{package.name}@{package.version}/{package.hash[:7]}"


def manifest_path(package: Package) -> str:
    """Return the place of a package's manifest. Raises ValueError for a name or hash that no package has."""
    if not _NAME.fullmatch(package.name) or not _HASH.fullmatch(package.hash):
        raise ValueError(f"{package.name!r} with the hash {package.hash!r} is no package")
    file = _IMPOLITE.sub("_", f"{package.name}-{package.version}-{package.hash}")
    return f"{SPECS}/{package.name}/{file}.spec.manifest.json"


def hash_of(path: str) -> str:
    """Return the hash of the package whose manifest this is; empty for another file."""
    found = _FILE.fullmatch(path.removeprefix(f"{SPECS}/"))
    return found[2] if found and path.startswith(f"{SPECS}/") else ""


def blob_path(digest: str) -> str:
    """Return the place of a blob. Raises ValueError for what is no digest."""
    if not _DIGEST.fullmatch(digest):
        raise Odd(f"{digest!r} is no digest")
    return f"blobs/sha256/{digest[:2]}/{digest}"


def blob_of(content: bytes) -> Blob:
    """Return the blob that some bytes are."""
    return Blob(hashlib.sha256(content).hexdigest(), len(content))


def key_path(fingerprint: str) -> str:
    """Return the place of a public key's manifest."""
    return f"v3/manifests/key/{fingerprint}.key.manifest.json"


def signed_text(content: bytes) -> str:
    """Return what a clearsigned manifest says, the signature unseen. Raises Odd when it is not signed."""
    try:
        found = _SIGNED.fullmatch(content.decode("ascii"))
    except UnicodeDecodeError as error:
        raise Odd("its manifest is no text") from error
    if found is None:
        raise Odd("its manifest is not signed, or has more than one signed text")
    return found["text"]


def parsed(text: str | bytes) -> Manifest:
    """Read a package's manifest. Raises Odd for any other."""
    try:
        said = json.loads(text)
        blobs = {each["mediaType"]: _blob(each) for each in said["data"]}
        archive = blobs.pop(ARCHIVE)
        ((spec_type, spec),) = blobs.items()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise error if isinstance(error, Odd) else Odd("its manifest is not that of a package") from error
    if said["version"] != 3 or len(said["data"]) != 2 or not _SPEC.fullmatch(spec_type):
        raise Odd("its manifest is of another version")
    if archive.size > MOST_OF_AN_ARCHIVE or spec.size > MOST_OF_A_SPEC:
        raise Odd("its manifest names a blob of an absurd size")
    return Manifest(archive, spec, spec_type)


def _blob(said: Mapping[str, Any]) -> Blob:
    digest, size = said["checksum"], said["contentLength"]
    if said["checksumAlgorithm"] != "sha256" or said["compression"] != "gzip":
        raise Odd("its manifest names another digest or compression than sha256 and gzip")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or type(size) is not int or size < 1:
        raise Odd("its manifest names a blob without digest or size")
    return Blob(digest, size)


def manifest_text(manifest: Manifest) -> str:
    """Return a package's manifest as text with short lines, as clear signatures want it."""
    return blobs_text((ARCHIVE, "gzip", manifest.archive), (manifest.spec_type, "gzip", manifest.spec))


def blobs_text(*blobs: tuple[str, str, Blob]) -> str:
    """Return a manifest that names blobs, each with its media type and compression."""
    named = [
        {"contentLength": blob.size, "mediaType": media, "compression": how, "checksumAlgorithm": "sha256",
         "checksum": blob.digest}
        for media, how, blob in blobs
    ]  # fmt: skip
    return json.dumps({"version": 3, "data": named}, indent=0, separators=(",", ":")) + "\n"


def all_blobs(content: bytes) -> frozenset[str]:
    """Return the digests that a manifest of any kind names, signed or not, its signature unseen. Raises Odd."""
    try:
        text = signed_text(content) if content.startswith(b"-----BEGIN PGP SIGNED") else content
        return frozenset(str(each["checksum"]) for each in json.loads(text)["data"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Odd("it is no manifest") from error


def unpacked_spec(packed: bytes) -> bytes:
    """Return the text in a package's spec blob. Raises Odd."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            text = file.read(MOST_OF_A_SPEC + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Odd("its spec cannot be read") from error
    if len(text) > MOST_OF_A_SPEC:
        raise Odd("its spec is too large")
    return text


def specs_of(packed: bytes) -> list[dict[str, Any]]:
    """Return the specs in a package's spec blob: its own first, then its dependencies'. Raises Odd."""
    try:
        nodes = json.loads(unpacked_spec(packed))["spec"]["nodes"]
        if not nodes or not all(isinstance(node, dict) and isinstance(node["hash"], str) for node in nodes):
            raise Odd("its spec names no package")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise error if isinstance(error, Odd) else Odd("its spec cannot be read") from error
    return list(nodes)


def check_spec(packed: bytes, package: Package) -> None:
    """Raise Odd unless a spec blob is that of this package: a right signature under a wrong name counts for nothing."""
    spec = specs_of(packed)[0]
    if (spec.get("name"), spec["hash"]) != (package.name, package.hash):
        raise Odd(f"it is that of another package, {spec.get('name')}/{spec['hash'][:7]}")
