"""Make the twins of a distribution's release: what the interpreter (`interpreter.c`) finds as its ROOT.

    native/usr/bin/…      the programs, by their path in the image
    scripts/perl/…        links to bin/, by the arguments with which they may be used
    bin/                  the programs of `scripts`
    lib/                  their libraries
    qemu, interpreter     the emulator, and what binfmt_misc is told to run
    apt.conf              what tells apt the image's architecture
    versions              the packages, and their versions, that all this is from

The programs are those of the host's architecture, of the same release from the same repositories as the image, unpacked
and not installed. They are moved to ROOT by replacing paths in the files by paths of the same length, so they need no
variables and no arguments to find their libraries, modules and character sets.

Runs in a sandbox with the name of an order (JSON, see `Order`) as its argument; leaves `disk.tar` (zstd), or raises.
Python's standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict
from urllib.parse import unquote

HERE = Path(__file__).parent
ROOT = "/.cc"
TRIPLET = "x86_64-linux-gnu"
LOADER = "/lib64/ld-linux-x86-64.so.2"
HOST = "amd64"

DPKG = (
    "dpkg",
    "dpkg-deb",
    "dpkg-divert",
    "dpkg-query",
    "dpkg-realpath",
    "dpkg-split",
    "dpkg-statoverride",
    "dpkg-trigger",
)
APT = ("libapt-pkg.so", "libapt-private.so")
"""Programs, and how libraries begin, that have the architecture compiled in."""

ELF = b"\x7fELF"


class Order(TypedDict):
    """What is made: `arch` and `machine` are Debian's and the kernel's name of the image's architecture."""

    suite: str
    sources: list[str]
    arch: str
    machine: str
    emulator: str
    options: str
    keyrings: list[str]
    cores: int
    work: str
    out: str


class Program(TypedDict):
    """A line of the list: a pattern of paths, and the arguments to which its use is bound (none: any use)."""

    pattern: str
    arguments: list[str]


def listed(text: str) -> tuple[list[str], list[Program]]:
    """Return the packages and programs of a list, see `programs`. Raises ValueError for a group without a reason."""
    packages: list[str] = []
    programs: list[Program] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if line.startswith("["):
            names, _, reason = line[1:].partition("]")
            if not names.split() or len(reason.split()) < 3:
                raise ValueError(f"line {number}: a group needs packages and a reason")
            packages += names.split()
        elif not packages or not words[0].startswith("/"):
            raise ValueError(f"line {number}: a program is a path below a group")
        else:
            programs.append(Program(pattern=words[0], arguments=words[1:]))
    return [*dict.fromkeys(packages)], programs


def unpack(order: Order, packages: list[str]) -> Path:
    """Return the folder with the packages and what they depend on; note in `out` what the repositories held."""
    tree = Path(order["work"], "tree")
    words = ["mmdebstrap", "--variant=extract", "--mode=root", f"--arch={HOST},{order['arch']}"]
    words.append(f"--include={','.join(packages)}")
    words += ["--skip=cleanup/apt,output/dev", *keyrings(order), *shlex.split(order["options"])]
    # the sources not as arguments, which every user of the host can see: a mirror's address may hold a password
    sources = "".join(f"{line}\n" for line in order["sources"])
    code = subprocess.run([*words, order["suite"], str(tree), "-"], input=sources, text=True).returncode
    if code:
        raise SystemExit(f"mmdebstrap ended with {code}")
    subprocess.run([str(HERE.parent / "elements/cc-build/cc-build/upstream"), str(tree), order["out"]], check=True)
    return tree


def keyrings(order: Order) -> list[str]:
    """Return the options that make mmdebstrap trust the keys in the order's packages of keyrings."""
    options = []
    for number, package in enumerate(order["keyrings"]):
        folder = Path(order["work"], f"keyring-{number}")
        subprocess.run(["dpkg-deb", "--extract", package, str(folder)], check=True)
        options += [f"--keyring={path}" for path in sorted(folder.glob("usr/share/keyrings/*-archive-keyring.gpg"))]
    return options


def versions(archives: Iterable[Path]) -> dict[str, tuple[str, Path]]:
    """Return the versions of packages, and their archives, by name."""
    known: dict[str, tuple[str, Path]] = {}
    for archive in sorted(archives):
        said = output(["dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(archive)]).split()
        known[said[0]] = said[1], archive
    return known


def output(words: list[str], folder: Path | None = None) -> str:
    """Run a command and return what it says."""
    return subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def agree(order: Order, tree: Path, packages: list[str]) -> None:
    """Let the programs of the host's architecture have the times of those of the image's, if of one source version.

    The times are equal but for packages of which one architecture was rebuilt without a change (binNMU), and has a
    changelog of its own. Programs of packages that are of another source version there, or are not there, are removed.
    """
    mine = versions((tree / "var/cache/apt/archives").glob("*.deb"))
    folder = Path(order["work"], "others")
    folder.mkdir()
    apt = ["apt-get", "-q", f"-oDir={tree}", f"-oAPT::Architecture={HOST}", "-oAPT::Sandbox::User=root"]
    apt += [f"-oAPT::Architectures::={each}" for each in (HOST, order["arch"])]
    wanted = [f"{name}:{order['arch']}" for name in packages if not is_everywhere(mine[name][1])]
    listed = output([*apt, "download", "--print-uris", *wanted], folder)
    theirs = {name: unquote(version) for name, version in re.findall(r" ([a-z0-9.+-]+)_([^_ ]+)_\S+\.deb ", listed)}
    rebuilt = []
    for name in (each.partition(":")[0] for each in wanted):
        if source(mine[name][0]) != source(theirs.get(name, "")):
            print(
                f"{name} is {mine[name][0]} for {HOST} and {theirs.get(name)} for {order['arch']}: emulated", flush=True
            )
            for path in contents(mine[name][1]):
                if (tree / path).is_file() and not (tree / path).is_symlink():
                    (tree / path).unlink()
        elif {mine[name][0], theirs[name]} != {source(mine[name][0])}:
            rebuilt.append(f"{name}:{order['arch']}={theirs[name]}")
    if not rebuilt:
        return
    subprocess.run([*apt, "download", *rebuilt], cwd=folder, check=True)
    for _, archive in versions(folder.glob("*.deb")).values():
        for path, time in contents(archive).items():
            if (tree / path).is_file() and not (tree / path).is_symlink():
                os.utime(tree / path, (time, time))


def is_everywhere(archive: Path) -> bool:
    """Say whether a package is one for all architectures."""
    return archive.name.endswith("_all.deb")


def source(version: str) -> str:
    """Return a version without the mark of a rebuild; see Debian Policy and the Developer's Reference, 5.10.2.1."""
    return re.sub(r"\+b\d+$", "", version)


def contents(archive: Path) -> dict[str, int]:
    """Return the times, in seconds since 1970, of the files in a package, by their paths below the root."""
    words = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as out, tarfile.open(fileobj=out.stdout, mode="r|") as tar:
        return {each.name.removeprefix("./"): int(each.mtime) for each in tar if each.isfile()}


def found(tree: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Yield the path in an image of each program that matches, and its file: some packages ship it outside of /usr."""
    below = pattern.removeprefix("/usr/")
    for prefix in ("usr/", *([] if (tree / "bin").is_symlink() else [""])):
        for path in sorted(tree.glob(prefix + below)):
            if path.is_file() and not path.is_symlink():
                yield f"/usr/{path.relative_to(tree / prefix)}", path


def collect(tree: Path, programs: list[Program], twins: Path, arch: str) -> None:
    """Put the programs and their libraries into the folder `twins`."""
    for folder in [tree / "usr/lib", *([] if (tree / "lib").is_symlink() else [tree / "lib"])]:
        shutil.copytree(folder / TRIPLET, twins / "lib" / TRIPLET, symlinks=True, dirs_exist_ok=True)
    (twins / LOADER.rpartition("/")[2]).symlink_to(f"lib/{TRIPLET}/{LOADER.rpartition('/')[2]}")
    for program in programs:
        for name, path in found(tree, program["pattern"]):
            if path.name in DPKG and len(arch) != len(HOST):
                continue  # its architecture cannot be replaced
            if program["arguments"]:
                place = twins / "bin" / path.name
                arguments = " ".join(program["arguments"]).replace("@", path.name)
                link = twins / "scripts" / path.name / arguments.replace("/", "!").replace(" ", "+")
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(f"../../bin/{path.name}")
            else:
                place = twins / f"native{name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                shutil.copy2(path, place)


def relocate(twins: Path, arch: str) -> int:
    """Make programs and libraries look below ROOT; return how many were changed. Their times stay."""
    moves = [
        (f"/usr/lib/{TRIPLET}", f"{ROOT}/lib/{TRIPLET}"),
        (f"{LOADER}\0", f"{ROOT}/{LOADER.rpartition('/')[2]}\0"),
    ]
    changed = 0
    for path in sorted(twins.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        before = path.read_bytes()
        if not before.startswith(ELF):
            continue
        content = before
        for old, new in moves:
            content = content.replace(old.encode(), new.encode().ljust(len(old), b"\0"))
        if len(arch) == len(HOST) and (
            path.name in DPKG or path.name.startswith(("libapt-pkg.so", "libapt-private.so"))
        ):
            content = content.replace(f"{HOST}\0".encode(), f"{arch}\0".encode())
        if content != before:
            status = path.stat()
            path.write_bytes(content)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            changed += 1
    return changed


def compile_interpreter(order: Order, twins: Path) -> None:
    """Compile what binfmt_misc runs, with the emulator in it."""
    shutil.copy2(order["emulator"], twins / "qemu")
    words = ["cc", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]
    words += ["-fno-tree-loop-distribute-patterns", "-Wl,-z,noexecstack"]
    words += [f'-DQEMU="{order["emulator"]}"', f'-DMACHINE="{order["machine"]}"', f'-DROOT="{ROOT}"']
    subprocess.run([*words, "-o", str(twins / "interpreter"), str(HERE / "interpreter.c")], check=True)


def make(order: Order) -> None:
    """Make the twins."""
    Path(order["work"]).mkdir(parents=True)
    packages, programs = listed((HERE / "programs").read_text())
    tree = unpack(order, packages)
    agree(order, tree, packages)
    twins = Path(order["work"], "twins")
    (twins / "lib").mkdir(parents=True)
    collect(tree, programs, twins, order["arch"])
    print(f"{relocate(twins, order['arch'])} files made to look below {ROOT}", flush=True)
    compile_interpreter(order, twins)
    (twins / "apt.conf").write_text(
        f'APT::Architecture "{order["arch"]}";\nAPT::Architectures {{ "{order["arch"]}"; }};\n'
    )
    known = versions((tree / "var/cache/apt/archives").glob("*.deb"))
    lines = [f"{name} {version}\n" for name, (version, _) in sorted(known.items())]
    (twins / "versions").write_text("".join(lines))
    packed = Path(order["out"], "disk.tar")
    tar = ["tar", "-C", str(twins), "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-cf", "-", "."]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
        zstd = ["zstd", "-q", "-3", f"-T{order['cores']}", "-o", str(packed)]
        subprocess.run(zstd, stdin=packing.stdout, check=True)
    if packing.returncode:
        raise SystemExit(f"tar ended with {packing.returncode}")


if __name__ == "__main__":
    make(json.loads(Path(sys.argv[1]).read_text()))
