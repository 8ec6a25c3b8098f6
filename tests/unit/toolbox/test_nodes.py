"""Device nodes of trees that are made without root: as files in the tree, as nodes in what is packed."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cc_images.toolbox import nodes


def archive(*entries: tuple[str, bytes, tuple[int, int], bytes], pax: dict[str, str] | None = None) -> bytes:
    """Return a tar of names, types, numbers and contents."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, (major, minor), content in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.devmajor, entry.devminor, entry.size = kind, major, minor, len(content)
            entry.mode, entry.mtime, entry.pax_headers = 0o666, 1700000000, pax or {}
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def converted(whole: bytes, packs: bool) -> bytes:
    target = io.BytesIO()
    nodes.convert(io.BytesIO(whole), target, packs)
    return target.getvalue()


def entries(whole: bytes) -> dict[str, tuple[bytes, int, int, int]]:
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        return {each.name: (each.type, each.devmajor, each.devminor, each.mode) for each in tar}


TREE = (
    ("./dev/console", tarfile.CHRTYPE, (5, 1), b""),
    ("./dev/null", tarfile.CHRTYPE, (1, 3), b""),
    ("./etc/dev/null", tarfile.REGTYPE, (0, 0), b""),
    ("./etc/large", tarfile.REGTYPE, (0, 0), b"x" * 3000),
)


@pytest.mark.parametrize("pax", [{}, {"mtime": "1700000000.5", "SCHILY.xattr.user.a": "a size=1\n"}])
def test_nodes_become_files_and_files_nodes_again(pax: dict[str, str]) -> None:
    whole = archive(*TREE, pax=pax)
    unpacked = converted(whole, packs=False)
    assert entries(unpacked)["./dev/null"] == (tarfile.REGTYPE, 0, 0, 0o666)
    assert converted(unpacked, packs=True) == whole
    assert converted(whole, packs=True) == whole, "nodes stay nodes"
    assert entries(whole)["./etc/dev/null"][0] == tarfile.REGTYPE


def test_a_file_with_content_stays_one() -> None:
    whole = archive(("./dev/null", tarfile.REGTYPE, (0, 0), b"somebody wrote to it"))
    assert converted(whole, packs=True) == whole


@pytest.mark.parametrize("name", ["dev/null", "./dev/null"])
def test_archives_name_their_entries_in_two_ways(name: str) -> None:
    unpacked = converted(archive((name, tarfile.CHRTYPE, (1, 3), b"")), packs=False)
    assert entries(unpacked)[name][0] == tarfile.REGTYPE


@pytest.mark.parametrize(
    ("name", "kind", "numbers"),
    [
        ("./dev/tty9", tarfile.CHRTYPE, (4, 9)),
        ("./dev/null", tarfile.CHRTYPE, (1, 5)),
        ("./srv/chroot/dev/null", tarfile.CHRTYPE, (1, 3)),
        ("./dev/sda", tarfile.BLKTYPE, (8, 0)),
    ],
)
def test_a_node_that_is_not_known_is_refused(name: str, kind: bytes, numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{name} is a device node, which takes the host's own root"):
        converted(archive((name, kind, numbers, b"")), packs=False)


def test_gnu_archives_with_long_names_are_read(tmp_path: Path) -> None:
    deep = tmp_path / "r" / ("a" * 90) / ("b" * 90)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x" * 1000)
    (deep / "link").symlink_to("c" * 150)
    subprocess.run(["tar", "--format=gnu", "-C", tmp_path / "r", "-cf", tmp_path / "a.tar", "."], check=True)
    whole = (tmp_path / "a.tar").read_bytes()
    assert converted(whole, packs=False) == whole


@pytest.mark.parametrize("options", [["-z"], ["--xz"], ["--lzma"], []])
def test_what_comes_by_a_pipe_may_be_compressed(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "a.tar").write_bytes(archive(*TREE))
    packed = tmp_path / "packed"
    program = {"-z": ["gzip"], "--xz": ["xz"], "--lzma": ["xz", "--format=lzma"]}.get("".join(options), ["cat"])
    with (tmp_path / "a.tar").open("rb") as plain, packed.open("wb") as target:
        subprocess.run([*program, *(["-c"] if options else [])], stdin=plain, stdout=target, check=True)
    words = [sys.executable, nodes.__file__, "unpack", "tar", "--directory", str(tmp_path / "t"), "--extract", *options]
    with packed.open("rb") as source:
        subprocess.run([*words, "--no-same-owner", "--file", "-"], stdin=source, check=True)
    assert nodes.in_place(tmp_path / "t") == ["console", "null"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-C /t --numeric-owner -xzf /a.tgz", ("/a.tgz", "-C /t --numeric-owner -x", True)),
        ("-C /t --numeric-owner --acls -xpf -", ("-", "-C /t --numeric-owner --acls -xp", True)),
        ("xJf /a.tar.xz -C /t", ("/a.tar.xz", "-x -C /t", True)),
        ("--extract --zstd --file=/a -C/t ./etc", ("/a", "--extract -C /t ./etc", True)),
        ("-C /t -cf /a.tar --exclude=x .", ("/a.tar", "-C /t -c --exclude=x .", False)),
        ("-x -I pigz -f /a.tgz", ("/a.tgz", "-x", True)),
    ],
)
def test_the_words_of_tar_are_understood(words: str, expected: tuple[str, str, bool]) -> None:
    file, others, unpacks = nodes.parsed(words.split())
    assert (file, " ".join(others), unpacks) == expected


def test_what_is_unpacked_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive(*TREE))
    subprocess.run(["gzip", tmp_path / "a.tar"], check=True)
    (tmp_path / "t").mkdir()
    assert nodes.unpack("tar", ["-C", str(tmp_path / "t"), "--no-same-owner", "-xzf", str(tmp_path / "a.tar.gz")]) == 0
    assert nodes.in_place(tmp_path / "t") == ["console", "null"]
    assert (tmp_path / "t/etc/large").stat().st_size == 3000
    (tmp_path / "a.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:100])
    assert nodes.unpack("tar", ["-C", str(tmp_path / "t"), "-xzf", str(tmp_path / "a.tar.gz")]) != 0


def test_a_fresh_dev_is_what_a_bootstrap_by_root_makes(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir(mode=0o700)
    nodes.make(tmp_path)
    nodes.make(tmp_path)
    assert sorted(path.name for path in (tmp_path / "dev").iterdir()) == sorted(
        [*nodes.NODES, "fd", "stdin", "stdout", "stderr", "pts", "shm"]
    )
    assert (tmp_path / "dev").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "dev/stderr").readlink() == Path("/proc/self/fd/2")
