"""The boot of a guest: from power-on through the levels, as its console shows them, to the visit by ssh."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from cc_images.boottest.acceleration import has_given_up
from cc_images.boottest.guest import LOOK, Guest
from cc_images.boottest.stages import LIMITS, ORDER, SOFTWARE, BootResult, is_wanted, not_stopped, pace, soon, wanted
from cc_images.boottest.visit import answers_in, script_of, visit
from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Checks, Level
from cc_images.model.contract import SILENT
from cc_images.model.stop import Stop

__all__ = ["BootResult", "climb"]

SILENT_CLOUD_INIT = 6.0
"""Seconds after the login prompt, at that pace, in which a cloud-init that runs has said so."""

AT_ONCE = 3.0
"""Seconds in which QEMU ends when it cannot start a machine at all."""

BEFORE_LOGIN = frozenset({Level.FIRMWARE, Level.LOADER, Level.KERNEL, Level.LOGIN})
"""Levels at which a machine that runs prints something."""


def climb(
    guest: Guest,
    wanted: Checks,
    *,
    stop: Stop,
    report: Callable[[Level], None] = lambda level: None,
    passwords: bool = False,
) -> BootResult:
    """Watch a guest from power-on to what it has of the wanted; sshd may take `passwords` only if that is meant so.

    Raises Interrupted when `stop` is set.
    """
    found = BootResult()
    (_knock if guest.contract.console == SILENT else _watch)(guest, found, stop, report)
    if found.failed is None and is_wanted(guest, Level.SSH):
        visit(guest, found, wanted, stop, report, passwords)
    return found


def _watch(guest: Guest, found: BootResult, stop: Stop, report: Callable[[Level], None]) -> None:
    """Follow the console until cloud-init has finished, or something shows that it will not."""
    since, without_core, last = 0.0, 0.0, 0
    goal = Level.CLOUD_INIT if is_wanted(guest, Level.CLOUD_INIT) else wanted(guest)
    while not guest.console.reached(goal):
        not_stopped(stop)
        guest.look()
        console = guest.console
        found.levels = dict(console.levels)
        now = ORDER.index(found.reached) if found.reached else 0
        if now != last:
            last, since, without_core = now, guest.now, guest.starved
            report(ORDER[now])
        ahead = ORDER[now + 1]
        if console.stopped_at is not None:
            _note_host(guest, found)
            return found.fail(console.stopped_at, console.trouble)
        if not guest.running:
            if not guest.machine.accelerated:
                _blame_the_host(guest, found)
            found.silent = True
            return found.fail(ahead, f"the machine went off: {guest.said_by_qemu()}")
        if guest.machine.accelerated and has_given_up(guest.folder / "qemu.log"):
            found.silent = True
            return found.fail(ahead, "KVM stopped the machine (internal error)")
        waited = guest.now - since - (guest.starved - without_core)
        if why := overdue(guest, ahead, waited, found.reached):
            if ahead is Level.CLOUD_INIT and _finished(guest, stop):  # it may log elsewhere
                guest.console.levels[Level.CLOUD_INIT] = guest.now
                continue
            _note_host(guest, found)
            found.silent = ahead in BEFORE_LOGIN and guest.now - guest.heard > waited / 2
            return found.fail(ahead, why)
        time.sleep(LOOK)
    if goal is Level.CLOUD_INIT:
        _await_login(guest, found, stop)
    else:
        found.levels = dict(guest.console.levels)
    return None


def _knock(guest: Guest, found: BootResult, stop: Stop, report: Callable[[Level], None]) -> None:
    """Ask a guest without a console again and again whether it has started."""
    limit = sum(LIMITS[level] for level in ORDER[1 : ORDER.index(Level.SSH)])
    while not _finished(guest, stop):
        not_stopped(stop)
        if not guest.running:
            if guest.now < AT_ONCE:
                _blame_the_host(guest, found)
            return found.fail(Level.CLOUD_INIT, f"the machine went off: {guest.said_by_qemu()}")
        if guest.now - guest.starved > limit * (1 if guest.machine.accelerated else SOFTWARE):
            return found.fail(Level.CLOUD_INIT, f"no login within {guest.now:.0f} s, and no console")
        time.sleep(1)
    guest.console.levels[Level.CLOUD_INIT] = guest.now
    found.levels = dict(guest.console.levels)
    return report(Level.CLOUD_INIT)


def _note_host(guest: Guest, found: BootResult) -> None:
    """Take note of what the host may have to do with a failure."""
    found.timed_out = guest.console.timed_out
    found.starved = guest.starved / guest.now if guest.now else 0.0


def _blame_the_host(guest: Guest, found: BootResult) -> None:
    """Raise CCImagesError for a machine that has shown nothing: that is not the image's fault."""
    if not found.levels:
        raise CCImagesError(
            f"QEMU ended before the machine did anything: {guest.said_by_qemu()}",
            hint="`cc-images doctor` checks what this host has for boot tests",
            reason=Reason.EMULATION,
            temporary=True,
        )


def _finished(guest: Guest, stop: Stop) -> bool:
    """Ask a guest whose console says nothing of it whether cloud-init has finished."""
    mark, patience = f"cc-{secrets.token_hex(8)}", LIMITS[Level.CLOUD_INIT] * pace(guest)
    said = guest.ask(script_of(mark, [f"cc_cloud_init {patience:.0f}"]), patience + LIMITS[Level.CHECKS], stop)
    not_stopped(stop)
    answers = answers_in(mark, said.stdout)
    return bool(answers) and answers[0].code == 0


def overdue(guest: Guest, ahead: Level, waited: float, reached: Level | None) -> str:
    """Return why a level that is waited for will not come any more, or an empty string."""
    console = guest.console
    if ahead is Level.CLOUD_INIT:
        if not console.cloud_init_runs and waited > SILENT_CLOUD_INIT * pace(guest):
            return "cloud-init does not run: no output of it on the console by the login prompt"
        if waited > LIMITS[ahead] * pace(guest):
            return f"cloud-init has not finished {waited:.0f} s after the login prompt"
    elif waited > LIMITS[ahead] * (1 if guest.machine.accelerated or ahead is Level.LOADER else SOFTWARE):
        said = f" ({console.complaint})" if console.complaint else ""
        return f"no sign of it {waited:.0f} s after {reached or 'power-on'}{said}"
    return ""


def _await_login(guest: Guest, found: BootResult, stop: Stop) -> None:
    """Give a login prompt that comes after cloud-init its time: a person with only the console needs it."""
    since = guest.now
    while Level.LOGIN not in guest.console.levels:
        not_stopped(stop)
        if guest.now - since > soon(guest):
            found.levels = dict(guest.console.levels)
            return found.fail(Level.LOGIN, "there is no login prompt on the serial console")
        time.sleep(LOOK)
        guest.look()
    found.levels = dict(guest.console.levels)
    return None
