"""One chain on builder hosts: observe, decide, act one step, and look again, until there is a result or none.

`attempts.decide` decides. The tasks of the chain wait here, one after the other; the one that waits does the work.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from cc_images.engine.envelope import Envelope
from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host import environment
from cc_images.model.attempt import Claim
from cc_images.model.catalog import Arch, Json
from cc_images.model.plan import BuildJob, LayerJob, Result
from cc_images.remote import bundle, settle
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.remote.attempt_steps import (
    Accept,
    AskToStop,
    Cancel,
    Done,
    Fail,
    Fence,
    LaunchAgain,
    Refuse,
    Start,
    Step,
    Wait,
)
from cc_images.remote.attempts import decide
from cc_images.remote.claims import Claims
from cc_images.remote.equality import programs_of
from cc_images.remote.fleet import Fleet
from cc_images.remote.observed import Observed, Policy
from cc_images.remote.placement import Chain
from cc_images.remote.protocol import now
from cc_images.remote.sight import Seen
from cc_images.store.run_context import RunContext, TaskContext

FORGOTTEN = 3600.0
"""Seconds since the last lease by the wall clock, after which an attempt of a dead run is over whatever clocks say."""

START_WITHIN: Mapping[str, float] = {"ssh": 60.0, "slurm": 300.0, "machine": 60.0}
"""Seconds from a job's start to its first lease, by the kind of builder host."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all chains of a run share besides the run."""

    fleet: Fleet
    facts: Mapping[Arch, Mapping[str, str]]
    """What a builder host must have as this one has it, by what it builds for; see `equality.unequal`."""
    claims: Claims


class ChainRun:
    """The tasks of one chain in one run."""

    def __init__(self, chain: Chain, envelopes: Sequence[Envelope], run: RunContext, shared: Shared) -> None:
        self._chain, self._envelopes, self._run = chain, envelopes, run
        self._fleet, self._facts, self._claims = shared.fleet, shared.facts, shared.claims
        self._seen: list[Seen] = []
        self._others: list[Seen] | None = None
        self._brought: settle.Brought | None = None
        self._made: bundle.Bundle | None = None
        self._slot = ExitStack()
        self._lock = threading.Lock()
        """Held by the task that does the work."""

    def do(self, envelope: Envelope, context: TaskContext, result: Result) -> Result:
        """Wait until a task has ended on its builder host; return its result. Raises CCImagesError."""
        early = isinstance(envelope.job, BuildJob) and len(self._envelopes) > 1  # it leaves no record here
        with self._lock, self._turn(envelope, context):
            if self._brought is None:
                self._drive(context, envelope.task if early else "")
            if self._brought is not None:
                context.log.write(self._seen[-1].follower.later.get(envelope.task, b""))
                return settle.take(envelope, self._brought, context, result)
            return settle.with_measures(result, self._seen[-1].follower.ended[envelope.task])

    def close(self) -> None:
        """Give up what is still open; the next lease of its builder host says so."""
        for each in self._seen:
            if not each.files.fenced():
                with suppress(CCImagesError):
                    each.files.fence("its run has ended")
                if each.link is not None:
                    with suppress(CCImagesError):
                        each.link.launcher.cancel(each.claim.attempt)
        self._slot.close()

    def _turn(self, envelope: Envelope, context: TaskContext) -> ExitStack:
        """Take what keeps other runs of this store from the same image; a build's lease ends with its conversion."""
        held, job = ExitStack(), envelope.job
        if isinstance(job, LayerJob):
            held.enter_context(self._run.lock(context.task, f"layer {job.tag} {job.arch}"))
        elif isinstance(job, BuildJob):
            self._run.lease_image(context.task, job.tag, job.arch)
        return held

    # -- observe, decide, act -----------------------------------------------------------------------------------

    def _drive(self, context: TaskContext, until: str) -> None:
        """Go on until the chain has a result, or the task `until` has ended well. Raises CCImagesError."""
        while self._brought is None:
            observed = self._look(context, until)
            if self._seen and self._seen[-1].follower.has_ended(until) and self._seen[-1].files.is_open():
                return
            step = decide(observed)
            if isinstance(step, Wait):
                time.sleep(self._fleet.pause)
            else:
                _log.info("%s: %s", self._chain.name, step)
                self._act(step, context)

    def _look(self, context: TaskContext, until: str) -> Observed:
        moment = now()
        if self._others is None:
            self._others = [*self._of_dead_runs()]
        read = partial(settle.read, envelopes=self._envelopes, context=self._run)
        seen = [each.look_from_afar(moment) for each in self._others]
        seen += [each.look(moment, context, until, read) for each in self._seen]
        return Observed(
            run=self._run.run.name,
            now=moment,
            attempts=tuple(seen),
            stops=self._run.stop.is_set(),
            policy=self._policy(),
        )

    def _policy(self) -> Policy:
        link = self._seen[-1].link if self._seen else None
        if link is None:
            return Policy()
        return Policy(retry_lost=link.entry.retries, start_within=START_WITHIN[link.entry.kind])

    def _act(self, step: Step, context: TaskContext) -> None:
        if isinstance(step, Start):
            self._start(step, context)
        elif isinstance(step, Fail):
            if step.reason is Reason.INTERRUPTED:
                raise Interrupted(step.why)
            raise CCImagesError(step.why, hint="docs/builders.md says how attempts end", reason=step.reason)
        elif isinstance(step, Done):
            self._end(self._known(step.attempt))
        elif not isinstance(step, Wait):
            self._act_on(self._known(step.attempt), step, context)

    def _act_on(self, seen: Seen, step: Step, context: TaskContext) -> None:
        """Do a step with one attempt."""
        match step:
            case LaunchAgain():
                self._launch(seen, context)
            case AskToStop():
                seen.files.ask_to_stop()
                seen.stop_asked = now()
            case Cancel():
                self._cancel(seen, context)
            case Fence(why=said):
                seen.files.fence(why := seen.explained(said))
                context.log.write(f"attempt {seen.claim.attempt} on {seen.claim.builder}: {why}\n".encode())
            case Refuse(why=why):
                seen.refused = True
                seen.files.fence(why)
            case Accept():
                if (plain := seen.files.result()) is not None and seen.brought is not None:
                    settle.hold(plain, self._run)
                seen.accepted = True

    def _end(self, seen: Seen) -> None:
        """Take the result; a builder host that is unfit is used no more, and another one begins."""
        self._slot.close()
        if seen.unfit:
            self._fleet.refuse(seen.claim.builder, seen.unfit)
            self._seen.remove(seen)
            return
        assert seen.brought is not None
        self._brought = seen.brought
        job = self._envelopes[0].job
        if isinstance(job, LayerJob) and seen.link is not None:
            self._fleet.has(seen.link.name, job.spec.recipe_key)

    # -- attempts -----------------------------------------------------------------------------------------------

    def _start(self, step: Start, context: TaskContext) -> None:
        for each in (*(self._others or ()), *self._seen):  # else none would be begun
            each.files.note_over()
        self._slot.close()
        context.step("waiting for a builder")
        link = self._slot.enter_context(self._fleet.taken(self._chain, step.avoid, context.stop))
        attempt, token = f"a{secrets.token_hex(16)}", secrets.token_urlsafe(32)
        sent = self._bundle() if link.entry.trusted else _without_proxies(self._bundle())
        hidden = {each: self._run.vault[each] for each in _references(sent.as_json())}
        if hidden and not link.entry.trusted:
            raise CCImagesError(
                f"builder {link.name} would need secrets for {self._chain.name}, and is not trusted with them",
                hint="`trusted: yes` in builders.yaml lets it have them, or use --on with another builder",
                reason=Reason.UNFIT,
            )
        claim = Claim(
            attempt=attempt,
            run=self._run.run.name,
            tasks=tuple(each.task for each in self._envelopes),
            builder=link.name,
            made=time.time(),
            trusted=link.entry.trusted,
            before=step.before,
            owner=environment.owner(),
        )
        files = AttemptFiles(self._run.store, attempt)
        sent = replace(sent, tasks_at_once=link.entry.tasks_on_one)
        self._claims.expect(attempt)
        files.create(claim, token, sent.as_json(), sent.inputs, hidden or None)
        self._claims.add(files, claim)
        for digest in sent.inputs:  # from now on nobody removes them
            settle.restore(digest, self._run)
        self._seen.append(Seen(files=files, claim=claim, link=link, token=token))
        self._launch(self._seen[-1], context)

    def _launch(self, seen: Seen, context: TaskContext) -> None:
        assert seen.link is not None
        seen.launches += 1
        context.step(f"on {seen.link.name}")
        try:
            seen.link.start(seen.claim.attempt, seen.token)
        except CCImagesError as error:
            seen.start_error = error.message
            context.log.write(f"{error.message}\n".encode())
        seen.changed = now()

    def _cancel(self, seen: Seen, context: TaskContext) -> None:
        seen.cancel_tried = now()
        if seen.link is None:
            return
        try:
            seen.link.launcher.cancel(seen.claim.attempt)
            seen.cancelled = True
        except CCImagesError as error:
            context.log.write(f"{error.message}\n".encode())

    def _known(self, attempt: str) -> Seen:
        every: list[Seen] = [*(self._others or ()), *self._seen]
        return next(each for each in every if each.claim.attempt == attempt)

    def _of_dead_runs(self) -> list[Seen]:
        """Return the attempts of other runs at this chain that may still be at work: their runs are dead."""
        found: list[Seen] = []
        for files, claim in self._claims.of(self._chain.name):
            with suppress(CCImagesError):
                if claim.run == self._run.run.name or files.is_over() or files.result() is not None:
                    continue
                grant = files.last_grant()
                if time.time() - (grant.at if grant else claim.made) < FORGOTTEN or not files.fenced():
                    found.append(Seen(files=files, claim=claim, link=self._fleet.link(claim.builder), changed=now()))
        return found

    def _bundle(self) -> bundle.Bundle:
        """Return what travels, but for what a builder host makes of it; its files are in the store.

        It is made once. No `cached_property`: up to Python 3.11 all chains would wait for one lock.
        """
        if self._made is not None:
            return self._made
        folder = self._run.run.work / "bundles" / re.sub(r"\W+", "-", self._chain.name)
        folder.mkdir(parents=True, exist_ok=True)
        specs = [each.job.spec for each in self._envelopes if isinstance(each.job, BuildJob)]
        facts = {**self._facts[specs[0].arch], **programs_of(specs)}
        self._made = bundle.made(self._envelopes, self._run, folder, facts)
        return self._made


def _references(plain: Json) -> set[str]:
    """Return the references to secrets in a bundle."""
    return set(re.findall(r"\"(secret:[0-9a-f]{64})\"", json.dumps(plain)))


def _without_proxies(made: bundle.Bundle) -> bundle.Bundle:
    """Return a bundle without settings of the network that have passwords: such a host has its own."""
    plain = {name: value for name, value in made.settings.network.items() if not value.startswith("secret:")}
    return replace(made, settings=replace(made.settings, network=plain))
