"""SIF files of ours and the real Apptainer: shown, run, signed, verified, made of our OCI images, and pulled."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cc_images.model.catalog import Format
from cc_images.model.container import Configuration
from tests.conftest import REPOSITORY
from tests.support import containers
from tests.support.apptainer import Apptainer
from tests.support.containers import Entry, Layer, archive, base, sif_file
from tests.support.registrybed import REASON as NO_REGISTRY
from tests.support.registrybed import RegistryBed
from tests.support.tagpush import push

pytestmark = [
    pytest.mark.skipif(bool(containers.lacking()), reason=f"missing: {', '.join(containers.lacking())}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

SAID = Configuration(
    entrypoint=("/bin/sh", "-c", 'echo "<$WHO>"; for each; do echo "<$each>"; done', "entry"),
    command=("usual",),
    environment={"WHO": "a user's own"},
    labels={"name": "tiny", "version": "1.0", "description": "Two\nlines"},
)


@pytest.fixture(scope="module")
def apptainer(tmp_path_factory: pytest.TempPathFactory) -> Apptainer:
    made = Apptainer(tmp_path_factory.mktemp("apptainer"))
    if why := made.make("podman"):
        pytest.skip(why)
    return made


@pytest.fixture(scope="module")
def image(apptainer: Apptainer) -> Path:
    return sif_file(apptainer.folder / "tiny.sif", SAID, base())


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_is_run_with_its_words_and_variables(apptainer: Apptainer, image: Path) -> None:
    assert lines(apptainer.run("apptainer", "run", str(image))) == ["<a user's own>", "<usual>"]
    assert lines(apptainer.run("apptainer", "run", str(image), "a b", "c")) == ["<a user's own>", "<a b>", "<c>"]
    assert lines(apptainer.run("apptainer", "exec", str(image), "sh", "-c", "echo $WHO")) == ["a user's own"]


def test_it_is_shown(apptainer: Apptainer, image: Path) -> None:
    listed = "\n".join(lines(apptainer.run("apptainer", "sif", "list", str(image))))
    assert "FS (Squashfs/*System/amd64)" in listed
    labels = json.loads("\n".join(lines(apptainer.run("apptainer", "inspect", "--json", "--labels", str(image)))))
    assert labels["data"]["attributes"]["labels"] == dict(SAID.labels)
    assert "bootstrap: cc-images" in "\n".join(lines(apptainer.run("apptainer", "inspect", "--deffile", str(image))))


def test_it_is_signed_and_a_flipped_byte_is_found(apptainer: Apptainer, image: Path) -> None:
    signed, key = apptainer.folder / "signed.sif", apptainer.folder / "key.pem"
    signed.write_bytes(image.read_bytes())
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    public = ["openssl", "rsa", "-in", str(key), "-pubout", "-out", f"{key}.pub"]
    subprocess.run(public, check=True, capture_output=True)
    lines(apptainer.run("apptainer", "sign", "--key", str(key), str(signed)))
    lines(apptainer.run("apptainer", "verify", "--key", f"{key}.pub", str(signed)))
    with signed.open("r+b") as file:
        file.seek(40_000)
        byte = file.read(1)
        file.seek(40_000)
        file.write(bytes([byte[0] ^ 1]))
    assert apptainer.run("apptainer", "verify", "--key", f"{key}.pub", str(signed)).returncode != 0


def test_it_makes_a_file_of_our_image_of_two_layers(apptainer: Apptainer) -> None:
    tiny = archive(apptainer.folder / "tiny.oci.tar", SAID, base(), {"etc/.wh.os-release": "", "etc/more": "more\n"})
    made = apptainer.folder / "made.sif"
    lines(apptainer.run("apptainer", "build", "--mksquashfs-args", "-comp zstd", str(made), f"oci-archive:{tiny}"))
    seen = lines(
        apptainer.run("apptainer", "exec", str(made), "sh", "-c", "cat /etc/more; test -e /etc/os-release || echo gone")
    )
    assert seen == ["more", "gone"]
    assert lines(apptainer.run("apptainer", "run", str(made), "a b"))[-1] == "<a b>"


# -- registries ------------------------------------------------------------------------------------------------------

needs_registry = pytest.mark.skipif(bool(NO_REGISTRY), reason=NO_REGISTRY or "it can run")

CONTENT: Layer = base() | {
    "home": Entry(),
    "opt": Entry(),
    "root": Entry(mode=0o700),
    "var": Entry(),
    "var/tmp": Entry(mode=0o1777),
    "opt/tool": Entry(),
    "opt/tool/run": Entry(text="#!/bin/sh\necho run\n", mode=0o755),
    "opt/tool/again": Entry(link="opt/tool/run", hard=True),
    "opt/tool/there": Entry(link="../../etc/os-release"),
    "home/user/notes": Entry(text="a user's own\n", mode=0o640, owner=(1000, 1000)),
}


def documented(*commands: str) -> list[list[str]]:
    """Return the lines of the document with these commands for images of registries, as words."""
    page = (REPOSITORY / "docs" / "containers.md").read_text()
    found = re.findall(rf"^    ((?:{'|'.join(commands)}) [^#\n]*/cc-tools:[^#\n]*)", page, re.MULTILINE)
    return [line.split() for line in found]


def unpacked(apptainer: Apptainer, file: Path) -> dict[str, tuple[Any, ...]]:
    """Return what a SIF file has, by its names; engines' own entries are left out."""
    tree = apptainer.folder / f"{file.stem}.tree"
    listed = "\n".join(lines(apptainer.run("apptainer", "sif", "list", str(file))))
    (place,) = re.findall(r"\|(\d+)-\d+ +\|FS \(Squashfs", listed)
    unpack = ["unsquashfs", "-quiet", "-offset", place, "-dest", str(tree), str(file)]
    subprocess.run(unpack, check=True, capture_output=True)
    found: dict[str, tuple[Any, ...]] = {}
    for path in tree.rglob("*"):
        name, status = str(path.relative_to(tree)), path.lstat()
        content: str | bytes = os.readlink(path) if path.is_symlink() else b""
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
        found[name] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return {name: said for name, said in found.items() if name.partition("/")[0] not in ENGINES}


ENGINES = (".singularity.d", ".exec", ".run", ".shell", ".test", "singularity", "environment", "dev", "proc", "sys")
"""What Apptainer puts into each image: how it is run, and the places of what it mounts."""


@needs_registry
def test_an_image_is_pulled_by_the_lines_of_the_document(apptainer: Apptainer) -> None:
    """By all whose programs are there, without a login, over TLS; of the lines only the registry's name is another."""
    made = archive(apptainer.folder / "pushed.oci.tar", SAID, CONTENT)
    direct = sif_file(apptainer.folder / "pushed.sif.own", SAID, CONTENT)
    done = set[str]()
    with RegistryBed(apptainer.folder / "registry", tls=True) as registry:
        where = f"{registry.host}/images"
        push(where, made, "1.0", "r0")
        push(where, direct, "1.0", "r1", form=Format.SIF)
        assert {"1.0", "1.0-sif"} <= {*registry.tags("images/cc-x")}, "in small letters"
        for words in documented(*(f"{engine} pull" for engine in ("podman", "docker", "sarus", "apptainer"))):
            if apptainer.run("which", words[0]).returncode:
                continue
            line = [each.replace("registry.example.org/images/cc-tools", f"{where}/cc-x") for each in words]
            assert line != words
            there = ["env", f"SSL_CERT_FILE={registry.ca}", "STORAGE_DRIVER=vfs", "sh", "-c", 'cd "$0" && exec "$@"']
            said = apptainer.run(*there, str(apptainer.folder), *line)
            assert said.returncode == 0, (line, said.stderr)
            done.add(words[0])
    assert {"apptainer", "podman"} <= done
    assert (apptainer.folder / "pushed.sif").read_bytes() == direct.read_bytes(), "byte by byte"
    converted = apptainer.folder / "converted.sif"
    assert lines(apptainer.run("apptainer", "run", str(converted), "a b"))[-1] == "<a b>"


@needs_registry
def test_a_conversion_by_a_local_registry_has_the_files_of_our_own(apptainer: Apptainer) -> None:
    folder = apptainer.folder
    archive(folder / "CC-Tools.oci.tar", SAID, CONTENT)
    direct = sif_file(folder / "direct.sif", SAID, CONTENT)
    copy, build = documented("skopeo copy", "apptainer build")
    with RegistryBed(folder / "local") as registry:
        for words in (copy, build):
            line = [each.replace("127.0.0.1:5000", registry.host) for each in words]
            assert line != words
            there = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *line]
            there = there if line[0] == "skopeo" else apptainer.command(*there)
            said = subprocess.run(there, capture_output=True, text=True)
            assert said.returncode == 0, (line, said.stderr)
    converted, own = unpacked(apptainer, folder / "cc-tools.sif"), unpacked(apptainer, direct)
    assert own.keys() >= {"opt/tool/run", "opt/tool/again", "opt/tool/there", "home/user/notes", "bin/sh"}
    assert converted == own
