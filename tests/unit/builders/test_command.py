"""What is known of dib without running it: its output."""

from __future__ import annotations

from cc_images.builders.dib.build_log import Phases, cause_of

OUTPUT = """\
2026-11-21 13:06:15.530 | dib-run-parts Running /tmp/dib_build.x/hooks/root.d/08-debootstrap
2026-11-21 13:06:27.001 | dib-run-parts 08-debootstrap completed
2026-11-21 13:06:27.010 | dib-run-parts ----------------------- PROFILING -----------------------
2026-11-21 13:06:27.010 | dib-run-parts Target: root.d
2026-11-21 13:06:27.011 | dib-run-parts Script                                     Seconds
2026-11-21 13:06:27.020 | dib-run-parts _tmp_dib_build.x_hooks_root.d_08-debootstrap     11.471
2026-11-21 13:06:27.020 | dib-run-parts --------------------- END PROFILING ---------------------
2026-11-21 13:06:40.000 | dib-run-parts Running /tmp/in_target.d/install.d/01-package-installs
2026-11-21 13:07:00.000 | E: Unable to locate package nosuchpackage
2026-11-21 13:07:00.100 | dib-run-parts Target: install.d
2026-11-21 13:07:00.200 | dib-run-parts _tmp_in_target.d_install.d_01-package-installs      20.000
"""


def test_phases_and_their_seconds_are_read_from_the_output() -> None:
    seen: list[str] = []
    phases = Phases(seen.append)
    for line in OUTPUT.splitlines():
        phases.feed(line)
    assert seen == ["root.d/08-debootstrap", "install.d/01-package-installs"]
    assert phases.timings == {"root.d/08-debootstrap": 11.471, "install.d/01-package-installs": 20.0}
    assert list(phases.said) == ["E: Unable to locate package nosuchpackage"]


def test_warnings_and_what_a_hook_said_that_succeeded_are_no_cause() -> None:
    phases = Phases(lambda hook: None)
    for line in (
        "dib-run-parts Running /tmp/in_target.d/pre-install.d/05-news",
        "E: it was tried again, and went well",
        "dib-run-parts Running /tmp/in_target.d/install.d/50-x",
        "W: GPG error: http://m.invalid stable InRelease: The following signatures couldn't be verified",
        "/tmp/in_target.d/install.d/50-x: line 7: /etc/x/y: No such file or directory",
        "W: GPG error: again",
    ):
        phases.feed(f"2026-11-21 13:06:40.000 | {line}")
    cause, _ = cause_of(phases.said)
    assert cause == "/tmp/in_target.d/install.d/50-x: line 7: /etc/x/y: No such file or directory"
