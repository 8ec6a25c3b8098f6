"""The build cache with a real Spack: taken package by package, signed, refused when touched, killed and gone on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.signing import Signer
from tests.conftest import REPOSITORY
from tests.support.packages import Made
from tests.support.spackbed import REASON, SpackBed, spack_bed

pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)

SPECS = ("zip",)
"""What is installed: zip, bzip2, the compiler's runtime and its wrapper."""


@dataclass
class Prefix:
    """A Spack with an install tree, keys and caches of its own."""

    folder: Path
    environment: Mapping[str, str]
    sources: Path

    def spack(self, *words: str, code: int = 0) -> str:
        """Run a command of Spack; return what it says."""
        done = subprocess.run(["spack", *words], env=self.environment, capture_output=True, text=True, timeout=600)
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        return said

    def mirrors(self, **places: tuple[Path, bool, bool]) -> None:
        """Name the mirrors with packages: each a folder, whether it is signed, and whether packages are pushed."""
        sources = f"mirrors::\n  sources: {{url: 'file://{self.sources}', source: true, binary: false}}\n"
        (self.folder / "config" / "mirrors.yaml").write_text(sources + "".join(
            f"  {name}: {{url: 'file://{folder}', source: false, binary: true, signed: {str(signed).lower()},"
            f" autopush: {str(pushed).lower()}}}\n"
            for name, (folder, signed, pushed) in places.items()
        ))  # fmt: skip

    def trust(self, key: str) -> None:
        """Let this Spack install what a public key has signed."""
        (self.folder / "key.asc").write_text(key)
        self.spack("gpg", "trust", str(self.folder / "key.asc"))
        end_agents(self)

    def installed(self) -> set[str]:
        """Return the names of the packages in its install tree."""
        found = json.loads(self.spack("find", "--json") or "[]")
        return {each["name"] for each in found if "external" not in each}


def end_agents(prefix: Prefix) -> None:
    """End the agent that Spack's gpg has started."""
    subprocess.run(["gpgconf", "--homedir", prefix.environment["SPACK_GNUPGHOME"], "--kill", "gpg-agent"], check=True)


Make = Callable[[str], Prefix]


@pytest.fixture(scope="module")
def bed() -> SpackBed:
    return spack_bed()


def prefix_of(bed: SpackBed, folder: Path) -> Prefix:
    """Return a new prefix in a folder."""
    shutil.copytree(bed.folder / "config", folder / "config")
    (folder / "gpg").mkdir(mode=0o700)
    config = folder / "config" / "config.yaml"
    config.write_text(config.read_text().replace(f"{bed.folder}/install", f"{folder}/install"))
    own = {
        "SPACK_USER_CONFIG_PATH": str(folder / "config"),
        "SPACK_USER_CACHE_PATH": str(folder / "cache"),
        "SPACK_GNUPGHOME": str(folder / "gpg"),
    }
    return Prefix(folder, {**bed.environment, **own}, bed.mirror)


@pytest.fixture
def new(bed: SpackBed, tmp_path: Path) -> Make:
    """Return a function that makes another prefix."""
    return lambda name: prefix_of(bed, tmp_path / name)


@pytest.fixture(scope="module")
def kit(bed: SpackBed, tmp_path_factory: pytest.TempPathFactory) -> Prefix:
    """Return the prefix from which the cache is filled."""
    return prefix_of(bed, tmp_path_factory.mktemp("spack") / "prefix")


@pytest.fixture(scope="module")
def packages(kit: Prefix) -> list[Made]:
    """Return the packages that are to be compiled."""
    nodes = json.loads(kit.spack("spec", "--json", *SPECS))["spec"]["nodes"]
    return [Made(each["name"], each["hash"], each["version"], "external" in each) for each in nodes]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("key") / "gnupg"


def ours(packages: Sequence[Made]) -> dict[str, Made]:
    return {each.name: each for each in packages if not each.external}


def compiled(said: str) -> set[str]:
    """Return the packages that Spack compiled, by what it says."""
    return set(re.findall(r"^==> (\S+): Executing phase: 'install'", said, re.MULTILINE))


@pytest.fixture(scope="module")
def filled(
    kit: Prefix, packages: list[Made], home: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[tuple[float, str]]]:
    """Return a store whose cache has all packages, from one install with a drop folder, and when each came."""
    store, drop = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("drop")
    caches = Caches((), store, home)
    told: list[tuple[float, str]] = []
    kit.mirrors(drop=(drop, False, True), cache=(caches.folder, True, False))

    def tell(line: str) -> None:
        told.append((time.time(), line))

    with caches.wanted(packages, threading.Event()), caches.publishing(drop, packages, tell):
        said = kit.spack("install", *SPECS)
        tell("installed")
    assert compiled(said) == set(ours(packages))
    return store, told


def test_each_package_is_in_the_cache_right_after_its_build(
    filled: tuple[Path, list[tuple[float, str]]], packages: list[Made], home: Path
) -> None:
    store, told = filled
    lines = [line for _, line in told]
    assert {line.partition("@")[0] for line in lines} - {"installed"} == set(ours(packages))
    assert lines.index("installed") >= len(lines) - 2, "all but the last one come while the next ones are built"
    assert Caches((), store, home).known(packages) == {each.hash for each in ours(packages).values()}
    private = [file.read_bytes() for file in (home / "private-keys-v1.d").iterdir()]
    assert private
    for file in store.rglob("*"):
        assert not file.is_file() or not any(each in file.read_bytes() for each in private), file


def test_another_prefix_installs_from_the_cache_alone(
    filled: tuple[Path, list[tuple[float, str]]], packages: list[Made], home: Path, new: Make
) -> None:
    prefix = new("second")
    caches = Caches((), filled[0], home)
    prefix.mirrors(cache=(caches.folder, True, False))
    refused = prefix.spack("install", "--use-buildcache", "only", *SPECS, code=1)
    assert compiled(refused) == set(), "nobody has said that the key counts"
    assert prefix.installed() == set()
    prefix.trust(caches.public_key)
    said = prefix.spack("install", "--use-buildcache", "only", *SPECS)
    assert compiled(said) == set()
    assert {"zip", "bzip2"} <= prefix.installed()
    listed = prefix.spack("location", "-i", "zip").strip()
    assert subprocess.run([f"{listed}/bin/zip", "-v"], capture_output=True).returncode == 0


def test_the_lines_of_the_documents_hold(
    filled: tuple[Path, list[tuple[float, str]]], packages: list[Made], home: Path, new: Make
) -> None:
    """Spack on its own, as docs/build-caches.md says; the cache is a copy, since an index is written into it."""
    prefix = new("person")
    shared = prefix.folder / "shared"
    shutil.copytree(Caches((), filled[0], home).folder, shared)
    page = (REPOSITORY / "docs" / "build-caches.md").read_text()
    lines = re.findall(r"^    spack (.*)$", page.partition("\nFrom a registry ")[0], re.MULTILINE)
    assert len(lines) == 3
    prefix.mirrors()
    for line in lines:
        said = prefix.spack(*line.replace("/mnt/shared/spack-cache", str(shared)).split())
    assert compiled(said) == set()
    assert "zip" in prefix.installed()
    (index,) = re.findall(r"`spack (buildcache update-index \w+)`", page)
    prefix.spack(*index.split())
    assert "bzip2@" in prefix.spack("buildcache", "list", "--allarch")
    end_agents(prefix)


TAMPERED = ("other bytes", "another digest", "unsigned", "by another key", "that of another")


def tamper(folder: Path, how: str, package: Made, other: Made, stranger: Signer) -> None:
    """Change a package in a cache."""
    file = folder / layout.manifest_path(package)
    content = file.read_text()
    text = layout.signed_text(content.encode())
    manifest = layout.parsed(text)
    blob = folder / manifest.archive.path
    if how == "other bytes":
        blob.chmod(0o644)
        blob.write_bytes(bytes(manifest.archive.size))
    elif how == "that of another":
        shutil.copyfile(folder / layout.manifest_path(other), file)
    else:
        file.write_text({
            "another digest": content.replace(manifest.archive.digest, "0" * 64),
            "unsigned": text,
            "by another key": stranger.signed(text),
        }[how])  # fmt: skip


def test_what_was_tampered_with_is_refused_by_us_and_by_spack(
    filled: tuple[Path, list[tuple[float, str]]], packages: list[Made], home: Path, new: Make, tmp_path: Path
) -> None:
    stranger = Signer.of("", tmp_path / "stranger")
    prefix = new("reader")
    prefix.trust(Caches((), filled[0], home).public_key)
    victim, other = ours(packages)["bzip2"], ours(packages)["zip"]
    for how in TAMPERED:
        store = tmp_path / how.replace(" ", "-")
        shutil.copytree(filled[0], store)
        caches = Caches((), store, home)
        tamper(caches.folder, how, victim, other, stranger)
        every = {each.hash for each in ours(packages).values()}
        assert caches.known(packages) == every - {victim.hash}, how
        if how != "that of another":
            prefix.mirrors(cache=(caches.folder, True, False))
            prefix.spack("install", "--use-buildcache", "only", f"{victim.name}/{victim.hash}", code=1)
            assert "bzip2" not in prefix.installed(), how
        with caches.wanted(packages, threading.Event()):  # what Spack would take under a wrong name, it does not see
            assert not (caches.folder / layout.manifest_path(victim)).exists(), how


BUILD = """
import subprocess, sys, threading
from pathlib import Path
from cc_images.builders.spack.cache import Caches
from tests.support.packages import Made
store, home, drop, *rest = sys.argv[1:]
packages = [Made(*each.split(",")) for each in rest]
caches = Caches((), Path(store), Path(home))
told = lambda line: print(line, flush=True)
with caches.wanted(packages, threading.Event()), caches.publishing(Path(drop), packages, told):
    subprocess.run(["spack", "install", "zip"], check=True, stdout=subprocess.DEVNULL)
"""


def test_what_was_built_before_a_kill_is_not_built_again(
    packages: list[Made], home: Path, new: Make, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    caches = Caches((), store, home)
    first = new("first")
    first.trust(caches.public_key)
    first.mirrors(drop=(tmp_path / "drop", False, True), cache=(caches.folder, True, False))
    words = [f"{each.name},{each.hash},{each.version}" for each in packages if not each.external]
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, store, home, tmp_path / "drop", *words],
        env={**first.environment, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("bzip2@"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = caches.known(packages)
    kept = {each.name for each in packages if each.hash in there}
    assert "bzip2" in kept
    assert "zip" not in kept
    second = new("again")
    second.trust(caches.public_key)
    second.mirrors(drop=(tmp_path / "drop2", False, True), cache=(caches.folder, True, False))
    told: list[str] = []
    with caches.wanted(packages, threading.Event()), caches.publishing(tmp_path / "drop2", packages, told.append):
        said = second.spack("install", "zip")
    assert compiled(said) == set(ours(packages)) - kept
    assert {line.partition("@")[0] for line in told} == set(ours(packages)) - kept
    assert caches.known(packages) == {each.hash for each in ours(packages).values()}
