"""Why a dib run failed: the hook's own words, never those of dib's clean-up."""

from __future__ import annotations

import time

import pytest

from cc_images.builders.dib.build_log import LONGEST, Phases, explained
from cc_images.host import process

CLEARING = """\
Unmount /tmp/dib_build.eFeKv5K7/mnt/sys
Unmount /tmp/dib_build.eFeKv5K7/mnt/dev
INFO diskimage_builder.block_device.blockdevice [-] State already cleaned - no way to do anything here
"""


def failed(output: str, hook: str = "install.d/50-my-agent", code: int = 1) -> tuple[str, str, str]:
    phases = Phases()
    text = f"dib-run-parts Running /tmp/dib_build.eFeKv5K7/hooks/{hook}\n{output}\n{CLEARING}"
    lines = [f"2026-11-28 14:54:45.811 | {line}" for line in text.splitlines()]
    for line in lines:
        phases.feed(line)
    found = explained(process.CommandFailed("python3", code, lines), phases)
    return found.message.removeprefix(f"dib failed in {hook}: "), found.hint, found.reason


CAUSES = {
    "a message of its own": ("starting\nmy-agent: licence server refused the key", "licence server refused the key"),
    "curl": ("curl: (22) The requested URL returned error: 404", "curl: (22) The requested URL returned error: 404"),
    "git": ("Cloning into 'x'...\nfatal: unable to access 'https://x/': Could not resolve host: x",
            "Could not resolve host: x"),
    "curl with its progress": (
        "  0   0    0  0   0 --:--:--  0\rcurl: (6) Could not resolve host: x", "curl: (6) Could not resolve host: x"),
    "tar": ("tar: This does not look like a tar archive\ntar: Exiting with failure status due to previous errors",
            "tar: This does not look like a tar archive"),
    "gpg": ("gpg: Signature made now\ngpg: Can't check signature: No public key", "Can't check signature: No"),
    "wget": ("--2026-- http://x\n2026-11-28 10:00:00 ERROR 404: Not Found.", "ERROR 404: Not Found."),
    "python": ("Traceback (most recent call last):\n  File \"x\", line 1, in <module>\nValueError: no such device",
               "ValueError: no such device"),
    "npm": ("npm ERR! code E404\nnpm ERR! 404 Not Found - GET x\n\nnpm ERR! A complete log of this run is in x",
            "npm ERR! 404 Not Found - GET x"),
    "unbound variable": ("/tmp/x/50-my-agent: line 10: KEY: unbound variable", "line 10: KEY: unbound variable"),
    "make": ("x.c:1:1: error: expected ';'\nmake: *** [Makefile:2: x] Error 1", "x.c:1:1: error: expected ';'"),
    "an unknown key": (
        "W: GPG error: http://m bookworm InRelease: The following signatures couldn't be verified because the "
        "public key is not available: NO_PUBKEY 0E98404D386FA1D9\n"
        "E: The repository 'http://m bookworm InRelease' is not signed.\n"
        "E: apt-get update --error-on=any failed\nE: mmdebstrap failed to run", "is not signed"),
    "an expired index": (
        "E: Release file for http://m/InRelease is expired (invalid since 2d 3h).\nE: mmdebstrap failed to run",
        "is expired (invalid since 2d 3h)"),
    "an expired index for twins": (
        "E: Release file for http://m/InRelease is expired (invalid since 2d).\nE: mmdebstrap failed to run\n"
        "mmdebstrap ended with 25", "is expired (invalid since 2d)"),
    "a release that is not there": (
        "E: The repository 'http://m nope Release' does not have a Release file.\nE: mmdebstrap failed to run",
        "does not have a Release file"),
    "a package that is not there": (
        "Reading package lists...\nE: Unable to locate package nonsense", "locate package nonsense"),
    "dpkg": ("Setting up x (1) ...\nx: cannot find its licence\ndpkg: error processing package x (--configure):\n"
             "E: Sub-process /usr/bin/dpkg returned an error code (1)", "x: cannot find its licence"),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_the_line_that_says_why(name: str) -> None:
    output, cause = CAUSES[name]
    message, hint, _ = failed(output)
    assert cause in message
    assert hint


def test_what_to_do_about_apts_reasons() -> None:
    assert "a key that the build does not have" in failed(CAUSES["an unknown key"][0])[1]
    assert "clock" in failed(CAUSES["an expired index"][0])[1]
    assert failed("warning: 404 Not Found of something optional\nmy-agent: no licence")[0] == "my-agent: no licence"


def test_a_last_line_that_says_no_reason_is_not_taken_for_one() -> None:
    assert failed("configuring things")[0] == "ended with code 1 and gave no reason; its last line: configuring things"
    assert failed("configuring things\nmy-agent: licence")[0] == "my-agent: licence"


def test_silence_and_signals_are_said() -> None:
    assert failed("")[0] == "ended with code 1 and printed nothing"
    assert failed("", code=137)[0] == "was killed by signal 9 (memory?)"


def test_a_full_image_is_not_a_full_host() -> None:
    full = "cp: error writing '/opt/x': No space left on device"
    assert failed(full, "finalise.d/50-x")[1:] == (
        "the image's own file system is full: raise DIB_IMAGE_SIZE, or its partition's size", "image-full"
    )  # fmt: skip
    assert failed(full, "install.d/50-x")[2] == "disk-full"


def test_dibs_own_work_between_two_phases_is_named_and_has_its_cause() -> None:
    said = ["dib-run-parts Running /tmp/x/hooks/post-root.d/60-linger", "dib-run-parts Target: post-root.d"]
    said += ["dib-run-parts --------- END PROFILING ---------", "Unmount /tmp/dib_build.x/mnt/sys"]
    said += ["cp: error writing '/tmp/dib_build.x/mnt/usr/lib/a': No space left on device"]
    said += ["Mountpoint /tmp/dib_build.x/mnt/boot/efi managed by block device; skipping"]
    phases = Phases()
    for line in said:
        phases.feed(line)
    failure = explained(process.CommandFailed("disk-image-create", 1, said), phases)
    assert failure.message.startswith("dib failed in its own work after post-root.d: cp: error writing")
    assert failure.reason == "image-full"


def test_a_hook_that_claims_to_be_another_after_its_end_changes_nothing() -> None:
    text = "E: broken\nUnmount /x\nlater"
    assert failed(text, "install.d/50-x")[0] == "E: broken"


def test_a_long_line_costs_its_length() -> None:
    phases, line = Phases(), "dib-run-parts Running " + "/a.d/" * 300_000 + " x"
    began = time.process_time()
    for _ in range(20):
        phases.feed(line)
    assert time.process_time() - began < 1, "LONGEST characters are looked at, not a million"
    assert all(len(each) <= LONGEST for each in phases.said)


@pytest.mark.parametrize(
    ("said", "passing"),
    [
        ("E: Failed to fetch http://m.invalid/x  Temporary failure resolving 'm.invalid'", True),
        ("E: Failed to fetch http://m.invalid/x  Could not connect to m.invalid:80, Connection timed out", True),
        ("E: Failed to fetch http://m.invalid/x  File has unexpected size (1 != 2). Mirror sync in progress?", True),
        ("E: Failed to fetch http://m.invalid/x  503  Service Unavailable", True),
        ("E: Failed to fetch http://m.invalid/x  404  Not Found", False),
        ("E: Failed to fetch http://m.invalid/x  Could not resolve 'm.invalid'", False),
        ("E: Unable to locate package vmi", False),
        ("cp: error writing '/x': No space left on device", False),
    ],
)
def test_what_passes_is_told_from_what_does_not(said: str, passing: bool) -> None:
    phases = Phases()
    for line in ("dib-run-parts Running /tmp/x/hooks/install.d/50-x", said):
        phases.feed(line)
    assert explained(process.CommandFailed("disk-image-create", 1, [said]), phases).temporary is passing
