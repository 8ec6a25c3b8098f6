"""Kinds of checks: how each asks a guest, and which answers will do.

To add a kind: a class, and its line in KINDS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Protocol

from cc_images.model.patterns import fits
from cc_images.model.plain_text import printable

Wanted = Mapping[str, str]
"""Expectations of one name: key → text as the user wrote it."""


Pattern = tuple[str, str]
"""A regular expression, and in words what fits it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A guest's answer: standard output and exit code."""

    code: int
    output: str


_PATH = (r"/.*", "an absolute path")


_UNIT = (r"\S+\.\w+", "a unit's name with its type, such as ssh.service")


class Kind(Protocol):
    """A kind of check: patterns of names and of what may be expected, in words too; `short` means a bare text."""

    names: Pattern
    keys: Mapping[str, Pattern]
    short: str

    def ask(self, name: str, wanted: Wanted) -> str:
        """Return the shell command that asks."""

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        """Return what is wrong, or an empty string."""


class _Files:
    names = _PATH
    keys: Mapping[str, Pattern] = {
        "mode": (r"[0-7]{3,4}", "an octal mode such as 0644, or {absent: yes}"),
        "owner": (r"[\w.-]+", "a user's name"),
        "group": (r"[\w.-]+", "a group's name"),
        "absent": (r"yes|true", "yes"),
        "made": (r"boot", "boot, for a file that only a boot makes"),
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
        wrong = [f"{key} {seen[key]}, not {value}" for key, value in asked.items() if seen.get(key, value) != value]
        return f"{name} has {', '.join(wrong)}" if wrong else ""


class _Executables:
    names = (r"[^\s/]+", "a program's name without folders")
    keys: Mapping[str, Pattern] = {}
    short = ""

    def ask(self, name: str, wanted: Wanted) -> str:
        return f"cc_runs {quote(name)}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        return f"{name} is not on the PATH" if answer.code != 0 else ""


class _Units:
    names = _UNIT
    keys: Mapping[str, Pattern] = {}
    short = ""

    def ask(self, name: str, wanted: Wanted) -> str:
        return f"systemctl is-enabled -- {quote(name)}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        state = answer.output.strip() or "not there"
        return (
            "" if state in ("enabled", "enabled-runtime", "alias", "generated") else f"{name} is {state}, not enabled"
        )


class _MayFail:
    """Units that may fail, since a guest lacks what they need; `boottest.visit` asks for them with the system state."""

    names = _UNIT
    keys: Mapping[str, Pattern] = {}
    short = ""

    def ask(self, name: str, wanted: Wanted) -> str:
        return "true"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        return ""


_RANGE = r"(?:<<|<=|=|>=|>>|<|>)\s*[^\s,]+"


class _Packages:
    names = (r"\S+", "a package's name")
    keys: Mapping[str, Pattern] = {
        "version": (rf"{_RANGE}(\s*,\s*{_RANGE})*", "a range of versions such as `>= 22` or `>= 22, << 25`")
    }
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
    names = (r".+", "a command")
    keys: Mapping[str, Pattern] = {
        "output": (r"(?s).+", "a regular expression"),
        "exit": (r"\d|\d\d|1\d\d|2[0-4]\d|25[0-5]", "an exit code from 0 to 255"),
    }
    short = "output"

    def ask(self, name: str, wanted: Wanted) -> str:
        return f"cc_as_user {quote(name)}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        expected = int(wanted.get("exit", "0"))
        said = f": {answer.output.strip()[-200:]}" if answer.output.strip() else ""
        if answer.code != expected:
            return f"`{name}` ended with code {answer.code}, not {expected}{said}"
        if "output" in wanted and not fits(wanted["output"], answer.output):
            return f"`{name}` did not say {wanted['output']!r}{said}"
        return ""


class _Ports:
    names = (r"[1-9]\d{0,4}(/(tcp|udp))?", "a port such as 22, 22/tcp or 53/udp")
    keys: Mapping[str, Pattern] = {"banner": (r"(?s).+", "a regular expression")}
    short = "banner"

    def ask(self, name: str, wanted: Wanted) -> str:
        port, _, protocol = name.partition("/")
        heard = f" && cc_greets {int(port)}" if "banner" in wanted else ""
        return f"cc_listens {protocol or 'tcp'} {int(port):04X}{heard}"

    def judge(self, name: str, wanted: Wanted, answer: Answer) -> str:
        if answer.code != 0:
            return f"nothing listens on port {name}"
        if "banner" not in wanted or fits(wanted["banner"], answer.output):
            return ""
        said = repr(printable(answer.output.strip())[:80]) if answer.output.strip() else "nothing"
        return f"port {name} says {said}, not {wanted['banner']!r}"


class _Free:
    names = _PATH
    keys: Mapping[str, Pattern] = {"least": (r"[1-9]\d*[MG]", "a size such as 500M or 2G")}
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
    names = (r"\S+", "one argument of the kernel's command line")
    keys: Mapping[str, Pattern] = {}
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
