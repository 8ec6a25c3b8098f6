"""A machine for each job, with fakes of the cloud and of ssh."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, Reason
from cc_images.model.attempt import BuilderHost, JobState, Provider, Ticket
from cc_images.model.catalog import Json
from cc_images.remote.launchers import machine
from cc_images.remote.launchers.machine import MachineLauncher
from cc_images.remote.machine_files import MachineFiles
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_steps import Policy
from cc_images.store.records import Store
from tests.support.fakecloud import FakeCloud

HOST = BuilderHost(name="burst", provider=Provider(cloud="c", flavor="f", image="i", maximum=2, user="me"))
POLICY = Policy(settle=0.2, pause=0.1, destroy_every=0.1, look_every=0.02, build_within=1, tries=2, maximum=2)


class Ssh:
    """One machine by ssh: it notes the tickets that come."""

    def __init__(self, host: BuilderHost, options: tuple[str, ...], silent: int = 0) -> None:
        self.host, self.options, self.tickets = host, options, list[Ticket]()
        self.state, self.closed, self._silent = JobState.RUNNING, False, silent

    def facts(self) -> Json | None:
        self._silent -= 1
        if self._silent >= 0:
            raise CCImagesError("no answer", reason=Reason.BUILDER, temporary=True)
        return {}

    def open(self) -> str:
        return "unix:/there"

    def close(self) -> None:
        self.closed = True

    def start(self, ticket: Ticket) -> None:
        self.tickets.append(ticket)

    def trouble(self) -> str:
        return ""

    def look(self, attempts: Collection[str]) -> Mapping[str, JobState]:
        return dict.fromkeys(attempts, self.state)

    def destroyed(self, attempt: str) -> bool:
        return False

    def cancel(self, attempt: str) -> None: ...


class Site:
    """A cloud, the machines that were reached by ssh, and a launcher."""

    def __init__(self, folder: Path, silent: int = 0, policy: Policy = POLICY) -> None:
        self.cloud, self.reached = FakeCloud(), list[Ssh]()

        def reach(host: BuilderHost, options: tuple[str, ...]) -> Ssh:
            self.reached.append(Ssh(host, options, silent))
            return self.reached[-1]

        self.launcher = MachineLauncher(
            HOST, lambda: MachineLoop(MachineFiles(Store(folder), "burst"), self.cloud, policy), reach, look_every=0.02
        )

    def state(self, attempt: str) -> JobState:
        return self.launcher.look([attempt])[attempt]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, silent=2)
    made.launcher.open()
    yield made
    made.launcher.close()


def until(true: Callable[[], object]) -> None:
    """Wait for something."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def ticket(number: int) -> Ticket:
    return Ticket(attempt=f"a{number:032x}", token="t", address="")


def test_each_job_has_a_machine_of_its_own_which_is_gone_after_it(site: Site) -> None:
    for number in (1, 2):
        site.launcher.start(ticket(number))
        site.launcher.start(ticket(number))
    assert site.state(ticket(1).attempt) is JobState.WAITING
    until(lambda: all(site.state(ticket(number).attempt) is JobState.RUNNING for number in (1, 2)))
    one, two = site.reached
    assert len(site.cloud.machines) == 2
    assert [len(one.tickets), len(two.tickets)] == [1, 1]
    assert one.tickets[0].address == "unix:/there"
    assert one.host.ssh == "me@192.0.2.1"
    alias = next(each.removeprefix("HostKeyAlias=") for each in one.options if each.startswith("HostKeyAlias="))
    known = next(each.removeprefix("UserKnownHostsFile=") for each in one.options if each.startswith("UserKnown"))
    assert Path(known).read_text().startswith(f"{alias} ssh-ed25519 ")
    one.state = two.state = JobState.ENDED
    until(lambda: all(site.launcher.destroyed(ticket(number).attempt) for number in (1, 2)) or _looked(site))
    assert site.cloud.machines == {}
    assert one.closed
    assert two.closed


def _looked(site: Site) -> bool:
    """Look at the jobs, as a run does; say that it goes on."""
    site.launcher.look([ticket(1).attempt, ticket(2).attempt])
    return False


def test_a_job_that_is_cancelled_in_the_queue_gets_no_machine(site: Site) -> None:
    for number in (1, 2, 3):
        site.launcher.start(ticket(number))
    until(lambda: [site.state(ticket(number).attempt) for number in (1, 2, 3)].count(JobState.RUNNING) == 2)
    waiting = next(number for number in (1, 2, 3) if site.state(ticket(number).attempt) is JobState.WAITING)
    site.launcher.cancel(ticket(waiting).attempt)
    until(lambda: site.launcher.destroyed(ticket(waiting).attempt))
    assert len(site.reached) == 2


def test_a_machine_that_people_delete_ends_its_job(site: Site) -> None:
    site.launcher.start(ticket(1))
    until(lambda: site.state(ticket(1).attempt) is JobState.RUNNING)
    site.cloud.machines.clear()
    until(lambda: site.state(ticket(1).attempt) is JobState.ENDED)
    assert site.launcher.destroyed(ticket(1).attempt)


def test_the_end_of_a_run_is_the_end_of_its_machines(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.launcher.open()
    site.launcher.start(ticket(1))
    until(lambda: site.cloud.machines)
    site.launcher.close()
    assert site.cloud.machines == {}
    assert machine.READY_WITHIN > 60


def test_with_one_in_reserve_the_first_job_starts_without_a_boot_and_the_reserve_is_filled_again(
    tmp_path: Path,
) -> None:
    policy = replace(POLICY, reserve=1)
    site = Site(tmp_path, policy=policy)
    sweep = MachineLoop(MachineFiles(Store(tmp_path), "burst"), site.cloud, policy)
    sweep.run(lambda step: any(each.ready for each in site.cloud.machines.values()))
    (warm,) = site.cloud.machines
    site.launcher.open()
    site.launcher.start(ticket(1))
    until(lambda: site.reached and site.reached[0].tickets)
    (record,) = (each for each in sweep.files.records() if each.want)
    assert (record.id, record.want) == (warm, ticket(1).attempt), "it has the machine that was there"
    until(lambda: sum(each.ready for each in site.cloud.machines.values()) == 2)
    site.launcher.close()
    assert [each.ready for id, each in site.cloud.machines.items() if id != warm] == [True]
