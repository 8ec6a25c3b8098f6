"""The build cache in a real registry, Debian's docker-registry: pushed, read by another host and by a plain Spack."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack import oci_layout
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.signing import Signer
from cc_images.model.build_cache import BuildCache
from tests.conftest import REPOSITORY, lacking, spread
from tests.real.test_spack_cache import SPECS, Prefix, compiled, ours, prefix_of
from tests.support import spackbed
from tests.support.fakeregistry import basic
from tests.support.gateway import Gateway, Instead, Rule
from tests.support.packages import Made, drop, made, published
from tests.support.registrybed import HTPASSWD, PASSWORD, REASON, USER, RegistryBed
from tests.support.spackbed import SpackBed, spack_bed

WHY = REASON or lacking(("gpg", "gpg-agent", "gpgconf"))
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY or "it can run")

STOP = threading.Event()
A, B = made("aaa"), made("bbb")
CALLS = 12
"""About how many calls a push of one package makes."""


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryBed]:
    with RegistryBed(tmp_path_factory.mktemp("registry"), htpasswd=HTPASSWD) as locked:
        yield locked


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key") / "gnupg"
    Signer.of("", folder).public_key()
    return folder


@pytest.fixture
def cache(bed: RegistryBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildCache:
    """Return a cache in a repository of the test's own; its variables are set."""
    monkeypatch.setenv("TEST_USER", USER)
    monkeypatch.setenv("TEST_PASSWORD", PASSWORD)
    repository = re.sub(r"[^a-z0-9]+", "-", tmp_path.name.lower()).strip("-")
    return BuildCache(
        name="reg",
        url=f"oci://{bed.host}/team/{repository}",
        push=True,
        insecure=True,
        access=("TEST_USER", "TEST_PASSWORD"),
    )


def manifest_in(cache: BuildCache, package: Made, change: Callable[[dict[str, object]], object] | None = None) -> str:
    """Return the digest of a package's layer in the registry; with `change`, put a changed manifest there first."""
    host, _, repository = cache.repository.partition("/")
    tag = oci_layout.tag_of(layout.manifest_path(package))
    headers = {"Authorization": basic(), "Accept": oci_layout.MANIFEST, "Content-Type": oci_layout.MANIFEST}
    address = f"http://{host}/v2/{repository}/manifests/{tag}"
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
        said = json.load(answer)
    if change is not None:
        change(said)
        sent = urllib.request.Request(address, json.dumps(said).encode(), headers, method="PUT")
        urllib.request.urlopen(sent, timeout=20).close()
    return str(said["layers"][-1]["digest"])


def test_another_host_has_what_was_pushed(cache: BuildCache, home: Path, tmp_path: Path) -> None:
    first, second = Caches([cache], tmp_path / "first", home), Caches([cache], tmp_path / "second", home)
    assert second.known([A, B]) == set()
    manifest = drop(tmp_path / "drop", A, os.urandom(20 << 20))
    assert published(first, tmp_path / "drop", A)[1:] == [f"aaa@1.0/{A.hash[:7]} is in the build cache reg"]
    assert manifest_in(cache, A) == f"sha256:{manifest.archive.digest}"
    assert published(first, tmp_path / "none", A) == [], "it is there"
    assert second.known([A, B]) == {A.hash}
    with second.wanted([A, B], STOP):
        for path in (manifest.archive.path, manifest.spec.path):
            assert (second.folder / path).read_bytes() == (first.folder / path).read_bytes()
        mine, its = ((each.folder / layout.manifest_path(A)).read_bytes() for each in (first, second))
        assert layout.signed_text(its) == layout.signed_text(mine), "each cache has a signature of its own"
    assert Caches((), tmp_path / "second", home).known([A]) == {A.hash}


@pytest.mark.parametrize("how", ["other bytes", "unsigned", "without a signature", "by another key", "another archive"])
def test_what_was_changed_is_not_copied(
    bed: RegistryBed, cache: BuildCache, home: Path, tmp_path: Path, how: str
) -> None:
    first, second = Caches([cache], tmp_path / "first", home), Caches([cache], tmp_path / "second", home)
    manifest = drop(tmp_path / "drop", A, os.urandom(1000))
    drop(tmp_path / "drop", B)
    published(first, tmp_path / "drop", A, B)

    def change(said: dict[str, object]) -> None:
        annotations, layers = said["annotations"], said["layers"]
        assert isinstance(annotations, dict)
        assert isinstance(layers, list)
        text = layout.signed_text(annotations[oci_layout.SIGNED].encode())
        if how == "without a signature":
            del said["annotations"]
        elif how == "another archive":
            layers.reverse()
        else:
            stranger = Signer.of("", tmp_path / "stranger")
            annotations[oci_layout.SIGNED] = text if how == "unsigned" else stranger.signed(text)

    if how == "other bytes":
        digest = manifest.archive.digest
        (stored,) = bed.folder.glob(f"blobs/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data")
        stored.write_bytes(bytes(manifest.archive.size))
    else:
        manifest_in(cache, A, change)
        assert second.known([A, B]) == {B.hash}
    with second.wanted([A, B], STOP):
        assert not (second.folder / layout.manifest_path(A)).exists()
        assert (second.folder / layout.manifest_path(B)).exists()
    if how != "other bytes":  # which nobody sees who does not read them
        assert published(first, tmp_path / "none", A, B) == [f"aaa@1.0/{A.hash[:7]} is in the build cache reg"]
        assert second.known([A]) == {A.hash}


@pytest.mark.parametrize("done", [False, True], ids=["lost", "answer lost"])
def test_one_call_that_fails_does_no_harm(
    bed: RegistryBed, cache: BuildCache, home: Path, tmp_path: Path, done: bool
) -> None:
    """Each call is cut once; a registry that goes away at a call leaves a package that is whole or not there."""
    with Gateway(bed.port) as gateway:
        behind = replace(cache, url=cache.url.replace(bed.host, gateway.url.removeprefix("http://")))
        for at in spread(range(1, CALLS)):
            package = made(f"one{at}")
            begun = len(gateway.calls)
            gateway.rule = cut(range(begun + at, begun + at + 1), done)
            drop(tmp_path / "drop", package)
            told = published(Caches([behind], tmp_path / f"once{at}", home), tmp_path / "drop", package)
            if told[-1].endswith("the build cache reg"):
                assert Caches([cache], tmp_path / "reader", home).known([package]) == {package.hash}
            else:
                assert at == 1, "the first call alone is not tried again"
            package, begun = made(f"all{at}"), len(gateway.calls)
            gateway.rule = cut(range(begun + at, begun + 1000), done)
            drop(tmp_path / "drop", package)
            store = tmp_path / f"away{at}"
            told = published(Caches([behind], store, home), tmp_path / "drop", package)
            assert len(told) == 2, told
            reader = Caches([cache], tmp_path / f"reader{at}", home)
            there = reader.known([package])
            with reader.wanted([package], STOP):
                assert Caches((), tmp_path / f"reader{at}", home).known([package]) == there, "whole, or not there"
            gateway.rule = lambda method, path, number: None
            published(Caches([behind], store, home), tmp_path / "none", package)
            assert reader.known([package]) == {package.hash}


def cut(calls: range, done: bool) -> Rule:
    """Return a rule by which the connection ends at some calls."""
    return lambda method, path, number: Instead(0, done) if number in calls else None


def test_a_certificate_of_ones_own_is_named(home: Path, cache: BuildCache, tmp_path: Path) -> None:
    with RegistryBed(tmp_path / "bed", htpasswd=HTPASSWD, tls=True) as bed:
        secure = replace(cache, url=f"oci://{bed.host}/team/spack", insecure=False, ca=str(bed.ca))
        drop(tmp_path / "drop", A)
        told = published(Caches([replace(secure, ca="")], tmp_path / "first", home), tmp_path / "drop", A, B)
        assert "CERTIFICATE_VERIFY_FAILED" in told[1], told
        assert len(told) == 2, "a cache that nobody vouches for costs its packages alone"
        told = published(Caches([secure], tmp_path / "first", home), tmp_path / "none", A, B)
        assert told == [f"aaa@1.0/{A.hash[:7]} is in the build cache reg"]
        second = Caches([secure], tmp_path / "second", home)
        assert second.known([A, B]) == {A.hash}
        with second.wanted([A, B], STOP):
            assert (second.folder / layout.manifest_path(A)).exists()


def test_what_refuses_costs_its_packages_alone(
    cache: BuildCache, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = replace(cache, name="away", url="oci://127.0.0.1:9/team/spack")
    for broken, password in ((away, PASSWORD), (cache, "a-wrong-password"), (cache, "")):
        monkeypatch.setenv("TEST_PASSWORD", password)
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        began = time.monotonic()
        drop(tmp_path / "drop", A)
        told = published(Caches([broken], tmp_path / "store", home), tmp_path / "drop", A, B)
        assert time.monotonic() - began < 30
        assert told[0] == f"aaa@1.0/{A.hash[:7]} is in the build cache"
        assert told[1].startswith(f"build cache {broken.name}: ")
        assert len(told) == 2, told
        for each in (PASSWORD, "a-wrong-password", basic().split()[1]):
            assert each not in " ".join(told) + caplog.text


# -- a real Spack ---------------------------------------------------------------------------------------------------


def documented(cache: BuildCache) -> list[list[str]]:
    """Return the lines of the document for a Spack on its own, with the address and certificate of this registry."""
    text = (REPOSITORY / "docs" / "build-caches.md").read_text()
    page = text.replace("registry.example.org/team/spack", cache.repository)
    (mirror,) = re.findall(r"^    spack (mirror add .* oci://.*)$", page, re.MULTILINE)
    (trust,) = re.findall(r"`spack (config add config:ssl_certs:.*)`", page)
    (update,) = re.findall(r"`spack (buildcache update-index \w+)`", page)
    return [each.replace("/etc/ssl/site.pem", cache.ca).split() for each in (mirror, trust, update)]


@pytest.mark.deep
@pytest.mark.skipif(bool(spackbed.REASON), reason=spackbed.REASON)
def test_a_real_spack_fills_it_and_others_install_from_it(home: Path, tmp_path: Path) -> None:
    """By one prefix into the registry, by another host's store into a second one, and by a plain Spack; with TLS."""
    kit = spack_bed()
    with RegistryBed(tmp_path / "registry", tls=True) as registry:
        cache = BuildCache(name="reg", url=f"oci://{registry.host}/team/spack", push=True, ca=str(registry.ca))
        _fill_and_install(kit, cache, home, tmp_path)


def _fill_and_install(kit: SpackBed, cache: BuildCache, home: Path, tmp_path: Path) -> None:
    first = prefix_of(kit, tmp_path / "first")
    nodes = json.loads(first.spack("spec", "--json", *SPECS))["spec"]["nodes"]
    packages = [Made(each["name"], each["hash"], each["version"], "external" in each) for each in nodes]
    every = {each.hash for each in ours(packages).values()}
    caches = Caches([cache], tmp_path / "store", home)
    first.mirrors(drop=(tmp_path / "drop", False, True))
    told: list[str] = []
    with caches.wanted(packages, STOP), caches.publishing(tmp_path / "drop", packages, told.append):
        assert compiled(first.spack("install", *SPECS)) == set(ours(packages))
    assert len([line for line in told if line.endswith(" is in the build cache reg")]) == len(every), told

    trusted = tmp_path / "first.asc"
    trusted.write_text(Signer.of("", home).public_key())
    reads = [replace(cache, push=False, trust=(str(trusted),))]
    other = Caches(reads, tmp_path / "other", tmp_path / "other-key")
    anybody = Caches(reads, tmp_path / "empty", tmp_path / "other-key")
    assert anybody.known(packages) == every
    second = prefix_of(kit, tmp_path / "second")
    second.mirrors(cache=(other.folder, True, False))
    second.trust(other.public_key)
    with other.wanted(packages, STOP):
        installs(second, "--use-buildcache", "only")

    third = prefix_of(kit, tmp_path / "third")
    third.mirrors()
    mirror, trust, update = documented(cache)
    third.spack(*mirror)
    third.spack("install", "--use-buildcache", "only", *SPECS, code=1)
    assert third.installed() == set(), "it does not know who has signed the registry's certificate"
    third.spack(*trust)
    installs(third, "--use-buildcache", "only")
    third.spack(*update)
    listed = third.spack("buildcache", "list", "--allarch")
    assert "zip@" in listed
    assert "bzip2@" in listed
    assert anybody.known(packages) == every, "the index is none of ours"

    victim = ours(packages)["bzip2"]
    pushed = ("buildcache", "push", "--force", "--unsigned", "--only", "package", "site", f"/{victim.hash}")
    third.spack(*pushed)
    assert anybody.known(packages) == every - {victim.hash}, "a plain Spack signs nothing"
    assert published(caches, tmp_path / "none", *packages) == [
        f"{layout.label(victim)} is in the build cache reg",
    ]
    assert anybody.known(packages) == every


def installs(prefix: Prefix, *words: str) -> None:
    """Install with nothing compiled, and use what is installed."""
    said = prefix.spack("install", *words, *SPECS)
    assert compiled(said) == set()
    assert {"zip", "bzip2"} <= prefix.installed()
    place = prefix.spack("location", "-i", "zip").strip()
    assert subprocess.run([f"{place}/bin/zip", "-v"], capture_output=True).returncode == 0
