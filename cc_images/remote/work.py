"""The tasks of a bundle, done in the store of a builder host.

They are the tasks that a run of this host would do, with the head's version: what they leave in the store is kept, so
that a layer need not travel twice. The head decides what becomes of the result.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from msgspec import to_builtins

from cc_images.builders.base import decoded
from cc_images.engine import capacity, worker
from cc_images.engine.envelope import Envelope
from cc_images.engine.tasks.stored import version_of
from cc_images.host import record_files, root
from cc_images.model.catalog import Json
from cc_images.model.events import TaskEvent
from cc_images.model.plan import BuildJob, ConvertJob, LayerJob, Plan, Result, Status, Task
from cc_images.model.vault import unsealed
from cc_images.remote import bundle as bundles
from cc_images.remote.bundle import Bundle
from cc_images.remote.leash import Leash, lines_of
from cc_images.remote.lines import Lines
from cc_images.store import notes
from cc_images.store.durations import History
from cc_images.store.notes import Evidence, RunSettings
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext
from cc_images.store.workspace import Run

Say = Callable[[Json], None]
"""Takes a line of the stream; see `lines`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The tasks of a bundle, whose inputs are in the store. `vault` has the secrets behind its references."""

    store: Store
    attempt: str
    bundle: Bundle
    vault: Mapping[str, str]
    say: Say
    stop: threading.Event

    def do(self) -> Json:
        """Do the tasks in their order, as far as they succeed; return what the head needs to record them."""
        run = self._run()
        try:
            context = self._context(run)
            envelopes = self._envelopes(context)
            self.say({"ready": True})
            results: list[Result] = []
            evidence: Evidence | None = None
            with Lines(self.say, run.logs) as lines:
                for envelope in envelopes:
                    lines.follow(envelope.task, run.log_path(envelope.task))
                    results.append(worker.perform(context.sealed(envelope.as_json(), envelope.secrets), context))
                    lines.ended()
                    self.say({"ended": to_builtins(replace(results[-1], log=""))})
                    if not results[-1].status.good:
                        break
                    evidence = evidence or _evidence(envelope, context)  # a conversion may remove it
            return self._made(envelopes, results, evidence, context)
        finally:
            self.store.finish_run(run, root.remove)

    def _run(self) -> Run:
        """Return the run at the head as one of this store: its folders have the attempt's name."""
        work, logs = self.store.root / "work" / self.attempt, self.store.root / "logs" / self.attempt
        with self.store.lock("runs"):  # nobody takes it for the folder of a dead run before it has its lock
            work.mkdir(parents=True)
            logs.mkdir(parents=True, exist_ok=True)
            return Run(self.bundle.run, work, logs, self.attempt)

    def _emit(self, event: TaskEvent) -> None:
        self.say({"event": type(event).__name__, **to_builtins(event)})

    def _context(self, run: Run) -> RunContext:
        """Lay out the notes that the tasks read."""
        bundle = self.bundle
        context = RunContext(
            store=self.store,
            run=run,
            settings=self._settings(),
            emit=self._emit,
            stop=self.stop,
            vault=dict(self.vault),
        )
        notes.write(run.work / "upstream.json", bundle.upstream)
        for key, details in bundle.details.items():
            notes.write(run.work / "recipes" / f"{key}.json", details)
        for each in bundle.layers:
            layer = record_files.decoded_layer(each["record"])
            run.use(self.store.blobs.path(layer.digest))
            if all(known.run != layer.run for known in self.store.layers(layer.tag, layer.arch)):
                self.store.record_layer(layer, each["details"])
        if bundle.files:
            bundles.unpack(self.store.blobs.path(bundle.files), run.work / "bundle")
        return context

    def _settings(self) -> RunSettings:
        cores = len(os.sched_getaffinity(0))
        host = capacity.Host.here(self.store.free_bytes())
        return replace(
            self.bundle.settings,
            cores=max(1, cores // self.bundle.tasks_at_once),
            guests_at_once=host.guests_at_once,
        )

    def _envelopes(self, context: RunContext) -> list[Envelope]:
        """Return the tasks for this host: nothing that it has made before stands in for them."""
        plain = bundles.placed(unsealed(list(self.bundle.envelopes), self.vault), context.run.work / "bundle")
        own = {"store": str(self.store.root), "run": self.attempt}
        found = [Envelope.from_json({**each, **own}, decoded) for each in plain]
        first = found[0].job
        assert isinstance(first, BuildJob)
        for download in first.spec.artifacts.values():
            context.note_fetched(download, self.store.blobs.path(self.bundle.downloads[download.identity]))
        for each in self.store.builds(first.tag, first.arch):
            if each.version == self.bundle.run:  # of an attempt that was lost
                self.store.forget(each)
        kept = isinstance(first, LayerJob)
        before = (
            [each.run for each in self.store.layers(first.tag, first.arch)]
            if kept
            else [each.version for each in self.store.builds(first.tag, first.arch)]
        )
        found[0] = replace(found[0], job=replace(first, known=(*first.known, *before)))
        tasks = tuple(Task(id=each.task, job=each.job, reason="") for each in found)
        host = capacity.Host.here(self.store.free_bytes())
        booked = capacity.book(
            Plan(version=self.bundle.run, tasks=tasks), host, self.bundle.tasks_at_once, History(self.store.root)
        )
        return [replace(each, tmpfs_mib=booked.tmpfs.get(each.task, 0)) for each in found]

    def _made(
        self, envelopes: list[Envelope], results: list[Result], evidence: Evidence | None, context: RunContext
    ) -> Json:
        """Return what was made, as far as it was: digests, records, and how each task ended."""
        made: Json = {"results": [to_builtins(replace(each, log="")) for each in results]}
        for envelope, result in zip(envelopes, results, strict=False):
            job = envelope.job
            if result.status is not Status.DONE:
                continue
            if isinstance(job, LayerJob):
                layer = next(each for each in self.store.layers(job.tag, job.arch) if each.run == self.bundle.run)
                made["layer"] = {"record": record_files.encoded_layer(layer), "details": self.store.details(layer)}
            elif isinstance(job, ConvertJob):
                build = context.stored(job.tag, job.arch, version_of(job, context))
                assert build is not None, "it was recorded a moment ago"
                outputs = [build.outputs[each] for each in job.formats]
                passes = self.store.root / "boots"
                details = self.store.details(build)
                made |= {
                    "evidence": to_builtins(evidence),
                    "outputs": [to_builtins(each) for each in outputs],
                    "passes": {
                        each.digest: record_files.text(file)
                        for each in outputs
                        if (file := passes / f"{each.digest}.json").is_file()
                    },
                    "looked": {name: details[name] for name in ("boot", "contents") if name in details},
                    "level": build.boot,
                }
        return made


def serve(told: IO[bytes], said: IO[bytes], stop: threading.Event) -> None:
    """Do the order that comes first, between the pipes of a guard; say lines, and at last what was made."""
    lock = threading.Lock()

    def say(line: Json) -> None:
        with lock:
            said.write(json.dumps(line).encode() + b"\n")
            said.flush()

    lines = lines_of(told)
    order = json.loads(next(lines))
    Leash(order["deadline"], lines).start()
    work = Work(
        store=Store(Path(order["store"]), stop),
        attempt=order["attempt"],
        bundle=Bundle.from_json(order["bundle"]),
        vault=order["vault"],
        say=say,
        stop=stop,
    )
    say({"made": work.do()})


def _evidence(envelope: Envelope, context: RunContext) -> Evidence | None:
    """Return what a build has left for its conversion; None for other tasks."""
    job = envelope.job
    if not isinstance(job, BuildJob) or isinstance(job, LayerJob):
        return None
    return notes.found(context.run.workspace(job.tag, job.arch) / "evidence.json", Evidence)
