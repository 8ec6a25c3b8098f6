"""The boot test of an image: look inside without booting, boot with each firmware at once, and judge.

An image that fails inside is not booted: it must be built again anyway.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cc_images.boottest import hygiene, inspector
from cc_images.boottest.boot import BootResult
from cc_images.boottest.boot import climb as watch
from cc_images.boottest.contents import contents
from cc_images.boottest.foresight import problems as foreseen
from cc_images.boottest.foresight import sought
from cc_images.boottest.guest import Drive, Guest
from cc_images.boottest.qemu import Machine
from cc_images.boottest.verdict import BootTestResult
from cc_images.model.catalog import Contract, Firmware, Format, Json, Level
from cc_images.model.contract import settled
from cc_images.model.plan import BootJob


@dataclass(frozen=True, slots=True, kw_only=True)
class BootTest:
    """One boot test of one file, in `folder`, which must not exist. Each guest has `cores`; `at_once` run at a time."""

    job: BootJob
    image: Path
    disk_format: Format
    kernel: Path | None = None
    """The kernel of a ramdisk."""
    folder: Path
    guards: Path
    serial_log: Callable[[Firmware], Path]
    secrets: Sequence[str] = ()
    """Values that no file of the image may contain."""
    admitted: Sequence[str] = ()
    """Keys that may log in."""
    accelerated: bool = False
    cores: int = 1
    at_once: int = 1
    log: BinaryIO
    stop: threading.Event
    report: Callable[[str], None]
    distrust: Callable[[str], None] = lambda why: None
    """Called with the reason when the host's acceleration was at fault."""
    guests: dict[Firmware, Guest] = field(default_factory=dict, init=False)

    def run(self) -> BootTestResult:
        """Look into the image, boot it with each firmware, and judge.

        An accelerated guest that stays silent is started again in software; when that gets further, the host was at
        fault. Raises CCImagesError for what is this host's fault.
        """
        self.report("inside")
        facts = inspector.look(
            self.image,
            self.folder / "look",
            secrets=self.secrets,
            sought=sought(self.job.checks),
            guards=self.guards,
            log=self.log,
            stop=self.stop,
        )
        inspector.require_system(facts)
        seen = contents(facts)
        if inside := hygiene.problems(facts, inspector.nameservers(), self.admitted, self.job.allow):
            return BootTestResult(inside=tuple(inside), accelerated=self.accelerated, contents=seen)
        contract, strange = settled(self.job.boot, facts, self.disk_format, self.job.arch)
        if contract.level is Level.CHECKS:
            strange += foreseen(self.job.checks, contract, facts)
        if strange:
            return BootTestResult(inside=tuple(strange), accelerated=self.accelerated, contents=seen)
        if contract.level is Level.INSIDE:
            return BootTestResult(accelerated=self.accelerated, contents=seen)
        return self._booted(contract, seen)

    def _booted(self, contract: Contract, seen: Json) -> BootTestResult:
        """Boot with each firmware, as many at once as the host can run."""
        firmwares = self.job.firmware
        with ThreadPoolExecutor(max(1, min(self.at_once, len(firmwares))), thread_name_prefix="guest") as pool:
            found = pool.map(lambda each: self._with(each, contract), firmwares)
            climbs = dict(zip(firmwares, found, strict=True))
        compare(climbs)
        # from ssh on the guest itself has said what is wrong, and the console tells nothing of it
        silent = (Level.SYSTEM, Level.CHECKS)
        stuck = next((each for each, climb in climbs.items() if climb.failed and climb.failed not in silent), None)
        return BootTestResult(
            climbs=climbs,
            accelerated=all(guest.machine.accelerated for guest in self.guests.values()),
            tail=self.guests[stuck].tail() if stuck is not None else (),
            contents=seen,
        )

    def _with(self, firmware: Firmware, contract: Contract) -> BootResult:
        """Boot with one firmware, again where the host may have been at fault."""
        found = self._boot(firmware, contract, fast=self.accelerated)
        if found.silent and self.accelerated:
            self.report(f"{firmware}: silent with KVM, retry in software")
            first, found = found, self._boot(firmware, contract, fast=False, attempt="-software")
            if found.is_beyond(first):
                self.distrust(f"{'; '.join(first.problems)} ({firmware}); in software it got further")
        if found.failed is not None and found.timed_out:
            self.report(f"{firmware}: the guest gave up waiting, retry")
            found = self._boot(firmware, contract, fast=False, attempt="-again")
        return found

    def _boot(self, firmware: Firmware, contract: Contract, *, fast: bool, attempt: str = "") -> BootResult:
        machine = Machine(
            arch=self.job.arch,
            firmware=firmware,
            cores=self.cores,
            memory_mib=self.job.memory_mib,
            accelerated=fast,
        )
        folder = self.folder / f"{firmware}{attempt}"
        drive = Drive(self.image, self.disk_format, self.kernel)
        self.guests[firmware] = Guest(machine, drive, folder, contract=contract)
        with self.guests[firmware] as guest:
            try:
                return watch(
                    guest,
                    self.job.checks,
                    stop=self.stop,
                    report=lambda level: self.report(f"{firmware}: {level}"),
                    passwords="passwords" in self.job.allow,
                )
            finally:
                shutil.copy(guest.serial, self.serial_log(firmware))


def compare(climbs: Mapping[Firmware, BootResult]) -> None:
    """Fail what two boots of one image must not have in common."""
    keys: dict[str, Firmware] = {}
    machine_ids: dict[str, Firmware] = {}
    for firmware, climb in climbs.items():
        for key in climb.host_keys:
            if keys.setdefault(key, firmware) is not firmware:
                climb.fail(Level.CHECKS, "two boots have the same ssh host key")
                break
        if climb.machine_id and machine_ids.setdefault(climb.machine_id, firmware) is not firmware:
            climb.fail(Level.CHECKS, "two boots have the same machine-id")
