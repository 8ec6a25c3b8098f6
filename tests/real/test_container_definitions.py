"""Containers built and published for real: by a definition file, to two registries, beside one that fails."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.model.container import Configuration
from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.real.conftest import Project
from tests.support import containers
from tests.support.containers import archive, base
from tests.support.registrybed import REASON as NO_REGISTRY
from tests.support.registrybed import RegistryBed

WHY = NO_REGISTRY or lacking(("buildah", "unshare")) or "; ".join(f"needs {each}" for each in containers.lacking())
pytestmark = [
    pytest.mark.skipif(bool(WHY), reason=WHY or "-"),
    pytest.mark.skipif(os.getuid() != 0, reason="builds as root"),
]

DEFINITION = """\
Bootstrap: docker
From: {host}/a/lolcow:1.2

%post
    echo more > /etc/more

%runscript
    cat /etc/more
"""

ENTRIES = """\
Base: {builder: containerfile, version: "1"}
First: {builder: containerfile, depends: [Base], version: "1"}
Second: {builder: containerfile, depends: [Base], version: "1"}
Third: {builder: containerfile, depends: [Second], version: "1"}
"""


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[tuple[RegistryBed, RegistryBed]]:
    """Return a registry that has an image, and a second one."""
    first, second = RegistryBed(tmp_path / "first"), RegistryBed(tmp_path / "second")
    made = archive(tmp_path / "lolcow.oci.tar", Configuration(command=("/bin/sh",)), base())
    with first, second:
        target = f"docker://{first.host}/a/lolcow:1.2"
        words = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci-archive:{made}", target]
        subprocess.run(words, check=True)
        yield first, second


@pytest.fixture
def centre(tmp_path: Path, registries: tuple[RegistryBed, RegistryBed]) -> Iterator[Project]:
    """Return a project whose sites are two registries."""
    folder = tmp_path / "centre"
    folder.mkdir()
    first, second = registries
    sites = "".join(
        f"{name}: {{registry: '{each.host}/images', insecure: true, formats: [oci, sif]}}\n"
        for name, each in (("first", first), ("second", second))
    )
    write_files(folder, images=ENTRIES, sites=sites)
    for name, text in {
        "container_definitions/amd64/lolcow.def": DEFINITION.format(host=first.host),
        "containers/base/Containerfile": f"FROM {first.host}/a/lolcow:1.2\n",
        "containers/first/Containerfile": "FROM base\nRUN echo first > /etc/more\n",
        "containers/second/Containerfile": "FROM base\nRUN false\n",
        "containers/third/Containerfile": "FROM second\nRUN echo third > /etc/more\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    made = Project(folder, clean_environment(folder) | {"PYTHONPATH": str(REPOSITORY), "ARCH": "amd64"})
    yield made
    made.assert_nothing_leaked()


def test_a_definition_file_has_the_version_of_its_image_and_records_that(
    centre: Project, registries: tuple[RegistryBed, RegistryBed]
) -> None:
    first, _ = registries
    code, said = centre.run("-b", "-p", "lolcow")
    assert code == 0, said
    assert {*first.tags("images/lolcow")} == {"latest-sif", "1.2-sif"}
    digest = first.tags("a/lolcow")["1.2"]
    records = [path.read_text() for path in centre.store.rglob("*.json")]
    assert [text for text in records if f"{first.host}/a/lolcow:1.2" in text and digest in text], "tag and digest"
    said = centre.run("-b", "lolcow")[1]
    assert "1 unchanged" in said, said


def test_two_registries_have_the_same_digest_also_when_one_was_away(
    centre: Project, registries: tuple[RegistryBed, RegistryBed]
) -> None:
    first, second = registries
    with RegistryBed(centre.folder / "away") as away:
        sites = (centre.folder / "sites.yaml").read_text().replace(second.host, away.host)
        (centre.folder / "sites.yaml").write_text(sites)
    code, said = centre.run("-b", "-p", "first")
    assert code == 3, said
    digest = first.tags("images/first")["1"]
    assert first.tags("images/first") == {"latest": digest, "1": digest}, "the other one is done"
    with away:
        code, said = centre.run("-b", "-p", "first")
        assert code == 0, said
        assert "1 unchanged" not in said
        assert "built" not in said.splitlines()[-1], "the next run completes, and builds nothing"
        assert away.tags("images/first") == first.tags("images/first") == {"latest": digest, "1": digest}
        again = centre.run("-b", "-p", "first")
        assert (again[0], "3 unchanged" in again[1]) == (0, True), again[1]


def test_an_application_that_fails_blocks_what_is_made_of_it_and_nothing_else(
    centre: Project, registries: tuple[RegistryBed, RegistryBed]
) -> None:
    """Bases come first, then the others side by side, then publication."""
    first, second = registries
    code, said = centre.run("-b", "-p", "-t", "2", "base", "first", "second", "third")
    assert code == 3, said
    for each in (first, second):
        assert each.tags("images/base").keys() == each.tags("images/first").keys() == {"latest", "1"}
        assert not each.tags("images/second")
        assert not each.tags("images/third")
    began = [said.index(f"[layer {each} amd64]    0.0s started") for each in ("base", "first", "second")]
    ended = said.index("layer base amd64]", said.index("its layers"))
    assert began[0] < ended < min(began[1:])
    done = re.search(r"layer first amd64\] +\S+ done", said)
    assert done is not None
    assert max(began[1:]) < done.start(), "side by side"
    assert re.search(r"^layer third amd64 +blocked", said, re.MULTILINE)
    assert "11 done, 1 failed, 9 blocked" in said
