"""Measure bytes and lines between a builder host and the head over loopback TLS, against `curl` at the same hub.

All sides take turns in one run, and begin in another order each round. All files lie in memory (/dev/shm): a disk would
be the slowest part, and the same for all. Wall seconds depend on who else uses the cores; CPU seconds of both ends do
not: their ratio is that of the rates when the cores are busy. `curl` computes no digest, our side does at both ends: a
third figure compares it with `curl` and `openssl dgst -sha256` of the file, one after the other.

Memory is the largest resident size of the process that has one end (VmHWM), and how much of it came after the imports:
at the builder's end since before the first call, at the hub since it listens. Needs `curl`, `openssl` and 6 GiB of
memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cc_images.model.catalog import Json
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.remote.client import Hub
from cc_images.remote.inputs import bring
from cc_images.remote.lines import Lines
from cc_images.remote.spool import Spool
from cc_images.store.records import Store
from tests.support import hubs
from tests.support.certificates import certificate

SIZE = 1 << 30
ROUNDS = 3
LINES = 2000
"""Log lines of each measure of their delay."""

SIDES = ("curl", "fetch", "input", "curl -T", "put")
"""`input` is `fetch`, and the blob in its place in the store of a builder host."""


@dataclass(slots=True)
class Cost:
    """What one side has cost over all rounds, in seconds; memory of its client in MiB."""

    walls: list[float] = field(default_factory=list)
    client: float = 0.0
    hub: float = 0.0
    peak: float = 0.0
    grown: float = 0.0
    check: float = 0.0
    """What it takes to compute the digest of what curl has moved."""

    @property
    def cpu(self) -> float:
        """CPU seconds of both ends."""
        return self.client + self.hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """A hub with a blob for builders, and a file that has the place of a result."""

    store: Store
    server: hubs.HubProcess
    folder: Path
    ca: Path
    layer: str
    result: str

    def attempt(self, number: int) -> AttemptFiles:
        """Return a new attempt that may read the blob."""
        return hubs.attempt(self.store, number, inputs=(self.layer,))

    def hub(self, number: int, address: str = "") -> Hub:
        """Return an attempt's hub."""
        return Hub(hubs.ticket(address or self.server.address, number, self.ca.read_text()))

    def forget(self, files: AttemptFiles) -> None:
        """Remove the result that an attempt has brought."""
        assert self.store.blobs.is_intact(self.result)
        (files.folder / "put" / self.result).unlink()
        self.store.blobs.remove(self.result)


def written(path: Path) -> str:
    """Write a file of SIZE random bytes and return its digest."""
    found = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(SIZE >> 20):
            block = os.urandom(1 << 20)
            found.update(block)
            file.write(block)
    return found.hexdigest()


def memory(name: str, process: int | str = "self") -> float:
    """Return a process's memory in MiB: VmHWM is its peak, VmRSS what it has now."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def cpu_of(process: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def curl(bed: Bed, side: str, files: AttemptFiles, number: int) -> tuple[float, float, float, float]:
    """Have curl move a file; return its wall and CPU seconds."""
    if side == "curl":
        words: list[str | Path] = [f"{bed.server.address}/v1/blobs/{bed.layer}", "--output", bed.folder / "target"]
    else:
        path = f"/v1/attempts/{files.attempt}/outputs/{bed.result}?at=0&size={SIZE}"
        words = ["-T", bed.folder / "result", f"{bed.server.address}{path}"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        ["curl", "--silent", "--fail", "--cacert", bed.ca, "--config", "-", *words],
        input=f'header = "Authorization: Bearer {files.attempt}.{hubs.token(number)}"\n', text=True, check=True,
    )  # fmt: skip
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 0.0, 0.0


def checked(path: Path) -> float:
    """Have openssl compute the digest of a file; return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["openssl", "dgst", "-sha256", path], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(bed: Bed, side: str, number: int) -> tuple[float, float, float, float]:
    """Have a process of its own move a file; return its wall and CPU seconds, its peak of memory, and its growth."""
    digest = bed.result if side == "put" else bed.layer
    path = {"fetch": "target", "input": "builder", "put": "result"}[side]
    said = subprocess.run(
        [sys.executable, "-m", "bench.transfer", side, bed.server.address, bed.ca, str(number), digest,
         bed.folder / path],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    wall, cpu, peak, grown = map(float, said)
    return wall, cpu, peak, grown


def move(side: str, address: str, ca: str, number: str, digest: str, path: str) -> None:
    """Move a file, and print wall and CPU seconds, the peak of memory, and how much of it came since the imports."""
    imported = memory("VmRSS")
    hub = Hub(hubs.ticket(address, int(number), Path(ca).read_text()))
    began, used = time.monotonic(), time.process_time()
    if side == "put":
        hub.put(Path(path), digest)
    elif side == "input":
        bring(hub, Store(Path(path)), digest, Path(path) / "partial")
    else:
        hub.fetch(digest, Path(path))
    peak = memory("VmHWM")
    print(time.monotonic() - began, time.process_time() - used, peak, peak - imported)


def rates(bed: Bed) -> dict[str, Cost]:
    """Move the files by each side, in turn."""
    costs = {side: Cost() for side in SIDES}
    assert bed.server.process is not None
    for number in range(1, ROUNDS + 1):
        files = bed.attempt(number)
        turn = number % len(SIDES)
        for side in SIDES[turn:] + SIDES[:turn]:
            cost, before = costs[side], cpu_of(bed.server.process.pid)
            wall, cpu, peak, grown = (
                curl(bed, side, files, number) if side.startswith("curl") else ours(bed, side, number)
            )
            cost.walls.append(wall)
            cost.client += cpu
            cost.hub += cpu_of(bed.server.process.pid) - before
            cost.peak, cost.grown = max(cost.peak, peak), max(cost.grown, grown)
            if side.startswith("curl"):
                cost.check += checked(bed.folder / ("target" if side == "curl" else "result"))
            if side in ("curl", "fetch"):
                (bed.folder / "target").unlink()
            elif side == "input":
                Store(bed.folder / "builder").blobs.remove(bed.layer)
            else:
                bed.forget(files)
    return costs


def show(costs: dict[str, Cost]) -> None:
    """Print rates, ratios, and the memory of a builder's end."""
    for theirs, mine, more in (("curl", "fetch", ("input",)), ("curl -T", "put", ())):
        for side in (theirs, mine, *more):
            cost = costs[side]
            each = ", ".join(f"{wall:.2f}" for wall in cost.walls)
            rate = ROUNDS * SIZE / 1e6 / sum(cost.walls)
            ends = f"client {cost.client / ROUNDS:.2f} + hub {cost.hub / ROUNDS:.2f} CPU s"
            print(f"{side:9} {rate:6.0f} MB/s   each {ends}   wall {each} s")
        wall, cpu = sum(costs[theirs].walls) / sum(costs[mine].walls), costs[theirs].cpu / costs[mine].cpu
        fair = (costs[theirs].cpu + costs[theirs].check) / costs[mine].cpu
        print(f"ratio     {wall:6.2f} of the rate   (goal >= 0.8)")
        print(f"          {cpu:6.2f} by CPU seconds of both ends, {fair:.2f} if curl computed the digest, too")
    peak, grown = (max(getattr(costs[side], name) for side in SIDES) for name in ("peak", "grown"))
    print(f"memory at a builder host   {peak:5.1f} MiB, {grown:.1f} since its imports   (goal <= 50)")


def second_builder(bed: Bed, number: int) -> None:
    """Print the bytes over the link when the other side has the file already."""
    for each in (number, number + 1):
        bed.attempt(each)
    with hubs.Cutting(bed.server.address, lambda: None) as link:
        target = bed.folder / "target"
        os.link(bed.folder / "layer", target)
        bed.hub(number, link.address).fetch(bed.layer, target)
        print(f"a builder host that has the layer    {link.up + link.down} bytes over the link   (goal 0)")
        bed.hub(number, link.address).put(bed.folder / "result", bed.result)
        link.up = link.down = 0
        bed.hub(number + 1, link.address).put(bed.folder / "result", bed.result)
        print(f"a result that the head has           {link.up + link.down} bytes over the link, TLS included")
        target.unlink()


@contextmanager
def busy(bed: Bed, number: int) -> Iterator[None]:
    """Have the result sent over and over meanwhile, by another process of the same attempt."""
    files, over = AttemptFiles(bed.store, f"a{number:032x}"), threading.Event()

    def send() -> None:
        while not over.is_set():
            ours(bed, "put", number)
            bed.forget(files)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def delays(bed: Bed, number: int) -> list[float]:
    """Return for each log line the seconds from its writing at the builder host to when it can be read at the head.

    The way is that of an attempt: log, `Lines`, `Spool`, hub, stream. Lines come in order, none is lost.
    """
    files, hub = AttemptFiles(bed.store, f"a{number:032x}"), bed.hub(number)
    log, wrote, read = bed.folder / f"log-{number}", [0.0] * LINES, [0.0] * LINES
    log.touch()

    def follow() -> None:
        seen, at = 0, 0
        while seen < LINES:
            time.sleep(0.002)
            with files.stream.open("rb") as stream:
                stream.seek(at)
                new = stream.read()
            new, now = new[: new.rfind(b"\n") + 1], time.monotonic()
            at += len(new)
            for line in (text for each in new.splitlines() for text in said(each)):
                assert line == f"line {seen}", (line, seen)
                read[seen], seen = now, seen + 1

    reader = threading.Thread(target=follow)
    with Spool(bed.folder / f"spool-{number}", hub.stream) as spool, Lines(spool.say, bed.folder) as lines:
        lines.follow("build", log)
        reader.start()
        with log.open("ab", buffering=0) as file:
            for line in range(LINES):
                wrote[line] = time.monotonic()
                file.write(b"line %d\n" % line)
                time.sleep(0.005)
    reader.join()
    return sorted(after - before for before, after in zip(wrote, read, strict=True))


def said(line: bytes) -> list[str]:
    """Return the log lines of a line of the stream."""
    plain: Json = json.loads(line)
    return str(plain["log"]).splitlines()


def show_delays(name: str, each: list[float]) -> None:
    """Print how late lines are."""
    p99 = each[len(each) * 99 // 100]
    shown = f"p50 {statistics.median(each):.3f} s, p99 {p99:.3f} s, most {each[-1]:.3f} s"
    print(f"log lines {name:24} {shown} of {LINES}   (goal p99 < 1)")


def main() -> None:
    """Print all sides and their ratios."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        chain, key = certificate(folder)
        store = Store(folder / "store")
        layer, result = written(folder / "layer"), written(folder / "result")
        store.root.mkdir()
        os.link(folder / "layer", store.root / "layer")
        store.blobs.add(store.root / "layer")
        with hubs.running(hubs.HubProcess(store.root, "--tls-cert", str(chain), "--tls-key", str(key))) as server:
            assert server.process is not None
            listens = memory("VmRSS", server.process.pid)
            bed = Bed(store=store, server=server, folder=folder, ca=chain, layer=layer, result=result)
            show(rates(bed))
            second_builder(bed, ROUNDS + 1)
            bed.forget(AttemptFiles(store, f"a{ROUNDS + 1:032x}"))
            bed.attempt(ROUNDS + 3)
            show_delays("alone", delays(bed, ROUNDS + 3))
            bed.attempt(ROUNDS + 4)
            with busy(bed, ROUNDS + 4):
                show_delays("beside results of 1 GiB", delays(bed, ROUNDS + 4))
            peak = memory("VmHWM", server.process.pid)
            print(f"memory of the hub          {peak:5.1f} MiB, {peak - listens:.1f} since it listens   (goal <= 50)")


if __name__ == "__main__":
    if sys.argv[1:]:
        move(*sys.argv[1:])
    else:
        main()
