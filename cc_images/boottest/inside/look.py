"""Look into a disk image without booting it, read-only, as root in a sandbox; write down what is there as JSON.

    look.py IMAGE FORMAT FOLDER RESULT

FORMAT is `raw`, `qcow2`, or `tree` for an archive or squashfs, which is unpacked; FOLDER is made, and gets the mount
points; RESULT is the file to write. A qcow2 is shown as a raw file through FUSE, so that only what is read is
decompressed; without FUSE it is converted. The root file system is the largest one with /etc/os-release, and the disk's
others are mounted in it where its fstab wants them; the program enters it with chroot before it reads, so that links
inside the image stay inside. From then on it loads nothing, has no right but to read, and reads no more than a bounded
part of any file. The variable CC_IMAGES_SECRETS holds a JSON list of texts that no file of the image may contain,
CC_IMAGES_SOUGHT the `files` and `executables` of which the facts shall tell.

Runs as a script with the standard library only; knows nothing of cc_images. `image.py` beside it shows the tree,
`system.py` reads what the image's own files say, `installed.py` its databases of packages.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import resource
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.boottest.inside import installed, system
    from cc_images.boottest.inside.image import opened
else:  # a script has no package
    sys.path.insert(0, str(Path(__file__).parent))
    import installed
    import system
    from image import opened

Facts = dict[str, Any]

CHUNK = 1 << 22
MOST_MEMORY = 2 << 30

libc = ctypes.CDLL(None, use_errno=True)

LEFTOVERS = (
    "etc/dib-manifests/dib_environment",
    "etc/dib-manifests/dib_arguments",
    "etc/resolv.conf.ORIG",
    "root/.bash_history",
    "root/.ssh/id_*",
    "tmp/in_target.d",
    "tmp/ccache",
    "usr/sbin/policy-rc.d",
    "var/cache/apt/archives/*.deb",
    "var/lib/cloud/instance",
    "var/lib/systemd/random-seed",
    ".dockerenv",
)
"""Paths, as glob patterns, that only a build or a boot leaves."""

FOLDERS = ("/etc", "/opt", "/usr/local")
"""Where files are that no package brings, and that people change."""

VOLATILE = frozenset(
    {"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid", "/etc/ld.so.cache"}
    | {"/etc/.pwd.lock", "/etc/machine-id", "/etc/cc-images/provenance.json"}
)
"""Files of them that differ in every build, or that other facts cover."""

PROGRAMS = ("/bin", "/usr/bin", "/usr/local/bin")
"""Where programs for all users are."""


def main(image: str, disk_format: str, folder: str, result: str) -> None:
    """Write the facts."""
    secrets = [text.encode() for text in json.loads(os.environ.get("CC_IMAGES_SECRETS", "[]"))]
    sought = json.loads(os.environ.get("CC_IMAGES_SOUGHT", "{}"))
    kept = os.open(result, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    seen = opened(image, disk_format, folder)
    facts = seen.facts
    facts["partitions"] = [
        {key: each[key] for key in ("number", "type", "size", "kind", "label")} for each in seen.partitions
    ]
    if seen.root is None:
        os.write(kept, json.dumps(facts).encode())
    else:
        facts["mounted"], facts["unread"] = list(seen.mounted), list(seen.unread)
        size, used = seen.room()
        facts["root"] = {
            "partition": seen.root["number"],
            "kind": seen.root["kind"],
            "size": size,
            "used": used,
        }
        enter(seen.place)
        try:
            facts |= tree(secrets, facts["mounted"], sought)
        except BaseException as error:  # noqa: BLE001 - the image's author decides what is in it
            facts["trouble"] = f"it cannot be read: {type(error).__name__}"
        os.write(kept, json.dumps(facts).encode("utf-8", "surrogateescape"))  # names of files are bytes
        os._exit(0)  # nothing that Python does at its end looks for a module in the image


def enter(place: Path) -> None:
    """Make a folder the root of this process, which loads nothing and may only read from then on."""
    os.chroot(place)
    os.chdir("/")
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    # struct __user_cap_header_struct and two of __user_cap_data_struct, see capset(2): CAP_DAC_READ_SEARCH and no other
    header, read = struct.pack("=Ii", 0x20080522, 0), 1 << 2
    if libc.capset(header, struct.pack("=6I", read, read, 0, 0, 0, 0)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


# -- the tree, from here on as / ---------------------------------------------------------------------------------------


def tree(secrets: list[bytes], mounted_at: list[str], sought: Facts) -> Facts:
    """Return what is in the tree, whose other file systems are mounted at these folders, and what is sought."""
    facts: Facts = {
        "os": system.variables("/etc/os-release"),
        "kernels": sorted(path.name.removeprefix("vmlinuz-") for path in Path("/boot").glob("vmlinuz-*")),
        "cmdline": system.cmdline(),
        "packages": system.dpkg(),
        "installed": installed.installed(),
        "manifest": system.manifest(),
        "users": system.users(),
        "units": system.units(),
        "provenance": {name: str(value) for name, value in system.as_json("/etc/cc-images/provenance.json").items()},
        "machine_id": system.text("/etc/machine-id").strip(),
        "dbus_machine_id": system.own_text("/var/lib/dbus/machine-id").strip(),
        "host_keys": system.names("etc/ssh/ssh_host_*"),
        "resolv_conf": system.own_text("/etc/resolv.conf"),
        "cloud": system.cloud_init(),
        "cloud_init_disabled": os.path.exists("/etc/cloud/cloud-init.disabled"),
        "leftovers": sorted(name for pattern in LEFTOVERS for name in system.names(pattern)),
        "authorized_keys": {
            name: system.text("/" + name).splitlines()
            for name in system.names(*system.key_files())
            if system.text("/" + name).strip()
        },
    }
    facts["files"] = own_files()
    facts["sought"] = {"files": {path: state(path) for path in sought.get("files", [])}}
    return facts | walk(secrets, mounted_at, facts["sought"], sought.get("executables", []))


def own_files() -> dict[str, str] | None:
    """Return the files of FOLDERS that no package has brought, or that are not as it did: path and digest.

    None where the packages' database does not say whose files are whose.
    """
    lists = system.names("var/lib/dpkg/info/*.list")
    if not lists:
        return None
    owned = {line for each in lists for line in system.text("/" + each).splitlines()}
    settings = dict(re.findall(r"^ (/\S+) ([0-9a-f]{32})$", system.text("/var/lib/dpkg/status"), re.MULTILINE))
    found: dict[str, str] = {}
    for top in FOLDERS:
        for folder, _, files in os.walk(top):
            for name in files:
                path = os.path.join(folder, name)
                if path in VOLATILE or path.endswith(("-", "~")) or not stat.S_ISREG(os.lstat(path).st_mode):
                    continue
                if path in owned and path not in settings:
                    continue
                digest = digests(path)
                if digest[0] != settings.get(path):
                    found[path] = digest[1]
    return dict(sorted(found.items()))


def digests(path: str) -> tuple[str, str]:
    """Return md5, in which dpkg keeps what settings were, and the beginning of the sha256 of a file."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                md5.update(chunk)
                sha256.update(chunk)
    except OSError:
        return "", "unreadable"
    return md5.hexdigest(), sha256.hexdigest()[:16]


def state(path: str) -> str:
    """Return mode, owner and group of a file as stat(1) prints them, or nothing when it is not there."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return ""
    owner, group = (
        next(
            (line.split(":")[0] for line in system.text(file).splitlines() if line.split(":")[2:3] == [str(number)]),
            "UNKNOWN",
        )
        for file, number in (("/etc/passwd", status.st_uid), ("/etc/group", status.st_gid))
    )
    return f"{stat.S_IMODE(status.st_mode):o} {owner} {group}"


def walk(secrets: list[bytes], mounted_at: list[str], found: Facts, programs: list[str]) -> Facts:
    """Return what needs a look at every file: sizes by folder, set-uid files, capabilities, files with a secret."""
    sizes: dict[str, int] = {}
    special: list[dict[str, str]] = []
    leaking: list[str] = []
    private: list[str] = []
    seen: set[tuple[int, int]] = set()
    found["executables"] = dict.fromkeys(programs, "")
    devices = {os.stat(each).st_dev for each in ("/", *mounted_at)}
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in sorted(folders) if is_on(os.path.join(folder, name), devices)]
        top = "/" + "/".join(folder.split("/")[1:3])
        for name in sorted(files):  # of several names of a file the first one counts, whatever order a kernel has
            path = os.path.join(folder, name)
            if name in found["executables"]:
                found["executables"][name] = path
            try:
                status = os.lstat(path)
            except OSError:  # a name that is too long
                continue
            if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) in seen:
                continue
            if status.st_nlink > 1:
                seen.add((status.st_dev, status.st_ino))
            sizes[top] = sizes.get(top, 0) + status.st_blocks * 512
            capable = "security.capability" in attributes(path)
            if status.st_mode & (stat.S_ISUID | stat.S_ISGID) or capable:
                mode, owner = f"{stat.S_IMODE(status.st_mode):04o}", f"{status.st_uid}:{status.st_gid}"
                special.append({"path": path, "mode": mode, "owner": owner, "capable": "yes" if capable else ""})
            if folder in PROGRAMS and status.st_mode & stat.S_IXUSR and not status.st_mode & stat.S_IXOTH:
                private += [f"{path} ({stat.S_IMODE(status.st_mode):04o})"] if status.st_gid == 0 else []
            if secrets and contains(path, secrets):
                leaking.append(path)
    special.sort(key=lambda each: each["path"])
    return {"sizes": sizes, "setuid": special, "leaking": sorted(leaking), "private": sorted(private)}


def is_on(path: str, devices: set[int]) -> bool:
    """Say whether a path is on one of these file systems, and not too long to be looked at."""
    try:
        return os.lstat(path).st_dev in devices
    except OSError:
        return False


def attributes(path: str) -> list[str]:
    """Return the names of a file's extended attributes."""
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:
        return []


def contains(path: str, secrets: list[bytes]) -> bool:
    """Say whether a file has one of the texts, also across the edges of what is read at a time."""
    longest = max(map(len, secrets))
    rest = b""
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            rest += chunk
            if any(secret in rest for secret in secrets):
                return True
            rest = rest[-longest:]
    return False


if __name__ == "__main__":
    main(*sys.argv[1:5])
