"""Images from environments of a real Spack: concretized, compiled once for all, installed into containers, run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.builders.spack.lock import read as lock_of
from cc_images.builders.spack.locks import newest
from cc_images.host.containers.archive import plain, read
from cc_images.model.catalog import Arch
from cc_images.store.records import Store
from tests.real.conftest import Project
from tests.support import containers
from tests.support.apptainer import Apptainer
from tests.support.containerrun import Storage
from tests.support.registrybed import REASON as NO_REGISTRY
from tests.support.registrybed import RegistryBed
from tests.support.spackimages import MARKS, spack_project

pytestmark = [*MARKS]

ENTRIES = """
Zip: {builder: spack, depends: [Own-Builder, CC-Spack-Runtime], formats: [oci, sif], try: [zip, --version]}
Zip-Lz4: {builder: spack, depends: [Own-Builder, CC-Spack-Runtime]}
Bzip2-Numactl: {builder: spack, depends: [Own-Builder, CC-Spack-Runtime]}
"""

FILES = {
    "spack/zip/spack.yaml": "spack: {specs: [zip]}\n",
    "spack/zip/Containerfile.epilogue": "RUN zip --version > /opt/said && echo more > /opt/more\n",
    "spack/zip-lz4/spack.yaml": "spack: {specs: [lz4@1.9.4, zip]}\n",
    "spack/bzip2-numactl/spack.yaml": "spack: {specs: [numactl@2.0.16, bzip2]}\n",
}

TAGS = ("zip", "zip-lz4", "bzip2-numactl")

PHASE = re.compile(r"==> ([a-z0-9-]+): Executing phase: 'install'")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project of three environments whose builder image is in the store."""
    project = spack_project(tmp_path_factory.mktemp("spack"), ENTRIES, FILES)
    code, said = project.run("-b", "own-builder", "cc-spack-runtime")
    assert code == 0, said
    yield project
    project.assert_nothing_leaked()


def compiled(project: Project) -> Counter[str]:
    """Return how often each package was compiled in all runs so far."""
    logs = project.store.glob("logs/*/layer-*.log")
    return Counter(name for log in logs for name in PHASE.findall(log.read_text(errors="replace")))


def kept(project: Project) -> set[str]:
    """Return the packages in the build cache."""
    return {path.name for path in project.store.glob("spack/cache/v3/manifests/spec/*")}


def test_a_build_that_is_killed_goes_on_and_compiles_nothing_twice(made: Project) -> None:
    run = made.start("-b", "bzip2-numactl")
    deadline = time.monotonic() + 1200
    while not kept(made) & {"bzip2", "numactl"}:
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.2)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    made.assert_nothing_leaked()
    there = kept(made)
    before = compiled(made)
    code, said = made.run("-b", "bzip2-numactl")
    assert code == 0, said
    after = compiled(made)
    assert all(after[name] == before[name] for name in there), "it comes from the cache"
    assert {"bzip2", "numactl"} <= {*after}
    assert made.run("-b", "bzip2-numactl")[1].count("1 unchanged"), "nothing is built again"


@pytest.mark.skipif(bool(NO_REGISTRY), reason=NO_REGISTRY or "-")
@pytest.mark.deep
def test_the_locks_version_is_the_tag_of_an_image_that_was_never_locked(made: Project) -> None:
    with RegistryBed(made.folder / "registry") as registry:
        site = f"reg: {{registry: '127.0.0.1:{registry.port}/hpc', insecure: true, formats: [oci, sif]}}\n"
        (made.folder / "sites.yaml").write_text(site)
        code, said = made.run("-b", "-p", "zip")
        assert code == 0, said
        listed = ["skopeo", "list-tags", "--tls-verify=false", f"docker://127.0.0.1:{registry.port}/hpc/zip"]
        tags = json.loads(subprocess.run(listed, check=True, capture_output=True, text=True).stdout)["Tags"]
        assert {"3.0", "latest", "3.0-sif", "latest-sif"} <= {*tags}, tags
    (made.folder / "sites.yaml").write_text("local: {directory: site}\n")


@pytest.mark.deep
def test_what_several_share_is_compiled_once(made: Project) -> None:
    before = compiled(made)
    code, said = made.run("-b", "-t", "2", *TAGS)
    assert code == 0, said
    after = compiled(made)
    assert after["bzip2"] == max(1, before["bzip2"])
    assert (after["zip"], after["lz4"]) == (1, 1)
    plan = made.run("plan", "-b", *TAGS)[1]
    assert plan.count("packages are in the build cache, none is compiled") == 3, plan
    (made.folder / "spack/zip/Containerfile.epilogue").write_text("RUN zip --version > /opt/said\n")
    code, said = made.run("-b", "zip")
    assert code == 0, said
    assert compiled(made) == after, "an image that is built again takes all from the cache"


@pytest.mark.deep
def test_the_image_has_the_lock_its_version_and_an_environment(made: Project, tmp_path: Path) -> None:
    code, said = made.run("-b", "zip", "zip-lz4")
    assert code == 0, said
    image = read(made.store / "images" / "Zip-Lz4.oci.tar")
    text = newest(Store(made.store), "zip-lz4-lock", Arch.AMD64)
    assert text is not None
    locked = lock_of(text, "lz4@1.9.4")
    assert image.configuration.labels["version"] == locked.version == "1.9.4"
    assert {each.target for each in locked.to_build} == {"x86_64_v3"}
    assert image.configuration.environment["PATH"].startswith("/opt/views/view/bin:")
    names: set[str] = set()
    for each in image.layers:
        with plain(each) as tar:
            names |= {member.name for member in tar}
    assert {"opt/spack-environment/spack.lock", "etc/profile.d/spack-environment.sh"} <= names
    software = {name.split("/")[3] for name in names if name.startswith("opt/software/linux-") and name.count("/") >= 3}
    assert {each.rpartition("-")[0] for each in software} == {
        "bzip2-1.0.8",
        "gcc-runtime-12.2.0",
        "lz4-1.9.4",
        "zip-3.0",
    }
    assert not [
        name for name in names if "compiler-wrapper" in name or name.startswith(("opt/spack/", "opt/cc-images"))
    ]
    shared = {each.digest for each in image.layers} & {
        each.digest for each in read(made.store / "images" / "Zip.oci.tar").layers
    }
    base = [each.digest for each in read(made.store / "images" / "CC-Spack-Runtime.oci.tar").layers]
    assert len(shared - {*base}) == 3, "bzip2, gcc-runtime and zip are layers of their own"
    storage = Storage(tmp_path / "storage")
    try:
        name = storage.start(made.store / "images" / "Zip-Lz4.oci.tar")
        assert "v1.9.4" in storage.run(name, "env", "lz4", "--version"), "by the variables of its configuration"
        assert "Zip 3.0" in storage.run(name, "env", "-i", "/opt/spack-environment/enter", "zip", "--version")
        assert "Zip 3.0" in storage.run(name, "env", "-i", "bash", "-lc", "zip --version")
        assert "no symbols" in storage.run(name, "bash", "-c", STRIPPED)
        other = storage.start(made.store / "images" / "Zip.oci.tar")
        assert "Zip 3.0" in storage.run(other, "cat", "/opt/said"), "the epilogue has the environment, too"
    finally:
        storage.close()


STRIPPED = """\
grep -qa '\\.symtab' "$(readlink -f /opt/views/view/bin/lz4)" || echo no symbols
"""


@pytest.mark.deep
@pytest.mark.skipif(bool(containers.lacking()), reason=f"missing: {', '.join(containers.lacking())}")
def test_apptainer_runs_the_sif_file(made: Project, tmp_path: Path) -> None:
    apptainer = Apptainer(tmp_path)
    if why := apptainer.make():
        pytest.skip(why)
    code, said = made.run("-b", "zip")
    assert code == 0, said
    file = tmp_path / "zip.sif"
    shutil.copyfile(made.store / "images" / "Zip.sif", file)
    for words in (("exec", str(file), "zip", "--version"), ("run", str(file), "zip", "--version")):
        done = apptainer.run("apptainer", *words)
        assert "Zip 3.0" in done.stdout, done.stderr


@pytest.mark.deep
def test_versions_stay_until_they_are_chosen_again(made: Project) -> None:
    first = newest(Store(made.store), "zip-lock", Arch.AMD64)
    assert first is not None
    (made.folder / "spack/zip/spack.yaml").write_text("spack: {specs: [zip, bzip2]}\n")
    code, said = made.run("-b", "zip")
    assert code == 0, said
    second = newest(Store(made.store), "zip-lock", Arch.AMD64)
    assert second is not None
    assert second != first
    assert {*lock_of(first).packages} == {*lock_of(second).packages}, "what it had is what it has"
    code, said = made.run("-b", "--relock", "zip")
    assert code == 0, said
    assert "unchanged" in made.run("-b", "zip")[1], "the new lock stays, too"


@pytest.mark.deep
def test_a_setting_that_cannot_be_is_said_by_spack(made: Project) -> None:
    (made.folder / "spack/zip/spack.yaml").write_text("spack: {specs: ['zip@77']}\n")
    code, said = made.run("-b", "zip")
    assert code == 3
    assert "zip@77" in said.replace(" ", ""), said
    made.assert_no_leftovers()
