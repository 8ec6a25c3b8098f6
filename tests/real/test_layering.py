"""Layers, shared downloads and the store, on a system that builds in seconds; two processes where it matters."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from tests.conftest import spread, write_files
from tests.real.conftest import Project, Watched

FAMILY = """\
CC-Tiny:
  elements: [tiny-os, tiny-marks]
  disk: [block-device-efi, tiny-disk]
  artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}
CC-Kid-A: {depends: [CC-Tiny], elements: [tiny-kid], disk: [block-device-efi, tiny-disk]}
CC-Kid-B: {depends: [CC-Tiny], elements: [tiny-kid], disk: [block-device-efi, tiny-disk]}
CC-Kid-C: {depends: [CC-Tiny], elements: [tiny-kid], disk: [block-device-efi, tiny-disk]}
CC-Grandkid: {depends: [CC-Kid-B], elements: [], disk: [block-device-efi, tiny-disk]}
CC-Loner: {depends: [CC-Tiny], elements: [tiny-kid], disk: [block-device-efi, tiny-disk], layer: false}
"""


@pytest.fixture
def family(project: Project, tiny_root: Path) -> Project:
    images = FAMILY.replace("TINY_ROOT_URL", tiny_root.as_uri())
    write_files(project.folder, images=images, sites="local: {directory: site, is_baremetal: true}")
    return project


def records(project: Project, kind: str, tag: str) -> list[dict[str, str]]:
    folder = project.store / kind / tag / "amd64"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("2*.json"))]


def blob(project: Project, digest: str) -> Path:
    return project.store / "blobs" / "sha256" / digest[:2] / digest


def layer_path(project: Project, tag: str) -> Path:
    return blob(project, records(project, "layers", tag)[-1]["digest"])


def tree(project: Project, tag: str) -> tuple[dict[str, tarfile.TarInfo], dict[str, str]]:
    """Return the entries of an image's layer, and the content of its small files."""
    unpacked = subprocess.run(["zstd", "-dc", layer_path(project, tag)], check=True, capture_output=True).stdout
    path = project.folder / "layer.tar"
    path.write_bytes(unpacked)
    entries, texts = {}, {}
    with tarfile.open(path) as archive:
        for entry in archive:
            entries[entry.name] = entry
            if entry.isreg() and entry.size < 1000:
                file = archive.extractfile(entry)
                assert file is not None
                texts[entry.name] = file.read().decode(errors="replace")
    return entries, texts


def started(output: str) -> list[str]:
    return re.findall(r"^\[((?:layer|build) \S+) amd64\] +0\.\ds started", output, re.MULTILINE)


def test_a_child_has_its_parents_tree_as_if_built_in_one_go(family: Project) -> None:
    code, output = family.run("-b", "-p", "-t", "2", "cc-kid-a", "cc-grandkid", "cc-loner")
    assert code == 0, output
    assert sorted(started(output)) == ["build cc-grandkid", "build cc-kid-a", "build cc-loner",
                                       "layer cc-kid-b", "layer cc-tiny"]  # fmt: skip
    assert not records(family, "builds", "cc-tiny"), "the parent is made as far as its children need it"
    assert {path.stem for path in family.site.glob("*.qcow2")} == {"CC-Kid-A", "CC-Grandkid", "CC-Loner"}

    entries, texts = tree(family, "cc-kid-b")
    marks = {name: entries[f"./opt/marks/{name}"] for name in ("cap", "acl", "owner", "suid", "user", "link", "null")}
    assert "SCHILY.xattr.security.capability" in marks["cap"].pax_headers
    assert "user:1234:r--" in marks["acl"].pax_headers["SCHILY.acl.access"]
    assert (marks["owner"].uid, marks["owner"].gid) == (4321, 1234)
    assert marks["suid"].mode == 0o6755
    assert {marks["link"].islnk(), marks["user"].islnk()} == {True, False}
    assert (marks["null"].devmajor, marks["null"].devminor) == (1, 3)
    assert texts["./opt/installed"] == "installed\n", "once, not once more per layer"
    assert texts["./opt/kid"] == "from-marks\n", "what the parent exported holds in the child"
    assert "./opt/litter" not in entries, "the parent's cleanup.d runs at the end of the child"
    assert "kid" in texts["./etc/seen-at-the-end"], "and so does its finalise.d"
    assert "litter" in texts["./etc/seen-at-the-end"]
    for folder in ("dev", "proc", "sys", "tmp", "run"):
        assert f"./{folder}" in entries
        inside = [name for name in entries if name.startswith(f"./{folder}/")]
        assert not [name for name in inside if "loop" in name or folder in ("proc", "sys", "tmp")], inside
    assert not [name for name in entries if name.startswith("./tmp/")]
    family.assert_no_leftovers()

    code, output = family.run("-b", "-t", "2", "all")
    assert code == 0, output
    assert sorted(started(output)) == ["build cc-kid-b", "build cc-kid-c", "build cc-tiny"], "the layers are there"


@pytest.mark.deep
def test_parallel_builds_make_the_same_layer_bit_by_bit(family: Project) -> None:
    digests = set()
    for jobs in ("1", "4"):
        code, output = family.run("-b", "-t", jobs, "cc-kid-a", "cc-grandkid", CC_IMAGES_STORE=str(family.store) + jobs)
        assert code == 0, output
        there = Project(family.folder, family.environment)
        found = [json.loads(path.read_text())["digest"]
                 for path in sorted((there.folder / f"store{jobs}" / "layers").glob("*/*/2*.json"))]  # fmt: skip
        assert len(found) == 2
        digests.add(tuple(found))
    assert len(digests) == 1


@pytest.mark.deep
def test_force_rebuilds_the_named_image_and_leaves_parents_and_siblings(family: Project) -> None:
    assert family.run("-b", "cc-tiny", "cc-kid-a", "cc-kid-b")[0] == 0
    before = {(kind, tag): records(family, kind, tag) for kind in ("builds", "layers")
              for tag in ("cc-tiny", "cc-kid-a", "cc-kid-b")}  # fmt: skip

    code, output = family.run("-b", "-f", "cc-kid-a")
    assert code == 0, output
    assert started(output) == ["build cc-kid-a"]
    assert records(family, "builds", "cc-kid-a") != before["builds", "cc-kid-a"]
    assert len(records(family, "builds", "cc-kid-a")) == 1
    for kind, tag in before:
        if tag != "cc-kid-a":
            assert records(family, kind, tag) == before[kind, tag]

    code, output = family.run("-b", "-f", "cc-tiny")
    assert code == 0, output
    assert sorted(started(output)) == ["build cc-tiny", "layer cc-tiny"]
    assert [record["run"] for record in records(family, "layers", "cc-tiny")] > [
        record["run"] for record in before["layers", "cc-tiny"]
    ]
    assert records(family, "builds", "cc-kid-b") == before["builds", "cc-kid-b"]
    assert "3 cached" in family.run("-b", "cc-tiny", "cc-kid-a", "cc-kid-b")[1]


@pytest.mark.deep
def test_explain_names_what_changed(family: Project) -> None:
    (family.folder / "elements").unlink()
    shutil.copytree(Path(__file__).parent.parent / "elements", family.folder / "elements")
    assert family.run("-b", "cc-kid-a")[0] == 0
    assert "nothing has changed since version" in family.run("explain", "cc-kid-a")[1]
    (family.folder / "elements/tiny-marks/install.d/50-marks").write_text("#!/bin/bash\necho other > /opt/installed\n")
    code, output = family.run("explain", "cc-kid-a", "cc-kid-b")
    assert code == 0, output
    assert "  elements/tiny-marks/install.d/50-marks changed\n" in output
    assert "cc-kid-b amd64: never built" in output
    assert json.loads(family.run("explain", "--json", "cc-kid-a")[1])[0]["changed"] == [
        "elements/tiny-marks/install.d/50-marks changed"
    ]
    code, output = family.run("-b", "cc-kid-a")
    assert started(output) == ["layer cc-tiny", "build cc-kid-a"], "a stale parent first, although nobody named it"


# -- two processes -----------------------------------------------------------------------------------------------


def test_the_same_request_twice_builds_once(family: Project) -> None:
    first = Watched(family.start("-b", "-p", "cc-kid-a", DIB_TINY_LINGER="1"))
    first.wait_for(r"^\[layer cc-tiny .* install\.d")
    second = Watched(family.start("-b", "-p", "cc-kid-a", DIB_TINY_LINGER="1"))
    second.wait_for(r"waiting for another task's")
    assert first.wait() == 0
    assert second.process.wait(300) == 0
    assert len(records(family, "builds", "cc-kid-a")) == 1
    assert len(records(family, "layers", "cc-tiny")) == 1
    for task in ("layer cc-tiny", "build cc-kid-a"):  # when the layer is there, the second may be the first
        told = [sorted(re.findall(rf"^{task} amd64 +(done|cached)", "\n".join(run.lines), re.MULTILINE))
                for run in (first, second)]  # fmt: skip
        assert sorted(told) == [["cached"], ["done"]], (task, first.lines, second.lines)
    assert family.published("CC-Kid-A")
    family.assert_no_leftovers()


@pytest.mark.deep
def test_two_processes_wait_for_each_other_per_image_only(family: Project) -> None:
    assert family.run("-b", "cc-kid-b")[0] == 0
    catalogue = family.folder / "images.yaml"
    lasting = 'CC-Kid-A: {environment: {DIB_TINY_LINGER: "120"}, '
    catalogue.write_text(catalogue.read_text().replace("CC-Kid-A: {", lasting))
    first = Watched(family.start("-b", "cc-kid-a"))
    first.wait_for(r"^\[build cc-kid-a .* extra-data\.d")
    code, output = family.run("-b", "-f", "cc-kid-b")
    assert code == 0, output
    assert "waiting" not in output, output
    assert first.process.poll() is None, f"the second waited until the first was done:\n{output}"
    assert first.end(signal.SIGTERM) == 130


SMALL = """
import sys
from cc_images import cli
from cc_images.engine import capacity
capacity.free_mib = lambda: 11_000
cli.main(sys.argv[1:])
"""
"""cc-images on a host whose memory is enough for one build that has never been measured, not for two."""


@pytest.mark.deep
def test_two_runs_book_no_more_than_there_is_together(family: Project) -> None:
    def start(*words: str) -> Watched:
        command = [sys.executable, "-c", SMALL, *words]
        return Watched(
            subprocess.Popen(
                command, cwd=family.folder, env=family.environment | {"DIB_TINY_LINGER": "5"}, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip

    first = start("-b", "cc-tiny")
    first.wait_for(r"^\[build cc-tiny .* extra-data\.d")
    second = start("-b", "cc-loner")
    second.wait_for(r"^waiting: memory, cores or room booked by run \S+$")
    assert first.process.poll() is None
    assert not [line for line in second.lines if line.startswith("[build cc-loner")]
    first.end(signal.SIGKILL)
    second.wait_for(r"^\[build cc-loner .* extra-data\.d")
    assert second.end(signal.SIGTERM) == 130
    family.assert_nothing_leaked()


@pytest.mark.deep
def test_a_build_finds_its_own_downloads_and_its_ancestors_never_its_childrens(family: Project) -> None:
    assert family.run("-b", "-t", "2", "cc-kid-a", "cc-kid-c", DIB_TINY_LINGER="1")[0] == 0
    logs = sorted((family.store / "logs").glob("*/build-cc-kid-*.log"))
    assert all("cache lacks shared-1.rpm" in log.read_text() for log in logs), "neither saw the other's"
    files = sorted(path.name for path in (family.store / "caches/cc-kid-a-amd64/current/yum/x").iterdir())
    assert files == ["CC-Kid-A-1.rpm", "shared-1.rpm"]
    assert not [path for path in family.store.glob("caches/cc-tiny-amd64/2*Z*/**/*") if path.name.endswith(".rpm")]

    code, output = family.run("-b", "-f", "cc-kid-a")
    assert code == 0, output
    log = max((family.store / "logs").glob("*/build-cc-kid-a*.log"))
    assert "cache has shared-1.rpm" in log.read_text()
    assert "cache has the repository" in log.read_text(), "links and empty folders are kept, and git trusts the owner"
    assert len(list((family.store / "caches/cc-kid-a-amd64").glob("2*Z*/"))) == 1, "no generation is left behind"

    damaged = next(family.store.glob("caches/cc-kid-a-amd64/2*Z*/yum/x/shared-1.rpm"))
    damaged.write_text("another content")
    assert family.run("-b", "-f", "cc-kid-a")[0] == 0
    log = max((family.store / "logs").glob("*/build-cc-kid-a*.log"))
    assert "cache lacks shared-1.rpm" in log.read_text(), "a damaged download is not used"


@pytest.mark.deep
def test_a_failed_build_changes_nothing_of_what_is_kept(family: Project) -> None:
    (family.folder / "elements").unlink()
    shutil.copytree(Path(__file__).parent.parent / "elements", family.folder / "elements")
    assert family.run("-b", "cc-kid-a")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in family.store.rglob("*") if path.is_file() and
              path.relative_to(family.store).parts[0] in ("blobs", "builds", "layers", "caches")}  # fmt: skip
    (family.folder / "elements/tiny-kid/install.d/70-fail").write_text("#!/bin/bash\nexit 7\n")
    (family.folder / "elements/tiny-kid/install.d/70-fail").chmod(0o755)
    code, output = family.run("-b", "cc-kid-a", "cc-kid-c")
    assert code == 3, output
    after = {path: path.stat().st_mtime_ns for path in before if path.exists()}
    assert {path for path in before if after.get(path) != before[path] and path.suffix != ".lock"} == set()
    assert not records(family, "builds", "cc-kid-c")
    assert len(records(family, "builds", "cc-kid-a")) == 1


# -- the store ---------------------------------------------------------------------------------------------------


def flip(path: Path, quietly: bool) -> None:
    """Change one bit in the middle of a file; quietly, as a disk would, without a trace in its times."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)[0]
        file.seek(status.st_size // 2)
        file.write(bytes([byte ^ 1]))
    path.chmod(0o444)
    if quietly:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.deep
@pytest.mark.parametrize("quietly", [False, True], ids=["noted", "unnoted"])
def test_a_damaged_layer_is_never_built_from(family: Project, quietly: bool) -> None:
    assert family.run("-b", "cc-kid-a")[0] == 0
    path = layer_path(family, "cc-tiny")
    right = path.name
    flip(path, quietly)
    code, output = family.run("-b", "cc-kid-b")
    assert code == 0, output
    assert [entry.name.partition(".")[0] for entry in (family.store / "quarantine").iterdir()] == [right]
    assert layer_path(family, "cc-tiny").name == right, "made anew, and the same"
    assert family.run("-b", "cc-kid-a", "cc-kid-b")[1].count("cached") >= 2


def test_a_damaged_output_is_rebuilt_and_never_published(family: Project) -> None:
    assert family.run("-b", "cc-kid-a")[0] == 0
    output_path = blob(family, records(family, "builds", "cc-kid-a")[0]["outputs"]["qcow2"]["digest"])  # type: ignore[index]
    flip(output_path, quietly=False)
    code, output = family.run("-b", "cc-kid-a")
    assert code == 0, output
    assert started(output) == ["build cc-kid-a"], "its layer is fine"

    output_path = blob(family, records(family, "builds", "cc-kid-a")[-1]["outputs"]["qcow2"]["digest"])  # type: ignore[index]
    flip(output_path, quietly=True)
    code, output = family.run("-p", "cc-kid-a")
    assert code == 3, output
    assert "was damaged and is in quarantine now" in output
    assert "build the image again with -b" in output
    assert not list(family.site.glob("*.qcow2"))
    code, output = family.run("-b", "-p", "cc-kid-a")
    assert code == 0, output
    assert family.published("CC-Kid-A")

    flip(layer_path(family, "cc-tiny"), quietly=True)
    assert "was damaged: moved to quarantine" in family.run("doctor", "--mend")[1]


MOMENTS = [
    (r"^\[layer .* root\.d", 0.1),
    (r"^\[layer .* post-root\.d", 1.3),
    (r"^\[layer .* cleanup\.d", 1.2),
    (r"^\[build cc-kid-a .* extra-data\.d", 0.2),
    (r"^\[build cc-kid-a .* cleanup\.d", 0.3),
    (r"^\[convert cc-kid-a .* to qcow2", 0.1),
]


def test_a_kill_while_a_layer_is_made_or_used_leaves_nothing_wrong(family: Project) -> None:
    for pattern, delay in spread(MOMENTS, few=3):
        run = Watched(family.start("-b", "-f", "cc-tiny", "cc-kid-a", DIB_TINY_LINGER="1"))
        run.wait_for(pattern)
        time.sleep(delay)
        run.end(signal.SIGKILL)
        family.assert_nothing_leaked()
        for path in family.store.glob("builds/*/*/2*.json"):
            outputs = json.loads(path.read_text())["outputs"]
            assert all(blob(family, output["digest"]).is_file() for output in outputs.values())
        for path in family.store.glob("layers/*/*/2*.json"):
            assert blob(family, json.loads(path.read_text())["digest"]).is_file()
        for path in (family.store / "blobs").rglob("??/*"):
            assert subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout.startswith(path.name)
    code, output = family.run("-b", "cc-tiny", "cc-kid-a")
    assert code == 0, output
    family.assert_no_leftovers()


FULL_AT = [r"^\[layer .* install\.d", r"^\[build cc-kid-a .* extra-data\.d", r"^\[convert cc-kid-a .* to qcow2"]


@pytest.mark.deep
def test_a_store_that_fills_up_at_any_moment_keeps_no_wrong_result(family: Project) -> None:
    disk = family.folder / "disk"
    subprocess.run(["truncate", "--size", "6G", disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
    family.store.mkdir()
    subprocess.run(["mount", "-o", "loop", disk, family.store], check=True)
    filler = family.store / "filler"
    try:
        for pattern in FULL_AT:
            run = Watched(family.start("-b", "-f", "cc-tiny", "cc-kid-a", DIB_TINY_LINGER="0.3"))
            run.wait_for(pattern)
            free = shutil.disk_usage(family.store).free
            subprocess.run(["fallocate", "--length", str(free - (2 << 20)), filler], check=False)
            assert run.process.wait(300) == 3, run.lines
            said = "\n".join(run.lines)
            assert "No space left on device" in said or "is full" in said or "no space left" in said, said
            filler.unlink()
            for path in family.store.glob("blobs/sha256/*/*"):
                assert subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout.startswith(path.name)
            for record in (*family.store.glob("builds/*/*/2*.json"), *family.store.glob("layers/*/*/2*.json")):
                json.loads(record.read_text())
        assert family.run("-b", "cc-tiny", "cc-kid-a")[0] == 0
        assert list((family.store / "work").iterdir()) == []
    finally:
        subprocess.run(["umount", family.store], check=True)
        family.store.rmdir()


def test_prune_keeps_the_newest_and_what_a_running_build_reads(family: Project) -> None:
    for _ in range(3):
        assert family.run("-b", "-p", "cc-kid-a", DIB_TINY_NEW=str(time.time()))[0] == 0
    assert len(records(family, "builds", "cc-kid-a")) == 3
    code, output = family.run("prune", "--keep", "2", "--dry-run")
    assert "would free" in output
    assert len(records(family, "builds", "cc-kid-a")) == 3
    code, output = family.run("prune", "--keep", "2")
    assert code == 0, output
    assert len(records(family, "builds", "cc-kid-a")) == 2
    assert len(records(family, "layers", "cc-tiny")) == 1
    newest = records(family, "builds", "cc-kid-a")[-1]

    run = Watched(family.start("-b", "cc-kid-b", DIB_TINY_NEW="x"))
    run.wait_for(r"^\[build cc-kid-b .* extra-data\.d")
    code, output = family.run("prune", "--max-size", "1")
    assert code == 0, output
    assert run.wait() == 0, run.lines
    assert records(family, "builds", "cc-kid-a") == [newest]
    assert not list(family.store.glob("caches/*/2*Z*")) or family.run("prune", "--max-size", "1")[0] == 0
    assert "1 cached in" in family.run("-b", "cc-kid-b", DIB_TINY_NEW="x")[1], "a build needs its layer no longer"
    assert re.search(r"^build +cc-kid-a amd64 +2", family.run("status")[1], re.MULTILINE)
