"""Slurm's answers, as its versions have recorded them, and what a job is asked for; the rest is in tests/real."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.attempt import BuilderHost, JobState, Ticket
from cc_images.remote.launchers import slurm, slurm_queue
from cc_images.remote.launchers.base import Launcher
from cc_images.remote.launchers.slurm_errors import translated
from cc_images.remote.protocol import decoded_ticket
from tests.conftest import GOLDEN

RECORDED = GOLDEN / "slurm"
COMPLETED, ENDING, RUNNING, WAITING, CANCELLED, NEVER = (f"a{digit * 32}" for digit in "012345")


def host(**slurm: str) -> BuilderHost:
    return BuilderHost(name="farm", slurm=slurm)


@pytest.mark.parametrize(
    ("version", "being_ended"), [("22.05", {ENDING: JobState.RUNNING}), ("24.11", {COMPLETED: JobState.RUNNING})]
)
def test_the_states_of_a_recorded_queue(version: str, being_ended: dict[str, JobState]) -> None:
    jobs = slurm_queue.decoded((RECORDED / f"{version}.json").read_text())
    seen = slurm_queue.states(jobs, (COMPLETED, ENDING, RUNNING, WAITING, CANCELLED, NEVER), 0)
    assert seen == {
        COMPLETED: JobState.ENDED,
        ENDING: JobState.ENDED,
        RUNNING: JobState.RUNNING,
        WAITING: JobState.WAITING,
        CANCELLED: JobState.ENDED,
        NEVER: JobState.UNKNOWN,
        **being_ended,
    }
    assert set(slurm_queue.states(jobs, seen, 1000).values()) == {JobState.UNKNOWN}, "the jobs are another user's"


def test_a_queue_that_nobody_answers_for_is_not_an_empty_one() -> None:
    with pytest.raises(ValueError, match="Failed while looking for jobs"):
        slurm_queue.decoded((RECORDED / "away-22.05.json").read_text())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("nonsense\n[]", "no JSON"),
        ("{", "Expecting"),
        ("{}", "no list of jobs"),
        ('{"jobs": {}}', "no list of jobs"),
        ('{"errors": ["no"], "jobs": []}', "^no$"),
    ],
)
def test_an_answer_that_is_none(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        slurm_queue.decoded(text)


def test_warnings_around_an_answer_do_no_harm() -> None:
    text = 'squeue: error: one\n{\n "jobs": [{"name": "x", "user_id": {"number": 7}, "job_state": "PENDING"}]\n}\nmore'
    (job,) = slurm_queue.decoded(text)
    assert (job.name, job.owner, job.state) == ("x", 7, JobState.WAITING)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("RUNNING CONFIGURING", JobState.WAITING),
        ("NODE_FAIL COMPLETING", JobState.RUNNING),
        ("PENDING REQUEUED", JobState.WAITING),
        ("OUT_OF_MEMORY", JobState.ENDED),
        ("CANCELLED SOMETHING_NEW", JobState.ENDED),
        ("SOMETHING_NEW", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_words_of_states(words: str, state: JobState) -> None:
    assert slurm_queue.Job(name="x", owner=0, words=tuple(words.split())).state is state


def test_of_several_jobs_of_one_name_the_liveliest_counts() -> None:
    jobs = [slurm_queue.Job(name="x", owner=0, words=(word,)) for word in ("FAILED", "RUNNING", "PENDING")]
    assert slurm_queue.states(jobs, ["x"], 0) == {"x": JobState.RUNNING}
    assert slurm_queue.states([jobs[0], jobs[2]], ["x"], 0) == {"x": JobState.WAITING}


HOSTILE = "END-OF-TICKET\n$(touch made) `touch made` $HOME \\ ' \" \x00 ü €\nEND-OF-TICKET\n"


STAND_IN = """\
#!/bin/sh
cat > input
printf '%s\\n' "$*" "$CC_IMAGES_STORE" > words
"""
"""A program that keeps its input, its words and the name of its store."""


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("scratch", ["", "it's here; $HOME"])
def test_a_ticket_reaches_the_command_as_it_is_and_the_shell_does_nothing_with_it(
    tmp_path: Path, shell: str, scratch: str
) -> None:
    (tmp_path / "bin").mkdir()
    (program := tmp_path / "bin" / "my images").write_text(STAND_IN)
    program.chmod(0o755)
    (made := tmp_path / "made").mkdir()
    ticket = Ticket(attempt=NEVER, token="not-a-secret" * 4, address=f"unix:{HOSTILE}", ca=HOSTILE)
    text = slurm.script(ticket, BuilderHost(name="farm", command=str(program), scratch=scratch))
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "CC_IMAGES_STORE": "default"}
    subprocess.run([shell, "-s"], input=text, cwd=made, check=True, env=environment)
    assert sorted(path.name for path in made.iterdir()) == ["input", "words"]
    assert decoded_ticket((made / "input").read_bytes()) == ticket
    assert (made / "words").read_text().splitlines() == ["perform -", scratch or "default"]


@pytest.mark.parametrize(
    ("said", "message", "reason", "temporary"),
    [
        (
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            "Slurm has no such partition: invalid partition specified: nope", "configuration", False,
        ),
        (
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            "the controller of Slurm does not answer: slurm_load_jobs error: Unable to contact slurm controller"
            " (connect failure)", "unreachable", True,
        ),
        (
            "squeue: error: If munged is up, restart with --num-threads=10\n"
            'squeue: error: Munge encode failed: Failed to connect to "/run/munge.sock": Connection refused',
            "Slurm accepts no credential of this host: If munged is up, restart with --num-threads=10",
            "credentials", True,
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            "Slurm does not let this user use the account or quality of service: Invalid account or"
            " account/partition combination specified", "forbidden", False,
        ),
        (
            "sbatch: error: Memory specification can not be satisfied\n"
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            "no node of Slurm's can do what the builder asks for: Memory specification can not be satisfied",
            "configuration", False,
        ),
        (
            "sbatch: error: Batch job submission failed: User's group not permitted to use this partition",
            "Slurm does not let this user start jobs there: User's group not permitted to use this partition",
            "forbidden", False,
        ),
        ("sbatch: error: it burns\n", "sbatch failed: it burns", "command", False),
        ("", "sbatch failed: it says nothing", "command", False),
    ],
)  # fmt: skip
def test_complaints(said: str, message: str, reason: str, temporary: bool) -> None:
    error = translated("sbatch", said.splitlines())
    assert (error.message, error.reason, error.temporary) == (message, reason, temporary)


def test_a_host_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    launcher = slurm.SlurmLauncher(host())
    with pytest.raises(CCImagesError, match="Slurm is not installed here: the program squeue is missing") as caught:
        launcher.start(Ticket(attempt=NEVER, token="t", address="unix:/x"))
    assert caught.value.reason == "missing-tool"
    assert launcher.look([NEVER]) == {NEVER: JobState.UNKNOWN}
    assert launcher.look([]) == {}


@pytest.mark.parametrize("ask", [lambda made: made.open(), lambda made: made.facts()])
def test_a_host_without_slurm_is_no_builder_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Callable[[Launcher], object]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    why = "builder host farm: Slurm is not installed here: the program sbatch is missing"
    with pytest.raises(CCImagesError, match=why) as caught:
        ask(slurm.SlurmLauncher(host()))
    assert (caught.value.reason, caught.value.temporary) == ("builder", False)
    assert "slurm-client" in caught.value.hint
