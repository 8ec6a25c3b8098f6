"""Tiny container images for tests: trees with a static busybox, as OCI archives of any number of layers, and as SIF."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cc_images.host.containers import image as oci
from cc_images.model.catalog import Arch
from cc_images.model.container import Configuration
from cc_images.outputs import sif

BUSYBOX = next((path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists()), None)
APPLETS = (
    "sh",
    "cat",
    "sleep",
    "true",
    "false",
    "id",
    "stat",
    "httpd",
    "nc",
    "wget",
    "test",
    "mkdir",
    "chown",
    "grep",
    "trap",
)
NEVER = threading.Event()
"""Nobody stops what is given this."""

PASSWD = "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of a layer: a text, a link or, without either, a folder."""

    text: str | bytes | None = None
    link: str | None = None
    hard: bool = False
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)


Layer = Mapping[str, Entry | str]


def base(**files: Entry | str) -> dict[str, Entry | str]:
    """Return a layer with busybox and two accounts; keyword names are no paths, so others are added by `|`."""
    assert BUSYBOX is not None
    found: dict[str, Entry | str] = {
        "bin": Entry(),
        "etc": Entry(),
        "bin/busybox": Entry(text=BUSYBOX.read_bytes()),
        "etc/passwd": Entry(text=PASSWD, mode=0o644),
        "etc/group": Entry(text="root:x:0:\nuser:x:1000:\n", mode=0o644),
        "etc/os-release": Entry(text="ID=tiny\n", mode=0o644),
        "tmp": Entry(mode=0o1777),
        "home/user": Entry(owner=(1000, 1000)),
    }
    found |= {f"bin/{each}": Entry(link="busybox") for each in APPLETS}
    return found | files


def layer(content: Layer) -> bytes:
    """Return a layer as a plain tar."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, said in content.items():
            entry = Entry(text=said) if isinstance(said, str) else said
            member = tarfile.TarInfo(name)
            member.mode, (member.uid, member.gid) = entry.mode, entry.owner
            raw = entry.text.encode() if isinstance(entry.text, str) else entry.text or b""
            if entry.link is not None:
                member.type, member.linkname = tarfile.LNKTYPE if entry.hard else tarfile.SYMTYPE, entry.link
            elif entry.text is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return made.getvalue()


def archive(target: Path, said: Configuration, *layers: Layer) -> Path:
    """Write an OCI archive of these layers."""
    found = []
    for number, each in enumerate(layers):
        plain = target.with_suffix(f".{number}")
        plain.write_bytes(layer(each))
        found.append(oci.packed(plain, target.with_suffix(f".{number}.gz"), threading.Event()))
    oci.write_image(target, found, oci.config_of(said, Arch.AMD64), said.labels, threading.Event())
    return target


def packed_tree(target: Path, content: Layer) -> Path:
    """Write a tree as builders leave it."""
    plain = target.with_suffix(".plain")
    plain.write_bytes(layer(content))
    subprocess.run(["zstd", "-q", "-f", plain, "-o", target], check=True)
    return target


def sif_file(target: Path, said: Configuration, content: Layer) -> Path:
    """Write a SIF file of one layer."""
    tree = packed_tree(target.with_suffix(".tar.zst"), content)
    with target.with_suffix(".log").open("wb") as log:
        sif.write_sif(tree, target, said, Arch.AMD64, cores=1, log=log, stop=threading.Event())
    return target


def lacking() -> Sequence[str]:
    """Return what these images need and the host lacks."""
    return [each for each in ("zstd", "tar2sqfs", "sqfs2tar") if shutil.which(each) is None] + (
        [] if BUSYBOX else ["busybox (package busybox-static)"]
    )
