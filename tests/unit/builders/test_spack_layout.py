"""Spack's layout of a build cache: names, manifests, specs."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass

import pytest

from cc_images.builders.spack import cache_layout as layout

HASH = "2ndnh3zsqioipeynqf7h2rgp7l6k7fsk"
MANIFEST = {
    "version": 3,
    "data": [
        {
            "contentLength": 277913,
            "mediaType": "application/vnd.spack.install.v2.tar+gzip",
            "compression": "gzip",
            "checksumAlgorithm": "sha256",
            "checksum": "8" * 64,
        },
        {
            "contentLength": 1758,
            "mediaType": "application/vnd.spack.spec.v5+json",
            "compression": "gzip",
            "checksumAlgorithm": "sha256",
            "checksum": "1" * 64,
        },
    ],
}


@dataclass(frozen=True)
class Known:
    name: str = "zip"
    version: str = "3.0"
    hash: str = HASH
    external: bool = False


def test_a_manifest_is_where_spack_looks_for_it() -> None:
    path = layout.manifest_path(Known())
    assert path == f"v3/manifests/spec/zip/zip-3.0-{HASH}.spec.manifest.json"
    assert layout.hash_of(path) == HASH
    odd = layout.manifest_path(Known(version="git.a/b=1.0"))
    assert odd == f"v3/manifests/spec/zip/zip-git.a_b_1.0-{HASH}.spec.manifest.json"
    assert layout.hash_of(odd) == HASH
    assert layout.hash_of("v3/manifests/key/keys.manifest.json") == ""
    assert layout.hash_of(f"v3/manifests/spec/../zip/zip-3.0-{HASH}.spec.manifest.json") == ""


@pytest.mark.parametrize("odd", [Known(name="../zip"), Known(name=""), Known(hash="x" * 31), Known(hash="../" * 11)])
def test_names_that_leave_the_cache_are_refused(odd: Known) -> None:
    with pytest.raises(ValueError, match="is no package"):
        layout.manifest_path(odd)


def test_a_manifest_is_read_and_written_as_spack_does() -> None:
    found = layout.parsed(json.dumps(MANIFEST))
    assert found.archive == layout.Blob("8" * 64, 277913)
    assert found.spec.path == f"blobs/sha256/11/{'1' * 64}"
    assert json.loads(layout.manifest_text(found)) == MANIFEST
    assert max(map(len, layout.manifest_text(found).splitlines())) < 200


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"data": MANIFEST["data"][:1]},  # type: ignore[index]
        {"data": [*MANIFEST["data"], MANIFEST["data"][0]]},  # type: ignore[misc,index]
        {"data": None},
        *(
            {"data": [MANIFEST["data"][0] | {key: value}, MANIFEST["data"][1]]}  # type: ignore[index]
            for key, value in (
                ("checksum", "../../etc/passwd"),
                ("checksum", 5),
                ("contentLength", -1),
                ("contentLength", True),
                ("contentLength", 1 << 60),
                ("checksumAlgorithm", "md5"),
                ("compression", "none"),
                ("mediaType", "text/plain"),
            )
        ),
    ],
)
def test_an_odd_manifest_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(layout.Odd):
        layout.parsed(json.dumps(MANIFEST | change))


SIGNED = """-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

{
"version":3
}
-----BEGIN PGP SIGNATURE-----

iQIzBAEBCgAdFiEE
=njd2
-----END PGP SIGNATURE-----
"""


def test_a_clearsigned_text_is_one_text_and_nothing_else() -> None:
    assert layout.signed_text(SIGNED.encode()) == '{\n"version":3\n}\n'
    for odd in (
        '{"version": 3}',
        f"x\n{SIGNED}",
        f'{SIGNED}{{"version": 3}}',
        SIGNED * 2,
        SIGNED.replace("Hash: SHA512\n", ""),
        SIGNED.replace("}\n", "}\n- -----BEGIN PGP SIGNED MESSAGE-----\n"),
        SIGNED.replace("iQ", "é"),
    ):
        with pytest.raises(layout.Odd):
            layout.signed_text(odd.encode())


def packed(*nodes: dict[str, object]) -> bytes:
    return gzip.compress(json.dumps({"spec": {"_meta": {"version": 5}, "nodes": nodes}}).encode())


def test_a_spec_is_that_of_its_package() -> None:
    layout.check_spec(packed({"name": "zip", "hash": HASH}, {"name": "bzip2", "hash": "b" * 32}), Known())
    for odd in (
        packed({"name": "zip", "hash": "b" * 32}),
        packed({"name": "bzip2", "hash": HASH}),
        packed(),
        b"no archive",
        packed({"name": "zip", "hash": HASH})[:-9],
        gzip.compress(b"0" * ((1 << 26) + 1)),
    ):
        with pytest.raises(layout.Odd):
            layout.check_spec(odd, Known())


def test_blobs_of_any_manifest_are_named() -> None:
    text = layout.blobs_text((layout.KEY, "none", layout.Blob("a" * 64, 5)))
    assert layout.all_blobs(text.encode()) == {"a" * 64}
    assert layout.all_blobs(SIGNED.replace('"version":3', '"data":[{"checksum":"b"}]').encode()) == {"b"}
    with pytest.raises(layout.Odd):
        layout.all_blobs(b"[]")
