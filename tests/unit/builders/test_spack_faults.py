"""Builds by a Spack that dies, lies, hangs or says nonsense: a message each, and what was right before is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.builders.spack import generated
from cc_images.builders.spack.cache_layout import manifest_path
from cc_images.builders.spack.environment import SOFTWARE
from cc_images.builders.spack.lock import Package, read
from cc_images.errors import CCImagesError, UserError
from cc_images.host.process import TimedOut
from tests.conftest import lacking
from tests.support.spackhost import SpackHost, with_standin

REASON = lacking(("gpg", "gpgconf", "strip"))
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON or ""), pytest.mark.long]

ORDER = ["compiler-wrapper", "gcc-runtime", "bzip2", "zip"]
"""The packages that zip needs, as they are compiled."""


@pytest.fixture
def host(tmp_path: Path) -> SpackHost:
    return with_standin(tmp_path)


@pytest.fixture
def lock(host: SpackHost) -> str:
    return host.locked("zip")


def with_fault(host: SpackHost, fault: str) -> SpackHost:
    """Return the same host, whose Spack has a fault."""
    return replace(host, environment={**host.environment, "CC_STANDIN_SPACK": fault})


def packages(lock: str) -> dict[str, Package]:
    return {each.name: each for each in read(lock).to_build}


def kept(host: SpackHost, lock: str) -> set[str]:
    """Return the packages that the store's cache has, signed and whole."""
    known = host.caches.known(read(lock).to_build)
    return {name for name, each in packages(lock).items() if each.hash in known}


def goes_on(host: SpackHost, lock: str, there: set[str]) -> None:
    """Build again without a fault: what is there is not compiled again, and the image gets all."""
    compiled, told = host.built(lock, "zip")
    assert {*compiled} == {*ORDER} - there
    assert {line.partition("@")[0] for line in told} == {*compiled}
    assert kept(host, lock) == {*ORDER}
    installed = {each.name.rsplit("-", 2)[0] for each in host.path(SOFTWARE).glob("linux-*/*")}
    assert installed == {"gcc-runtime", "bzip2", "zip"}


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_after_death_between_two_packages_those_before_it_are_kept(host: SpackHost, lock: str, number: int) -> None:
    with pytest.raises(CCImagesError, match=r"Killed|ended with code 137"):
        with_fault(host, f"die-after={number}").built(lock, "zip")
    assert kept(host, lock) == {*ORDER[:number]}
    goes_on(host, lock, {*ORDER[:number]})


def test_death_amid_a_manifest_costs_that_package_alone(host: SpackHost, lock: str) -> None:
    with pytest.raises(CCImagesError, match=r"Killed|ended with code 137"):
        with_fault(host, "torn=bzip2").built(lock, "zip")
    assert (host.path(generated.DROP) / manifest_path(packages(lock)["bzip2"])).exists(), "half of it"
    assert kept(host, lock) == {*ORDER[:2]}
    goes_on(host, lock, {*ORDER[:2]})


@pytest.mark.parametrize(("fault", "why"), [("digest", "another digest"), ("foreign", "that of another package")])
def test_a_manifest_that_lies_is_told_and_not_signed(host: SpackHost, lock: str, fault: str, why: str) -> None:
    told = lied(host, lock, fault)
    (refused,) = [line for line in told if not line.endswith(" is in the build cache")]
    assert refused.startswith("bzip2@1.0.8/")
    assert "does not go into the build cache: " in refused
    assert why in refused
    assert kept(host, lock) == {*ORDER} - {"bzip2"}
    goes_on(host, lock, {*ORDER} - {"bzip2"})


def lied(host: SpackHost, lock: str, fault: str) -> list[str]:
    """Build with a bzip2 that lies; return what was told. Bytes that lie are no package for Spack either."""
    told: list[str] = []
    build = with_fault(host, f"{fault}=bzip2")
    if fault == "digest":
        with pytest.raises(CCImagesError, match=r"^Spack: Failed to install bzip2 due to InstallError: No binary"):
            build.built(lock, "zip", told=told)
    else:
        build.built(lock, "zip", told=told)
    return told


def test_a_full_disk_is_said_and_what_came_before_it_is_kept(host: SpackHost, lock: str) -> None:
    with pytest.raises(CCImagesError, match=r"^Spack: PushToBuildCacheError: .*bzip2@1.0.8/.* No space left on device"):
        with_fault(host, "full=bzip2").built(lock, "zip")
    assert kept(host, lock) == {*ORDER[:2]}
    goes_on(host, lock, {*ORDER[:2]})


def test_a_compilation_without_end_is_ended(host: SpackHost, lock: str) -> None:
    with pytest.raises(TimedOut, match=r"timed out after 8 seconds"):
        with_fault(host, "hang=zip").built(lock, "zip", timeout=8)
    assert kept(host, lock) == {*ORDER[:3]}
    goes_on(host, lock, {*ORDER[:3]})


@pytest.mark.parametrize("step", ["lock", "build"])
def test_a_command_that_ends_without_a_word_is_an_error_with_its_code(host: SpackHost, lock: str, step: str) -> None:
    silent = with_fault(host, "exit=7")
    act: Callable[[], object] = (lambda: silent.locked("zip")) if step == "lock" else lambda: silent.built(lock, "zip")
    with pytest.raises(CCImagesError, match=r"^sh ended with code 7$"):
        act()
    assert kept(host, lock) == set()


def test_success_without_a_lock_is_an_error(host: SpackHost) -> None:
    with pytest.raises(CCImagesError, match=r"^sh ended with code 1$"):
        with_fault(host, "exit=0").locked("zip")


def test_a_lock_that_is_no_json_is_refused_by_us_and_by_spack(host: SpackHost, lock: str) -> None:
    text = with_fault(host, "garbage").locked("zip")
    with pytest.raises(UserError, match=r"^spack.lock: it is no lock of Spack: JSONDecodeError"):
        read(text)
    host.prepare(text, "zip")
    with pytest.raises(CCImagesError, match=r"^Spack: Expecting value: line 1 column 1"):
        host.carried_out("install")


def test_a_lock_of_a_newer_format_is_spacks_to_refuse_unless_it_has_another_shape(host: SpackHost, lock: str) -> None:
    text = with_fault(host, "newer").locked("zip")
    assert read(text, "zip").version == "3.0", "its shape is known"
    with pytest.raises(CCImagesError, match=r"^Spack: Spack 1.* cannot read the lockfile .* using the v7 format"):
        host.built(text, "zip")
    plain = json.loads(text)
    plain["nodes"] = plain.pop("concrete_specs")
    with pytest.raises(UserError, match=r"its format is version 7; 6 is the newest that is known"):
        read(json.dumps(plain))


def test_two_builds_at_once_compile_what_they_share_once(tmp_path: Path, host: SpackHost, lock: str) -> None:
    (tmp_path / "other").mkdir()
    other = replace(with_standin(tmp_path / "other"), beside=host.folder)
    compiled: list[str] = []
    builds = [threading.Thread(target=lambda each=each: compiled.extend(each.built(lock, "zip")[0]))
              for each in (host, other)]  # fmt: skip
    for each in builds:
        each.start()
    for each in builds:
        each.join(60)
    assert sorted(compiled) == sorted(ORDER)
