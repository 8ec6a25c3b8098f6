"""The stand-in for Spack and the real one do the same, as far as builds can see: one test, run against both.

CC_IMAGES_TEST_SPACK, or a Spack beside the checkout in `make deep`, adds the real one (a minute).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack import generated, noted
from cc_images.builders.spack.environment import SOFTWARE, VIEW
from cc_images.builders.spack.errors import said
from cc_images.builders.spack.generated import BEFORE, FOLDER, LATER, SCOPE, WORK
from cc_images.builders.spack.lock import Locked, read
from tests.conftest import lacking
from tests.support import spackbed
from tests.support.spackhost import TARGET, SpackHost, with_real, with_standin

REASON = lacking(("gpg", "gpgconf", "strip"))
pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON or ""), pytest.mark.long]

REAL = pytest.param(
    "real Spack",
    marks=[
        pytest.mark.skipif(bool(spackbed.REASON), reason=spackbed.REASON or "-"),
        *([] if os.environ.get("CC_IMAGES_TEST_SPACK") else [pytest.mark.deep]),
    ],
)

EXTERNAL = {"diffutils", "gcc", "glibc", "gmake"}

NEEDS = {
    "zip": {"bzip2", "compiler-wrapper", "gcc", "gcc-runtime", "glibc", "gmake"},
    "bzip2": {"compiler-wrapper", "diffutils", "gcc", "gcc-runtime", "glibc", "gmake"},
    "gcc-runtime": {"gcc", "glibc"},
    "compiler-wrapper": set[str](),
}

RUNS_WITH = {
    "zip": {"bzip2", "gcc-runtime", "glibc"},
    "bzip2": {"gcc-runtime", "glibc"},
    "gcc-runtime": {"glibc"},
    "compiler-wrapper": set[str](),
}


@pytest.fixture(scope="module", params=["stand-in", REAL])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SpackHost:
    """Return a host of each kind."""
    folder = tmp_path_factory.mktemp("host")
    return with_standin(folder, patience=generated.PATIENCE) if request.param == "stand-in" else with_real(folder)


@pytest.fixture(scope="module")
def lock(host: SpackHost) -> str:
    """Return the lock of zip."""
    return host.locked("zip")


def names(locked: Locked, keys: tuple[str, ...]) -> set[str]:
    return {locked.packages[key].name for key in keys}


def environment(host: SpackHost, name: str, spec: str = "zip", lock: str = "") -> str:
    """Write an environment beside the build's own; return its folder."""
    folder = host.path(f"/opt/{name}")
    folder.mkdir(parents=True, exist_ok=True)
    tree = {"install_tree": {"root": str(host.path(SOFTWARE)), "padded_length": 0}}
    plain = {"specs": [spec], "view": str(host.path(VIEW)), "config": tree}
    (folder / "spack.yaml").write_text(json.dumps({"spack": plain}))
    if lock:
        (folder / "spack.lock").write_text(lock)
    return str(folder)


def test_a_lock_has_the_same_packages_for_whoever_reads_it(host: SpackHost, lock: str) -> None:
    locked = read(lock, "zip")
    assert (locked.version, locked.roots[0][0]) == ("3.0", "zip")
    assert [each.name for each in locked.to_build][-2:] == ["bzip2", "zip"]
    assert {each.name for each in locked.to_build} == {*NEEDS}
    assert {each.name for each in locked.packages.values() if each.external} == EXTERNAL
    assert {each.target for each in locked.to_build} == {TARGET}
    assert {each.name: names(locked, each.dependencies) for each in locked.to_build} == NEEDS
    assert {each.name: names(locked, each.runs_with) for each in locked.to_build} == RUNS_WITH
    assert locked.providers("c") == {"gcc"}
    assert locked.providers("libc") == {"glibc"}
    plain = json.loads(lock)
    assert plain["_meta"] == {"file-type": "spack-lockfile", "lockfile-version": 6, "specfile-version": 5}
    assert {*plain} == {"_meta", "spack", "roots", "concrete_specs"}
    assert host.locked("zip") == lock, "the same specs have the same lock"
    assert "No new specs to concretize" in host.spack("-e", FOLDER, "concretize").stdout
    assert "1.9.4" in {each.version for each in read(host.locked("lz4@1.9.4", "zip")).packages.values()}


def test_a_build_compiles_once_and_then_installs_from_the_cache(host: SpackHost, lock: str) -> None:
    first, told = host.built(lock, "zip")
    assert sorted(first) == sorted(NEEDS)
    assert first.index("gcc-runtime") < first.index("bzip2") < first.index("zip")
    assert {line.partition("@")[0] for line in told} == {*NEEDS}, told
    assert all(line.endswith(" is in the build cache") for line in told)
    assert host.caches.known(read(lock).to_build) == {each.hash for each in read(lock).to_build}
    there = finished(host, lock)
    assert host.built(lock, "zip") == ([], []), "nothing is compiled, nothing new in the cache"
    assert finished(host, lock) == there


def finished(host: SpackHost, lock: str) -> tuple[set[str], Mapping[str, str]]:
    """Return the packages that a build has left for its image, and the variables; look at all else."""
    tree, view = host.path(SOFTWARE), host.path(VIEW)
    assert not (tree / ".spack-db").exists()
    assert not [*tree.rglob("install_times.json")]
    left = {each.name for each in (tree / f"linux-{TARGET}").iterdir()}
    wanted = [each for each in read(lock).to_build if each.name != "compiler-wrapper"]
    assert left == {f"{each.name}-{each.version}-{each.hash}" for each in wanted}, "what only builds need is gone"
    assert view.resolve().parent == view.with_name("._view").resolve()
    program = (view / "bin" / "zip").resolve()
    assert program.is_relative_to(tree)
    assert subprocess.run([program, "-v"], capture_output=True, check=False).returncode == 0
    assert b"/packages/__spack_path" not in program.read_bytes(), "it is relocated"
    variables = noted.variables(host.path(generated.MADE), {})
    assert variables["PATH"].startswith(f"{view}/bin:")
    assert {"PATH", "MANPATH", "CMAKE_PREFIX_PATH"} <= {*variables}
    assert not [name for name in variables if name.startswith("SPACK_")]
    active = host.path(f"{WORK}/result{FOLDER}/activate.sh").read_text()
    assert f"{view}/bin" in active
    assert BEFORE not in active
    return left, variables


def test_a_package_is_dropped_as_a_cache_of_layout_3(host: SpackHost, lock: str) -> None:
    """Spack alone: what it writes where nothing is taken away, and takes again."""
    host.prepare(lock, "zip")
    padded = ("-c", f"config:install_tree:root:{WORK}/packages", "-c", "config:install_tree:padded_length:128")
    done = host.spack("-C", SCOPE, *padded, "-e", FOLDER, "install", "--fail-fast", "--jobs", "2")
    assert done.returncode == 0, done.stdout
    drop = host.path(generated.DROP)
    packages = {layout.manifest_path(each): each for each in read(lock).to_build}
    there = {str(each.relative_to(drop)) for each in drop.rglob("*") if each.is_file()}
    blobs: set[str] = set()
    for path, package in packages.items():
        text = (drop / path).read_bytes()
        manifest = layout.parsed(text)
        blobs |= {each.path for each in manifest.blobs}
        assert layout.all_blobs(text) == {each.digest for each in manifest.blobs}
        assert all(layout.blob_of((drop / each.path).read_bytes()) == each for each in manifest.blobs)
        assert manifest.spec_type == "application/vnd.spack.spec.v5+json"
        layout.check_spec((drop / manifest.spec.path).read_bytes(), package)
        assert json.loads(text) == json.loads(layout.manifest_text(manifest))
        with tarfile.open(drop / manifest.archive.path) as tar:
            files = tar.getnames()
        prefix = f"{package.name}-{package.version}-{package.hash}"
        assert [each for each in files if each.endswith(f"/{prefix}/.spack/binary_distribution")]
        assert [each for each in files if each.endswith(f"/{prefix}/.spack/spec.json")]
    assert there == {layout.LAYOUT, *packages, *blobs}
    assert (drop / layout.LAYOUT).read_bytes() == layout.LAYOUT_TEXT
    refuses(host, drop, lock)


SMALL = 'mount -t tmpfs -o size=32k none "$0" && exec "$@"'
ALONE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def test_a_full_disk_ends_an_installation(host: SpackHost, lock: str) -> None:
    if subprocess.run([*ALONE, SMALL, "/mnt", "true"], check=False).returncode != 0:
        pytest.skip("needs namespaces of users")
    host.prepare(lock, "zip")
    install = ("-C", SCOPE, "-e", FOLDER, "install", "--fail-fast", "--jobs", "2")
    done = host.spack(*install, before=(*ALONE, SMALL, str(host.path(generated.DROP))))
    assert done.returncode == 1, done.stdout
    message = said(done.stdout.splitlines())
    assert re.match(r"PushToBuildCacheError: Failed to push 1 specs to file:///\S*/drop:?; Failed to push ", message)
    assert "[Errno 28] No space left on device" in message


def refuses(host: SpackHost, drop: Path, lock: str) -> None:
    """Spack takes no package whose bytes are others, and none that is unsigned where signatures are asked for."""
    mirrors(host, signed=False)
    install = ("-C", LATER, "-e", FOLDER, "install", "--fail-fast", "--use-buildcache", "only")
    done = host.spack(*install)
    assert done.returncode == 0, done.stdout
    there = {each.name.rsplit("-", 2)[0] for each in host.path(SOFTWARE).glob("linux-*/*")}
    assert there == {"gcc-runtime", "bzip2", "zip"}, "what is not compiled needs no compiler"
    victim = next(each for each in read(lock).to_build if each.name == "bzip2")
    archive = drop / layout.parsed((drop / layout.manifest_path(victim)).read_bytes()).archive.path
    archive.write_bytes(bytes(archive.stat().st_size))
    fails(host, install, "==> Error: Failed to install bzip2 due to InstallError: No binary found when cache-only")
    mirrors(host, signed=True)
    fails(host, install, "==> Error: Failed to install gcc-runtime due to InstallError: No binary found")


def mirrors(host: SpackHost, *, signed: bool) -> None:
    """Let Spack take packages from the drop folder alone."""
    plain = {"url": f"file://{host.path(generated.DROP)}", "source": False, "binary": True, "signed": signed}
    (host.path(LATER) / "mirrors.yaml").write_text(json.dumps({"mirrors": {"drop": plain}}))


def fails(host: SpackHost, words: tuple[str, ...], why: str) -> None:
    subprocess.run(["rm", "-rf", host.path(SOFTWARE), host.path(VIEW).parent], check=True)
    done = host.spack(*words)
    assert (done.returncode, why in done.stdout) == (1, True), done.stdout


@pytest.mark.parametrize(
    ("words", "spec", "code", "why"),
    [
        (("concretize",), "zip@77", 1, "==> Error: No version exists that satisfies these input specs:\n    zip@77"),
        (("concretize",), "nosuchthing", 1, "==> Error: cannot concretize 'nosuchthing', since 'nosuchthing' does not"),
        (("concretize", "--frobnicate"), "zip", 1, "==> Error: unrecognized arguments: --frobnicate"),
        (("install", "--frobnicate"), "zip", 1, "==> Error: unrecognized arguments: --frobnicate"),
        (("install", "--use-buildcache", "maybe"), "zip", 2, "argument --use-buildcache: invalid "),
        (("frobnicate",), "zip", 1, "==> Error: frobnicate is not a recognized Spack command"),
        (("install", "--use-buildcache", "only"), "zip", 1, "InstallError: No binary found when cache-only was"),
        (("gpg", "trust", "/nonexistent"), "zip", 1, "==> Error: Command exited with status 2"),
    ],
)
def test_what_cannot_be_is_refused(host: SpackHost, words: tuple[str, ...], spec: str, code: int, why: str) -> None:
    done = host.spack("-e", environment(host, f"odd-{spec}", spec), *words)
    assert (done.returncode, why in done.stdout) == (code, True), done.stdout


def test_an_environment_a_scope_and_a_lock_must_be_right(host: SpackHost, lock: str) -> None:
    newer = environment(host, "newer", lock=lock.replace('"lockfile-version": 6', '"lockfile-version":6')
                        .replace('"lockfile-version":6', '"lockfile-version":7'))  # fmt: skip
    garbage = environment(host, "garbage", lock="no JSON")
    for words, code, why in (
        (("-e", "/opt/missing", "concretize"), 1, "==> Error: no environment in "),
        (("-C", "/opt/missing", "-e", FOLDER, "concretize"), 1, "==> Error: Invalid configuration scope: "),
        (("-e", newer, "install"), 1, "spack.lock', using the v7 format. You need to use a newer Spack version."),
        (("-e", garbage, "concretize"), 3, "==> Error: Expecting value: line 1 column 1 (char 0)"),
        (("-e", garbage, "install"), 3, "==> Error: Expecting value: line 1 column 1 (char 0)"),
        (("--version",), 0, "1.2.0.dev0"),
    ):
        done = host.spack(*words)
        assert (done.returncode, why in done.stdout) == (code, True), (words, done.stdout)
