"""SIF files of ours and the real Apptainer: shown, run, signed, verified, and made of our OCI images."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cc_images.model.container import Configuration
from tests.support import containers
from tests.support.apptainer import Apptainer
from tests.support.containers import archive, base, sif_file

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
    if why := made.make():
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
