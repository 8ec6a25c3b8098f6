"""Measure what another architecture costs: cc-debian12 for arm64 against amd64 on this amd64 host, both in this run.

Prints CPU seconds (user and system, of all processes) and wall seconds of both sides, their ratio and the goal. Takes
about 8 minutes on 2 cores. With `--plain` the other side is plain `disk-image-create` with plain QEMU: half an hour.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.cache import BASE, CHILDREN, Cost, Project
from cc_images.host.root import remove

CATALOGUE = """\
CC-Debian12: {{arch: [amd64, arm64]}}
kid-a: {{arch: [amd64, arm64], depends: [CC-Debian12], elements: [kid-a], packages: [{}]}}
""".format(CHILDREN["kid-a"])


def line(case: str, arm64: Cost, other: Cost, goal: str) -> None:
    """Print one row of the table."""
    ratios = f"{arm64.cpu / other.cpu:8.3f} {arm64.wall / other.wall:8.3f}"
    print(
        f"{case:44} {arm64.cpu:8.1f} {arm64.wall:8.1f} {other.cpu:8.1f} {other.wall:8.1f} {ratios}  {goal}", flush=True
    )


def against_amd64(project: Project) -> None:
    """Compare the architectures."""
    cold = {arch: project.ours("-b", "-a", arch, "cc-debian12", store=arch) for arch in ("amd64", "arm64")}
    line("cc-debian12 and its layer, cold, with twins", cold["arm64"], cold["amd64"], "CPU <= 1.5")
    for arch in cold:
        project.ours("-b", "-a", arch, "kid-a", store=arch)
    project.hook("kid-a", "two")
    leaf = {arch: project.ours("-b", "-a", arch, "kid-a", store=arch) for arch in cold}
    line("a script of the leaf's element changed", leaf["arm64"], leaf["amd64"], "CPU <= 1.5")


def against_plain(project: Project) -> None:
    """Compare cc-images with plain dib and plain QEMU, both for arm64 and in one go."""
    project.catalogue("CC-Debian12: {arch: [amd64, arm64]}\n")
    ours = project.ours("-b", "-a", "arm64", "cc-debian12", store="alone")
    line("cc-debian12 for arm64, cold, with twins", ours, project.plain("plain", BASE, arch="arm64"), "CPU <= 0.2")


def main() -> None:
    """Measure both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="the other side is plain dib and QEMU, not amd64")
    plain = parser.parse_args().plain
    folder = Path(tempfile.mkdtemp(prefix="cc-images-bench-"))
    try:
        project = Project(folder)
        project.catalogue(CATALOGUE)
        print(f"{'':44} {'arm64':>17} {'plain dib' if plain else 'amd64':>17} {'ratio':>17}")
        print(f"{'':44} {'CPU s':>8} {'wall s':>8} {'CPU s':>8} {'wall s':>8} {'CPU':>8} {'wall':>8}  goal", flush=True)
        (against_plain if plain else against_amd64)(project)
    finally:
        remove(folder)


if __name__ == "__main__":
    main()
