"""Jobs in a real Slurm, with a stand-in for `cc-images perform`: started once, seen, ended, lost, not run again."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.attempt import BuilderHost, JobState, Ticket
from cc_images.remote.launchers import slurm
from cc_images.remote.protocol import decoded_ticket
from tests.support import slurmbed
from tests.support.slurmbed import SlurmBed, await_for

pytestmark = pytest.mark.skipif(bool(slurmbed.REASON), reason=slurmbed.REASON)

PERFORM = (
    f"""\
#!{sys.executable}
"""
    + """\
import json, os, pathlib, signal, subprocess, sys, time
assert sys.argv[1:] == ["perform", "-"]
ticket = json.load(sys.stdin)
how = ticket["address"]
if "stubborn" in how:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for words in [] if "short" in how else (["sleep", "600"], ["sh", "-c", "sleep 600; true"]):
    subprocess.Popen(words)
if "detached" in how:
    subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path(os.environ["CC_IMAGES_STORE"], f"{ticket['attempt']}.{os.getpid()}").write_text(json.dumps(ticket))
time.sleep(1 if "short" in how else 600)
"""
)
"""Keeps the ticket as a file, and works for long, with children, or for a moment."""

AWAY = 25
"""Seconds for what takes Slurm a while."""


class Farm:
    """A Slurm, and launchers whose jobs do the stand-in."""

    def __init__(self, bed: SlurmBed, folder: Path) -> None:
        self.bed, self.folder = bed, folder
        (folder / "cc-images").write_text(PERFORM)
        (folder / "cc-images").chmod(0o755)
        self.launcher = self.head()

    def head(self, **entry: str) -> slurm.SlurmLauncher:
        """Return the launcher of one more head."""
        return slurm.SlurmLauncher(
            BuilderHost(
                name="farm",
                slurm=entry,
                hub="https://head:7443",
                command=str(self.folder / "cc-images"),
                scratch=str(self.folder),
            ),
            booking=slurm.Booking(cores=2, memory=1000),
        )

    def state(self, attempt: str) -> JobState:
        return self.launcher.look([attempt])[attempt]

    def executions(self, attempt: str) -> list[Path]:
        """Return what the executions of an attempt have left."""
        return sorted(self.folder.glob(f"{attempt}.*"))

    def await_running(self, attempt: str) -> None:
        await_for(lambda: bool(self.executions(attempt)), AWAY, f"{attempt} does not start")

    def await_state(self, attempt: str, state: JobState, seconds: float = AWAY) -> None:
        await_for(lambda: self.state(attempt) is state, seconds, f"{attempt} does not become {state}")

    def processes(self) -> dict[int, str]:
        """Return the processes of all jobs."""
        return {number: words for node in self.bed.nodes for number, words in self.bed.job_processes(node).items()}

    def number(self, attempt: str) -> str:
        """Return the number of an attempt's job."""
        return self.bed.say("squeue", "-h", "--states=all", "-o", "%i", f"--name={attempt}").strip()


def ticket(how: str = "") -> Ticket:
    token = f"canary{secrets.token_hex(16)}"
    return Ticket(attempt=f"a{secrets.token_hex(16)}", token=token, address=f"unix:/{how}", ca="-----\n$(id)\n-----\n")


def has(path: Path, token: str) -> bool:
    """Return whether a file contains a token."""
    with suppress(OSError):
        return path.is_file() and token.encode() in path.read_bytes()
    return False


@pytest.fixture(scope="module")
def bed() -> Iterator[SlurmBed]:
    with (
        SlurmBed(more="SchedulerParameters=batch_sched_delay=1,sched_interval=5\nSlurmdTimeout=10") as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SLURM_CONF", made.environment["SLURM_CONF"])
        yield made


@pytest.fixture
def farm(bed: SlurmBed, tmp_path: Path) -> Iterator[Farm]:
    made = Farm(bed, tmp_path)
    yield made
    bed.say("scancel", "--me", "--full", "--signal=KILL")
    bed.say("scancel", "--me")
    await_for(lambda: not made.processes(), AWAY, f"left: {made.processes()}")
    await_for(lambda: set(bed.states().values()) == {"IDLE"}, AWAY, f"nodes are {bed.states()}")


def test_an_attempt_is_started_once_seen_and_its_ticket_is_nobody_elses(farm: Farm) -> None:
    work = ticket("short")
    assert farm.launcher.facts() is None
    assert farm.launcher.open() == "https://head:7443"
    assert farm.state(work.attempt) is JobState.UNKNOWN
    farm.launcher.start(work)
    farm.launcher.start(work)
    assert farm.state(work.attempt) in (JobState.WAITING, JobState.RUNNING)
    farm.await_running(work.attempt)
    spooled = [path for path in farm.bed.folder.rglob("*") if has(path, work.token)]
    assert spooled
    assert not [path for path in spooled if path.stat().st_mode & 0o077], "anybody can read it"
    questions = ("scontrol -dd show job", "squeue --json", "squeue -O ALL")
    said = [farm.bed.say(*words.split()) for words in questions]
    for number in farm.processes():
        with suppress(OSError):
            said += [Path(f"/proc/{number}/{name}").read_bytes().decode() for name in ("cmdline", "environ")]
    assert any(work.attempt in each for each in said)
    assert not [each for each in said if work.token in each]
    farm.await_state(work.attempt, JobState.ENDED)
    farm.launcher.start(work)
    (kept,) = farm.executions(work.attempt)
    assert decoded_ticket(kept.read_bytes()) == work


@pytest.mark.deep
def test_a_job_gets_nothing_of_the_heads_environment_and_limits(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"OS_PASSWORD": "canary", "SBATCH_REQUEUE": "1", "SBATCH_PARTITION": "closed"}.items():
        monkeypatch.setenv(name, value)
    work = ticket()
    farm.launcher.start(work)
    farm.await_running(work.attempt)
    environments = [Path(f"/proc/{number}/environ").read_bytes() for number in farm.processes()]
    assert environments
    assert all(b"HOME=" in each for each in environments)
    assert not any(b"canary" in each or b"SBATCH_" in each for each in environments)
    assert "Requeue=0 Restarts=0" in farm.bed.say("scontrol", "show", "job", farm.number(work.attempt))


@pytest.mark.parametrize("how", [pytest.param("", marks=pytest.mark.deep), "stubborn"])
def test_a_job_is_cancelled_with_all_its_processes_and_no_other_one(farm: Farm, how: str) -> None:
    work, other = ticket(f"{how} {'detached' if farm.bed.sees_orphans else ''}"), ticket()
    farm.launcher.start(work)
    farm.await_running(work.attempt)
    numbers = set(farm.processes())
    assert len(numbers) >= 4, "itself and its children"
    farm.launcher.start(other)
    farm.await_running(other.attempt)
    began = time.monotonic()
    farm.launcher.cancel(work.attempt)
    assert time.monotonic() - began < 15, "Slurm waits for 30 s before it kills"
    assert farm.state(work.attempt) is JobState.ENDED
    assert not numbers & set(farm.processes())
    assert farm.state(other.attempt) is JobState.RUNNING
    farm.launcher.cancel(other.attempt)
    await_for(lambda: not farm.processes(), 5, "processes of ended jobs are left")
    for attempt in (work.attempt, other.attempt, ticket().attempt):
        farm.launcher.cancel(attempt)


@pytest.mark.deep
def test_a_waiting_job_is_cancelled_and_never_starts(farm: Farm) -> None:
    work = ticket()
    farm.head(options="--begin=now+1hour").start(work)
    assert farm.state(work.attempt) is JobState.WAITING
    farm.launcher.cancel(work.attempt)
    assert farm.state(work.attempt) is JobState.ENDED
    assert farm.executions(work.attempt) == []


@pytest.mark.deep
def test_two_heads_and_another_users_job_of_the_same_name(farm: Farm) -> None:
    mine, theirs, other = ticket(), ticket(), farm.head(partition="main", options="--time=10 --nice=5")
    words = ["sbatch", "--uid=65534", "--gid=65534", "--chdir=/", f"--job-name={mine.attempt}", "--output=/dev/null"]
    farm.bed.say(*words, "--begin=now+1hour", "--wrap=true")
    assert mine.attempt in farm.bed.say("squeue", "-h", "-o", "%j %u")
    assert farm.state(mine.attempt) is JobState.UNKNOWN
    farm.launcher.start(mine)
    other.start(theirs)
    farm.await_running(mine.attempt)
    farm.await_running(theirs.attempt)
    seen = other.look([mine.attempt, theirs.attempt, ticket().attempt])
    assert list(seen.values()) == [JobState.RUNNING, JobState.RUNNING, JobState.UNKNOWN]
    farm.launcher.cancel(mine.attempt)
    assert other.look([theirs.attempt]) == {theirs.attempt: JobState.RUNNING}
    assert farm.bed.say("squeue", "-h", "-o", "%j %u").split() == [mine.attempt, "nobody", theirs.attempt, "root"]
    farm.bed.say("scancel", "--user=nobody")


def test_a_controller_killed_after_a_submission_forgets_the_job_and_another_gets_its_number(farm: Farm) -> None:
    lost, next_one = ticket(), ticket()
    farm.bed.await_saved()
    farm.head(options="--begin=now+1hour").start(lost)
    number = farm.number(lost.attempt)
    farm.bed.kill("slurmctld")
    with ThreadPoolExecutor() as asking:
        state = asking.submit(farm.state, lost.attempt)
        opened = asking.submit(farm.launcher.open)
        started = asking.submit(farm.launcher.start, next_one)
        cancelled = asking.submit(farm.launcher.cancel, lost.attempt)
    assert state.result() is JobState.UNKNOWN
    for error, reason in (
        (opened.exception(), "builder"),
        (started.exception(), "unreachable"),
        (cancelled.exception(), "unreachable"),
    ):
        assert isinstance(error, CCImagesError)
        assert "the controller of Slurm does not answer" in error.message
        assert (error.reason, error.temporary) == (reason, True)
    farm.bed.start_controller()
    assert farm.state(lost.attempt) is JobState.UNKNOWN, "the controller has forgotten it"
    farm.launcher.start(next_one)
    assert farm.number(next_one.attempt) == number
    farm.await_running(next_one.attempt)
    assert farm.launcher.look([lost.attempt, next_one.attempt]) == {
        lost.attempt: JobState.UNKNOWN, next_one.attempt: JobState.RUNNING,
    }  # fmt: skip
    farm.launcher.cancel(lost.attempt)
    assert farm.state(next_one.attempt) is JobState.RUNNING


@pytest.mark.deep
def test_what_slurm_refuses(farm: Farm) -> None:
    for entry, why in (
        ({"partition": "nope"}, "Slurm has no such partition"),
        ({"constraint": "gpu"}, "no node of Slurm's can do what the builder asks for"),
        ({"options": "--mem=99G"}, "no node of Slurm's can do what the builder asks for"),
    ):
        work = ticket()
        with pytest.raises(CCImagesError, match=why) as caught:
            farm.head(**entry).start(work)
        assert caught.value.reason == "configuration"
        assert farm.state(work.attempt) in (JobState.UNKNOWN, JobState.ENDED), "some refused jobs are in the queue"


@pytest.mark.deep
@pytest.mark.parametrize("how", ["slurmd", "link"])
def test_a_job_whose_node_is_lost_lives_on_and_is_not_run_again(farm: Farm, how: str) -> None:
    work, node = ticket(), farm.bed.nodes[1]
    farm.head(options=f"--nodelist={node}").start(work)
    farm.await_running(work.attempt)
    if how == "slurmd":
        farm.bed.kill(node)
    else:
        farm.bed.cut(node)
    farm.await_state(work.attempt, JobState.ENDED, 120)
    assert farm.bed.job_processes(node), "Slurm says that it has ended, and its processes live on"
    farm.launcher.start(work)
    if how == "slurmd":
        farm.bed.start_node(node)
    else:
        farm.bed.restore(node)
    await_for(lambda: farm.bed.states()[node] == "IDLE", 120, "the node does not come back")
    time.sleep(5)
    assert farm.state(work.attempt) is JobState.ENDED
    assert len(farm.executions(work.attempt)) == 1


@pytest.mark.deep
def test_the_bed_leaves_nothing_behind() -> None:
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    with SlurmBed(nodes=1) as bed:
        bed.say("sbatch", "--output=/dev/null", "--wrap=sleep 600")
        await_for(lambda: bool(bed.job_processes(bed.nodes[0])), AWAY, "the job does not start")
        inside = bed.processes(bed.nodes[0])
    assert not bed.folder.exists()
    assert subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout == links
    assert not [number for number in inside if slurmbed.alive(number)]
