"""Folders and builds of Spack that mean harm: what they have is read and written without trust."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack import exchange, folder, noted
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.generated import EPILOGUE, LOCK, VARIABLES
from cc_images.builders.spack.places import Folder
from cc_images.builders.spack.signing import Signer, fingerprint_of
from cc_images.errors import CCImagesError, UserError
from cc_images.model.build_cache import BuildCache
from tests.conftest import lacking
from tests.support.packages import drop, made

REASON = lacking(("gpg", "gpg-agent", "gpgconf"))
needs_gpg = pytest.mark.skipif(bool(REASON), reason=REASON or "")

YAML = "spack:\n  specs: [zip]\n"


def test_the_note_of_a_build_is_taken(tmp_path: Path) -> None:
    (tmp_path / VARIABLES).write_text(json.dumps({"FOO": "bar"}))
    assert noted.variables(tmp_path, {"A": "b"}) == {"A": "b", "FOO": "bar"}


@pytest.mark.parametrize("how", ["nothing", "link", "pipe", "too large", "nested", "a list", "a number", "odd name"])
def test_a_note_that_is_none_says_nothing_of_the_host(tmp_path: Path, how: str) -> None:
    """A link would bring a file of the host, such as a token, into the image's variables."""
    made = tmp_path / "made"
    made.mkdir()
    secret = tmp_path / "credentials.json"
    secret.write_text(json.dumps({"refresh_token": "s3cret"}))
    note = made / VARIABLES
    do: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "link": lambda: note.symlink_to(secret),
        "pipe": lambda: os.mkfifo(note),
        "too large": lambda: note.write_text(json.dumps({"A": "a" * (1 << 20)})),
        "nested": lambda: note.write_text("[" * 200_000),
        "a list": lambda: note.write_text("[]"),
        "a number": lambda: note.write_text('{"A": 1}'),
        "odd name": lambda: note.write_text('{"A=B": "c"}'),
    }
    do[how]()
    with pytest.raises(CCImagesError, match="has left no variables"):
        noted.variables(made, {})


@pytest.mark.parametrize("how", ["link", "folder", "file", "nothing"])
def test_what_is_written_for_a_build_follows_no_link(tmp_path: Path, how: str) -> None:
    precious, place = tmp_path / "precious", tmp_path / "place"
    precious.write_text("mine")
    place.mkdir()
    file = place / "Containerfile"
    if how == "link":
        file.symlink_to(precious)
    elif how == "folder":
        (file / "more").mkdir(parents=True)
    elif how == "file":
        file.write_text("theirs")
    folder.write(place, {"Containerfile": "ours", "a/b": "c"})
    assert file.read_text() == "ours"
    assert not file.is_symlink()
    assert (place / "a" / "b").read_text() == "c"
    assert precious.read_text() == "mine"


def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    (place / "spack.yaml").write_text(YAML)
    return place


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Its content would be part of no key, and it would lead nowhere in the copy that is built."""
    place = project(tmp_path)
    (tmp_path / "away").write_text("{}")
    (place / LOCK).symlink_to("../away")
    with pytest.raises(UserError, match=r"spack\.lock is no regular file"):
        folder.read(place, tmp_path)


def test_an_epilogue_that_is_no_text_is_refused(tmp_path: Path) -> None:
    place = project(tmp_path)
    (place / EPILOGUE).write_bytes(b"\xff")
    with pytest.raises(UserError, match="cannot be read"):
        folder.read(place, tmp_path)


# -- the build cache ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the GnuPG home of a key."""
    place = tmp_path_factory.mktemp("key") / "gnupg"
    Signer.of("", place).public_key()
    return place


A = made("aaa")


@needs_gpg
@pytest.mark.long
def test_a_build_replaces_no_package_that_is_there(tmp_path: Path, home: Path) -> None:
    """Commands of a build can drop a package by any name of its lock; other images install what is there."""
    caches = Caches((), tmp_path / "store", home)
    told: list[str] = []
    for content in (b"good", b"bad"):
        drop(tmp_path / "drop", A, content)
        with caches.publishing(tmp_path / "drop", [A], told.append):
            pass
        manifest = layout.parsed(layout.signed_text((caches.folder / layout.manifest_path(A)).read_bytes()))
        assert gzip.decompress((caches.folder / manifest.archive.path).read_bytes()) == b"good"
    assert told == [
        f"{layout.label(A)} is in the build cache",
        f"{layout.label(A)} does not go into the build cache: it is there, and no build replaces it",
    ]
    assert not (tmp_path / "drop" / layout.manifest_path(A)).exists(), "nobody waits for it"


@needs_gpg
@pytest.mark.long
def test_a_private_key_that_is_trusted_reaches_no_build(tmp_path: Path, home: Path) -> None:
    words = ["gpg", "--homedir", str(home), "--batch", "--armor", "--export-secret-keys"]
    secret = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "BEGIN PGP PRIVATE KEY" in secret
    (tmp_path / "theirs.asc").write_text(secret)
    caches = Caches([other(tmp_path, trust=(str(tmp_path / "theirs.asc"),))], tmp_path / "store", home)
    with pytest.raises(CCImagesError, match="has a private key"):
        assert caches.public_key


def test_without_gpg_a_trusted_key_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.asc").write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    caches = Caches([other(tmp_path, trust=(str(tmp_path / "theirs.asc"),))], tmp_path / "store", tmp_path / "key")
    with pytest.raises(CCImagesError, match="the program gpg is missing"):
        caches.known([A])


def other(tmp_path: Path, **more: object) -> BuildCache:
    return BuildCache(name="other", url=f"file://{tmp_path}/other", **more)  # type: ignore[arg-type]


FULL = """
import resource, sys
from pathlib import Path
from cc_images.builders.spack.places import Folder
from cc_images.errors import CCImagesError
source = Path(sys.argv[1], "source")
source.write_bytes(bytes(1 << 23))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
cache = Folder(Path(sys.argv[1]))
for call in (lambda: cache.put("a", source), lambda: cache.write("a", b"a" * 200)):
    try:
        call()
    except CCImagesError as error:
        print(error.message)
"""


def test_a_cache_that_takes_no_more_says_so(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"the build cache {tmp_path}: File too large"] * 2, done.stderr
    assert not list((tmp_path / ".parts").iterdir())


@needs_gpg
def test_an_index_of_keys_that_is_none_is_made_again(tmp_path: Path) -> None:
    place, content = Folder(tmp_path / "cache"), b"[" * 60_000
    blob = layout.blob_of(content)
    place.write(blob.path, content)
    place.write(layout.KEY_INDEX, layout.blobs_text((layout.KEYS, "none", blob)).encode())
    key = Signer.of("", tmp_path / "gnupg").public_key()
    exchange.prepare(place, key)
    (digest,) = layout.all_blobs(place.read(layout.KEY_INDEX, layout.MOST_OF_A_MANIFEST) or b"")
    assert json.loads((place.root / layout.blob_path(digest)).read_bytes()) == {"keys": {fingerprint_of(key): {}}}
