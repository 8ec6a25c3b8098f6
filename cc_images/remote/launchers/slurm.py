"""Builder hosts of a Slurm cluster: one job for each attempt, with the attempt's id as its name.

Slurm decides on which node a job runs, books cores and memory, and ends jobs. It never runs one again: its word that a
job has ended is no proof that the processes are gone, and job numbers are used again, so nothing here relies on either.

The ticket is part of the job's script, which Slurm keeps in its spool: at the controller while the job is in the queue,
on the node while it runs. There SlurmUser, root of the node, the job's user and Slurm's operators can read it. The
token in it opens one attempt only, and counts for nothing once the attempt is fenced. It stands in no argument list and
in no environment.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cc_images.config.slurm_entry import NAMES
from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment, process
from cc_images.model.attempt import ATTEMPT, BuilderHost, JobState, Ticket
from cc_images.model.catalog import Json
from cc_images.remote.launchers import slurm_queue
from cc_images.remote.launchers.slurm_errors import translated
from cc_images.remote.protocol import encoded_ticket

TIMEOUT = 30.0
"""Seconds that a command of Slurm's may take; it asks a controller that is away several times by itself."""

PATIENCE = 5.0
"""Seconds that a job has to end after each try of `cancel`, which then returns all the same."""

SIGNALS = (
    ("--state=RUNNING", "--full", "--signal=TERM"),
    ("--state=RUNNING", "--full", "--batch", "--signal=KILL"),
)
"""Options of scancel for a running job, before the plain one.

The plain one first would leave a job that ignores SIGTERM alive for KillWait, 30 s by default: a job that is being
ended gets no more signals. SIGKILL without `--batch` is the same as the plain one.
"""

NAMED = 500
"""Attempts up to which a question names them: the length of a word is limited."""

NOBODY = f"a{'0' * 32}"
"""The id of no attempt, for a question of which the answer does not matter."""

SCRIPT = """\
#!/bin/sh
umask 022
HOME=${{HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}}
export HOME
exec sh -l -c 'exec "$@"' sh {command} <<'END-OF-TICKET'
{ticket}
END-OF-TICKET
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """The share of a node that a job gets; memory in MiB. Options of the entry come after it."""

    cores: int = 2
    memory: int = 2048


class SlurmLauncher:
    """Jobs of one builder host in Slurm."""

    def __init__(self, host: BuilderHost, *, booking: Booking | None = None, log: str = "/dev/null") -> None:
        """Take an entry of builders.yaml, and a file on the node for the output of the command."""
        self._host, self._booking, self._log = host, booking or Booking(), log

    def facts(self) -> Json | None:
        """Return None: a cluster's nodes say nothing before a job runs. Raises CCImagesError when Slurm is away."""
        self._check()
        return None

    def open(self) -> str:
        """Return the hub's address, which the entry names. Raises CCImagesError when Slurm does not answer."""
        self._check()
        return self._host.hub

    def close(self) -> None:
        """Do nothing: nothing is held, and jobs go on."""

    def start(self, ticket: Ticket) -> None:
        """Submit the job of an attempt, unless there is one. Raises CCImagesError."""
        assert ATTEMPT.fullmatch(ticket.attempt)
        if self._states([ticket.attempt])[ticket.attempt] is not JobState.UNKNOWN:
            return
        self._ask("sbatch", *self._request(ticket.attempt), fed=script(ticket, self._host))

    def look(self, attempts: Collection[str]) -> Mapping[str, JobState]:
        """Return the state of each job; UNKNOWN for all of them when nobody answers."""
        try:
            return self._states(attempts)
        except CCImagesError:
            return dict.fromkeys(attempts, JobState.UNKNOWN)

    def trouble(self) -> str:
        return ""

    def destroyed(self, attempt: str) -> bool:
        return False

    def cancel(self, attempt: str) -> None:
        """End a job with all its processes, by SIGTERM and then by SIGKILL, if it is there. Raises CCImagesError.

        One that waits is ended first: it would begin when the running one of the same name ends.
        """
        assert ATTEMPT.fullmatch(attempt)
        self._ask("scancel", "--me", f"--name={attempt}", "--state=PENDING")
        running = self._states([attempt])[attempt] is JobState.RUNNING
        for words in (*SIGNALS, ()) if running else ((),):
            self._ask("scancel", "--me", f"--name={attempt}", *words)
            if self._over(attempt):
                return

    def _check(self) -> None:
        """Ask Slurm something. Raises CCImagesError with the builder host's name."""
        try:
            self._ask("sbatch", "--version")
            self._states([NOBODY])
        except CCImagesError as error:
            raise CCImagesError(
                f"builder host {self._host.name}: {error.message}",
                hint=error.hint,
                reason=Reason.BUILDER,
                temporary=error.temporary,
                tail=error.tail,
            ) from error

    def _over(self, attempt: str) -> bool:
        """Wait a little for a job's end; return whether it has come."""
        deadline = time.monotonic() + PATIENCE
        while (over := self._states([attempt])[attempt] in (JobState.ENDED, JobState.UNKNOWN)) is False:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return over

    def _states(self, attempts: Collection[str]) -> Mapping[str, JobState]:
        """Ask Slurm for the jobs of this user. Raises CCImagesError: no answer is no proof that there is no job."""
        if not attempts:
            return {}
        names = [f"--name={','.join(attempts)}"] if len(attempts) <= NAMED else []
        said = self._ask("squeue", "--json", "--me", "--states=all", *names)
        try:
            return slurm_queue.states(slurm_queue.decoded(said), attempts, os.getuid())
        except ValueError as error:
            raise translated("squeue", [str(error)]) from None

    def _request(self, attempt: str) -> list[str]:
        """Return the options of sbatch. Of the head's own environment, limits and folder, the job gets nothing.

        `singleton`: should the answer to a submission come late, two jobs of one name never run at a time.
        """
        entry, booking = self._host.slurm, self._booking
        return [
            *("--parsable", "--nodes=1", "--ntasks=1", f"--cpus-per-task={booking.cores}", f"--mem={booking.memory}M"),
            *(f"--{name}={entry[name]}" for name in NAMES if entry.get(name)),
            *entry.get("options", "").split(),
            *(f"--job-name={attempt}", "--no-requeue", "--dependency=singleton", "--export=NIL", "--propagate=NONE"),
            *("--chdir=/", f"--output={self._log}"),
        ]

    def _ask(self, program: str, *words: str, fed: bytes = b"") -> str:
        """Run a command of Slurm's; return its whole output. Raises CCImagesError in this project's words."""
        said = io.BytesIO()
        try:
            process.run(
                [program, *words],
                env=environment.plain(**environment.inherited("SLURM_CONF")),
                timeout=TIMEOUT,
                output=process.Output(log=said),
                fed=fed,
            )
        except process.TimedOut as error:
            raise translated(program, [*error.tail, "Socket timed out"]) from error
        except process.CommandFailed as error:
            raise translated(program, error.tail) from error
        except CCImagesError as error:
            if error.reason is not Reason.MISSING_TOOL:
                raise
            message = f"Slurm is not installed here: {error.message}"
            raise CCImagesError(
                message, hint="install slurm-client (Debian), or run this on a host of the cluster", reason=error.reason
            ) from None
        return said.getvalue().decode(errors="replace")


def script(ticket: Ticket, host: BuilderHost) -> bytes:
    """Return the script of a job: a secret. The ticket is one line of JSON, in which the shell expands nothing."""
    store = ("env", f"CC_IMAGES_STORE={host.scratch}") if host.scratch else ()
    command = shlex.join([*store, host.command, "perform", "-"])
    return SCRIPT.format(command=command, ticket=json.dumps(encoded_ticket(ticket))).encode()
