"""The serial console of a booting machine: which level it shows, and which trouble.

Owns the signs; pure. Evidence only: a level counts when something that stands for it was printed, and a later one
implies those before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cc_images.model.catalog import Level
from cc_images.model.plain_text import clean

SIGNS: Mapping[Level, re.Pattern[str]] = {
    Level.FIRMWARE: re.compile(r"SeaBIOS \(version|BdsDxe: |UEFI firmware|UEFI Interactive Shell"),
    Level.LOADER: re.compile(r"GRUB|Booting `|systemd-boot|LILO|SYSLINUX|Booting a command list"),
    Level.KERNEL: re.compile(r"Linux version \d|EFI stub: |\[ +0\.000000\]|systemd\[1\]: |Loading, please wait"),
    Level.LOGIN: re.compile(r"^\S+ login: ", re.MULTILINE),
    Level.CLOUD_INIT: re.compile(r"Cloud-init v\. ?\S+ finished at "),
}
"""The output of each level, first one first."""

CLOUD_INIT_RUNS = re.compile(r"Cloud-init v\. ?\S+ running '|cloud-init\[\d+\]: ")

TROUBLES: tuple[tuple[Level, str, str], ...] = (
    (Level.LOADER, r"No bootable (?:device|option)", "the firmware finds nothing to boot"),
    (Level.LOADER, r"UEFI Interactive Shell|^Shell> ", "the firmware finds nothing to boot"),
    (Level.LOADER, r"BdsDxe: failed to start Boot\d+.*", "the firmware cannot start the boot loader"),
    (Level.KERNEL, r"error: you need to load the kernel first", "the boot loader finds no kernel"),
    (Level.KERNEL, r"grub rescue>|Entering rescue mode", "the boot loader does not find its files"),
    (Level.KERNEL, r"^\s*grub> ", "the boot loader has no menu"),
    (Level.LOGIN, r"ALERT! .*does not exist", "the kernel finds no root file system"),
    (Level.LOGIN, r"Gave up waiting for root[^.\n]*", "the kernel finds no root file system"),
    (Level.LOGIN, r"VFS: (?:Unable to mount root|Cannot open root).*", "the kernel finds no root file system"),
    (Level.LOGIN, r"dracut-initqueue.*(?:timeout|Could not boot).*", "the kernel finds no root file system"),
    (Level.LOGIN, r"Kernel panic - not syncing.*", "the kernel panics"),
    (Level.LOGIN, r"You are in (?:emergency|rescue) mode|Entering emergency mode", "it starts in emergency mode"),
    (Level.SYSTEM, r"Found ordering cycle\b.*", "units wait for each other in a circle, and systemd leaves one out"),
)
"""Signs that a level will not be reached, and why, in words for the user."""

ENDS = (">", "> ", ".")
"""Endings of an unfinished last line after which nothing more will come: a prompt, a sentence."""

COMPLAINT = re.compile(r"^(?:error|ERROR|Error|\[FAILED\])\b.*", re.MULTILINE)
"""Lines that may explain why a level is late, and may be harmless."""

TIMED_OUT = re.compile(r"^\[ *TIME *\] .*", re.MULTILINE)
UNIT_TROUBLE = re.compile(r"^\[ *(?:TIME|DEPEND|FAILED) *\] .*", re.MULTILINE)
"""Lines of systemd about a unit: the first one is the cause of those that follow."""


@dataclass(slots=True)
class Console:
    """The output of a console so far. `levels` maps a level to the seconds since power-on at which it was seen."""

    levels: dict[Level, float] = field(default_factory=dict)
    trouble: str = ""
    stopped_at: Level | None = None
    """The level that will not be reached, once there is a trouble."""
    cloud_init_runs: bool = False
    _text: str = ""

    def feed(self, raw: bytes, now: float) -> None:
        """Take note of more output; `now` is in seconds since power-on."""
        self._text = (self._text + clean(raw))[-200_000:]
        for level, sign in SIGNS.items():
            if level not in self.levels and sign.search(self._text):
                self.levels[level] = now
        self.cloud_init_runs = self.cloud_init_runs or bool(CLOUD_INIT_RUNS.search(self._text))
        if self.stopped_at is None:
            self._look_for_trouble()

    def _look_for_trouble(self) -> None:
        whole, _, begun = self._text.rpartition("\n")
        text = self._text if begun.endswith(ENDS) else whole
        for level, sign, words in TROUBLES:
            if self.reached(level):
                continue  # it was passed in spite of what it said
            if found := re.search(sign, text, re.MULTILINE):
                first = UNIT_TROUBLE.search(text) if "emergency mode" in words else None
                said = " ".join((first or found)[0].split())[:120]
                self.stopped_at, self.trouble = level, f"{words} ({said})"
                return

    @property
    def complaint(self) -> str:
        """The latest line that complains; empty when there is none."""
        found = COMPLAINT.findall(self._text)
        return found[-1].strip()[:160] if found else ""

    @property
    def timed_out(self) -> str:
        """The first line about a unit or device that took longer than the guest waits; empty when there is none."""
        found = TIMED_OUT.search(self._text)
        return " ".join(found[0].split())[:120] if found else ""

    def reached(self, level: Level) -> bool:
        """Say whether a level, or one that implies it, was seen."""
        order = list(Level)
        return any(order.index(seen) >= order.index(level) for seen in self.levels)
