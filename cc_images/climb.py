"""The climb of a guest: from power-on through the levels, seen on its console and asked from inside.

Owns the levels' limits and what every guest is asked. A limit is long enough for a slow host: software emulation gets a
multiple, from the login prompt on the guest's own pace counts, and time in which it had no core counts nowhere.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cc_images import checks
from cc_images.acceleration import has_given_up
from cc_images.checks import Answer
from cc_images.contract import SILENT
from cc_images.errors import CCImagesError, Interrupted
from cc_images.guest import LOOK, Guest, Stop
from cc_images.model import Checks, Level, Source

LIMITS: Mapping[Level, float] = {
    Level.FIRMWARE: 15,
    Level.LOADER: 60,
    Level.KERNEL: 30,
    Level.LOGIN: 60,
    Level.CLOUD_INIT: 60,
    Level.SSH: 4,
    Level.SYSTEM: 30,
    Level.CHECKS: 60,
}
"""Seconds that an accelerated guest gets for a level after the one before."""

LEAST_SSH = 15.0
"""Seconds that a fast guest gets for what should be there when cloud-init has finished: sshd, a login prompt."""

SOFTWARE = 8.0
"""How much longer a guest gets that is emulated in software; not for the boot loader, which needs no speed."""

USUAL_LOGIN = 10.0
"""Seconds from power-on to the login prompt in an accelerated guest: from then on the guest's own pace is known."""

SILENT_CLOUD_INIT = 6.0
"""Seconds after the login prompt, at that pace, in which a cloud-init that runs has said so."""

ORDER = tuple(Level)

BEFORE_LOGIN = frozenset({Level.FIRMWARE, Level.LOADER, Level.KERNEL, Level.LOGIN})
"""Levels at which a machine that runs prints something."""

ASK = Path(__file__).parent / "inside" / "ask.sh"

ABOUT: Mapping[str, str] = {
    "cloud-init": "cat /run/cloud-init/result.json",
    "host name": "cat /proc/sys/kernel/hostname",
    "system": "cc_system {patience}",
    "failed units": "systemctl list-units --failed --plain --no-legend --no-pager",
    "machine-id": "cat /etc/machine-id",
    "host keys": "cat /etc/ssh/ssh_host_*_key.pub",
    "sshd": "sshd -T || /usr/sbin/sshd -T",
    "user": "id -u",
}
"""What every guest is asked besides the image's checks."""

PASSWORDS: Mapping[str, tuple[str, ...]] = {
    "passwordauthentication": ("no",),
    "kbdinteractiveauthentication": ("no",),
    "permitemptypasswords": ("no",),
    "permitrootlogin": ("no", "without-password", "prohibit-password", "forced-commands-only"),
}
"""What sshd may say about logging in without a key."""


@dataclass(slots=True, kw_only=True)
class Climb:
    """How far a boot got: seconds since power-on per level, and the level that failed with the reason, if any."""

    levels: dict[Level, float] = field(default_factory=dict)
    failed: Level | None = None
    problems: list[str] = field(default_factory=list)
    host_keys: tuple[str, ...] = ()
    machine_id: str = ""
    silent: bool = False
    """Whether the machine printed nothing any more before the level that failed: it may be the host's fault."""
    timed_out: str = ""
    """What took longer than the guest itself waits, in its own words: it may be too slow a host's fault."""
    starved: float = 0.0
    """The part of the time until the failure in which the machine had no core, 0 to 1."""

    @property
    def reached(self) -> Level | None:
        """The highest level."""
        return max(self.levels, key=ORDER.index, default=None)

    def is_beyond(self, other: Climb) -> bool:
        """Say whether this boot got further than another one that failed."""
        assert other.failed is not None
        return self.failed is None or ORDER.index(self.failed) > ORDER.index(other.failed)

    def fail(self, level: Level, *problems: str) -> None:
        """Take note of the level that is not reached, and why; what comes after it does not count."""
        self.failed = level
        self.levels = {each: at for each, at in self.levels.items() if ORDER.index(each) < ORDER.index(level)}
        self.problems += problems


def climb(
    guest: Guest,
    wanted: Checks,
    *,
    stop: Stop,
    report: Callable[[Level], None] = lambda level: None,
    passwords: bool = False,
) -> Climb:
    """Watch a guest from power-on to what it has of the wanted; sshd may take `passwords` only if that is meant so.

    Raises Interrupted when `stop` is set.
    """
    found = Climb()
    (_knock if guest.contract.console == SILENT else _watch)(guest, found, stop, report)
    if found.failed is None and _is_wanted(guest, Level.SSH):
        _visit(guest, found, wanted, stop, report, passwords)
    return found


def _watch(guest: Guest, found: Climb, stop: Stop, report: Callable[[Level], None]) -> None:
    """Follow the console until cloud-init has finished, or something shows that it will not."""
    since, without_core, last = 0.0, 0.0, 0
    goal = Level.CLOUD_INIT if _is_wanted(guest, Level.CLOUD_INIT) else _wanted(guest)
    while not guest.console.reached(goal):
        _not_stopped(stop)
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
        if late := _late(guest, ahead, waited, found.reached):
            if ahead is Level.CLOUD_INIT and _finished(guest, stop):  # it may log elsewhere
                guest.console.levels[Level.CLOUD_INIT] = guest.now
                continue
            _note_host(guest, found)
            found.silent = ahead in BEFORE_LOGIN and guest.now - guest.heard > waited / 2
            return found.fail(ahead, late)
        time.sleep(LOOK)
    if goal is Level.CLOUD_INIT:
        _await_login(guest, found, stop)
    else:
        found.levels = dict(guest.console.levels)
    return None


def _knock(guest: Guest, found: Climb, stop: Stop, report: Callable[[Level], None]) -> None:
    """Ask a guest without a console again and again whether it has started."""
    limit = sum(LIMITS[level] for level in ORDER[1 : ORDER.index(Level.SSH)])
    while not _finished(guest, stop):
        _not_stopped(stop)
        if not guest.running:
            _blame_the_host(guest, found)
        if guest.now - guest.starved > limit * (1 if guest.machine.accelerated else SOFTWARE):
            return found.fail(Level.CLOUD_INIT, f"no login within {guest.now:.0f} s, and it has no console")
        time.sleep(1)
    guest.console.levels[Level.CLOUD_INIT] = guest.now
    found.levels = dict(guest.console.levels)
    return report(Level.CLOUD_INIT)


def _wanted(guest: Guest) -> Level:
    return guest.contract.level or Level.CHECKS


def _is_wanted(guest: Guest, level: Level) -> bool:
    return ORDER.index(level) <= ORDER.index(_wanted(guest))


def _note_host(guest: Guest, found: Climb) -> None:
    """Take note of what the host may have to do with a failure."""
    found.timed_out = guest.console.timed_out
    found.starved = guest.starved / guest.now if guest.now else 0.0


def _blame_the_host(guest: Guest, found: Climb) -> None:
    """Raise CCImagesError for a machine that has shown nothing: that is not the image's fault."""
    if not found.levels:
        raise CCImagesError(
            f"QEMU ended before the machine did anything: {guest.said_by_qemu()}",
            hint="`cc-images doctor` checks what this host has for boot tests",
            reason="emulation",
            temporary=True,
        )


def _finished(guest: Guest, stop: Stop) -> bool:
    """Ask a guest whose console says nothing of it whether cloud-init has finished."""
    mark, patience = f"cc-{secrets.token_hex(8)}", LIMITS[Level.CLOUD_INIT] * pace(guest)
    said = guest.ask(_script(mark, [f"cc_cloud_init {patience:.0f}"]), patience + LIMITS[Level.CHECKS], stop)
    _not_stopped(stop)
    answers = _answers(mark, said.stdout)
    return bool(answers) and answers[0].code == 0


def _late(guest: Guest, ahead: Level, waited: float, reached: Level | None) -> str:
    """Return why a level that is waited for will not come any more, or an empty string."""
    console = guest.console
    if ahead is Level.CLOUD_INIT:
        if not console.cloud_init_runs and waited > SILENT_CLOUD_INIT * pace(guest):
            return "cloud-init does not run: nothing of it on the console by the login prompt"
        if waited > LIMITS[ahead] * pace(guest):
            return f"cloud-init has not finished {waited:.0f} s after the login prompt"
    elif waited > LIMITS[ahead] * (1 if guest.machine.accelerated or ahead is Level.LOADER else SOFTWARE):
        said = f" ({console.complaint})" if console.complaint else ""
        return f"no sign of it {waited:.0f} s after {reached or 'power-on'}{said}"
    return ""


def _await_login(guest: Guest, found: Climb, stop: Stop) -> None:
    """Give a login prompt that comes after cloud-init its time: whoever has only the console needs it."""
    since = guest.now
    while Level.LOGIN not in guest.console.levels:
        _not_stopped(stop)
        if guest.now - since > _soon(guest):
            found.levels = dict(guest.console.levels)
            return found.fail(Level.LOGIN, "there is no login prompt on the serial console")
        time.sleep(LOOK)
        guest.look()
    found.levels = dict(guest.console.levels)
    return None


def _visit(
    guest: Guest, found: Climb, wanted: Checks, stop: Stop, report: Callable[[Level], None], passwords: bool
) -> None:
    """Log in, and ask everything in one go."""
    patience = LIMITS[Level.SYSTEM] * pace(guest)
    commands = [text.format(patience=f"{patience:.0f}") for text in ABOUT.values()] + checks.questions(wanted)
    answers, errors = _asked(guest, commands, patience, stop)
    if not answers:
        return found.fail(Level.SSH, _why_no_ssh(errors, guest.contract.user))
    found.levels[Level.SSH] = guest.now - answers[-1].seconds
    report(Level.SSH)
    if len(answers) < len(commands):
        return found.fail(Level.CHECKS, f"the guest stopped answering: {errors.strip()[-200:] or 'no reason given'}")
    told = dict(zip(ABOUT, answers, strict=False))
    keys = [line.split() for line in told["host keys"].output.splitlines()]
    found.host_keys = tuple(sorted(words[1] for words in keys if len(words) > 1))
    found.machine_id = told["machine-id"].output.strip()
    host_names = told["host name"].output.strip(), guest.host_name
    if problems := _cloud_init(told["cloud-init"].output, *host_names, guest.contract.source):
        return found.fail(Level.CLOUD_INIT, *problems)
    if not _is_wanted(guest, Level.SYSTEM):
        return None
    state = told["system"].output.strip()
    units = [line.split()[0] for line in told["failed units"].output.splitlines() if line.strip()]
    failed = [unit for unit in units if unit not in wanted.get("may-fail", {})]
    if state != "running" and not (state == "degraded" and units and not failed):
        names = f": {', '.join(failed)} failed" if failed else ""
        return found.fail(Level.SYSTEM, f"the system is {state or 'in no state'}{names}")
    found.levels[Level.SYSTEM] = found.levels[Level.SSH] + told["system"].seconds
    report(Level.SYSTEM)
    if not _is_wanted(guest, Level.CHECKS):
        return None
    replies = [Answer(code=each.code, output=each.output) for each in answers[len(ABOUT) :]]
    if problems := [*([] if passwords else _logins(told["sshd"].output)), *checks.problems(wanted, replies)]:
        return found.fail(Level.CHECKS, *problems)
    found.levels[Level.CHECKS] = found.levels[Level.SSH] + answers[-1].seconds
    return None


def _asked(guest: Guest, commands: Sequence[str], patience: float, stop: Stop) -> tuple[list[_Timed], str]:
    """Log in and run the commands; return the answers, none when nobody was let in, and what ssh said."""
    mark, since = f"cc-{secrets.token_hex(8)}", guest.now
    script = _script(mark, commands)
    while True:
        _not_stopped(stop)
        said = guest.ask(script, patience + LIMITS[Level.CHECKS] * pace(guest), stop)
        _not_stopped(stop)
        answers = _answers(mark, said.stdout)
        if answers or not guest.running or guest.now - since > _soon(guest):
            return answers, said.stderr
        time.sleep(1)


@dataclass(frozen=True, slots=True)
class _Timed:
    code: int
    output: str
    seconds: float
    """Since the login."""


def _script(mark: str, commands: Sequence[str]) -> str:
    """Return the script that runs each command apart and marks its end."""
    lines = [f"CC_MARK={mark}", "CC_BEGAN=$(cut -d' ' -f1 /proc/uptime)", ASK.read_text()]
    lines += [f"( {command}\n) 2> /dev/null < /dev/null; cc_done $?" for command in commands]
    return "\n".join(lines) + "\n"


def _answers(mark: str, output: str) -> list[_Timed]:
    """Return what the script's commands have answered."""
    found: list[_Timed] = []
    rest = output
    while ended := re.search(rf"\n{mark} (\d+) ([\d.]+) ([\d.]+)\n", rest):
        found.append(_Timed(int(ended[1]), rest[: ended.start()], float(ended[3]) - float(ended[2])))
        rest = rest[ended.end() :]
    return found


def _cloud_init(result: str, host_name: str, wanted: str, seed: Source | None) -> list[str]:
    """Return what is wrong by cloud-init's own account, which should have used the seed."""
    try:
        said = json.loads(result)["v1"]
        source, errors = str(said["datasource"]), list(said["errors"])
    except (ValueError, KeyError, TypeError):
        return ["cloud-init has left no result"]
    problems = [f"cloud-init: {error}" for error in errors]
    if (seed or Source.NOCLOUD) not in source:
        problems.append(f"cloud-init used {source}, not the {seed or Source.NOCLOUD} seed")
    elif host_name != wanted:
        problems.append(f"the host name is {host_name}, not {wanted} as the metadata says")
    return problems


def _logins(sshd: str) -> list[str]:
    """Return the ways past the key that sshd leaves open."""
    said = {name: value.strip() for name, _, value in (line.partition(" ") for line in sshd.splitlines()) if value}
    if not said:
        return ["sshd does not show its configuration (sshd -T)"]
    return [
        f"sshd: {name} is {said[name]}" for name, fine in PASSWORDS.items() if name in said and said[name] not in fine
    ]


def _why_no_ssh(stderr: str, user: str) -> str:
    """Return a sentence about a login that failed."""
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "no answer"
    if "Permission denied" in last:
        return f"{user} is not let in with the key of the metadata ({last})"
    if "closed by" in last or "reset by" in last or "refused" in last:
        return f"nothing listens on port 22 ({last})"
    return f"no login as {user}: {last}"


def _soon(guest: Guest) -> float:
    """Return the seconds in which what should be there already must show."""
    return max(LEAST_SSH, LIMITS[Level.SSH] * pace(guest))


def pace(guest: Guest) -> float:
    """Return how many times slower than usual the guest runs; at least 1, also for a fast one."""
    login = guest.console.levels.get(Level.LOGIN) or guest.console.levels.get(Level.CLOUD_INIT) or 0.0
    return max(1.0, login / USUAL_LOGIN)


def _not_stopped(stop: Stop) -> None:
    if stop.is_set():
        raise Interrupted("the boot test was ended")
