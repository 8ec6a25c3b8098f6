"""Measure a family of seven containers: cc-images, two at a time, against `buildah build`, one after the other.

Prints CPU seconds (user and system, of all processes) and wall seconds of both sides, their ratio and the goal, all of
one run. Both start from the same base image, which is made before. The other side keeps its layers (`--layers`). Then
formats of one tree: our OCI writer beside `buildah commit`, our SIF writer beside mksquashfs alone and beside
`apptainer build`, out of a tree of Debian sid that is made for it (`--no-apptainer` leaves it out). Takes about 15
minutes on 2 cores.

The same compression of SIF files means: the same format (squashfs by zlib, blocks of 128 KiB), and a size within 1 % of
Apptainer's. The levels differ: Apptainer has level 9. Another row has Apptainer at our level. Each file's level as it
says itself, its size, and its part of the tree's size are printed.
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.cache import Cost, Project, cost, line
from cc_images.host.root import remove
from cc_images.outputs import sif
from tests.support.apptainer import Apptainer

FAMILY = {
    "ws-base": ("base", "less"),
    "ws-one": ("ws-base", "file"),
    "ws-two": ("ws-base", "tree"),
    "ws-one-desktop": ("ws-one", "nano"),
    "ws-two-desktop": ("ws-two", "bc"),
    "ws-one-notebook": ("ws-one-desktop", "jq"),
    "ws-two-notebook": ("ws-two-desktop", "time"),
}
"""Images with their parent and the package that each adds."""

CONTAINERFILE = """\
ARG BASE
FROM ${BASE}
ARG PACKAGE
RUN apt-get update && apt-get install -y --no-install-recommends ${PACKAGE} && rm -rf /var/lib/apt/lists/*
COPY note /etc/note
"""

BASE = (
    "{elements: [debian-minimal, cc-container], base: false, formats: [oci, tar], environment: {DIB_RELEASE: bookworm}}"
)

CATALOGUE = f"Base: {BASE}\n" + "".join(
    f"{name.upper()}: {{builder: containerfile, depends: [{parent}], build-args: {{PACKAGE: {package}}}}}\n"
    for name, (parent, package) in FAMILY.items()
)


class Others:
    """The other side: buildah with a storage of its own."""

    def __init__(self, project: Project) -> None:
        self._folder = project.folder
        places = f'runroot = "{self._folder}/run"\ngraphroot = "{self._folder}/storage"\n'
        (self._folder / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{places}')
        self._environment = {**project.environment, "CONTAINERS_STORAGE_CONF": str(self._folder / "storage.conf")}

    def run(self, *words: str) -> Cost:
        """Run a command with this storage."""
        return cost([*words], self._folder, **self._environment)

    def output(self, *words: str) -> str:
        """Run a command and return its output."""
        return subprocess.run(words, cwd=self._folder, check=True, capture_output=True, text=True).stdout

    def load(self, archive: Path) -> None:
        """Load the base image."""
        self.run("sh", "-c", 'buildah tag "$(buildah pull -q "oci-archive:$1")" localhost/base', "load", str(archive))

    def build(self, *names: str) -> Cost:
        """Build images one after the other, and write each as an archive, as the other side has them."""
        total = Cost(0, 0)
        for name in names:
            parent, package = FAMILY[name]
            arguments = ["--build-arg", f"BASE=localhost/{parent}", "--build-arg", f"PACKAGE={package}"]
            how = ["buildah", "build", "--quiet", "--isolation", "chroot", "--network", "host"]
            total += self.run(
                *how, "--layers", "--pull-never", *arguments, "--tag", f"localhost/{name}", f"containers/{name}"
            )
            (self._folder / f"{name}.tar").unlink(missing_ok=True)
            total += self.run("buildah", "push", "--quiet", f"localhost/{name}", f"oci-archive:{name}.tar")
        return total

    def close(self) -> None:
        """Remove the storage, whose layers may be mounted."""
        self.run("buildah", "rmi", "--all", "--force")
        subprocess.run(["umount", str(self._folder / "storage" / "overlay")], check=False, capture_output=True)


def write_contexts(project: Project) -> None:
    """Write a context for each image."""
    for name in FAMILY:
        context = project.folder / "containers" / name
        context.mkdir(parents=True)
        (context / "Containerfile").write_text(CONTAINERFILE)
        (context / "note").write_text("one\n")


def families(project: Project, others: Others) -> None:
    """Compare the family, cold, with a changed leaf, and unchanged."""
    names = [*FAMILY]
    build = ("-q", "-b", "-t", "2", *names)
    line("the family, cold", project.ours(*build), others.build(*names), "wall <= 0.8")
    (project.folder / "containers" / names[-1] / "note").write_text("two\n")
    line("a file of one leaf changed", project.ours(*build), others.build(*names), "wall <= 0.5")
    line("nothing changed", project.ours(*build), others.build(*names), "wall <= 0.05")


def formats(project: Project, others: Others, with_apptainer: bool) -> None:
    """Compare the formats that one tree becomes."""
    tree = project.folder / "store" / "images" / "Base.tar.zst"
    place = project.folder / "tree"
    place.mkdir()
    others.run("tar", "--zstd", "-C", str(place), "-xf", str(tree))
    ours = {wanted: _converted(project, tree, wanted) for wanted in ("oci", "sif")}
    commit = 'c=$(buildah from scratch) && buildah add -q $c "$1" / && buildah commit -q $c oci-archive:theirs.tar'
    line("OCI of a tree, beside buildah", ours["oci"], others.run("sh", "-c", commit, "commit", str(place)), "")
    squash = others.run("mksquashfs", str(place), "theirs.squashfs", "-comp", "gzip", "-noappend", "-no-progress")
    line("SIF of a tree, beside mksquashfs alone", ours["sif"], squash, "")
    if with_apptainer:
        beside_apptainer(project, ours["sif"])
    for name in ("ours.oci", "theirs.tar"):
        print(f"{f'  size of {name} in MiB':44} {(project.folder / name).stat().st_size / (1 << 20):8.1f}")
    plain = int(others.output("du", "--apparent-size", "--block-size=1", "--summarize", str(place)).split()[0])
    sizes(project, plain)


def beside_apptainer(project: Project, ours: Cost) -> None:
    """Compare our SIF writer with Apptainer as it comes, and with Apptainer at our level."""
    apptainer = Apptainer(project.folder)
    if why := apptainer.make():
        print(f"no Apptainer: {why}")
        return
    level = f"-Xcompression-level {sif.LEVEL}"
    for case, name, options, goal in (
        ("SIF of a tree, beside apptainer", "theirs.sif", [], "CPU <= 0.7, size within 1 %"),
        ("SIF of a tree, beside apptainer at our level", "level.sif", ["--mksquashfs-args", level], ""),
    ):
        words = [*options, str(project.folder / name), f"oci-archive:{project.folder / 'ours.oci'}"]
        line(case, ours, cost(apptainer.command("apptainer", "build", *words), project.folder), goal)


def sizes(project: Project, plain: int) -> None:
    """Print level and size of each squashfs, beside Apptainer's and beside the tree."""
    names = ("ours.sif", "theirs.sif", "level.sif", "theirs.squashfs")
    files = [file for name in names if (file := project.folder / name).exists()]
    theirs = (project.folder / "theirs.sif").stat().st_size if (project.folder / "theirs.sif").exists() else 0
    print(f"{'squashfs':44} {'level':>8} {'MiB':>8} {'of tree':>8} {'of theirs.sif':>14}")
    for file in files:
        size = file.stat().st_size
        beside = f"{size / theirs:14.4f}" if theirs else ""
        print(f"{f'  {file.name}':44} {level_of(file):8} {size / (1 << 20):8.2f} {size / plain:8.4f} {beside}")


def level_of(file: Path) -> int:
    """Return the level of zlib that a squashfs says, also one in a SIF file; without options it is 9."""
    whole = file.read_bytes()
    begin = 0 if whole.startswith(b"hsqs") else whole.index(b"hsqs", sif.DATA_AT)
    compression, _, flags = struct.unpack_from("<HHH", whole, begin + 20)
    assert compression == 1, f"{file} is not compressed by zlib"
    return int(struct.unpack_from("<I", whole, begin + 98)[0]) if flags & 0x0400 else 9


def _converted(project: Project, tree: Path, wanted: str) -> Cost:
    program = (
        "import io, threading; from pathlib import Path; from cc_images.outputs import tree;"
        "from cc_images.model.catalog import Arch, Format; from cc_images.model.container import NOTHING_SAID;"
        f"tree.convert(Path({str(tree)!r}), Path('ours.{wanted}'), Format('{wanted}'), (NOTHING_SAID, Arch.AMD64),"
        " cores=2, log=io.BytesIO(), stop=threading.Event())"
    )
    return cost([sys.executable, "-c", program], project.folder, **project.environment)


def main() -> None:
    """Measure both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-apptainer", action="store_true", help="leave Apptainer out")
    parser.add_argument("--formats", action="store_true", help="leave the family out")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cc-images-bench-"))
    project = Project(folder)
    others = Others(project)
    try:
        project.catalogue(CATALOGUE)
        write_contexts(project)
        project.ours("-q", "-b", "base")
        others.load(folder / "store" / "images" / "Base.oci.tar")
        print(f"{'':44} {'cc-images':>17} {'buildah':>17} {'ratio':>17}")
        print(f"{'':44} {'CPU s':>8} {'wall s':>8} {'CPU s':>8} {'wall s':>8} {'CPU':>8} {'wall':>8}  goal", flush=True)
        if not options.formats:
            families(project, others)
        formats(project, others, not options.no_apptainer)
    finally:
        others.close()
        remove(folder)


if __name__ == "__main__":
    main()
