"""The verdict on an image: its level, its words, and what two boots must not have in common."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cc_images.boottest import boot_test, hygiene, inspector
from cc_images.boottest.boot import BootResult, overdue
from cc_images.boottest.boot_test import compare
from cc_images.boottest.console import Console
from cc_images.boottest.qemu import Machine
from cc_images.boottest.stages import pace
from cc_images.boottest.verdict import BootTestResult, Refused
from cc_images.boottest.visit import answers_in, cloud_init, logins, why_no_ssh
from cc_images.model.catalog import USUAL, Arch, Firmware, Format, Json, Level, Source

MACHINES = [level for level in Level if level is not Level.STARTS]
ALL: dict[Level, float] = {level: float(number) for number, level in enumerate(MACHINES) if level is not Level.INSIDE}


def passed(**more: Any) -> BootResult:
    return BootResult(levels=dict(ALL), **more)


def test_a_passed_trial() -> None:
    verdict = BootTestResult(climbs={Firmware.BIOS: passed(), Firmware.UEFI: passed()})
    assert (verdict.passed, verdict.level, verdict.failed) == (True, Level.CHECKS, None)
    assert verdict.as_json()["boots"]["bios"]["levels"]["checks"] == 8.0


def test_the_lowest_level_of_all_firmware_counts() -> None:
    stuck = passed()
    stuck.fail(Level.LOADER, "nothing to boot")
    assert stuck.levels == {Level.FIRMWARE: 1.0}, "what comes after does not count"
    verdict = BootTestResult(climbs={Firmware.BIOS: passed(), Firmware.UEFI: stuck})
    assert (verdict.passed, verdict.level, verdict.failed) == (False, Level.FIRMWARE, Level.LOADER)
    assert verdict.words == "boot loader: nothing to boot (uefi)"


def test_one_reason_is_told_once() -> None:
    climbs = {firmware: passed() for firmware in Firmware}
    for climb in climbs.values():
        climb.fail(Level.SSH, "nobody is let in")
    assert BootTestResult(climbs=climbs).words == "ssh: nobody is let in (bios and uefi)"


def test_what_fails_inside_is_not_booted() -> None:
    verdict = BootTestResult(inside=("a", "b"))
    assert (verdict.passed, verdict.level, verdict.failed) == (False, Level.INSIDE, Level.INSIDE)
    assert verdict.words == "inside: a; b"


def test_two_boots_share_neither_host_keys_nor_machine_id() -> None:
    climbs = {
        Firmware.BIOS: passed(host_keys=("a", "b"), machine_id="1"),
        Firmware.UEFI: passed(host_keys=("c",), machine_id="2"),
    }
    compare(climbs)
    assert BootTestResult(climbs=climbs).passed
    climbs[Firmware.UEFI].host_keys = ("c", "b")
    climbs[Firmware.UEFI].machine_id = "1"
    compare(climbs)
    verdict = BootTestResult(climbs=climbs)
    assert (verdict.failed, verdict.level) == (Level.CHECKS, Level.SYSTEM)
    assert "the same ssh host key" in verdict.words
    assert "the same machine-id" in verdict.words


class Machinery(SimpleNamespace):
    """Stands in for a machine that is on."""

    def __enter__(self) -> Machinery:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def tail(self) -> tuple[str, ...]:
        return ("tail",)


class Guests:
    """Stands in for machines: each boot takes the next climb of its firmware."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **planned: list[BootResult]) -> None:
        self.planned, self._folder = planned, tmp_path
        self.booted: list[tuple[str, bool]] = []
        self.distrusted: list[str] = []
        monkeypatch.setattr(boot_test, "Guest", self._guest)
        monkeypatch.setattr(
            boot_test, "watch", lambda guest, *rest, **more: self.planned[guest.machine.firmware].pop(0)
        )
        monkeypatch.setattr(inspector, "look", lambda *rest, **more: FACTS)
        monkeypatch.setattr(hygiene, "problems", lambda *rest: [])
        monkeypatch.setattr(boot_test, "contents", lambda facts: facts)

    def _guest(self, machine: Machine, *rest: object, **more: object) -> Any:
        self.booted.append((machine.firmware, machine.accelerated))
        serial = self._folder / "serial"
        serial.touch()
        return Machinery(machine=machine, serial=serial)

    def examine(self, *, accelerated: bool) -> BootTestResult:
        firmware = tuple(Firmware(each) for each in self.planned)
        job: Any = SimpleNamespace(arch=Arch.AMD64, firmware=firmware, memory_mib=1024, boot=USUAL,
                              checks={}, allow=())  # fmt: skip
        folder = self._folder
        return boot_test.BootTest(
            job=job, image=folder / "image", disk_format=Format.QCOW2, folder=folder, guards=folder,
            serial_log=lambda firmware: folder / "log", accelerated=accelerated, log=io.BytesIO(),
            stop=threading.Event(), report=lambda text: None, distrust=self.distrusted.append,
        ).run()  # fmt: skip


FACTS: Json = {"os": {}}


def failed(level: Level, **more: Any) -> BootResult:
    climb = passed(**more)
    climb.fail(level, f"no sign of {level}")
    return climb


def test_an_accelerated_guest_that_stays_silent_is_started_again_in_software(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    guests = Guests(monkeypatch, tmp_path, bios=[failed(Level.LOADER, silent=True), passed()],
                    uefi=[failed(Level.FIRMWARE, silent=True), passed()])  # fmt: skip
    verdict = guests.examine(accelerated=True)
    assert verdict.passed
    assert not verdict.accelerated
    assert guests.booted == [("bios", True), ("bios", False), ("uefi", True), ("uefi", False)]
    assert guests.distrusted == ["no sign of boot loader (bios); in software it got further",
                                 "no sign of firmware (uefi); in software it got further"]  # fmt: skip


def test_an_image_that_is_as_silent_in_software_is_to_blame_and_not_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = [failed(Level.KERNEL, silent=True), failed(Level.KERNEL, silent=True)]
    guests = Guests(monkeypatch, tmp_path, bios=silent)
    assert guests.examine(accelerated=True).failed is Level.KERNEL
    assert guests.distrusted == []


def test_what_a_guest_says_itself_is_believed_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    guests = Guests(monkeypatch, tmp_path, bios=[failed(Level.KERNEL)])
    assert guests.examine(accelerated=True).failed is Level.KERNEL
    assert guests.booted == [("bios", True)]


def test_only_the_firmware_whose_guest_gave_up_waiting_is_booted_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = failed(Level.LOGIN, timed_out="[ TIME ] Timed out waiting for device", starved=0.6)
    guests = Guests(monkeypatch, tmp_path, bios=[slow, passed()], uefi=[passed()])
    assert guests.examine(accelerated=False).passed
    assert guests.booted == [("bios", False), ("bios", False), ("uefi", False)]
    again = Guests(monkeypatch, tmp_path / "2", bios=[slow, slow])
    (tmp_path / "2").mkdir()
    refused = Refused(again.examine(accelerated=False), "hint")
    assert refused.temporary
    assert "Timed out waiting for device; this host had no core for it 60% of the time" in refused.message


def test_answers_are_cut_at_their_marks() -> None:
    text = "one\n\nM 0 1.00 2.50\ntwo\nlines\n\nM 3 1.00 4.00\nrest without an end"
    answers = answers_in("M", text)
    assert [(each.code, each.output, each.seconds) for each in answers] == [(0, "one\n", 1.5), (3, "two\nlines\n", 3.0)]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ('{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb]", "errors": []}}', ""),
        ('{"v1": {"datasource": "DataSourceNoCloud", "errors": ["ssh: KeyError"]}}', "cloud-init: ssh: KeyError"),
        ('{"v1": {"datasource": "DataSourceNone", "errors": []}}', "used DataSourceNone, not the NoCloud seed"),
        ("", "has left no result"),
        ('{"v1": []}', "has left no result"),
    ],
)  # fmt: skip
def test_cloud_inits_own_account(result: str, words: str) -> None:
    assert words in "; ".join(cloud_init(result, "host", "host", None))
    assert bool(words) is bool(cloud_init(result, "host", "host", None))


def test_the_host_name_of_the_metadata_must_be_there() -> None:
    result = '{"v1": {"datasource": "DataSourceNoCloud", "errors": []}}'
    assert cloud_init(result, "localhost", "cc-1", Source.NOCLOUD) == [
        "the host name is localhost, not cc-1 as the metadata says"
    ]


def test_ways_past_the_key() -> None:
    good = "passwordauthentication no\nkbdinteractiveauthentication no\npermitrootlogin without-password\n"
    assert logins(good) == []
    assert logins(good + "permitemptypasswords yes\n") == ["sshd: permitemptypasswords is yes"]
    assert logins(good.replace("authentication no", "authentication yes", 1)) == ["sshd: passwordauthentication is yes"]
    assert logins("") == ["sshd does not show its configuration (sshd -T)"]


def test_a_failed_login_is_explained() -> None:
    assert "cannot log in with the key" in why_no_ssh("cc@127.0.0.1: Permission denied (publickey).\n", "cc")
    assert "nothing listens" in why_no_ssh("kex_exchange_identification: Connection closed by remote host\n", "cc")
    assert "no answer" in why_no_ssh("", "cc")


def guest(console: Console, accelerated: bool = False) -> Any:
    return SimpleNamespace(console=console, machine=SimpleNamespace(accelerated=accelerated))


def test_a_slow_guest_gets_more_time_at_its_own_pace() -> None:
    fast, slow = Console(levels={Level.LOGIN: 4.0}), Console(levels={Level.LOGIN: 100.0})
    assert (pace(guest(fast)), pace(guest(slow))) == (1.0, 10.0)
    assert "cloud-init does not run" in overdue(guest(fast), Level.CLOUD_INIT, 7, Level.LOGIN)
    assert overdue(guest(slow), Level.CLOUD_INIT, 59, Level.LOGIN) == ""
    assert "cloud-init does not run" in overdue(guest(slow), Level.CLOUD_INIT, 61, Level.LOGIN)
    slow.cloud_init_runs = True
    assert overdue(guest(slow), Level.CLOUD_INIT, 599, Level.LOGIN) == ""
    assert "has not finished" in overdue(guest(slow), Level.CLOUD_INIT, 601, Level.LOGIN)
    assert overdue(guest(Console()), Level.KERNEL, 239, Level.LOADER) == ""
    assert "no sign of it 241 s after boot loader" in overdue(guest(Console()), Level.KERNEL, 241, Level.LOADER)
    assert "no sign of it" in overdue(guest(Console(), accelerated=True), Level.KERNEL, 31, Level.LOADER)
    for quick in (True, False):
        assert "no sign of it 61 s after firmware" in overdue(guest(Console(), quick), Level.LOADER, 61, Level.FIRMWARE)
