"""The build cache: packages signed and taken, refused when anybody touched them, shared, waited for and pruned."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.signing import Keyring, Signer, fingerprint_of
from cc_images.errors import CCImagesError
from cc_images.model.build_cache import BuildCache
from tests.conftest import lacking
from tests.support import packages
from tests.support.packages import Made, drop, made, published

REASON = lacking(("gpg", "gpg-agent", "gpgconf"))
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON or ""), pytest.mark.long]

STOP = threading.Event()
A, B, C = made("aaa"), made("bbb"), made("ccc")
OUTSIDE = Made("glibc", "z" * 32, "2.36", external=True)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the GnuPG home of a key of ours."""
    folder = tmp_path_factory.mktemp("key") / "gnupg"
    Signer.of("", folder).public_key()
    return folder


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    signer = Signer.of("", tmp_path_factory.mktemp("stranger") / "gnupg")
    signer.public_key()
    return signer


@pytest.fixture
def caches(tmp_path: Path, home: Path) -> Caches:
    return Caches((), tmp_path / "store", home)


def filled(caches: Caches, tmp_path: Path, *wanted: Made) -> None:
    """Put packages into the store's cache."""
    for each in wanted:
        drop(tmp_path / "drop", each)
    published(caches, tmp_path / "drop", *wanted)
    assert caches.known(wanted) == {each.hash for each in wanted}


def manifest_file(caches: Caches, package: Made) -> Path:
    return caches.folder / layout.manifest_path(package)


# -- the key ------------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_stays_at_home(tmp_path: Path) -> None:
    home = tmp_path / ("a" * 100) / "gnupg"
    signer = Signer.of("", home)
    assert not signer.is_made()
    key = signer.public_key()
    assert signer.is_made()
    assert Signer.of("", home).public_key() == key
    assert home.stat().st_mode & 0o777 == 0o700
    text = '{\n"version":3\n}\n'
    signed = signer.signed(text)
    assert layout.signed_text(signed.encode()) == text
    assert Keyring([key]).verified([signed.encode(), signed.replace("3", "4").encode(), b"{}"]) == [True, False, False]
    assert "PRIVATE" not in key
    assert all(file.stat().st_mode & 0o077 == 0 for file in (home / "private-keys-v1.d").iterdir())
    assert agents(home) == []


NOTED = """\
#!/bin/sh
for each; do printf '%s\\n' "$each"; done >> {log}
env >> {log}
exec {program} "$@"
"""


def test_the_private_key_is_in_no_argument_variable_log_or_file_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is made, signs and packages are verified: neither as bytes nor in hexadecimal nor in ASCII armour."""
    home, log, programs = tmp_path / "gnupg", tmp_path / "log", tmp_path / "bin"
    programs.mkdir()
    for name in ("gpg", "gpg-agent", "gpgconf"):
        (programs / name).write_text(NOTED.format(log=log, program=shutil.which(name)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    caches = Caches((), tmp_path / "store", home)
    filled(caches, tmp_path, A, B)
    command = ["gpg", "--homedir", str(home), "--batch", "--armor", "--export-secret-keys"]
    monkeypatch.undo()
    armor = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)
    (file,) = (home / "private-keys-v1.d").iterdir()
    numbers = re.findall(r"\([dpq]#([0-9A-F]{40,})#\)", re.sub(r"\s", "", file.read_text()))
    assert len(numbers) == 3
    forms = [form for each in numbers for form in (each.encode(), each.lower().encode(), bytes.fromhex(each))]
    forms += [line.encode() for line in armor.splitlines() if len(line) == 64][10:20]  # the public key comes first
    assert len(forms) > 12
    seen = log.read_bytes()
    assert b"--clearsign" in seen
    assert b"--verify-files" in seen
    stored = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(stored) > 5
    for content in (seen, caplog.text.encode(), *stored):
        assert not [form for form in forms if form in content]


def agents(home: Path) -> list[str]:
    """Return the agents that run, by what the kernel knows of them: their working sockets' home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            argv = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argv[0].endswith(b"gpg-agent") and os.fsencode(home) in b" ".join(argv):
            found.append(b" ".join(argv).decode())
    return found


def test_a_key_of_the_users_is_named_by_fingerprint_or_home(
    tmp_path: Path, stranger: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = stranger.public_key()
    monkeypatch.setenv("GNUPGHOME", str(stranger.home))
    named = Signer.of(fingerprint_of(public).lower())
    assert named.public_key() == public
    assert Keyring([public]).verified([named.signed("x\n").encode()]) == [True]
    with pytest.raises(CCImagesError, match="does not sign"):
        Signer.of("0" * 40).signed("x\n")
    by_home = Signer.of(str(stranger.home))
    assert by_home.public_key() == public
    assert Keyring([public]).verified([by_home.signed("x\n").encode()]) == [True]
    with pytest.raises(CCImagesError, match="is no folder"):
        Signer.of(str(tmp_path / "nothing")).public_key()
    (tmp_path / "empty").mkdir(mode=0o700)
    with pytest.raises(CCImagesError, match="has no private keys"):
        Signer.of(str(tmp_path / "empty")).signed("x\n")


def test_many_sign_at_once(home: Path) -> None:
    """One ends the agent that another's gpg would need, unless they take turns."""
    signed: list[bytes] = []
    threads = [threading.Thread(target=lambda: signed.append(Signer.of("", home).signed("x\n").encode()))
               for _ in range(6)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Keyring([Signer.of("", home).public_key()]).verified(signed) == [True] * 6


# -- from the drop ------------------------------------------------------------------------------------------------


def test_a_package_is_taken_as_soon_as_it_is_whole(caches: Caches, tmp_path: Path) -> None:
    told: list[str] = []
    with caches.publishing(tmp_path / "drop", [A, B, OUTSIDE], told.append):
        assert caches.known([A, B]) == set()
        drop(tmp_path / "drop", A)
        until(lambda: caches.known([A, B]) == {A.hash})
    assert told == [f"aaa@1.0/{A.hash[:7]} is in the build cache"]
    assert layout.signed_text(manifest_file(caches, A).read_bytes())
    assert not list((tmp_path / "drop" / "blobs").rglob("?" * 64)), "its room is free"
    assert (caches.folder / "v3" / "layout.json").read_text() == '{"signing": "gpg"}'


def until(holds: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_what_is_left_is_taken_when_the_build_fails(caches: Caches, tmp_path: Path) -> None:
    def build() -> None:
        with caches.publishing(tmp_path / "drop", [A], lambda line: None):
            drop(tmp_path / "drop", A)
            raise RuntimeError("the compiler")

    with pytest.raises(RuntimeError):
        build()
    assert caches.known([A]) == {A.hash}


def test_a_torn_manifest_is_taken_when_it_is_whole(caches: Caches, tmp_path: Path) -> None:
    """Spack copies where it cannot rename."""
    drop(tmp_path / "drop", A)
    manifest = tmp_path / "drop" / layout.manifest_path(A)
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:99])
    told: list[str] = []
    with caches.publishing(tmp_path / "drop", [A], told.append):
        time.sleep(1.2)
        manifest.write_bytes(whole)
    assert told == [f"aaa@1.0/{A.hash[:7]} is in the build cache"]


def spoiled(tmp_path: Path, how: str) -> None:
    """Drop the package A in a way that no honest build does."""
    folder = tmp_path / "drop"
    manifest = drop(folder, A, spec=B if how == "another spec" else None)
    file, archive = folder / layout.manifest_path(A), folder / manifest.archive.path
    odd = replace(manifest, archive=layout.Blob(manifest.archive.digest, 1 << 50))
    spoil: dict[str, Callable[[], object]] = {
        "another spec": lambda: None,
        "other bytes": lambda: archive.write_bytes(bytes(manifest.archive.size)),
        "longer": lambda: archive.write_bytes(archive.read_bytes() + b"more"),
        "shorter": lambda: os.truncate(archive, 3),
        "no blob": archive.unlink,
        "link to a blob": lambda: linked(archive, tmp_path / "away"),
        "link to a manifest": lambda: linked(file, tmp_path / "away"),
        "link to a folder": lambda: linked(file.parent, tmp_path / "away"),
        "pipe": lambda: piped(archive),
        "large manifest": lambda: file.write_bytes(file.read_bytes() + b" " * (1 << 17)),
        "absurd size": lambda: file.write_text(layout.manifest_text(odd)),
    }
    spoil[how]()


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def linked(path: Path, away: Path) -> None:
    path.rename(away)
    path.symlink_to(away)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("other bytes", "another digest"),
        ("longer", "too large"),
        ("shorter", "another size"),
        ("no blob", "is missing"),
        ("link to a blob", "no file that can be read"),
        ("link to a manifest", "no file that can be read"),
        ("link to a folder", "is no folder"),
        ("pipe", "no regular file"),
        ("large manifest", "too large"),
        ("absurd size", "absurd size"),
        ("another spec", "that of another package, bbb"),
    ],
)
def test_what_is_not_right_is_not_signed(caches: Caches, tmp_path: Path, how: str, why: str) -> None:
    spoiled(tmp_path, how)
    (told,) = published(caches, tmp_path / "drop", A)
    assert why in told
    assert told.startswith(f"aaa@1.0/{A.hash[:7]} does not go into the build cache: ")
    assert caches.known([A]) == set()
    assert not manifest_file(caches, A).exists()
    assert not list((caches.folder / ".parts").iterdir())


def test_a_package_that_nobody_wants_is_left_alone(caches: Caches, tmp_path: Path) -> None:
    drop(tmp_path / "drop", B)
    (told,) = published(caches, tmp_path / "drop", A)
    assert told == "1 files in the build's drop folder are none of its packages: they are not taken"
    assert caches.known([A, B]) == set()


# -- reading ------------------------------------------------------------------------------------------------------


def tampered(caches: Caches, how: str, stranger: Signer) -> None:
    """Change the package A in the store's cache."""
    file = manifest_file(caches, A)
    content = file.read_text()
    text = layout.signed_text(content.encode())
    manifest = layout.parsed(text)
    if how == "unsigned":
        file.write_text(text)
    elif how == "by another key":
        file.write_text(stranger.signed(text))
    elif how == "another digest":
        file.write_text(content.replace(manifest.archive.digest, "0" * 64))
    elif how == "text before":
        file.write_text(f"{{}}\n{content}")
    elif how == "two signatures":
        file.write_text(content * 2)
    elif how == "other bytes":
        blob = caches.folder / manifest.archive.path
        blob.chmod(0o644)
        blob.write_bytes(bytes(manifest.archive.size))
    elif how == "no blob":
        (caches.folder / manifest.archive.path).unlink()
    elif how == "that of another":
        shutil.copyfile(manifest_file(caches, B), file)


@pytest.mark.parametrize(
    "how",
    ["unsigned", "by another key", "another digest", "text before", "two signatures", "other bytes", "no blob",
     "that of another"],
)  # fmt: skip
def test_a_package_that_was_tampered_with_counts_for_nothing(
    caches: Caches, tmp_path: Path, home: Path, stranger: Signer, how: str
) -> None:
    filled(caches, tmp_path, A, B)
    tampered(caches, how, stranger)
    for each in (caches, Caches((), tmp_path / "store", home)):
        assert each.known([A, B]) == {B.hash}
    with caches.wanted([A, B], STOP):
        assert not manifest_file(caches, A).exists(), "no build sees it"
        assert manifest_file(caches, B).exists()
        drop(tmp_path / "again", A)
        published(caches, tmp_path / "again", A)
    assert caches.known([A, B]) == {A.hash, B.hash}


def test_a_look_makes_no_key_and_no_folder(tmp_path: Path) -> None:
    caches = Caches((), tmp_path / "store", tmp_path / "gnupg")
    assert caches.known([A, OUTSIDE]) == set()
    assert list(tmp_path.iterdir()) == []


# -- other caches -------------------------------------------------------------------------------------------------


def shared(tmp_path: Path, **more: object) -> BuildCache:
    (tmp_path / "shared").mkdir(exist_ok=True)
    return BuildCache(name="shared", url=f"file://{tmp_path}/shared", **more)  # type: ignore[arg-type]


def test_another_host_has_what_was_pushed(tmp_path: Path, home: Path, stranger: Signer) -> None:
    first = Caches([shared(tmp_path, push=True)], tmp_path / "first", home)
    drop(tmp_path / "drop", A)
    told = published(first, tmp_path / "drop", A)
    assert told[1:] == [f"aaa@1.0/{A.hash[:7]} is in the build cache shared"]
    key = tmp_path / "first.asc"
    key.write_text(Signer.of("", home).public_key())
    unknowing = Caches([shared(tmp_path)], tmp_path / "second", stranger.home)
    assert unknowing.known([A]) == set()
    second = Caches([shared(tmp_path, trust=(str(key),))], tmp_path / "second", stranger.home)
    assert second.known([A]) == {A.hash}
    assert not manifest_file(second, A).exists(), "a look copies nothing"
    with second.wanted([A], STOP):
        copied, pushed = manifest_file(second, A), tmp_path / "shared" / layout.manifest_path(A)
        assert copied.read_bytes() == pushed.read_bytes()
    assert second.public_key.count("BEGIN PGP PUBLIC KEY") == 2
    shutil.rmtree(tmp_path / "shared")
    assert Caches([shared(tmp_path, trust=(str(key),))], tmp_path / "second", stranger.home).known([A]) == {A.hash}


def test_a_cache_of_its_own_key_gets_its_signature(tmp_path: Path, home: Path, stranger: Signer) -> None:
    cache = shared(tmp_path, push=True, key=str(stranger.home))
    caches = Caches([cache], tmp_path / "store", home)
    drop(tmp_path / "drop", A)
    published(caches, tmp_path / "drop", A)
    there = (tmp_path / "shared" / layout.manifest_path(A)).read_bytes()
    assert Keyring([stranger.public_key()]).verified([there]) == [True]
    assert Keyring([Signer.of("", home).public_key()]).verified([there]) == [False]


def test_a_blob_that_another_cache_has_wrong_is_not_copied(tmp_path: Path, home: Path) -> None:
    first = Caches([shared(tmp_path, push=True)], tmp_path / "first", home)
    manifest = drop(tmp_path / "drop", A)
    published(first, tmp_path / "drop", A)
    blob = tmp_path / "shared" / manifest.archive.path
    blob.chmod(0o644)
    blob.write_bytes(bytes(manifest.archive.size))
    second = Caches([shared(tmp_path)], tmp_path / "second", home)
    with second.wanted([A], STOP):
        assert not manifest_file(second, A).exists()
        assert not list((second.folder / ".parts").iterdir())


def test_a_cache_that_fails_costs_its_packages_and_gets_them_later(tmp_path: Path, home: Path) -> None:
    broken = BuildCache(name="broken", url=f"file://{tmp_path}/file/below", push=True)
    (tmp_path / "file").write_text("")
    caches = Caches([broken], tmp_path / "store", home)
    drop(tmp_path / "drop", A)
    told = published(caches, tmp_path / "drop", A, B)
    assert any(line.startswith("build cache broken: ") for line in told)
    assert caches.known([A, B]) == {A.hash}
    (tmp_path / "file").unlink()
    later = Caches([broken], tmp_path / "store", home)
    assert published(later, tmp_path / "empty", A, B) == [f"aaa@1.0/{A.hash[:7]} is in the build cache broken"]


# -- waiting and pruning ------------------------------------------------------------------------------------------


def test_a_build_waits_for_a_package_that_another_one_compiles(caches: Caches, tmp_path: Path, home: Path) -> None:
    compiled: list[str] = []

    def build(number: int, wanted: list[Made]) -> None:
        mine = Caches((), tmp_path / "store", home)
        folder = tmp_path / f"drop{number}"
        with mine.wanted(wanted, STOP), mine.publishing(folder, wanted, lambda line: None):
            for each in wanted:
                if each.hash not in mine.known(wanted):
                    compiled.append(each.name)
                    time.sleep(0.2)
                    drop(folder, each)

    threads = [threading.Thread(target=build, args=(number, wanted))
               for number, wanted in enumerate(([A, B], [B, C], [C, A], [C, B, A]))]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(compiled) == ["aaa", "bbb", "ccc"]


def test_what_no_lock_file_needs_is_pruned(caches: Caches, tmp_path: Path) -> None:
    filled(caches, tmp_path, A, B)
    now = time.time()
    seen = caches.prune({A.hash}, now, dry_run=True)
    assert [(each.name, each.why) for each in seen] == [(f"bbb-1.0/{B.hash[:7]}", "no lock file that is kept needs it")]
    assert caches.known([A, B]) == {A.hash, B.hash}
    with caches.wanted([B], STOP):
        assert caches.prune({A.hash}, now, dry_run=False) == [], "a build uses it"
    assert caches.prune({A.hash}, now, dry_run=False) == seen
    assert caches.known([A, B]) == {A.hash}
    assert len(list((caches.folder / "blobs").rglob("?" * 64))) == 4, "A's two, the key and the index of keys"


def test_blobs_without_a_manifest_go_when_they_are_old(caches: Caches, tmp_path: Path) -> None:
    filled(caches, tmp_path, A)
    lost = caches.folder / packages.write_blob(caches.folder, b"lost").path
    part = caches.folder / ".parts" / "1.2.3"
    part.write_bytes(b"part")
    assert caches.prune({A.hash}, time.time() + 3600, dry_run=False) == []
    gone = caches.prune({A.hash}, time.time() + 2 * 86400, dry_run=False)
    assert {each.size for each in gone} == {4}
    assert len(gone) == 2
    assert not lost.exists()
    assert not part.exists()
    assert caches.known([A]) == {A.hash}


@pytest.fixture(autouse=True)
def no_agents_stay(home: Path) -> Iterator[None]:
    yield
    assert agents(home) == []
