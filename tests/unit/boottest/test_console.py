"""The console: levels and troubles as real machines print them."""

from __future__ import annotations

import pytest

from cc_images.boottest.console import Console
from cc_images.model.catalog import Level
from cc_images.model.plain_text import clean

GOOD = (
    b"SeaBIOS (version 1.16.2-debian-1.16.2-1)\nBooting from Hard Disk...\n"
    b"\x1b[H\x1b[J\x1b[1;1H\x1b[2;24HGNU GRUB  version 2.06-13+deb12u2\r\n  Booting `Debian GNU/Linux'\r\n"
    b"error: no suitable video mode found.\r\nBooting in blind mode\r\n"
    b"[    0.000000] Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org)\r\n"
    b"[   41.000000] cloud-init[300]: Cloud-init v. 22.4.2 running 'init' at Sat, 21 Nov 2026 19:39:00 +0000.\r\n"
    b"\r\nDebian GNU/Linux 12 cc-c02e0991 ttyS0\r\n\r\ncc-c02e0991 login: "
    b"[   83.470811] cloud-init[500]: Cloud-init v. 22.4.2 finished at Sat, 21 Nov 2026 19:40:12 +0000. Up 83\r\n"
)


def seen(raw: bytes) -> Console:
    console = Console()
    for number in range(0, len(raw), 7):  # reads end anywhere
        console.feed(raw[number : number + 7], float(number))
    return console


def test_a_good_boot_shows_every_level_in_order() -> None:
    console = seen(GOOD)
    assert list(console.levels) == [
        Level.FIRMWARE, Level.LOADER, Level.KERNEL, Level.LOGIN, Level.CLOUD_INIT
    ]  # fmt: skip
    assert console.stopped_at is None
    assert console.cloud_init_runs
    assert list(console.levels.values()) == sorted(console.levels.values())


TROUBLES = [
    ("[   19.06] systemd[1]: sysinit.target: Found ordering cycle on cloud-init.service/start\r\n",
     Level.SYSTEM, "units wait for each other in a circle"),
    ("SeaBIOS (version 1)\nBooting from Hard Disk...\nBoot failed: not a bootable disk\n\nNo bootable device.",
     Level.LOADER, "finds nothing to boot (No bootable device)"),
    ("BdsDxe: failed to load Boot0001: Not Found\r\nBdsDxe: No bootable option or device was found.\r\n",
     Level.LOADER, "finds nothing to boot (No bootable option)"),
    ("UEFI Interactive Shell v2.2\r\nEDK II\r\nShell> ", Level.LOADER, "finds nothing to boot"),
    ("GRUB loading.\r\nWelcome to GRUB!\r\n\r\nerror: no such partition.\r\nEntering rescue mode...\r\ngrub rescue> ",
     Level.KERNEL, "does not find its files"),
    ("GNU GRUB  version 2.06\r\n\r\n   Minimal BASH-like line editing is supported.\r\n\r\ngrub> ",
     Level.KERNEL, "no menu"),
    ("Linux version 6.1.0\nGave up waiting for root file system device.  Common problems:\n",
     Level.LOGIN, "no root file system (Gave up waiting for root file system device"),
    ("Linux version 6.1.0\nALERT!  LABEL=nowhere does not exist.  Dropping to a shell!\n",
     Level.LOGIN, "no root file system"),
    ("Linux version 6.1.0\nend Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
     Level.LOGIN, "no root file system"),
    ("Linux version 6.1.0\n[ 1.0] Kernel panic - not syncing: Attempted to kill init!\n",
     Level.LOGIN, "the kernel panics"),
    ("Linux version 5.14\nYou are in emergency mode. After logging in, type\n", Level.LOGIN, "emergency mode"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "level", "words"), TROUBLES)
def test_a_trouble_has_its_level_and_its_words(text: str, level: Level, words: str) -> None:
    console = seen(text.encode())
    assert console.stopped_at is level
    assert words in console.trouble


def test_emergency_mode_is_explained_by_the_first_unit_that_failed() -> None:
    console = seen(
        b"Linux version 6.1.0\n[   9.1] sd 0:0:0: x\n[ TIME ] Timed out waiting for device /dev/disk/by-label/boot.\r\n"
        b"[DEPEND] Dependency failed for /boot.\r\n[FAILED] Failed to start x.\n"
        b"You are in emergency mode. After logging\n"
    )
    assert "emergency mode ([ TIME ] Timed out waiting for device /dev/disk/by-label/boot.)" in console.trouble
    assert console.timed_out == "[ TIME ] Timed out waiting for device /dev/disk/by-label/boot."


def test_what_was_passed_is_no_trouble() -> None:
    assert seen(GOOD + b"Kernel panic - not syncing in a log that somebody prints\n").stopped_at is None


def test_control_sequences_are_no_text() -> None:
    assert clean(b"\x1b[7m\x1b[5;3H*Debian\x1b[m\x00 12\r\n") == "*Debian 12\n"


def test_the_latest_complaint_is_kept() -> None:
    assert seen(b"error: one\r\nerror: two\r\nbye\r\n").complaint == "error: two"
