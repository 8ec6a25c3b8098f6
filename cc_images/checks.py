"""Checks: what an image must have once it runs, how to ask a guest for it, and whether the answer will do.

Owns the kinds of checks; pure. To add a kind: a class with `keys`, `short`, `ask` and `judge`, and its line in KINDS.
A check is asked for by a shell command that runs as root in the guest, in which the functions of `inside/ask.sh` are
defined; what it prints and its exit code are the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Protocol

from cc_images.model import Checks

Wanted = Mapping[str, str]
"""What is expected of one name, key → text as the user wrote it."""

DROPPED = "dropped"
"""The expectation by which an image drops a check that it has from its parent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a guest said: standard output and exit code."""

    code: int
    output: str


class Kind(Protocol):
    """A kind of check. `keys` maps what may be expected to a pattern; `short` is the key of a bare text."""

    names: str
    keys: Mapping[str, str]
    short: str

    def ask(self, name: str, wanted: Wanted) -> str:
        """Return the shell command that asks."""

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        """Return what is wrong, or an empty string."""


class _Files:
    names = r"/.*"
    keys: Mapping[str, str] = {
        "mode": r"[0-7]{3,4}",
        "owner": r"[\w.-]+",
        "group": r"[\w.-]+",
        "absent": r"yes|true",
    }
    short = "mode"

    def ask(self, name: str, wanted: Wanted) -> str:
        return f"stat -c '%a %U %G' -- {quote(name)}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        if "absent" in wanted:
            return f"{name} is there" if answer.code == 0 else ""
        if answer.code != 0:
            return f"{name} is not there"
        seen = dict(zip(("mode", "owner", "group"), answer.output.split(), strict=False))
        seen["mode"] = seen["mode"].zfill(4)
        asked = {key: value.zfill(4) if key == "mode" else value for key, value in wanted.items()}
        wrong = [f"{key} {seen[key]}, not {value}" for key, value in asked.items() if seen[key] != value]
        return f"{name} has {', '.join(wrong)}" if wrong else ""


class _Executables:
    names = r"[^\s/]+"
    keys: Mapping[str, str] = {}
    short = ""

    def ask(self, name: str, wanted: Wanted) -> str:
        return f"cc_runs {quote(name)}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        return f"{name} is not on the PATH" if answer.code != 0 else ""


class _Units:
    names = r"\S+"
    keys: Mapping[str, str] = {}
    short = ""

    def ask(self, name: str, wanted: Wanted) -> str:
        return f"systemctl is-enabled -- {quote(name)}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        state = answer.output.strip() or "not there"
        return (
            "" if state in ("enabled", "enabled-runtime", "alias", "generated") else f"{name} is {state}, not enabled"
        )


class _MayFail:
    """Units that may fail, because a guest lacks what they are for; `climb` asks for them with the system's state."""

    names = r"\S+"
    keys: Mapping[str, str] = {}
    short = ""

    def ask(self, name: str, wanted: Wanted) -> str:
        return "true"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        return ""


class _Packages:
    names = r"\S+"
    keys: Mapping[str, str] = {"version": r"(<<|<=|=|>=|>>|<|>)\s*[^\s,]+(\s*,\s*(<<|<=|=|>=|>>|<|>)\s*[^\s,]+)*"}
    short = "version"

    def ask(self, name: str, wanted: Wanted) -> str:
        lines = [f"v=$(cc_version {quote(name)}) && echo version $v || exit 1"]
        for sign, version in self._ranges(wanted):
            lines.append(f'cc_compare "$v" {_COMPARISONS[sign]} {quote(version)} || echo not {quote(sign + version)}')
        return "; ".join(lines)

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        lines = answer.output.splitlines()
        if answer.code != 0 or not lines:
            return f"package {name} is not installed"
        wrong = [line.removeprefix("not ") for line in lines if line.startswith("not ")]
        return f"package {name} has {lines[0]}, which is not {', '.join(wrong)}" if wrong else ""

    def _ranges(self, wanted: Wanted) -> Iterator[tuple[str, str]]:
        for part in filter(None, wanted.get("version", "").split(",")):
            found = re.match(r"\s*(<<|<=|=|>=|>>|<|>)\s*(\S+)", part)
            assert found, part
            yield found[1], found[2]


_COMPARISONS = {"<<": "lt", "<": "lt", "<=": "le", "=": "eq", ">=": "ge", ">>": "gt", ">": "gt"}


class _Commands:
    names = r".+"
    keys: Mapping[str, str] = {"output": r"(?s).+", "exit": r"\d{1,3}"}
    short = "output"

    def ask(self, name: str, wanted: Wanted) -> str:
        return f"cc_as_user {quote(name)}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        expected = int(wanted.get("exit", "0"))
        said = f": {answer.output.strip()[-200:]}" if answer.output.strip() else ""
        if answer.code != expected:
            return f"`{name}` ended with code {answer.code}, not {expected}{said}"
        if "output" in wanted and not re.search(wanted["output"], answer.output, re.MULTILINE):
            return f"`{name}` did not say {wanted['output']!r}{said}"
        return ""


class _Ports:
    names = r"\d{1,5}(/(tcp|udp))?"
    keys: Mapping[str, str] = {}
    short = ""

    def ask(self, name: str, wanted: Wanted) -> str:
        port, _, protocol = name.partition("/")
        return f"cc_listens {protocol or 'tcp'} {int(port):04X}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        return f"nothing listens on port {name}" if answer.code != 0 else ""


class _Free:
    names = r"/.*"
    keys: Mapping[str, str] = {"least": r"\d+[MG]"}
    short = "least"

    def ask(self, name: str, wanted: Wanted) -> str:
        return f"df -Pm -- {quote(name)} | awk 'NR == 2 {{ print $4 }}'"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        least = int(wanted["least"][:-1]) << (10 if wanted["least"].endswith("G") else 0)
        free = answer.output.strip()
        if not free.isdecimal():
            return f"{name} has no file system"
        return f"{name} has {free} MiB free, not {least}" if int(free) < least else ""


class _Kernel:
    names = r"\S+"
    keys: Mapping[str, str] = {}
    short = ""

    def ask(self, name: str, wanted: Wanted) -> str:
        return "cat /proc/cmdline"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        return "" if name in answer.output.split() else f"the kernel was started without {name}"


KINDS: Mapping[str, Kind] = {
    "files": _Files(),
    "executables": _Executables(),
    "units": _Units(),
    "may-fail": _MayFail(),
    "packages": _Packages(),
    "commands": _Commands(),
    "ports": _Ports(),
    "free": _Free(),
    "kernel": _Kernel(),
}
"""Every kind of check, by its key in images.yaml."""


def mistake(kind: str, name: str, wanted: Wanted) -> str:
    """Return what is wrong with one check of the catalogue, or an empty string."""
    known = KINDS[kind]
    if not re.fullmatch(known.names, name):
        return "is not a name of such a thing"
    for key, value in wanted.items():
        if key not in known.keys:
            return f"{key}: unknown; known are {', '.join(known.keys) or 'none'}"
        if not re.fullmatch(known.keys[key], value):
            return f"{key}: {value!r} is not what belongs there"
    if kind == "ports" and int(name.partition("/")[0]) > 65535:
        return "is no port"
    if kind == "free" and not wanted:
        return "needs a size such as 500M or 2G"
    if kind == "commands":
        try:
            re.compile(wanted.get("output", ""))
        except re.error as error:
            return f"output: is not a regular expression: {error}"
    return ""


def merged(parent: Checks, child: Checks) -> Checks:
    """Return the checks of an image that is built on another: its own win, and DROPPED drops one of its parent's."""
    together: dict[str, dict[str, Wanted]] = {}
    for kind in KINDS:
        both = {**parent.get(kind, {}), **child.get(kind, {})}
        if kept := {name: wanted for name, wanted in both.items() if DROPPED not in wanted}:
            together[kind] = kept
    return together


def every(checks: Checks) -> Iterator[tuple[str, str, Wanted]]:
    """Yield kind, name and expectations of each check."""
    for kind, named in checks.items():
        for name, wanted in named.items():
            yield kind, name, wanted


def questions(checks: Checks) -> list[str]:
    """Return the shell commands that ask for every check, in the order of `every`."""
    return [KINDS[kind].ask(name, wanted) for kind, name, wanted in every(checks)]


def problems(checks: Checks, answers: list[Answer]) -> list[str]:
    """Return what is wrong by a guest's answers to `questions`, a phrase each."""
    found: list[str] = []
    for (kind, name, wanted), answer in zip(every(checks), answers, strict=True):
        if wrong := KINDS[kind].judge(name, wanted, answer):
            found.append(wrong)
    return found
