"""Measure how the cost of each verb grows: CPU seconds and peak memory at n and 2n, and the exponent that follows.

Prints CPU seconds (user and system, of all processes), the largest resident memory, and log2 of the ratio, less what
starting costs: an exponent of 1 is linear. Goals at 1,000 cached images: plan at most 1 CPU second and 80 MB, list and
status 1.5, a cached run 3. `--n` is the smaller size, `--only` a part of a case's name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.plain import REPOSITORY
from cc_images.builders.resolver import image_builder
from cc_images.config.loader import load
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.model.plan import FetchJob, Plan, Resource, Result, Status, Task
from cc_images.store.records import Store

NOW = datetime.now(UTC).replace(microsecond=0)
VERSION = "%Y%m%dT%H%M%SZ"

ELEMENTS = {
    "scale-os/element-provides": "operating-system\n",
    "scale-os/install.d/10-os": "#!/bin/bash\necho os\n",
    "scale-disk/finalise.d/50-disk": "#!/bin/bash\necho disk\n",
}
ROUNDS = 6
"""A shared machine is as slow as its neighbours are busy: the least of so many runs is compared."""

ENTRY = "elements: [scale-os], disk: [scale-disk]"


@dataclass(frozen=True)
class Cost:
    """CPU seconds, and the largest resident memory of one process in MB."""

    cpu: float
    memory: float


@dataclass(frozen=True)
class Case:
    """One command at two sizes. `setup` makes what it needs in a folder; `goal` is for 1,000 images."""

    name: str
    setup: Callable[[Bed, int], None]
    command: tuple[str, ...]
    goal: str = ""
    terminal: bool = False
    codes: tuple[int, ...] = (0,)
    divide: int = 1
    """By what n is divided: cases whose unit costs more."""
    fresh: bool = False
    """Whether it needs a store of its own each time: it changes what the next round would measure."""


class Bed:
    """A project folder, and a store beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "store")
        self.store.root.mkdir(parents=True)
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(REPOSITORY),
            "CC_IMAGES_STORE": str(self.store.root), "CC_IMAGES_SETTINGS": "",
        }  # fmt: skip
        for name, text in ELEMENTS.items():
            path = folder / "elements" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if path.parent.suffix == ".d" else 0o644)
        (folder / "sites.yaml").write_text("local: {directory: site}\n")
        (folder / "third-party.yaml").write_text("")

    def catalog(self, entry: Callable[[int], str], count: int) -> None:
        """Write images.yaml."""
        (self.folder / "images.yaml").write_text("".join(f"CC-{k}: {{{entry(k)}}}\n" for k in range(count)))

    def record(self, tag: str, version: str, key: str) -> None:
        """Put a build into the store."""
        staged = self.store.root / "staged"
        staged.write_text(f"{tag} {version}")
        blob = self.store.blobs.add(staged)
        output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1)
        build = Build(tag=tag, name=tag.upper(), arch=Arch.AMD64, version=version, recipe_key=key, key=key,
                      outputs={Format.QCOW2: output})  # fmt: skip
        self.store.record(build, {}, tag.upper())

    def run(self, words: tuple[str, ...], terminal: bool, codes: tuple[int, ...]) -> Cost:
        """Run a command and return what it cost."""
        command = [sys.executable, *words]
        if terminal:
            command = ["script", "-qefc", " ".join(command), os.devnull]
        with (self.folder / "out").open("w") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
            _, status, used = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        process.returncode = code
        if code not in codes:
            sys.exit(f"{' '.join(command)}: {code}\n{(self.folder / 'out').read_text()[-2000:]}")
        return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def cached(bed: Bed, count: int) -> None:
    """Make `count` images of which each has a build that serves."""
    bed.catalog(lambda k: ENTRY, count)
    config = load(bed.environment, bed.folder)
    builder = image_builder()
    resolver = builder.resolver(config, bed.store, builder.host_facts([Arch.AMD64]), fetch=True, offline=True)
    for image in config.images.values():
        key = resolver.resolve(image, Arch.AMD64).spec.recipe_key
        bed.record(image.tag, f"{NOW - timedelta(hours=1):{VERSION}}", key)


def pushed(bed: Bed, count: int) -> None:
    """Make cached images, and push all of them."""
    cached(bed, count)
    bed.run(("-m", "cc_images", "-q", "-p", "--no-boot-test", "all"), False, (0,))


def failing(bed: Bed, count: int) -> None:
    """Make images whose download is missing: each fails, and a build and a conversion are blocked."""

    def entry(k: int) -> str:
        digest = hashlib.sha256(str(k).encode()).hexdigest()
        return f"{ENTRY}, artifacts: {{DIB_A: {{url: 'file:///nowhere/{k}', sha256: '{digest}'}}}}"

    bed.catalog(entry, count)


def old_builds(bed: Bed, count: int) -> None:
    """Make one image with many builds."""
    bed.catalog(lambda k: ENTRY, 1)
    for k in range(count):
        bed.record("cc-0", f"{NOW - timedelta(minutes=k):{VERSION}}", "a" * 64)


def journals(bed: Bed, count: int) -> None:
    """Make journals of 100 results each."""
    bed.catalog(lambda k: ENTRY, 1)
    (bed.store.root / "runs").mkdir()
    results = [{"task": f"build cc-{k} amd64", "status": "done", "error": "", "hint": "", "tail": [], "log": "",
                "seconds": 1.0, "started": 0.0} for k in range(100)]  # fmt: skip
    for k in range(count):
        run = f"{NOW - timedelta(minutes=k):{VERSION}}"
        said = {"run": run, "state": "ok", "began": NOW.isoformat(), "plan": {"tasks": []}, "results": results,
                "counts": {"built": 100}, "seconds": 9.0}  # fmt: skip
        (bed.store.root / "runs" / f"{run}.json").write_text(json.dumps(said, indent=1))


def children(bed: Bed, count: int) -> None:
    """Make images for two architectures, half of them children of the others."""
    lines = [
        f"CC-{k}: {{depends: [CC-{k - 1}], arch: [amd64, arm64], elements: [], packages: [p{k}]}}\n"
        if k % 2
        else f"CC-{k}: {{arch: [amd64, arm64], elements: [debian-minimal], environment: {{DIB_X: '{k}'}}}}\n"
        for k in range(count)
    ]
    (bed.folder / "images.yaml").write_text("".join(lines))


CLI = ("-m", "cc_images")
CASES = (
    Case("plan", cached, (*CLI, "plan", "-b", "all"), "1 s, 80 MB"),
    Case("plan --json", cached, (*CLI, "plan", "-b", "-p", "--json", "all")),
    Case("list", pushed, (*CLI, "list"), "1.5 s"),
    Case("status", pushed, (*CLI, "status"), "1.5 s"),
    Case("explain", cached, (*CLI, "explain", "all")),
    Case("run, all cached", cached, (*CLI, "-b", "all"), "3 s"),
    Case("run, all cached, on a terminal", cached, (*CLI, "-b", "all"), terminal=True),
    Case("push, first", cached, (*CLI, "-q", "-p", "--no-boot-test", "all"), divide=2, fresh=True),
    Case("push, nothing new", pushed, (*CLI, "-q", "-p", "--no-boot-test", "all"), divide=2),
    Case("run of 3n results, all fail", failing, (*CLI, "-b", "all"), codes=(3,)),
    Case("the same on a terminal", failing, (*CLI, "-b", "all"), terminal=True, codes=(3,), divide=5),
    Case("prune of n builds", old_builds, (*CLI, "prune", "--keep", "1"), fresh=True),
    Case("report --list of n runs", journals, (*CLI, "report", "--list")),
    Case("schedule of 5n tasks", lambda bed, n: None, ("-m", "bench.scale", "--schedule", "{5n}")),
    Case("plan for amd64, half children", children, (*CLI, "plan", "-b", "--offline", "-a", "amd64", "all"), divide=5),
    Case("plan for arm64, half children", children, (*CLI, "plan", "-b", "--offline", "-a", "arm64", "all"), divide=5),
)


def schedule(count: int) -> None:
    """Let the schedule alone start and finish tasks, two at a time."""
    from cc_images.engine.schedule import Schedule
    from cc_images.model.catalog import Download

    tasks = tuple(
        Task(id=f"t{k}", job=FetchJob(artifact=Download(url=f"file:///{k}")), reason="") for k in range(count)
    )
    made = Schedule(Plan(version="v", tasks=tasks), {Resource.FETCH: 2})
    while made.waits:
        made.settle()
        for task in made.start():
            made.finish(Result(task=task.id, status=Status.DONE))
        made.usage()


def measured(case: Case, sizes: tuple[int, ...], folder: Path) -> list[Cost]:
    """Return the least cost at each size in several rounds; a round takes all sizes, so noise meets all."""
    beds: dict[int, Bed] = {}
    least: dict[int, Cost] = {}
    for number in range(ROUNDS // 2 if case.fresh else ROUNDS):
        for size in sizes:
            if case.fresh or number == 0:
                beds[size] = Bed(folder / f"{size}-{number}")
                case.setup(beds[size], size)
            words = tuple(word.replace("{5n}", str(5 * size)) for word in case.command)
            cost = beds[size].run(words, case.terminal, case.codes)
            least[size] = min(cost, least.get(size, cost), key=lambda each: each.cpu)
    return [least[size] for size in sizes]


def main(options: argparse.Namespace) -> None:
    """Print a row for each case."""
    print(f"{'':34} {'n':>5} {'CPU s':>7} {'MB':>5}   {'2n':>5} {'CPU s':>7} {'MB':>5}   exponent  goal at 1,000")
    worst: dict[str, float] = {}
    for case in CASES:
        if options.only not in case.name:
            continue
        with tempfile.TemporaryDirectory(prefix="cc-scale-") as temporary:
            folder = Path(temporary)
            count = max(10, options.n // case.divide)
            none, one, two = measured(case, (1, count, 2 * count), folder)
        growth = (two.cpu - none.cpu) / max(one.cpu - none.cpu, 0.001)
        worst[case.name] = math.log2(growth) if growth > 0 else 0.0
        print(
            f"{case.name:34} {count:5} {one.cpu:7.2f} {one.memory:5.0f}   "
            f"{2 * count:5} {two.cpu:7.2f} {two.memory:5.0f}   {worst[case.name]:8.2f}  {case.goal}",
            flush=True,
        )
    beyond = [name for name, exponent in worst.items() if exponent > 1.15]
    print(f"more than linear: {', '.join(beyond) or 'nothing'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--only", default="")
    parser.add_argument("--schedule", type=int)
    chosen = parser.parse_args()
    if chosen.schedule:
        schedule(chosen.schedule)
    else:
        main(chosen)
