"""Put a disk together from a finished tree: a raw file, written directly, without loop devices and mounts of it.

    assemble.py plan CONFIG KIB TREE    before the last hooks: decide the layout, show a folder at each mount point
    assemble.py write TREE              after them: write the disk to CC_IMAGES_RAW

What is decided lies in the folder CC_IMAGES_DISK: `disk.json`, and a folder for the files of each file system but the
root's. Equal trees and keys give equal bytes: identifiers follow from the key (`layout`), times from the packages
(`epoch`), order from names; the programs are those of CC_IMAGES_TOOLS, the same on every host.

Runs in a sandbox; knows nothing of cc_images.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from cc_images.toolbox import nodes
    from cc_images.toolbox.disk import boot, epoch, layout
else:  # a script
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    import boot
    import epoch
    import layout
    import nodes

HERE = Path(__file__).parent
CHUNK = 1 << 16
BIOS = "boot/grub/i386-pc"
"""Where in a tree GRUB's images for BIOS are, if it was asked for them."""


# -- before the last hooks ---------------------------------------------------------------------------------------------


def plan(config: str, kib: int, tree: Path) -> None:
    """Decide the layout, write fstab, and show what is not the root's at its mount points."""
    own = Path(os.environ["CC_IMAGES_DISK"])
    own.mkdir()
    key, options = os.environ["CC_IMAGES_KEY"], os.environ.get("MKFS_OPTS", "")
    disk = layout.disk(json.loads(Path(config).read_text()), kib << 10, key, options)
    time = epoch.of(str(tree), float(os.environ["CC_IMAGES_BEGAN"]))
    (own / "disk.json").write_text(json.dumps({"key": key, "options": options, "kib": kib}))
    shutil.copy(config, own / "config.json")
    version = f"{datetime.fromtimestamp(time, UTC):%Y%m%dT%H%M%SZ}"
    (own / "environment").write_text(f"export CC_IMAGES_VERSION={version}\n")
    (own / "filesystems").write_text("".join(f"{each.mount_point} {each.uuid}\n" for each in disk.filesystems))
    if disk.fstab:
        (tree / "etc").mkdir(exist_ok=True)
        (tree / "etc/fstab").write_text(disk.fstab)
    for each in disk.filesystems:
        if each.mount_point == "/":
            continue
        place, folder = tree / each.mount_point[1:], own / each.name
        place.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        shutil.copystat(place, folder)
        os.chown(folder, place.stat().st_uid, place.stat().st_gid)
        for entry in sorted(place.iterdir()):
            shutil.move(str(entry), str(folder / entry.name))
        subprocess.run(["mount", "--bind", str(folder), str(place)], check=True)


def planned() -> layout.Disk:
    """Return the layout that was decided."""
    own = Path(os.environ["CC_IMAGES_DISK"])
    said = json.loads((own / "disk.json").read_text())
    return layout.disk(json.loads((own / "config.json").read_text()), said["kib"] << 10, said["key"], said["options"])


# -- after them --------------------------------------------------------------------------------------------------------


def write(tree: Path) -> None:
    """Write the disk, and take the folders away from the mount points."""
    disk, own, raw = planned(), Path(os.environ["CC_IMAGES_DISK"]), Path(os.environ["CC_IMAGES_RAW"])
    plain = own / "root"
    plain.mkdir()
    subprocess.run(["mount", "--bind", str(tree), str(plain)], check=True)  # without what is mounted in it
    folders = {each.name: plain if each.mount_point == "/" else own / each.name for each in disk.filesystems}
    time = epoch.of(str(plain), float(os.environ["CC_IMAGES_BEGAN"]))
    for folder in folders.values():
        epoch.clamp(str(folder), time)
    tools = Tools(Path(os.environ["CC_IMAGES_TOOLS"]), time)
    with raw.open("wb") as file:
        file.truncate(disk.size)
    tools.run("sbin/sfdisk", "-q", "--no-reread", "--no-tell-kernel", str(raw), text=disk.table)
    for each in disk.partitions:
        if each.filesystem is not None:
            KINDS[each.filesystem.kind](tools, raw, each, each.filesystem, folders.get(each.filesystem.name))
    _boot(disk, raw, plain)
    subprocess.run(["umount", str(plain)], check=True)
    for filesystem in reversed(disk.filesystems):
        if filesystem.mount_point != "/":
            subprocess.run(["umount", str(tree / filesystem.mount_point[1:])], check=True)


@dataclasses.dataclass(frozen=True)
class Tools:
    """Programs of a folder that was unpacked and not installed, run by its own loader; `time` is what they go by."""

    folder: Path
    time: int

    def run(self, program: str, *words: str, text: str = "", **variables: str) -> str:
        """Run a program and return what it said; end with that when it fails."""
        (loader,) = self.folder.glob("usr/lib/*-linux-gnu*/ld-linux-*.so.*")
        libraries = loader.parent
        env = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TZ": "UTC0",
            "SOURCE_DATE_EPOCH": str(self.time),
            "GCONV_PATH": str(libraries / "gconv"),
            "MKE2FS_CONFIG": str(HERE / "mke2fs.conf"),
            **variables,
        }
        argv = [str(loader), "--library-path", str(libraries), "--argv0", Path(program).name]
        argv += [str(self.folder / "usr" / program), *words]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, env=env)
        if done.returncode:
            raise SystemExit(
                f"{Path(program).name} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}"
            )
        return done.stdout


def _ext4(tools: Tools, raw: Path, partition: layout.Partition, made: layout.Filesystem, folder: Path | None) -> None:
    plain, extended = _without_extended(made.options)
    owner, mode = "0:0", 0o755
    if folder and made.mount_point != "/":  # a disk's own root is mkfs's, and all other folders are the tree's
        status = folder.stat()
        owner, mode = f"{status.st_uid}:{status.st_gid}", stat.S_IMODE(status.st_mode)
    extended += [f"offset={partition.start}", f"hash_seed={made.seed}", f"root_owner={owner}", f"root_perms={mode:o}"]
    extended.append("nodiscard")
    source = ["-d", str(folder)] if folder else []
    tools.run(
        *("sbin/mke2fs", "-q", "-F", "-t", made.kind, *plain, "-E", ",".join(extended)),
        *("-L", made.label, "-U", made.uuid, *source, str(raw), f"{partition.size // 1024}k"),
    )
    if folder and (names := nodes.in_place(folder)):
        _nodes(tools, f"{raw}?offset={partition.start}", names)


def _nodes(tools: Tools, place: str, names: list[str]) -> None:
    """Make device nodes of the files that stand for them, with the bytes that mke2fs writes for a node.

    An inode's numbers and an entry's kind are changed where they are: taking the entry out leaves a gap of its size.
    """
    before, orders = _devices(tools, place), []
    for name in names:
        (inode, mode), (major, minor) = before[name], nodes.NODES[name]
        orders += [f"sif <{inode}> mode 0{stat.S_IFCHR | stat.S_IMODE(mode):o}", f"sif <{inode}> flags 0"]
        numbers = {"0": major << 8 | minor} | dict.fromkeys([*map(str, range(1, 12)), "IND", "DIND", "TIND"], 0)
        orders += [f"sif <{inode}> block[{block}] {number}" for block, number in numbers.items()]
        orders += [f"unlink /dev/{name}", f"ln <{inode}> /dev/{name}"]
    tools.run("sbin/debugfs", "-w", "-f", "-", place, text="\n".join([*orders, ""]))
    made = _devices(tools, place)
    if any(name not in made or not stat.S_ISCHR(made[name][1]) for name in names):
        raise SystemExit(f"debugfs has not made the nodes of /dev: there are {made}")


def _devices(tools: Tools, place: str) -> dict[str, tuple[str, int]]:
    """Return the inodes and modes of what is in /dev of a file system, by name."""
    listed = (line.split("/") for line in tools.run("sbin/debugfs", "-R", "ls -p /dev", place).splitlines())
    return {words[5]: (words[1], int(words[2], 8)) for words in listed if len(words) > 6}


def _without_extended(options: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return mke2fs's options without -E, and what was given to that: only the last one counts."""
    plain: list[str] = []
    extended: list[str] = []
    words = iter(options)
    for word in words:
        if word == "-E":
            extended.append(next(words, ""))
        elif word.startswith("-E"):
            extended.append(word[2:])
        else:
            plain.append(word)
    return plain, [each for each in extended if each]


def _vfat(tools: Tools, raw: Path, partition: layout.Partition, made: layout.Filesystem, folder: Path | None) -> None:
    with _apart(raw, partition) as alone:  # mkfs.fat takes the size of the file for that of the disk
        words = ("--invariant", *made.options, "-i", made.uuid, "-n", made.label)
        tools.run("sbin/mkfs.fat", *words, str(alone))
        if folder is None:
            return
        for place, folders, files in os.walk(folder):
            folders.sort()
            inside = "::/" + os.path.relpath(place, folder).removeprefix(".").lstrip("/")
            if folders:
                _mtools(tools, alone, "mmd", *(f"{inside.rstrip('/')}/{name}" for name in folders))
            if files:
                _mtools(tools, alone, "mcopy", "-Q", *(os.path.join(place, name) for name in sorted(files)), inside)


def _mtools(tools: Tools, image: Path, command: str, *words: str) -> None:
    tools.run("bin/mtools", "-c", command, "-i", str(image), *words, MTOOLS_SKIP_CHECK="1", MTOOLSRC="")


def _swap(tools: Tools, raw: Path, partition: layout.Partition, made: layout.Filesystem, folder: Path | None) -> None:
    with _apart(raw, partition) as alone:
        tools.run("sbin/mkswap", "-U", made.uuid, "-L", made.label, str(alone))


@contextmanager
def _apart(raw: Path, partition: layout.Partition) -> Iterator[Path]:
    """Give a file of a partition's size, and copy what it holds into the partition afterwards."""
    alone = raw.with_name(f"partition-{partition.start}")
    with alone.open("wb") as file:
        file.truncate(partition.size)
    try:
        yield alone
        with alone.open("rb") as source, raw.open("r+b") as target:
            position = 0
            while position < partition.size:
                try:
                    position = os.lseek(source.fileno(), position, os.SEEK_DATA)
                except OSError:  # nothing but a hole to the end
                    break
                chunk = os.pread(source.fileno(), CHUNK, position)
                if chunk.count(0) < len(chunk):  # the disk stays sparse
                    target.seek(partition.start + position)
                    target.write(chunk)
                position += len(chunk)
    finally:
        alone.unlink()


KINDS: dict[str, Any] = {"ext2": _ext4, "ext3": _ext4, "ext4": _ext4, "vfat": _vfat, "swap": _swap}
"""What makes a kind of file system, with the files of a folder in it."""


def _boot(disk: layout.Disk, raw: Path, tree: Path) -> None:
    """Let BIOSes boot the disk, if GRUB was installed for them."""
    core = tree / BIOS / "core.img"
    if not core.exists():
        return
    if disk.label == "gpt":
        place = next(((each.start, each.size) for each in disk.partitions if each.type == layout.BIOS_BOOT), None)
        if place is None:
            raise SystemExit("GRUB for BIOS needs a BIOS boot partition (EF02) on a GPT disk")
    else:
        place = (layout.SECTOR, disk.partitions[0].start - layout.SECTOR)
    with raw.open("r+b") as file:
        boot.install(file, (tree / BIOS / "boot.img").read_bytes(), core.read_bytes(), *place)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "plan":
            plan(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        else:
            write(Path(sys.argv[2]))
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"cannot put the disk together: {error}") from error
