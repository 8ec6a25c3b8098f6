"""One attempt as the run that made it sees it: what the store and the launcher say, and what the run remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cc_images.model.attempt import Claim, JobState
from cc_images.model.catalog import Json
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.remote.fleet import Link
from cc_images.remote.follower import Follower, said_over
from cc_images.remote.lines import plain_text
from cc_images.remote.observed import Attempt
from cc_images.remote.settle import Brought, Wrong
from cc_images.store.run_context import TaskContext

Read = Callable[[Json], Brought]
"""Returns what an attempt has made, from its result. Raises Wrong."""


CLEAR_UP = 30.0
"""Seconds that a builder host without a good result gets to say that nothing of it is left, before it is closed."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """An attempt. Times are of `protocol.now`."""

    files: AttemptFiles
    claim: Claim
    link: Link | None
    """The link to its builder host; None for one that is no host of this run."""
    token: str = field(default="", repr=False)
    brought: Brought | None = None
    unfit: str = ""
    """Why the builder host can do nothing for this head."""
    launches: int = 0
    start_error: str = ""
    """What the last start was answered; the job may run all the same."""
    changed: float = 0.0
    stop_asked: float | None = None
    refused: bool = False
    cancelled: bool = False
    cancel_tried: float | None = None
    accepted: bool = False
    follower: Follower = field(init=False)
    _job: JobState = JobState.UNKNOWN
    _grant: float | None = None
    _granted: float | None = None
    _seconds: float = 0.0
    _result: bool = False
    _came: float = 0.0
    _wrong: str = ""
    _lost: str = ""

    def __post_init__(self) -> None:
        self.follower = Follower(self.files.stream)

    def look(self, now: float, context: TaskContext, until: str, read: Read) -> Attempt:
        """Return the attempt as it is: first the launcher's word, then fence, lease, stream and result."""
        job = self.link.states.get(self.claim.attempt, JobState.UNKNOWN) if self.link else JobState.UNKNOWN
        if job is not self._job:
            self._job, self.changed = job, now
        fenced = self.files.fenced()
        self._look_at_lease(now)
        self.follower.follow(context, until if self.files.is_open() else "")
        over = self.follower.over
        if not self._result and (plain := self.files.result()) is not None:
            self._look_at_result(plain, read)
            self._came = now
        waits = bool(self._wrong or self._lost) and over is None and now < self._came + CLEAR_UP
        return Attempt(
            claim=self.claim,
            launches=self.launches,
            changed=self.changed,
            job=job,
            granted=self._granted,
            seconds=self._seconds,
            stop_asked=self.stop_asked,
            fenced=fenced,
            refused=self.refused,
            cancelled=self.cancelled,
            cancel_tried=self.cancel_tried,
            has_result=self._result and not self._lost and not waits,
            wrong=self._wrong,
            lost="" if waits else self._lost,
            accepted=self.accepted,
            over=over,
            destroyed=self.link is not None and self.link.launcher.destroyed(self.claim.attempt),
        )

    def look_from_afar(self, now: float) -> Attempt:
        """Return an attempt of a dead run as it is."""
        fenced = self.files.fenced()
        self._look_at_lease(now)
        over = 0 if said_over(self.files.stream) else None
        return Attempt(
            claim=self.claim,
            changed=self.changed,
            granted=self._granted,
            seconds=self._seconds,
            fenced=fenced,
            cancelled=self.cancelled,
            cancel_tried=self.cancel_tried,
            over=over,
        )

    def explained(self, why: str) -> str:
        """Return why it is closed, with the answer to its start where it never had a lease."""
        return f"{why}: {self.start_error}" if self.start_error and self._granted is None else why

    def _look_at_lease(self, now: float) -> None:
        """Note the last lease. The store has it by a clock that people set, so it counts from when it was seen here."""
        grant = self.files.last_grant()
        if grant is not None and grant.at != self._grant:
            self._grant, self._granted, self._seconds = grant.at, now, grant.seconds

    def _look_at_result(self, plain: Json, read: Read) -> None:
        self._result = True
        if unfit := plain.get("unfit"):
            self.unfit = plain_text("; ".join(unfit))
        elif lost := plain.get("lost"):
            self._lost = plain_text(lost)
        else:
            try:
                self.brought = read(plain)
                self.unfit = plain_text(self.brought.fault)
            except Wrong as error:
                self._wrong = plain_text(str(error)) or "it is wrong"
