"""Measure what the cache saves: a Debian family by cc-images against plain `disk-image-create`, both in this run.

Prints CPU seconds (user and system, of all processes) and wall seconds of both sides, their ratio and the goal. Takes
about 20 minutes on 2 cores, most of it for the other side. `--quick` builds the other side's base and one child only,
and takes the child's figures for its siblings.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.plain import REPOSITORY
from cc_images.host.root import remove

BASE = ("cc-debian12", "vm", "block-device-efi")
CHILDREN = {"kid-a": "htop", "kid-b": "tmux", "kid-c": "git"}
"""The children of the family, each with an element of its name and a package of its own."""

CATALOGUE = "CC-Debian12: {}\n" + "".join(
    f"{name}: {{depends: [CC-Debian12], elements: [{name}], packages: [{package}]}}\n"
    for name, package in CHILDREN.items()
)

HOOK = "#!/bin/bash\nset -eu\nset -o pipefail\necho {} > /etc/kid\n"

IMAGES = 1000


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds."""

    cpu: float
    wall: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall)


def cost(command: list[str], folder: Path, **environment: str) -> Cost:
    """Run a command to its end and return what it cost with all its children."""
    before = os.times()
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    after = os.times()
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Cost(cpu, after.elapsed - before.elapsed)


def line(case: str, ours: Cost, theirs: Cost, goal: str) -> None:
    """Print one row of the table."""
    ratios = f"{ours.cpu / theirs.cpu:8.4f} {ours.wall / theirs.wall:8.4f}"
    print(
        f"{case:44} {ours.cpu:8.2f} {ours.wall:8.2f} {theirs.cpu:8.2f} {theirs.wall:8.2f} {ratios}  {goal}", flush=True
    )


class Project:
    """A project folder with the family, and both sides' ways to build it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mirrors = subprocess.run([REPOSITORY / "script" / "host-mirrors"], check=True, capture_output=True, text=True)
        self.environment = dict(re.findall(r"^export (\w+)=(.*)$", mirrors.stdout, re.MULTILINE))
        self.environment |= {"PYTHONPATH": str(REPOSITORY), "HOME": str(folder)}
        for name in CHILDREN:
            self.hook(name, "one")
        (folder / "sites.yaml").write_text("local: {directory: site}\n")
        (folder / "third-party.yaml").write_text("")
        self.catalogue(CATALOGUE)

    def catalogue(self, text: str) -> None:
        """Write images.yaml."""
        (self.folder / "images.yaml").write_text(text)

    def hook(self, name: str, word: str) -> None:
        """Write the one hook of a child's element."""
        path = self.folder / "elements" / name / "install.d" / f"50-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HOOK.format(word))
        path.chmod(0o755)

    def ours(self, *words: str, store: str = "store") -> Cost:
        """Run cc-images."""
        command = [sys.executable, "-m", "cc_images", *words]
        return cost(command, self.folder, CC_IMAGES_STORE=str(self.folder / store), **self.environment)

    def plain(self, name: str, elements: tuple[str, ...], package: str = "", arch: str = "amd64") -> Cost:
        """Run plain dib."""
        folders = [str(self.folder / "elements"), str(REPOSITORY / "elements")]
        command = [sys.executable, "-m", "bench.plain", str(self.folder / name), ",".join(elements), package, arch]
        return cost([*command, *folders], self.folder, **self.environment)


def conversion(project: Project) -> None:
    """Compare one conversion of the same raw disk with dib's own."""
    raw = project.folder / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", project.folder / "base.qcow2", raw], check=True)
    theirs = cost(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), "theirs.qcow2"], project.folder)

    def ours_with(seed: str, target: str) -> Cost:
        program = (
            "import threading; from pathlib import Path; from cc_images.outputs import qcow2;"
            f"qcow2.write(Path('disk.raw'), Path('{target}'), cores=2, stop=threading.Event(), seed={seed})"
        )
        return cost([sys.executable, "-c", program], project.folder, PYTHONPATH=str(REPOSITORY))

    ours = ours_with("None", "ours.qcow2")
    line("conversion of one raw disk to qcow2", ours, theirs, "CPU <= 0.20")
    _sizes(project, "theirs")
    seeded = ours_with("Path('ours.qcow2')", "again.qcow2")
    line("  the same beside the file from before", seeded, theirs, "CPU <= 0.20")
    same = (project.folder / "again.qcow2").read_bytes() == (project.folder / "ours.qcow2").read_bytes()
    print(f"{'  with the same bytes':44} {same}")
    zstd = ("-W", "-m", "2", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd")
    theirs = cost(["qemu-img", "convert", *zstd, str(raw), "zstd.qcow2"], project.folder)
    line("  the same beside qemu-img's zstd, unordered", ours, theirs, "CPU <= 1.0, digests included")
    _sizes(project, "zstd")


def _sizes(project: Project, other: str) -> None:
    sizes = [(project.folder / f"{side}.qcow2").stat().st_size for side in ("ours", other)]
    print(f"{'  size in MiB':44} {sizes[0] >> 20:8} {'':8} {sizes[1] >> 20:8} {'':8} {sizes[0] / sizes[1]:8.4f} "
          f"{'':8}  size <= 1.0")  # fmt: skip


def big_catalogue(project: Project) -> None:
    """Plan a catalogue of a thousand images that are all in the store."""
    records = sorted((project.folder / "store" / "builds" / "kid-a" / "amd64").glob("2*.json"))
    record = json.loads(records[-1].read_text())
    tags = [f"big-{number}" for number in range(IMAGES)]
    images = "CC-Debian12: {}\n" + "".join(
        f"{tag}: {{depends: [CC-Debian12], elements: [kid-a], packages: [htop], environment: {{DIB_BIG: '{tag}'}}}}\n"
        for tag in tags
    )
    project.catalogue(images)
    jobs = {
        each["job"]["tag"]: each["job"] for each in json.loads(planned(project))["tasks"] if each["id"][:5] == "build"
    }
    for tag in tags:
        path = project.folder / "store" / "builds" / tag / "amd64" / records[-1].name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record | {"tag": tag, "name": tag, "asked": jobs[tag]["asked"]}))
    program = (
        "import resource, sys; from cc_images import cli\n"
        "try: cli.main(['plan', '-b', 'all'])\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, file=open('rss', 'w'))"
    )
    environment = project.environment | {"CC_IMAGES_STORE": str(project.folder / "store")}
    took = cost([sys.executable, "-c", program], project.folder, **environment)
    cached = json.loads(planned(project))["tasks"]
    assert sum(task["cached"] for task in cached) >= IMAGES, "all of them are in the store"
    memory = (project.folder / "rss").read_text().strip()
    print(f"{f'plan of {IMAGES} images, all cached':44} {took.cpu:8.2f} {took.wall:8.2f}   {memory} MiB"
          f"{'':24}  <= 1 s CPU, <= 150 MB")  # fmt: skip


def planned(project: Project) -> str:
    """Return the plan of everything as JSON."""
    environment = {**os.environ, **project.environment, "CC_IMAGES_STORE": str(project.folder / "store")}
    command = [sys.executable, "-m", "cc_images", "plan", "-b", "--json", "all"]
    return subprocess.run(
        command, cwd=project.folder, env=environment, check=True, capture_output=True, text=True
    ).stdout


def main() -> None:
    """Measure both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    folder = Path(tempfile.mkdtemp(prefix="cc-images-bench-"))
    try:
        project = Project(folder)
        print(f"{'':44} {'ours':>17} {'plain dib':>17} {'ratio':>17}")
        print(f"{'':44} {'CPU s':>8} {'wall s':>8} {'CPU s':>8} {'wall s':>8} {'CPU':>8} {'wall':>8}  goal", flush=True)
        base = project.plain("base", BASE)
        alone = "CC-Debian12: {}\n"
        project.catalogue(alone)
        line("one image, cold", project.ours("-b", "cc-debian12", store="alone"), base, "CPU <= 0.65")
        project.catalogue(CATALOGUE)
        leaf = project.plain("kid-a", (*BASE, "kid-a"), CHILDREN["kid-a"])
        others = [leaf if quick else project.plain(name, (*BASE, name), CHILDREN[name]) for name in list(CHILDREN)[1:]]
        family = sum(others, base + leaf)
        line(
            "base and three children, cold, -t 2",
            project.ours("-b", "-t", "2", "all"),
            family,
            "CPU <= 0.30, wall <= 0.25",
        )
        line("nothing changed, the whole family", project.ours("-b", "all"), family, "CPU <= 0.003, < 0.4 s")
        steps: dict[str, tuple[Callable[[], None], str]] = {
            "a script of the leaf's element changed": (lambda: project.hook("kid-a", "two"), "CPU <= 0.15"),
            "one package added to the leaf": (
                lambda: project.catalogue(CATALOGUE.replace("[htop]", "[htop, rsync]")), "CPU <= 0.25"
            ),
        }  # fmt: skip
        for case, (change, goal) in steps.items():
            change()
            line(case, project.ours("-b", "kid-a"), leaf, goal)
        project.catalogue(CATALOGUE)
        conversion(project)
        big_catalogue(project)
    finally:
        remove(folder)


if __name__ == "__main__":
    main()
