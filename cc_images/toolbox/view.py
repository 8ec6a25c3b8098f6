"""What a sandbox sees: a root of its own, with the system's folders and what was named, and nothing else of the host.

Folders are shown through overlays without an upper layer: their file system is read-only itself, whatever is done to
the mount, and below them lies an empty folder. Where a kernel has no overlayfs they are bound read-only. Of /etc only
what everybody may read is there. The old root is gone, so that no unmounting brings back what a mount hides. The
standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.toolbox import kernel, networks
    from cc_images.toolbox.kernel import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, bind, mount
else:
    import kernel
    import networks
    from kernel import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, bind, mount

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store")
STATE = ("/var/lib/dpkg", "/var/lib/rpm", "/var/lib/ca-certificates")
"""Folders of the host that its programs need; what is a link there is a link here."""

NODES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "loop-control", "btrfs-control")
OWN = ("/tmp", "/var/tmp", "/run")
"""Private and empty in the sandbox, on the scratch folder. So TMPDIR=/tmp holds here and in every chroot below."""

NEW = "/tmp"
"""Where the new root is put together; the host's folder is covered from then on."""
SIZE = "64m"
"""What the new root itself may hold: folders, links, a copy of few files."""


def make(spec: dict[str, Any]) -> None:
    """Give this mount namespace its view."""
    # Kept by descriptor, because all of this lies below a root that is about to go.
    shown = {place: os.open(path, os.O_PATH) for place, path in spec["shown"].items() if os.path.exists(path)}
    workspace = os.open(spec["workspace"], os.O_PATH | os.O_DIRECTORY)
    nodes = {name: os.stat(f"/dev/{name}") for name in NODES if os.path.exists(f"/dev/{name}")}
    kernel.keep_mounts_private()
    names = resolver(spec["network"])
    kept = [(folder, os.open(folder, os.O_PATH)) for folder in ("/etc", *SYSTEM, *STATE) if os.path.isdir(folder)]
    mount("tmpfs", NEW, "tmpfs", MS_NOSUID, f"mode=0755,size={SIZE}")
    os.mkdir(f"{NEW}/.none")
    for folder, descriptor in kept:
        if os.path.islink(folder):
            os.symlink(os.readlink(folder), NEW + folder)
        else:
            hidden = conceal(folder, f"{NEW}/.hidden") if folder == "/etc" else f"{NEW}/.none"
            show(descriptor, NEW + folder, hidden)
    make_dev(nodes)
    os.mkdir(f"{NEW}/proc")
    mount("proc", f"{NEW}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for knobs in ("sys", "irq", "bus"):
        folder = f"{NEW}/proc/{knobs}"
        if os.path.isdir(folder):
            mount(folder, folder, flags=MS_BIND)
            kernel.read_only(folder)
    bind(os.open("/sys", os.O_PATH), f"{NEW}/sys")
    kernel.read_only(f"{NEW}/sys")
    for folder in ("/root", "/home", "/mnt", "/media", "/srv"):
        os.makedirs(NEW + folder, exist_ok=True)
    work = make_own(spec, workspace)
    for place in sorted({*shown, spec["inside"]}):  # what is around the workspace before it, what is in it afterwards
        if place == spec["inside"]:
            bind(os.open(work, os.O_PATH | os.O_DIRECTORY), NEW + place)
        else:
            show(shown[place], NEW + place, f"{NEW}/.none")
    kernel.unmount(work)
    os.rmdir(work)
    if names is not None:
        show_text(*names)
    for descriptor in (workspace, *shown.values(), *(each for _, each in kept)):
        os.close(descriptor)
    kernel.change_root(NEW)
    socket.sethostname("localhost")


def resolver(network: str) -> tuple[str, bytes] | None:
    """Return where the settings of the resolver are, which may be behind a link into /run, and what they say."""
    file = Path("/etc/resolv.conf")
    place = os.path.realpath(file)
    said = file.read_bytes() if file.exists() else None
    if network == "private":
        kept = [
            line for line in (said or b"").splitlines() if line.split()[:1] in ([b"search"], [b"options"], [b"domain"])
        ]
        return place, b"\n".join([f"nameserver {networks.NAMESERVER}".encode(), *kept, b""])
    return (place, said) if said is not None else None


def show_text(place: str, text: bytes) -> None:
    """Show a small file of this content, in place of the host's if that has another."""
    if not os.path.exists(NEW + place):
        os.makedirs(os.path.dirname(NEW + place), exist_ok=True)
        Path(NEW + place).write_bytes(text)
    elif Path(NEW + place).read_bytes() != text:
        Path(f"{NEW}/.resolver").write_bytes(text)
        mount(f"{NEW}/.resolver", NEW + place, flags=MS_BIND)


def make_own(spec: dict[str, Any], workspace: int) -> str:
    """Show what is private to the sandbox on its scratch folder; return where the workspace is until it is placed."""
    work = f"{NEW}/.work"
    bind(workspace, work)
    kernel.fit_for_roots(work)
    os.makedirs(f"{work}/scratch", exist_ok=True)
    if spec["tmpfs_mib"]:
        mount("tmpfs", f"{work}/scratch", "tmpfs", 0, f"mode=0755,size={spec['tmpfs_mib']}m")
    for folder in OWN:
        own = f"{work}/scratch{folder}"
        os.makedirs(own, exist_ok=True)
        os.chmod(own, 0o1777 if folder != "/run" else 0o755)
        os.makedirs(NEW + folder, exist_ok=True)
        mount(own, NEW + folder, flags=MS_BIND)
    os.makedirs(f"{NEW}/run/lock", exist_ok=True)
    os.chmod(f"{NEW}/run/lock", 0o1777)
    return work


def show(descriptor: int, place: str, above: str) -> None:
    """Show a file or folder read-only; `above` is a folder whose entries cover the folder's own."""
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        bind(descriptor, place)
        kernel.read_only(place)
        return
    os.makedirs(place, exist_ok=True)
    try:
        lower = f"lowerdir={above}:/proc/self/fd/{descriptor}"
        mount("overlay", place, "overlay", MS_NODEV | kernel.MS_RDONLY, lower)
    except OSError:  # no overlayfs, or too many of them above each other
        mount(f"/proc/self/fd/{descriptor}", place, flags=MS_BIND | kernel.MS_REC)
        kernel.read_only(place)


def conceal(folder: str, hidden: str) -> str:
    """Return a folder that covers, in an overlay, what not everybody may read: whiteouts, see overlayfs.rst."""
    os.mkdir(hidden)
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(root, name)
            status = os.lstat(path)
            wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
            if stat.S_ISLNK(status.st_mode) or status.st_mode & wanted == wanted:
                continue
            cover = hidden + path.removeprefix(folder)
            os.makedirs(os.path.dirname(cover), exist_ok=True)
            os.mknod(cover, stat.S_IFCHR, 0)
            if name in folders:
                folders.remove(name)
    return hidden


def make_dev(nodes: dict[str, os.stat_result]) -> None:
    """Make a private /dev: dib binds /dev into the image's tree, and its clean-up may delete through that."""
    dev = f"{NEW}/dev"
    os.mkdir(dev)
    mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=0755")
    os.umask(0)
    for name, node in nodes.items():
        try:
            os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, node.st_rdev)
        except PermissionError:  # a user namespace makes no nodes; it may show those of the host that it can use
            if os.access(f"/dev/{name}", os.R_OK | os.W_OK):
                bind(os.open(f"/dev/{name}", os.O_PATH), f"{dev}/{name}")
    for folder in ("pts", "shm", "mapper"):
        os.mkdir(f"{dev}/{folder}", 0o755)
    mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.symlink("/proc/self/fd", f"{dev}/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"fd/{number}", f"{dev}/{name}")
    os.umask(0o022)
