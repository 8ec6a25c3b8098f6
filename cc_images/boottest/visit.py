"""The visit to a guest: asks all questions in one ssh login, and judges the answers."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cc_images.boottest.guest import Guest
from cc_images.boottest.stages import LIMITS, BootResult, is_wanted, not_stopped, pace, soon
from cc_images.model import checks
from cc_images.model.catalog import Checks, Level, Source
from cc_images.model.check_kinds import Answer
from cc_images.model.stop import Stop

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
"""Questions to every guest besides the image's checks."""

PASSWORDS: Mapping[str, tuple[str, ...]] = {
    "passwordauthentication": ("no",),
    "kbdinteractiveauthentication": ("no",),
    "permitemptypasswords": ("no",),
    "permitrootlogin": ("no", "without-password", "prohibit-password", "forced-commands-only"),
}
"""Permitted answers of sshd about logins without a key."""


def visit(
    guest: Guest, found: BootResult, wanted: Checks, stop: Stop, report: Callable[[Level], None], passwords: bool
) -> None:
    """Log in, and ask everything in one go."""
    patience = LIMITS[Level.SYSTEM] * pace(guest)
    commands = [text.format(patience=f"{patience:.0f}") for text in ABOUT.values()] + checks.questions(wanted)
    answers, errors = asked(guest, commands, patience, stop)
    if not answers:
        return found.fail(Level.SSH, why_no_ssh(errors, guest.contract.user))
    found.levels[Level.SSH] = guest.now - answers[-1].seconds
    report(Level.SSH)
    if len(answers) < len(commands):
        return found.fail(Level.CHECKS, f"the guest stopped answering: {errors.strip()[-200:] or 'no reason given'}")
    told = dict(zip(ABOUT, answers, strict=False))
    keys = [line.split() for line in told["host keys"].output.splitlines()]
    found.host_keys = tuple(sorted(words[1] for words in keys if len(words) > 1))
    found.machine_id = told["machine-id"].output.strip()
    host_names = told["host name"].output.strip(), guest.host_name
    if problems := cloud_init(told["cloud-init"].output, *host_names, guest.contract.source):
        return found.fail(Level.CLOUD_INIT, *problems)
    if not is_wanted(guest, Level.SYSTEM):
        return None
    state = told["system"].output.strip()
    units = [line.split()[0] for line in told["failed units"].output.splitlines() if line.strip()]
    failed = [unit for unit in units if unit not in wanted.get("may-fail", {})]
    if state != "running" and not (state == "degraded" and units and not failed):
        names = f": {', '.join(failed)} failed" if failed else ""
        return found.fail(Level.SYSTEM, f"the system is {state or 'in no state'}{names}")
    found.levels[Level.SYSTEM] = found.levels[Level.SSH] + told["system"].seconds
    report(Level.SYSTEM)
    if not is_wanted(guest, Level.CHECKS):
        return None
    replies = [Answer(code=each.code, output=each.output) for each in answers[len(ABOUT) :]]
    if problems := [*([] if passwords else logins(told["sshd"].output)), *checks.problems(wanted, replies)]:
        return found.fail(Level.CHECKS, *problems)
    found.levels[Level.CHECKS] = found.levels[Level.SSH] + answers[-1].seconds
    return None


def asked(guest: Guest, commands: Sequence[str], patience: float, stop: Stop) -> tuple[list[Timed], str]:
    """Log in and run the commands; return the answers, none without a login, and the output of ssh."""
    mark, since = f"cc-{secrets.token_hex(8)}", guest.now
    script = script_of(mark, commands)
    while True:
        not_stopped(stop)
        said = guest.ask(script, patience + LIMITS[Level.CHECKS] * pace(guest), stop)
        not_stopped(stop)
        answers = answers_in(mark, said.stdout)
        if answers or not guest.running or guest.now - since > soon(guest):
            return answers, said.stderr
        time.sleep(1)


@dataclass(frozen=True, slots=True)
class Timed:
    """An answer, and when it came."""

    code: int
    output: str
    seconds: float
    """Since the login."""


def script_of(mark: str, commands: Sequence[str]) -> str:
    """Return the script that runs each command apart and marks its end."""
    lines = [f"CC_MARK={mark}", "CC_BEGAN=$(cut -d' ' -f1 /proc/uptime)", ASK.read_text()]
    lines += [f"( {command}\n) 2> /dev/null < /dev/null; cc_done $?" for command in commands]
    return "\n".join(lines) + "\n"


def answers_in(mark: str, output: str) -> list[Timed]:
    """Return what the script's commands have answered."""
    found: list[Timed] = []
    rest = output
    while ended := re.search(rf"\n{mark} (\d+) ([\d.]+) ([\d.]+)\n", rest):
        found.append(Timed(int(ended[1]), rest[: ended.start()], float(ended[3]) - float(ended[2])))
        rest = rest[ended.end() :]
    return found


def cloud_init(result: str, host_name: str, wanted: str, seed: Source | None) -> list[str]:
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


def logins(sshd: str) -> list[str]:
    """Return the ways past the key that sshd leaves open."""
    said = {name: value.strip() for name, _, value in (line.partition(" ") for line in sshd.splitlines()) if value}
    if not said:
        return ["sshd does not show its configuration (sshd -T)"]
    return [
        f"sshd: {name} is {said[name]}" for name, fine in PASSWORDS.items() if name in said and said[name] not in fine
    ]


def why_no_ssh(stderr: str, user: str) -> str:
    """Return a sentence about a login that failed."""
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "no answer"
    if "Permission denied" in last:
        return f"{user} cannot log in with the key of the metadata ({last})"
    if "closed by" in last or "reset by" in last or "refused" in last:
        return f"nothing listens on port 22 ({last})"
    return f"no login as {user}: {last}"
