"""Checks: what an image must have once it runs, how to ask a guest for it, and whether the answer will do.

Owns the kinds of checks; pure. To add a kind: a class with `keys`, `short`, `ask` and `judge`, and its line in KINDS.
A check is asked for by a shell command that runs as root in the guest, in which the functions of `inside/ask.sh` are
defined; what it prints and its exit code are the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cc_images.model.catalog import Checks
from cc_images.model.check_kinds import KINDS, Answer, Wanted

DROPPED = "dropped"
"""The expectation by which an image drops a check that it has from its parent."""


def mistakes(kind: str, name: str, wanted: Wanted) -> list[str]:
    """Return what is wrong with one check of the catalogue, a sentence each."""
    known = KINDS[kind]
    if not re.fullmatch(known.names[0], name):
        return [f"is not {known.names[1]}"]
    found = []
    for key, value in wanted.items():
        if key not in known.keys:
            only = f"known are {', '.join(known.keys)}" if known.keys else f"{kind} take only `yes` or `no`"
            found.append(f"{key or value!r}: unknown; {only}")
        elif not re.fullmatch(known.keys[key][0], value):
            found.append(f"{key}: {value!r} is not {known.keys[key][1]}")
    if kind == "ports" and int(name.partition("/")[0]) > 65535:
        found.append("is above 65535")
    if "banner" in wanted and name.endswith("/udp"):
        found.append("banner: only TCP has one")
    if kind == "free" and not wanted:
        found.append("needs a size such as 500M or 2G")
    if "absent" in wanted and len(wanted) > 1:
        found.append("absent: contradicts the other expectations")
    return [*found, *_expressions(wanted)]


def _expressions(wanted: Wanted) -> list[str]:
    """Return the expectations that should be regular expressions and are none."""
    found = []
    for key in wanted.keys() & {"output", "banner"}:
        try:
            re.compile(wanted[key])
        except (re.error, RecursionError, OverflowError, MemoryError) as error:
            found.append(f"{key}: is not a regular expression: {error}")
    return found


def canonical(kind: str, name: str) -> str:
    """Return the one name of a thing that has several: a port without a protocol is TCP's."""
    return f"{name}/tcp" if kind == "ports" and name.isdecimal() else name


def merged(below: Checks, above: Checks) -> Checks:
    """Return two sets of checks as one: those above win, by name, and DROPPED drops one of those below."""
    together: dict[str, dict[str, Wanted]] = {}
    for kind in KINDS:
        both = {**below.get(kind, {}), **above.get(kind, {})}
        if kept := {name: wanted for name, wanted in both.items() if DROPPED not in wanted}:
            together[kind] = kept
    return together


def needless(below: Checks, above: Checks) -> list[str]:
    """Return what is dropped above although nothing below asks for it: a user may take `no` for `must not be`."""
    return [
        f"checks.{kind}.{name}: `no` drops nothing: neither a parent nor an element has this check; "
        + ("files can be {absent: yes}" if kind == "files" else "it does not mean absent")
        for kind, name, wanted in every(above)
        if DROPPED in wanted and name not in below.get(kind, {})
    ]


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
