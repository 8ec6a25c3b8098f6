"""Formats of trees: the same bytes from the same tree, and all of the tree is in them."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from cc_images.boottest.inside import trees
from cc_images.errors import CCImagesError, Interrupted
from cc_images.model.catalog import Arch, Format
from cc_images.model.container import NOTHING_SAID
from cc_images.outputs import cpio, tree

EPOCH = 1_600_000_000

Member = tuple[str, bytes, bytes | str, int]
"""Name, kind, content or the name that is linked to, mode."""

MEMBERS: tuple[Member, ...] = (
    ("./", tarfile.DIRTYPE, b"", 0o755),
    ("./boot", tarfile.DIRTYPE, b"", 0o755),
    ("./boot/vmlinuz-6.1.0-9-amd64", tarfile.REGTYPE, b"older", 0o644),
    ("./boot/vmlinuz-6.1.0-10-amd64", tarfile.REGTYPE, b"newer", 0o644),
    ("./boot/vmlinuz", tarfile.SYMTYPE, "vmlinuz-6.1.0-9-amd64", 0o777),
    ("./etc", tarfile.DIRTYPE, b"", 0o755),
    ("./etc/os-release", tarfile.REGTYPE, b"ID=debian\n", 0o644),
    ("./sbin", tarfile.DIRTYPE, b"", 0o755),
    ("./sbin/init", tarfile.REGTYPE, b"the init", 0o755),
    ("./sbin/twice", tarfile.LNKTYPE, "./sbin/init", 0o755),
    ("./sbin/name with \u00fc", tarfile.REGTYPE, b"", 0o4755),
)


def packed(folder: Path, members: tuple[Member, ...] = MEMBERS) -> Path:
    """Return a tree as builds leave it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, content, mode in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.mtime, entry.uid = kind, mode, EPOCH, 12
            if isinstance(content, str):
                entry.linkname = content
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    file = folder / "tree.tar"
    file.write_bytes(zstandard.compress(plain.getvalue()))
    return file


def converted(folder: Path, wanted: Format, cores: int = 1) -> Path:
    target = folder / f"{cores}.{wanted}"
    with (folder / "log").open("wb") as log:
        tree.convert(
            packed(folder), target, wanted, (NOTHING_SAID, Arch.AMD64), cores=cores, log=log, stop=threading.Event()
        )
    return target


@pytest.mark.parametrize("wanted", [Format.TAR, Format.TAR_GZIP, Format.SQUASHFS, Format.KERNEL, Format.INITRAMFS])
def test_the_same_tree_has_the_same_bytes(tmp_path: Path, wanted: Format) -> None:
    if missing := [name for name, _ in tree.tools(wanted) if shutil.which(name) is None]:
        pytest.skip(f"{missing[0]} is missing")
    one, other = (converted(tmp_path, wanted, cores).read_bytes() for cores in (1, 2))
    assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest()


def test_the_kernel_is_the_newest_one(tmp_path: Path) -> None:
    assert converted(tmp_path, Format.KERNEL).read_bytes() == b"newer"


def test_a_tree_without_a_kernel_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path, MEMBERS[:2] + MEMBERS[4:])
    with pytest.raises(CCImagesError, match="no kernel in /boot") as caught:
        cpio.kernel(file, tmp_path / "kernel", threading.Event())
    assert "packages" in caught.value.hint


def test_a_conversion_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        cpio.archive(packed(tmp_path), tmp_path / "cpio", stop)


def test_all_but_boot_is_in_an_initramfs_and_links_hold(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    trees.unpack(converted(tmp_path, Format.INITRAMFS), place)
    assert sorted(str(each.relative_to(place)) for each in place.rglob("*")) == [
        "boot", "etc", "etc/os-release", "init", "sbin", "sbin/init", "sbin/name with \u00fc", "sbin/twice",
    ]  # fmt: skip
    assert (place / "init").readlink() == Path("sbin/init")
    assert (place / "sbin/init").samefile(place / "sbin/twice")
    assert (place / "sbin/init").read_bytes() == b"the init"
    assert (place / "sbin/name with \u00fc").stat().st_mode & 0o7777 == 0o4755
    assert (place / "etc/os-release").stat().st_uid == 12


def test_an_init_of_its_own_stays(tmp_path: Path) -> None:
    file = packed(tmp_path, (*MEMBERS, ("./init", tarfile.REGTYPE, b"own", 0o755)))
    cpio.archive(file, tmp_path / "cpio", threading.Event())
    place = tmp_path / "place"
    place.mkdir()
    trees.unpack(tmp_path / "cpio", place)
    assert (place / "init").read_bytes() == b"own"


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is missing")
def test_another_program_reads_the_archive(tmp_path: Path) -> None:
    archive = gzip.decompress(converted(tmp_path, Format.INITRAMFS).read_bytes())
    listed = subprocess.run(["cpio", "-t", "--quiet"], input=archive, capture_output=True, check=True).stdout.decode()
    assert listed.splitlines()[-1] == "init"
    assert "sbin/twice" in listed


@pytest.mark.parametrize("held", [Format.TAR_GZIP, Format.SQUASHFS])
def test_a_finished_file_gives_the_tree_back(tmp_path: Path, held: Format) -> None:
    if held is Format.SQUASHFS and shutil.which("sqfs2tar") is None:
        pytest.skip("sqfs2tar is missing")
    file, again = converted(tmp_path, held), tmp_path / "again.tar"
    with (tmp_path / "log").open("wb") as log:
        tree.opened(file, held, again, log=log, stop=threading.Event())
    place = tmp_path / "place"
    place.mkdir()
    trees.unpack(again, place)
    assert (place / "sbin/init").samefile(place / "sbin/twice")
    assert (place / "boot/vmlinuz-6.1.0-10-amd64").read_bytes() == b"newer"


# -- archives that lie -------------------------------------------------------------------------------------------------


def entry(name: str, mode: int, content: bytes = b"") -> bytes:
    path = name.encode() + b"\0"
    fields = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % each for each in fields) + path
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


TRAILER = entry("TRAILER!!!", 0)

LIES: dict[str, Callable[[Path], bytes]] = {
    "two dots": lambda outside: entry("../stolen", 0o100644, b"x") + TRAILER,
    "a link as a folder": lambda outside: entry("a", 0o120777, str(outside).encode())
    + entry("a/stolen", 0o100644, b"x") + TRAILER,
    "no end": lambda outside: entry("a", 0o100644, b"x"),
    "damage": lambda outside: entry("a", 0o100644, b"xxxx") + b"070701" + b"z" * 200,
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_an_archive_that_lies_is_refused_and_writes_nothing_elsewhere(tmp_path: Path, lie: str) -> None:
    place, outside = tmp_path / "place", tmp_path / "outside"
    place.mkdir()
    outside.mkdir()
    (tmp_path / "cpio").write_bytes(LIES[lie](outside))
    with pytest.raises((OSError, ValueError)):
        trees.unpack(tmp_path / "cpio", place)
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "stolen").exists()


def test_a_link_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    place, outside = tmp_path / "place", tmp_path / "outside"
    place.mkdir()
    link = entry("a", 0o120777, str(outside).encode())
    (tmp_path / "cpio").write_bytes(link + entry("a", 0o100644, b"x") + TRAILER)
    trees.unpack(tmp_path / "cpio", place)
    assert (place / "a").read_bytes() == b"x"
    assert not (place / "a").is_symlink()
    assert not outside.exists()


def numbered(name: str, mode: int, inode: int, content: bytes = b"") -> bytes:
    """Return an entry that says that its file has several names."""
    made = entry(name, mode, content)
    return made[:6] + b"%08X" % inode + made[14:38] + b"%08X" % 2 + made[46:]


def test_a_second_name_does_not_follow_a_link_that_took_the_first_ones_place(tmp_path: Path) -> None:
    place, victim = tmp_path / "place", tmp_path / "victim"
    place.mkdir()
    victim.write_text("mine")
    victim.chmod(0o600)
    hostile = (
        numbered("b", 0o100644, 5, b"x") + entry("b", 0o120777, str(victim).encode()) + numbered("c", 0o104777, 5, b"y")
    )
    (tmp_path / "cpio").write_bytes(hostile + TRAILER)
    trees.unpack(tmp_path / "cpio", place)
    assert victim.read_text() == "mine"
    assert victim.stat().st_mode & 0o7777 == 0o600
    assert (place / "c").read_bytes() == b"y"


def test_a_tree_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "room", lambda place: 0)
    for archive in (packed(tmp_path), converted(tmp_path, Format.INITRAMFS)):
        place = tmp_path / f"place of {archive.name}"
        place.mkdir()
        with pytest.raises(OSError, match="larger than the free room"):
            trees.unpack(archive, place)


def test_a_second_name_of_what_is_left_out_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path, (*MEMBERS, ("./usr", tarfile.LNKTYPE, "./boot/vmlinuz-6.1.0-9-amd64", 0o644)))
    with pytest.raises(CCImagesError, match="usr cannot be in a ramdisk"):
        cpio.archive(file, tmp_path / "cpio", threading.Event())
