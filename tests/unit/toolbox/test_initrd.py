"""The stand-in for update-initramfs while packages are installed: notes first, one initrd in the end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cc_images.host.root import TOOLBOX

INITRD = TOOLBOX / "elements/cc-build/cc-build/initrd"

DIVERT = """#!/bin/sh
case "$*" in
    *--add*) [ ! -e "$PROGRAM" ] || mv "$PROGRAM" "$PROGRAM.cc-held" ;;
    *--remove*) [ ! -e "$PROGRAM.cc-held" ] || mv "$PROGRAM.cc-held" "$PROGRAM" ;;
esac
"""

REAL = """#!/bin/sh
[ "$1" != --version ] || { echo "initramfs-tools 0.148.4"; exit; }
echo "$*" >> "$MADE"
"""


class Place:
    """A folder with an update-initramfs of its own."""

    def __init__(self, folder: Path) -> None:
        self.program, self.made = folder / "update-initramfs", folder / "made"
        self.write(folder / "dpkg-divert", DIVERT)
        self.environment = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PROGRAM": str(self.program),
            "MADE": str(self.made),
            "CC_INITRD_PROGRAM": str(self.program),
            "CC_INITRD_NOTES": str(folder / "notes"),
        }

    def write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *words: str | Path) -> str:
        return subprocess.run(words, env=self.environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_kernel_that_asks_whose_program_it_is_hears_the_real_one(place: Place) -> None:
    place.run(INITRD, "hold")
    place.write(place.program.with_name("update-initramfs.cc-held"), REAL)  # as dpkg unpacks a diverted file
    assert place.run(place.program, "--version") == "initramfs-tools 0.148.4\n"


def test_what_was_asked_meanwhile_is_made_once(place: Place) -> None:
    place.write(place.program, REAL)
    place.run(INITRD, "hold")
    for words in (["-u"], ["-u"], ["-u", "-k", "all"]):
        place.run(place.program, *words)
    assert not place.made.exists()
    place.run(INITRD, "make")
    assert place.made.read_text() == "-u -k all\n"
    assert place.program.read_text() == REAL
