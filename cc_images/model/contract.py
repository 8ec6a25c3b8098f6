"""The contract between an image and its boot test: what the catalogue says, else what the image itself shows.

Pure; the facts are `inside/look.py`'s.
"""

from __future__ import annotations

import re
from dataclasses import replace

from cc_images.model.catalog import RAMDISK, Arch, Checks, Contract, Format, Json, Level, Source

USER = "cc"
"""The user of an image that names nobody."""

USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
"""The form of a user's name; an image that names anything else counts as one that names nobody."""

SILENT = "none"
"""The console of an image that has none."""

_SERIAL = re.compile(r"\bconsole=(ttyS[0-3]|ttyAMA0)\b")


def settled(
    said: Contract, facts: Json, form: Format = Format.QCOW2, arch: Arch = Arch.AMD64
) -> tuple[Contract, list[str]]:
    """Return a contract without gaps, and why the image cannot be tested by it, a phrase each.

    A ramdisk is booted to its login prompt, without a key; a tree that is no ramdisk boots nowhere.
    """
    problems: list[str] = []
    if not form.is_disk:
        level = (said.level or Level.LOGIN) if form in RAMDISK else Level.INSIDE
        console = said.console or ("ttyS0" if arch is Arch.AMD64 else "ttyAMA0")
        return replace(said, user=said.user or USER, console=console, source=Source.NONE, level=level), problems
    cloud = facts.get("cloud", {})
    user = str(cloud.get("user", ""))
    source, known = said.source, list(cloud.get("sources", []))
    if source is None:
        source = Source.NOCLOUD
        if known and source not in known:
            source = Source.CONFIG_DRIVE
            if source not in known:
                problems.append(
                    f"its cloud-init takes only {', '.join(known)}; the test has NoCloud and ConfigDrive; "
                    "boot: {source: none} tests it to the login prompt"
                )
    consoles = _SERIAL.findall(facts.get("cmdline", ""))
    return replace(
        said,
        user=said.user or (user if USER_NAME.match(user) else USER),
        console=said.console or (consoles[-1] if consoles else ""),
        source=source,
        level=said.level or (Level.LOGIN if source is Source.NONE else Level.CHECKS),
    ), problems


def contradiction(said: Contract) -> str:
    """Return why a contract cannot be kept, or an empty text."""
    order = list(Level)
    if said.source is Source.NONE and said.level and order.index(said.level) > order.index(Level.LOGIN):
        return f"level {said.level} needs a login, and with `source: none` the image gets no key"
    if said.source is Source.NONE and said.console == SILENT and said.level is not Level.INSIDE:
        return "without a console and without a key the test sees nothing of the image"
    return ""


def named(checks: Checks, said: Contract) -> Checks:
    """Return checks in which {user} and {console} stand for what the catalogue says; those of a console go with it."""
    console = said.console or "tty(S0|AMA0)"
    found: dict[str, dict[str, dict[str, str]]] = {}
    for kind, each in checks.items():
        kept = {name: dict(wanted) for name, wanted in each.items()}
        if said.console == SILENT:
            kept = {name: wanted for name, wanted in kept.items() if "{console}" not in "".join(wanted.values())}
        for wanted in kept.values():
            for key, value in wanted.items():
                wanted[key] = value.replace("{user}", said.user or USER).replace("{console}", console)
        if kept:
            found[kind] = kept
    return found


def port(contract: Contract) -> int:
    """Return which of the machine's serial ports, from 0, has the console."""
    return int(contract.console[-1]) if contract.console.startswith("ttyS") else 0
