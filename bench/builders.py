"""Measure what it costs the head to have images built elsewhere: CPU per image, and the time beside the forecast.

The builder hosts are simulated: threads that ask for a lease and the bundle through a real hub over a socket, wait, and
bring a small layer. So the figures have the head's decisions, its store, and both ends of the calls, and no build.
Goals: the CPU per image does not grow with the number of images or hosts, and 12 images over three hosts take at most
1 / 0.9 of the forecast's time.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cc_images import clock
from cc_images.builders import base
from cc_images.engine.capacity import Bookings
from cc_images.engine.execute import execute
from cc_images.engine.forecast import Forecast
from cc_images.host import record_files
from cc_images.model.builds import Layer
from cc_images.model.catalog import Json
from cc_images.model.plan import Plan, Request, Resource, Task
from cc_images.model.recipe import key_of
from cc_images.remote.elsewhere import Builders, hub_path
from cc_images.remote.placement import chains
from cc_images.store.records import Store
from cc_images.testing import FakeBuilder
from tests.support.builderhosts import InProcess, Job, fleet
from tests.support.context import envelope, run_context
from tests.support.jobs import layer_job


@dataclass(frozen=True)
class Measured:
    """Seconds of a run: by the clock, of all processors, and by the forecast."""

    wall: float
    cpu: float
    forecast: float


def simulated(seconds: float, ready: Mapping[str, tuple[str, Path]], version: str) -> object:
    """Return what a simulated host does with an attempt: it waits, and brings the layer that is ready."""

    def script(job: Job) -> None:
        job.hub.lease(secrets.token_hex(16))
        plain = job.hub.bundle()
        task = plain["envelopes"][0]["task"]
        tag = task.split()[1]
        job.say({"event": "Step", "task": task, "doing": "install.d"})
        time.sleep(seconds)
        digest, path = ready["layer"]
        job.hub.put(path, digest)
        record = Layer(
            tag=tag, arch=layer_job(tag=tag).spec.arch, run=version, recipe_key="a", key=key_of({"upstream": {}}),
            digest=digest, size=path.stat().st_size, upstream={},
        )  # fmt: skip
        result = {"task": task, "status": "done", "seconds": seconds, "size": record.size}
        made: Json = {
            "results": [result],
            "layer": {"record": record_files.encoded_layer(record), "details": {}},
        }
        job.say({"ended": result})
        job.hub.put_result(job.result(made=made))
        job.over()

    return script


def measured(folder: Path, images: int, hosts: int, seconds: float) -> Measured:
    """Let simulated hosts build so many images, each alone on its host."""
    store = Store(folder / "head")
    run = store.start_run(clock.now())
    context = run_context(store, run)
    content = folder / "content"
    content.write_bytes(os.urandom(4096))
    shutil.copyfile(content, folder / "staged")
    digest = store.blobs.add(folder / "staged").digest
    names = [f"cc-{number:05}" for number in range(images)]
    tasks = tuple(
        Task(
            id=f"layer {tag} amd64",
            job=layer_job(tag=tag, builder="fake", version=run.version),
            reason="",
        )
        for tag in names
    )
    plan = Plan(version=run.version, tasks=tasks)
    hub = hub_path()
    script = simulated(seconds, {"layer": (digest, content)}, run.version)
    launchers = {f"b{number:03}": InProcess(folder / f"b{number:03}", f"unix:{hub}", script) for number in range(hosts)}  # type: ignore[arg-type]
    builders = Builders(fleet=fleet(launchers), chains=chains(plan, Request(tags=tuple(names))), hub=hub)
    limits = dict.fromkeys(Resource, 10**9) | {Resource.BUILD: hosts}
    usual = {task.id: seconds for task in tasks}
    forecast = Forecast(plan=plan, bookings=Bookings(limits=limits, reserved={}), usual=usual).remaining()
    began, spent = time.monotonic(), time.process_time()
    with ExitStack() as ending:
        pools = ending.enter_context(builders.opened(lambda task: envelope(context, task.id, task.job), context))
        results = execute(plan, lambda task: pools[task.id], limits)
    wall, cpu = time.monotonic() - began, time.process_time() - spent
    bad = [each for each in results.values() if not each.status.good]
    assert not bad, bad[:3]
    store.finish_run(run, shutil.rmtree)
    return Measured(wall=wall, cpu=cpu, forecast=forecast)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="*", default=[500, 1000, 2000, 5000])
    parser.add_argument("--hosts", type=int, nargs="*", default=[50, 200])
    options = parser.parse_args()
    FakeBuilder.registered("fake")
    threading.stack_size(512 << 10)
    with tempfile.TemporaryDirectory() as folder:
        few = measured(Path(folder) / "few", 12, 3, 10.0)
        print(f"12 images of 10 s over 3 hosts: forecast {few.forecast:.1f} s, wall {few.wall:.1f} s, "
              f"ratio {few.forecast / few.wall:.3f} (goal: at least 0.9)", flush=True)  # fmt: skip
    first: dict[int, float] = {}
    for hosts in options.hosts:
        for images in options.images:
            with tempfile.TemporaryDirectory() as folder:
                found = measured(Path(folder), images, hosts, 1.0)
            each = 1000 * found.cpu / images
            first.setdefault(hosts, each)
            print(f"{images:6} images over {hosts:4} hosts: CPU {found.cpu:7.1f} s, {each:6.1f} ms each, "
                  f"{each / first[hosts]:.2f} of the first row; wall {found.wall:7.1f} s", flush=True)  # fmt: skip
    del base.BUILDERS["fake"]
    return 0


if __name__ == "__main__":
    sys.exit(main())
