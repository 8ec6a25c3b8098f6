"""A base image for containers, built for real: small, clean, extensible, and the same bytes each time."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, lacking, write_files
from tests.real.conftest import Project

NAME = "CC-Debian12-Container"

KID = f"\nKid: {{depends: [{NAME}], elements: [], packages: [less, sudo], formats: [oci]}}\n"

MOST = 44 << 20
"""Bytes of the OCI file; 41.5 MiB when this was written."""

GONE = ("initramfs-tools", "gnupg", "grub-common", "linux-base", "locales", "openssh-server", "perl", "systemd", "udev")


def catalogue(project: Project, more: str = "") -> None:
    write_files(
        project.folder,
        images=(REPOSITORY / "images.yaml").read_text() + more,
        sites="local: {directory: site, formats: [oci]}",
    )


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack the one layer of an OCI archive."""
    with tarfile.open(archive) as outer:
        outer.extractall(folder / "oci", filter="data")

    def blob(digest: str) -> Path:
        return folder / "oci/blobs" / digest.replace(":", "/")

    index = json.loads((folder / "oci/index.json").read_text())
    (layer,) = json.loads(blob(index["manifests"][0]["digest"]).read_text())["layers"]
    root = folder / "root"
    root.mkdir()
    subprocess.run(["tar", "-C", root, "--numeric-owner", "-xzpf", blob(layer["digest"])], check=True)
    return root


def inside(root: Path, script: str) -> str:
    """Run a script in a private mount namespace in the tree, with this host's name servers."""
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    enter = f"mount -t proc proc {root}/proc && mount -o bind /dev {root}/dev && exec chroot {root} sh -euc '{script}'"
    said = subprocess.run(["unshare", "--mount", "sh", "-c", enter], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.mark.deep
@pytest.mark.skipif(bool(why := lacking(("unshare", "mksquashfs"))), reason=why or "-")
def test_a_base_image_is_clean_extensible_and_the_same_alone_and_with_a_child(project: Project, tmp_path: Path) -> None:
    (project.folder / "elements").unlink()
    (project.folder / "elements").symlink_to(REPOSITORY / "elements")
    project.environment["ARCH"] = "amd64"
    catalogue(project)
    code, output = project.run("-b", "-p", "cc-debian12-container")
    assert code == 0, output
    alone = (project.store / "images" / f"{NAME}.oci.tar").resolve()
    assert alone.stat().st_size < MOST

    catalogue(project, KID)
    code, output = project.run("-b", "-f", "cc-debian12-container", "kid")
    assert code == 0, output
    assert "layer cc-debian12-container amd64" in output
    again = (project.store / "images" / f"{NAME}.oci.tar").resolve()
    assert again.name == alone.name, "the digests: built twice, the second time out of its layer"

    place = tmp_path / "trees"
    place.mkdir()
    root = unpacked(again, place)
    there = inside(root, 'dpkg --audit; dpkg-query -W -f="\\${Package}\\n"').split()
    assert not set(GONE) & set(there)
    assert {"apt", "ca-certificates", "python3"} <= set(there)
    for name in ("etc/fstab", "etc/dib-manifests", "etc/sudoers.d"):
        assert not (root / name).exists(), name
    for folder in ("boot", "var/lib/apt/lists", "usr/share/man", "tmp"):
        assert [*(root / folder).iterdir()] == [], folder
    assert (root / "etc/machine-id").read_bytes() == b""
    assert (root / "usr/share/doc/bash/copyright").is_file()
    said = inside(
        root, "apt-get -q update && apt-get -qy install --no-install-recommends less && dpkg --audit && less -V"
    )
    assert "less " in said
    assert not (root / "usr/share/man/man1/less.1.gz").exists(), "documentation stays out"

    (place / "kid").mkdir()
    kid = unpacked(project.store / "images/Kid.oci.tar", place / "kid")
    assert "sudo" in inside(kid, 'dpkg --audit; dpkg-query -W -f="\\${Package}\\n" sudo less'), "it asked for sudo"
    project.assert_no_leftovers()
