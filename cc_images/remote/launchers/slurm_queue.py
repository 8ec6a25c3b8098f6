"""Jobs as Slurm's squeue tells them in JSON, of all versions since 22.05: the states of attempts, purely decided."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cc_images.model.attempt import JobState

_WORDS: Mapping[JobState, str] = {
    JobState.WAITING: "CONFIGURING PENDING POWER_UP_NODE REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT",
    JobState.RUNNING: "COMPLETING RESIZING RUNNING SIGNALING STAGE_OUT STOPPED SUSPENDED",
    JobState.ENDED: "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED"
    " RECONFIG_FAIL REVOKED TIMEOUT",
}
_STATES: Mapping[str, JobState] = {word: state for state, words in _WORDS.items() for word in words.split()}

_FIRST = ("CONFIGURING", "POWER_UP_NODE")
"""Words beside RUNNING that say that the script has not begun: the node is still being started."""

_LIVELIEST = (JobState.RUNNING, JobState.WAITING, JobState.ENDED, JobState.UNKNOWN)
"""A job that is being ended has two words, and one name may have had several jobs: the first of these counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a queue."""

    name: str
    owner: int
    """The user id."""
    words: tuple[str, ...]
    """The state in Slurm's words; several when it is on its way from one to another."""

    @property
    def state(self) -> JobState:
        """The state in ours."""
        if any(word in self.words for word in _FIRST):
            return JobState.WAITING
        return _liveliest(_STATES.get(word, JobState.UNKNOWN) for word in self.words)


def decoded(text: str) -> tuple[Job, ...]:
    """Return the jobs in an answer of `squeue --json`, which lines of warnings may precede and follow.

    Raises ValueError, with Slurm's own words if there are any: also in an answer that ended with code 0, Slurm may say
    that it does not know the jobs.
    """
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("{")), None)
    if start is None:
        raise ValueError("no JSON")
    answer, _ = json.JSONDecoder().raw_decode("\n".join(lines[start:]))
    errors, jobs = answer.get("errors") or [], answer.get("jobs")
    if errors or not isinstance(jobs, list):
        raise ValueError("; ".join(filter(None, map(_complaint, errors))) or "no list of jobs")
    return tuple(_job(each) for each in jobs if isinstance(each, dict))


def states(jobs: Collection[Job], attempts: Collection[str], owner: int) -> Mapping[str, JobState]:
    """Return the state of each attempt: that of the owner's jobs of this name; UNKNOWN when there is none."""
    return {
        attempt: _liveliest(job.state for job in jobs if job.name == attempt and job.owner == owner)
        for attempt in attempts
    }


def _liveliest(several: Iterable[JobState]) -> JobState:
    found = set(several)
    return next((state for state in _LIVELIEST if state in found), JobState.UNKNOWN)


def _job(entry: Mapping[str, Any]) -> Job:
    words, owner = entry.get("job_state"), entry.get("user_id")
    if isinstance(owner, dict):
        owner = owner.get("number")
    return Job(
        name=str(entry.get("name")),
        owner=owner if isinstance(owner, int) else -1,
        words=tuple(map(str, words if isinstance(words, list) else [words])),
    )


def _complaint(error: object) -> str:
    return str(error.get("description") or error.get("error") or "") if isinstance(error, dict) else str(error)
