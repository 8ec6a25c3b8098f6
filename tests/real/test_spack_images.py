"""The catalogue's two images for Spack, built by a real buildah of a real Spack, and used by hand without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cc_images.host.containers.archive import plain, read
from tests.conftest import REPOSITORY, lacking, write_files
from tests.real.conftest import Project
from tests.support import spackbed

TIMEOUT = 1800

pytestmark = [
    pytest.mark.skipif(bool(spackbed.REASON), reason=spackbed.REASON or "-"),
    pytest.mark.skipif(bool(why := lacking(("buildah", "unshare"))), reason=why or "-"),
    pytest.mark.skipif(os.getuid() != 0, reason="runs a container as root"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the mirror's Spack is for amd64"),
]


@pytest.fixture
def spack(project: Project) -> Project:
    """Return a project with the catalogue's own containers, made of the Spack for tests."""
    write_files(
        project.folder,
        images=(REPOSITORY / "images.yaml").read_text(),
        sites="local: {directory: site, formats: [oci]}",
    )
    (project.folder / "elements").unlink()
    (project.folder / "elements").symlink_to(REPOSITORY / "elements")
    (project.folder / "containers").symlink_to(REPOSITORY / "containers")
    project.boots = True
    project.environment |= {"ARCH": "amd64", **spackbed.spack_bed().catalogue}
    return project


def by_hand(archive: Path, folder: Path, script: str, mirror: Path) -> str:
    """Run a script by a login shell in a container without a network, with the mirror at /mirror."""
    folder.mkdir()
    storage = folder / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "overlay"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/storage"\n')
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "CONTAINERS_STORAGE_CONF": str(storage)}
    words = ["buildah", "from", "--quiet", f"oci-archive:{archive}"]
    name = subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout.strip()
    try:
        said = subprocess.run(
            [
                *("unshare", "--net", "buildah", "run", "--isolation", "chroot", "--network", "host"),
                *("--volume", f"{mirror}:/mirror:ro", name, "--", "bash", "-lc", script),
            ],
            env=env,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
    finally:
        subprocess.run(["buildah", "rm", name], env=env, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["buildah", "rmi", "--all", "--force"], env=env, check=True, stdout=subprocess.DEVNULL)
    assert said.returncode == 0, said.stdout
    return said.stdout


INSTALL = """\
set -e
spack mirror add sources file:///mirror
spack install zip
spack load zip
zip --version
spack location -i zip
"""


@pytest.mark.deep
def test_both_are_published_the_builder_is_used_by_hand_and_is_the_same_bytes_again(
    spack: Project, tmp_path: Path
) -> None:
    code, said = spack.run("-b", "-p", "cc-spack-builder", "cc-spack-runtime")
    assert code == 0, said
    file = spack.store / "images" / "CC-Spack-Builder.oci.tar"
    builder, digest = read(file), file.resolve().name
    said = by_hand(file, tmp_path / "hand", INSTALL, spackbed.spack_bed().mirror)
    assert "Zip 3.0" in said
    assert "/opt/software/__spack_path_placeholder__" in said, "padded, so that a package fits other places"
    found = set[str]()
    with plain(builder.layers[-1]) as tar:
        found = {each.name for each in tar}
    assert not [each for each in found if "/__pycache__/" in each and each.startswith(("opt/", "usr/local/"))]
    assert {"opt/spack/bin/spack", "etc/spack/packages.yaml"} <= found
    assert not [each for each in found if each.startswith(("tmp/", "root/", "opt/software"))]
    again = spack.run("-q", "-b", "-f", "cc-spack-builder")
    assert again[0] == 0, again[1]
    assert file.resolve().name == digest, "the same bytes once more"
    shutil.rmtree(tmp_path / "hand")
    spack.assert_no_leftovers()
