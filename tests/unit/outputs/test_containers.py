"""Containers out of trees: the layout of OCI, the format of SIF, the same bytes each time, and nothing of this host."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import struct
import subprocess
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.boottest.inside import trees
from cc_images.errors import Interrupted
from cc_images.host.containers import image as oci
from cc_images.host.containers.archive import flatten, read
from cc_images.host.containers.layer import write_layer
from cc_images.host.containers.members import Heeding, members
from cc_images.model.catalog import Arch
from cc_images.model.container import Configuration
from cc_images.outputs import sif
from tests.unit.outputs.test_tree import MEMBERS, packed

SAID = Configuration(
    user="cc",
    folder="/home/cc",
    entrypoint=("/usr/bin/start it",),
    command=("--usual", "a b"),
    environment={"GREETING": "it's $HOME"},
    labels={"org.opencontainers.image.title": "CC-X", "name": "x"},
    ports=("8888/tcp",),
    volumes=("/data",),
)

NOISE = random.Random(20).randbytes(1 << 20)
"""What no compressor makes smaller."""


def image(folder: Path, said: Configuration = SAID) -> Path:
    target = folder / "image.oci.tar"
    with (folder / "log").open("wb") as log:
        oci.write_oci(packed(folder), target, said, Arch.ARM64, log=log, stop=threading.Event())
    return target


def blobs(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {each.name: opened.read() for each in tar if (opened := tar.extractfile(each)) is not None}


def test_an_image_is_a_layout_whose_digests_hold(tmp_path: Path) -> None:
    found = blobs(image(tmp_path))
    for name, content in found.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]
    (top,) = json.loads(found["index.json"])["manifests"]
    manifest = json.loads(found[f"blobs/sha256/{top['digest'].partition(':')[2]}"])
    config = json.loads(found[f"blobs/sha256/{manifest['config']['digest'].partition(':')[2]}"])
    (layer,) = manifest["layers"]
    packed_layer = found[f"blobs/sha256/{layer['digest'].partition(':')[2]}"]
    assert len(packed_layer) == layer["size"]
    assert config["architecture"] == "arm64"
    assert config["config"] == {
        "User": "cc",
        "WorkingDir": "/home/cc",
        "Entrypoint": ["/usr/bin/start it"],
        "Cmd": ["--usual", "a b"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GREETING=it's $HOME"],
        "Labels": {"org.opencontainers.image.title": "CC-X", "name": "x"},
        "ExposedPorts": {"8888/tcp": {}},
        "Volumes": {"/data": {}},
    }
    assert manifest["annotations"] == {"org.opencontainers.image.title": "CC-X"}
    with tarfile.open(fileobj=io.BytesIO(packed_layer)) as tar:
        members = tar.getmembers()
        (diff,) = config["rootfs"]["diff_ids"]
    assert [each.name for each in members] == [name.removeprefix("./") for name, *_ in MEMBERS[1:]]
    assert all(each.uname == each.gname == "" for each in members)
    plain = subprocess.run(["gzip", "-dc"], input=packed_layer, capture_output=True, check=True).stdout
    assert f"sha256:{hashlib.sha256(plain).hexdigest()}" == diff


def test_the_same_tree_is_the_same_image(tmp_path: Path) -> None:
    first = image(tmp_path).read_bytes()
    assert image(tmp_path).read_bytes() == first


def test_devices_are_left_out_and_links_hold(tmp_path: Path) -> None:
    tree = packed(
        tmp_path, (*MEMBERS, ("./dev", tarfile.DIRTYPE, b"", 0o755), ("./dev/null", tarfile.CHRTYPE, b"", 0o666))
    )
    write_layer(tree, tmp_path / "layer", threading.Event())
    with tarfile.open(tmp_path / "layer") as tar:
        assert "dev/null" not in tar.getnames()
        assert tar.getmember("sbin/twice").linkname == "sbin/init"


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is missing")
def test_skopeo_reads_the_image(tmp_path: Path) -> None:
    said = subprocess.run(
        ["skopeo", "inspect", "--config", f"oci-archive:{image(tmp_path)}"], capture_output=True, check=True
    ).stdout
    assert json.loads(said)["config"]["User"] == "cc"


def test_zstd_is_for_who_asks_for_it_and_moves_no_other_key(tmp_path: Path) -> None:
    small = replace(SAID, compression="zstd")
    (layer,) = read(image(tmp_path, small)).layers
    assert layer.kind == "application/vnd.oci.image.layer.v1.tar+zstd"
    (usual,) = read(image(tmp_path)).layers
    assert (usual.kind, usual.diff_id) == ("application/vnd.oci.image.layer.v1.tar+gzip", layer.diff_id)
    flatten(image(tmp_path, small), tmp_path / "flat", threading.Event())
    names = {name for name, _, _ in members(tmp_path / "flat", threading.Event())}
    assert "sbin/init" in names
    assert "compression" not in SAID.as_json()
    assert small.as_json()["compression"] == "zstd"


@pytest.mark.skipif(shutil.which("tar2sqfs") is None, reason="tar2sqfs is missing")
def test_a_sif_file_has_its_parts_where_its_header_says(tmp_path: Path) -> None:
    contents = []
    for cores in (1, 2):
        target = tmp_path / "image.sif"
        with (tmp_path / "log").open("wb") as log:
            sif.write_sif(packed(tmp_path), target, SAID, Arch.AMD64, cores=cores, log=log, stop=threading.Event())
        contents.append(target.read_bytes())
    whole = contents[0]
    assert whole == contents[1]
    assert whole[:31] == b"#!/usr/bin/env run-singularity\n"
    assert whole[32:42] == b"SIF_MAGIC\0"
    assert whole[45:48] == b"02\0"
    place, size = struct.unpack_from("<qq", whole, 4096 + 2 * 585 + 17)
    assert place % 4096 == 0
    assert place + size == len(whole)
    assert whole[place : place + 4] == b"hsqs"
    (tmp_path / "squashfs").write_bytes(whole[place:])
    listed = subprocess.run(["sqfs2tar", tmp_path / "squashfs"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(listed)) as tar:
        labels = tar.extractfile(".singularity.d/labels.json")
        assert labels is not None
        assert json.load(labels)["name"] == "x"
        assert tar.getmember("singularity").linkname == ".singularity.d/runscript"


@pytest.mark.skipif(shutil.which("tar2sqfs") is None, reason="tar2sqfs is missing")
@pytest.mark.parametrize(("compression", "level"), [("", sif.LEVEL), ("zstd", None)])
def test_a_large_tree_is_compressed_the_same_by_any_number_of_cores(
    tmp_path: Path, compression: str, level: int | None
) -> None:
    words = b"".join(b"%d squared is %d\n" % (each, each * each) for each in range(20_000))
    large = (*MEMBERS, ("./words", tarfile.REGTYPE, words, 0o644), ("./noise", tarfile.REGTYPE, NOISE, 0o644))
    tree, said, found = packed(tmp_path, large), replace(SAID, compression=compression), set[bytes]()
    for cores in (1, 2, 5):
        target = tmp_path / "image.sif"
        with (tmp_path / "log").open("wb") as log:
            sif.write_sif(tree, target, said, Arch.AMD64, cores=cores, log=log, stop=threading.Event())
        found.add(target.read_bytes())
    (whole,) = found
    assert len(NOISE) < len(whole) < len(NOISE) + len(words)
    place, _ = struct.unpack_from("<qq", whole, 4096 + 2 * 585 + 17)
    flags = struct.unpack_from("<H", whole, place + 24)[0]
    header, said_level = struct.unpack_from("<HI", whole, place + 96)
    has_options = bool(flags & 0x0400)
    if level is not None:  # squashfs-tools writes these options too, for every level but 9
        assert (has_options, header, said_level) == (True, 0x8000 | 8, level)


RUNS: list[tuple[Configuration, list[str], list[str]]] = [
    (Configuration(entrypoint=("printf", "<%s>"), command=("a b", "c")), [], ["<a b><c>"]),
    (Configuration(entrypoint=("printf", "<%s>"), command=("a b", "c")), ["d  e", "*"], ["<d  e><*>"]),
    (Configuration(command=("printf", "usual")), [], ["usual"]),
    (Configuration(command=("printf", "usual")), ["printf", "<%s>", "it's"], ["<it's>"]),
    (Configuration(entrypoint=("printf", "alone")), [], ["alone"]),
]


@pytest.mark.parametrize(("said", "words", "expected"), RUNS)
def test_a_run_script_hands_on_words_as_they_are(
    tmp_path: Path, said: Configuration, words: list[str], expected: list[str]
) -> None:
    (tmp_path / "run").write_text(sif.runscript(said))
    done = subprocess.run(["sh", tmp_path / "run", *words], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines() == expected


def test_variables_are_what_was_said_unless_the_user_has_set_them(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(sif.exported(SAID) + 'printf "%s\\n" "$GREETING" "$PATH"\n')
    said = subprocess.run(["/bin/sh", tmp_path / "env"], capture_output=True, check=True, text=True, env={}).stdout
    assert said.splitlines()[0] == "it's $HOME"
    own = {"GREETING": "mine"}
    said = subprocess.run(["/bin/sh", tmp_path / "env"], capture_output=True, check=True, text=True, env=own).stdout
    assert said.splitlines()[0] == "mine"


def test_what_is_inside_is_found_again(tmp_path: Path) -> None:
    images = [image(tmp_path)]
    if shutil.which("tar2sqfs") is not None:
        with (tmp_path / "log").open("wb") as log:
            target = tmp_path / "image.sif"
            sif.write_sif(packed(tmp_path), target, SAID, Arch.AMD64, cores=1, log=log, stop=threading.Event())
        images.append(target)
    for number, each in enumerate(images):
        place = tmp_path / str(number) / "root"
        place.mkdir(parents=True)
        assert trees.unpack(each, place)[0] > 0
        assert (place / "sbin/init").samefile(place / "sbin/twice")
        assert (place / "etc/os-release").read_bytes() == b"ID=debian\n"
        assert [path.name for path in place.parent.iterdir()] == ["root"], "nothing is left beside it"


def test_a_copy_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    stop = threading.Event()
    reading = Heeding(io.BytesIO(b"ab"), stop)
    assert reading.read(1) == b"a"
    stop.set()
    with pytest.raises(Interrupted):
        reading.read(1)
