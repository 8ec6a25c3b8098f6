"""The trial of an image: looked into without booting, then booted with each firmware at once, and judged.

What fails inside is not booted: it must be built anew anyway. Owns the verdict and its words.
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
from cc_images.boottest.guest import Guest
from cc_images.boottest.qemu import Machine
from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Firmware, Format, Json, Level
from cc_images.model.contract import settled
from cc_images.model.plan import BootJob


class Refused(CCImagesError):
    """An image did not pass. `tail` has the last lines of the console that shows it."""

    def __init__(self, verdict: BootTestResult, hint: str) -> None:
        super().__init__(
            verdict.words,
            hint=hint,
            reason=Reason(f"boot-{verdict.failed}".replace(" ", "-")),
            temporary=bool(verdict.slow_host),
            tail=verdict.tail,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BootTestResult:
    """What became of a trial. `climbs` is empty when the image was not booted; times are seconds since power-on."""

    inside: tuple[str, ...] = ()
    climbs: Mapping[Firmware, BootResult] = field(default_factory=dict)
    accelerated: bool = False
    tail: tuple[str, ...] = ()
    contents: Json = field(default_factory=dict)
    """What was seen inside, of which a build's record keeps a part; see `inspection.contents`."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.inside and all(climb.failed is None for climb in self.climbs.values())

    @property
    def level(self) -> Level:
        """The level that was reached with every firmware; `inside` when it was not, or hardly, booted."""
        order = list(Level)
        lowest = [order.index(climb.reached or Level.INSIDE) for climb in self.climbs.values()]
        return order[min(lowest, default=0)]

    @property
    def failed(self) -> Level | None:
        """The first level that was not reached."""
        if self.inside:
            return Level.INSIDE
        order = list(Level)
        return min((climb.failed for climb in self.climbs.values() if climb.failed), key=order.index, default=None)

    @property
    def words(self) -> str:
        """What is wrong, in one sentence."""
        if self.inside:
            return f"inside: {'; '.join(self.inside)}"
        told: dict[str, list[str]] = {}
        for firmware, climb in self.climbs.items():
            if climb.failed is not None:
                told.setdefault(f"{climb.failed}: {'; '.join(climb.problems)}", []).append(firmware)
        words = "; ".join(f"{text} ({' and '.join(with_)})" for text, with_ in told.items())
        return f"{words}; {self.slow_host}" if self.slow_host else words

    @property
    def slow_host(self) -> str:
        """What a slow host has to do with the failure, a phrase; empty when it has nothing to do with it."""
        for climb in self.climbs.values():
            if climb.failed is not None and climb.timed_out:
                told = f"the guest itself gave up waiting: {climb.timed_out}"
                return f"{told}; for {climb.starved:.0%} of the time this host had no core for it"
        return ""

    @property
    def stuck(self) -> Firmware | None:
        """The first firmware with which a level was not reached."""
        return next((firmware for firmware, climb in self.climbs.items() if climb.failed), None)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds from power-on by firmware and level."""
        return {f"{each}: {level}": at for each, climb in self.climbs.items() for level, at in climb.levels.items()}

    def as_json(self) -> Json:
        """Return the verdict as the build's record keeps it."""
        return {
            "passed": self.passed,
            "level": self.level,
            "failed": self.failed,
            "inside": list(self.inside),
            "accelerated": self.accelerated,
            "boots": {
                firmware: {
                    "levels": {level: round(seconds, 1) for level, seconds in climb.levels.items()},
                    "failed": climb.failed,
                    "problems": climb.problems,
                }
                for firmware, climb in self.climbs.items()
            },
        }


def examine(
    job: BootJob,
    image: Path,
    disk_format: Format,
    *,
    folder: Path,
    guards: Path,
    serial_log: Callable[[Firmware], Path],
    secrets: Sequence[str],
    admitted: Sequence[str],
    accelerated: bool,
    cores: int,
    at_once: int,
    log: BinaryIO,
    stop: threading.Event,
    report: Callable[[str], None],
    distrust: Callable[[str], None] = lambda why: None,
) -> BootTestResult:
    """Put an image through its trial in `folder`, which must not exist.

    Each guest has `cores`, and `at_once` run at a time. An accelerated guest that stays silent is started again in
    software; when that gets further, `distrust` is called with the reason, because then the host was at fault. Raises
    CCImagesError for what is this host's fault.
    """
    report("inside")
    facts = inspector.look(
        image, folder / "look", secrets=secrets, sought=sought(job.checks), guards=guards, log=log, stop=stop
    )
    inspector.require_system(facts)
    if inside := hygiene.problems(facts, inspector.nameservers(), admitted, job.allow):
        return BootTestResult(inside=tuple(inside), accelerated=accelerated, contents=contents(facts))

    contract, strange = settled(job.boot, facts)
    if contract.level is Level.CHECKS:
        strange += foreseen(job.checks, contract, facts)
    if strange:
        return BootTestResult(inside=tuple(strange), accelerated=accelerated, contents=contents(facts))
    if contract.level is Level.INSIDE:
        return BootTestResult(accelerated=accelerated, contents=contents(facts))
    guests: dict[Firmware, Guest] = {}

    def boot(firmware: Firmware, fast: bool, attempt: str = "") -> BootResult:
        machine = Machine(arch=job.arch, firmware=firmware, cores=cores, memory_mib=job.memory_mib, accelerated=fast)
        guests[firmware] = Guest(machine, image, disk_format, folder / f"{firmware}{attempt}", contract=contract)
        with guests[firmware] as guest:
            try:
                return watch(
                    guest,
                    job.checks,
                    stop=stop,
                    report=lambda level: report(f"{firmware}: {level}"),
                    passwords="passwords" in job.allow,
                )
            finally:
                shutil.copy(guest.serial, serial_log(firmware))

    def climb(firmware: Firmware) -> BootResult:
        found = boot(firmware, fast=accelerated)
        if found.silent and accelerated:
            report(f"{firmware}: silent with KVM, again in software")
            first, found = found, boot(firmware, fast=False, attempt="-software")
            if found.is_beyond(first):
                distrust(f"{'; '.join(first.problems)} ({firmware}); in software it was there")
        if found.failed is not None and found.timed_out:
            report(f"{firmware}: the guest gave up waiting, again")
            found = boot(firmware, fast=False, attempt="-again")
        return found

    with ThreadPoolExecutor(max(1, min(at_once, len(job.firmware))), thread_name_prefix="guest") as pool:
        climbs = dict(zip(job.firmware, pool.map(climb, job.firmware), strict=True))
    accelerated = all(guest.machine.accelerated for guest in guests.values())
    _compare(climbs)
    # from ssh on the guest itself has said what is wrong, and the console tells nothing of it
    silent = (Level.SYSTEM, Level.CHECKS)
    stuck = next((each for each, climb in climbs.items() if climb.failed and climb.failed not in silent), None)
    tail = guests[stuck].tail() if stuck is not None else ()
    return BootTestResult(climbs=climbs, accelerated=accelerated, tail=tail, contents=contents(facts))


def _compare(climbs: Mapping[Firmware, BootResult]) -> None:
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
