"""Loop devices that cannot leak: `losetup`, `kpartx` and `mount -o loop` for the inside of a sandbox.

Every device has the auto-clear flag and is held open by one sleeping process of the sandbox's PID namespace. When
that namespace dies, however it dies, the kernel closes the holder's descriptor and frees the device. Partitions are
loop devices with an offset into the same file (not loops on a loop, which have no discard), named as device-mapper
would name them. Runs as a script on Python >= 3.8 with the standard library only; knows nothing of cc_images.

Structures and numbers: linux/loop.h (LOOP_CONFIGURE: Linux >= 5.8).
"""

from __future__ import annotations

import errno
import fcntl
import getopt
import json
import os
import re
import signal
import stat
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

LOOP_MAJOR = 7
LOOP_CONFIGURE = 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_READ_ONLY, LO_FLAGS_AUTOCLEAR = 1, 4

MAPPER = Path("/dev/mapper")
HOLDERS = Path("/dev/.holders")
"""One file a device, holding its holder's process id; /dev is private to the sandbox."""


def node(number: int) -> str:
    """Return the path of loop device `number`, making its node where the private /dev has none."""
    path = f"/dev/loop{number}"
    if not os.path.exists(path):
        with suppress(FileExistsError):
            os.mknod(path, 0o660 | stat.S_IFBLK, os.makedev(LOOP_MAJOR, number))
    return path


def attach(file: str, offset: int = 0, size: int = 0, sector: int = 512, read_only: bool = False) -> str:
    """Attach `size` bytes (0: all) of `file` from `offset` to a free loop device and return the device's path.

    A file that cannot be written to gives a read-only device, as losetup(8) does. Two builds may be told the same free
    number: the loser gets EBUSY and asks again.
    """
    try:
        backing = os.open(file, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    except OSError as error:
        if read_only or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ETXTBSY):
            raise SystemExit(f"losetup: {file}: {os.strerror(error.errno or 0)}") from error
        return attach(file, offset, size, sector, read_only=True)
    flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    # struct loop_info64: device, inode, rdevice, offset, sizelimit; number, encrypt type, key size, flags; names, key
    info = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, offset, size, 0, 0, 0, flags, b"", b"", b"", 0, 0)
    config = struct.pack("=2I", backing, sector) + info + bytes(64)
    for _ in range(200):
        path = node(fcntl.ioctl(control, LOOP_CTL_GET_FREE))
        loop = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
        try:
            fcntl.ioctl(loop, LOOP_CONFIGURE, config)
        except OSError:
            os.close(loop)
            time.sleep(0.02)
            continue
        hold(path, loop)
        os.close(loop)
        return path
    raise SystemExit(f"losetup: no free loop device for {file}")


def hold(path: str, loop: int) -> None:
    """Leave a process behind that keeps `loop` open until it is killed."""
    HOLDERS.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.set_inheritable(loop, True)
        os.execvp("sleep", ["sleep", "infinity"])
    (HOLDERS / os.path.basename(path)).write_text(str(pid))


def detach(path: str) -> bool:
    """Free a device that `attach` made; say whether it was one. Waits until the kernel has let go of the file."""
    name = os.path.basename(path)
    holder = HOLDERS / name
    if not holder.exists():
        return False
    os.kill(int(holder.read_text()), signal.SIGKILL)
    holder.unlink()
    backing = Path(f"/sys/block/{name}/loop/backing_file")
    deadline = time.monotonic() + 10
    while backing.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return True


def partitions(disk: str) -> list[tuple[int, int, int]]:
    """Read the partition table of a device or file: (number, offset in bytes, size in bytes) each."""
    text = subprocess.run(["sfdisk", "--json", disk], check=True, capture_output=True, text=True).stdout
    table = json.loads(text)["partitiontable"]
    sector = table.get("sectorsize", 512)
    prefix = len(disk)
    return [
        (int(part["node"][prefix:].lstrip("p")), part["start"] * sector, part["size"] * sector)
        for part in table["partitions"]
    ]


def backing_file(disk: str) -> str:
    """Return the file behind a loop device, or `disk` itself when it is a file."""
    attribute = Path(f"/sys/block/{os.path.basename(disk)}/loop/backing_file")
    return attribute.read_text().strip() if attribute.exists() else disk


def kpartx(arguments: list[str]) -> None:
    """Stand in for `kpartx -a|-u|-d [-v] [-s] DISK`, DISK being a loop device or an image file."""
    flags, disk = "".join(a for a in arguments[:-1] if a.startswith("-")), arguments[-1]
    if "d" in flags:
        for record in HOLDERS.glob("*.disk"):
            if record.read_text() == disk:
                remove(record.stem)
        return
    # the name that kpartx gives: after a file, dib looks for the loop device that was free before the call
    name = os.path.basename(disk) if disk.startswith("/dev/") else next_free()
    MAPPER.mkdir(exist_ok=True)
    file = backing_file(disk)
    for number, offset, size in partitions(disk):
        link = MAPPER / f"{name}p{number}"
        if not link.is_symlink():
            device = attach(file, offset, size)
            link.symlink_to(device)
            (HOLDERS / f"{link.name}.disk").write_text(disk)
            print(f"add map {link.name} ({device}): {offset} {size}")


def next_free() -> str:
    """Return the name of the loop device that the kernel would hand out next."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    return f"loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"


def remove(name: str) -> None:
    """Unmap one partition by its device-mapper name; unknown names are fine."""
    link = MAPPER / name
    if link.is_symlink():
        detach(os.readlink(link))
        link.unlink()
    (HOLDERS / f"{name}.disk").unlink(missing_ok=True)


LONG_OPTIONS = "show find nooverlap offset= sizelimit= partscan read-only sector-size= detach= direct-io= verbose"


def losetup(arguments: list[str]) -> None:
    """Attach for `-f FILE` with its options, detach for `-d DEVICE …`; all else is the host's losetup."""
    try:
        options, rest = getopt.gnu_getopt(
            arguments,
            "aAd:Df j:lLno:O:PrvJb:",
            [
                "show",
                "find",
                "nooverlap",
                "offset=",
                "sizelimit=",
                "partscan",
                "read-only",
                "sector-size=",
                "detach=",
                "direct-io=",
                "verbose",
            ],
        )
    except getopt.GetoptError:
        options, rest = [], []
    given = dict(options)
    if ("-f" in given or "--find" in given) and len(rest) == 1:
        start, size = number(given.get("-o") or given.get("--offset")), number(given.get("--sizelimit"))
        sector = int(given.get("-b") or given.get("--sector-size") or 512)
        path = attach(rest[0], start, size, sector, read_only="-r" in given or "--read-only" in given)
        if "-P" in given or "--partscan" in given:
            for part, offset, length in partitions(path):
                Path(f"{path}p{part}").symlink_to(attach(rest[0], offset, length))
        if "--show" in given:
            print(path)
        return
    doomed = [value for name, value in options if name in ("-d", "--detach")] + rest
    if ("-d" in given or "--detach" in given) and all(map(detach, doomed)):
        return
    real = os.environ["CC_IMAGES_LOSETUP"]
    os.execv(real, [real, *arguments])


def number(text: str | None) -> int:
    """Return a size as util-linux reads it: bytes, or with a suffix such as MiB."""
    found = re.fullmatch(r"(\d+)([KMGT]?)(iB)?", (text or "0").strip())
    if found is None:
        raise SystemExit(f"losetup: {text} is not a size")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[found[2]]


def mount(arguments: list[str]) -> None:
    """Mount a file through a loop device that `umount` frees; all else is the host's mount."""
    real = os.environ["CC_IMAGES_MOUNT"]
    flags: list[str] = []
    wanted: dict[str, str] = {}
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in ("-o", "--options") or word.startswith("--options=") or (word[:2] == "-o" and word != "-o"):
            text = (
                next(words, "") if word in ("-o", "--options") else word.removeprefix("--options=").removeprefix("-o")
            )
            wanted.update(each.partition("=")[::2] for each in text.split(",") if each)
        elif word in ("-t", "--types", "-L", "-U", "--source", "--target"):
            flags += [word, next(words, "")]
        elif word.startswith("-") and word != "-":
            flags.append(word)
        else:
            rest.append(word)
    if "loop" not in wanted or len(rest) != 2 or not os.path.isfile(rest[0]):
        os.execv(real, [real, *arguments])
    read_only = "ro" in wanted or "-r" in flags or "--read-only" in flags
    device = attach(rest[0], number(wanted.get("offset")), number(wanted.get("sizelimit")), read_only=read_only)
    left = [f"{name}={value}" if value else name for name, value in wanted.items()]
    left = [each for each in left if each.partition("=")[0] not in ("loop", "offset", "sizelimit")]
    code = subprocess.run([real, *flags, *(["-o", ",".join(left)] if left else []), device, rest[1]]).returncode
    if code != 0:
        detach(device)
        raise SystemExit(code)
    (HOLDERS / f"{os.path.basename(device)}.mounted").touch()


def main(argv: list[str]) -> None:
    """Do what the tool that the first word names would do."""
    tool, arguments = argv[0], argv[1:]
    if tool == "losetup":
        losetup(arguments)
    elif tool == "kpartx":
        kpartx(arguments)
    elif tool == "mount":
        mount(arguments)
    else:
        remove(arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
