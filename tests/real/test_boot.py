"""The gate: a good image passes with BIOS and UEFI; broken ones are refused with level and reason, and not pushed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.model.catalog import Arch, Format
from cc_images.store.records import Store
from tests.conftest import DEEP, clean_environment, lacking, write_files
from tests.real.broken import store_broken
from tests.real.conftest import Project, Watched

TOOLS = ("qemu-system-x86_64", "qemu-storage-daemon", "genisoimage", "ssh")
pytestmark = pytest.mark.skipif(bool(lacking(TOOLS)), reason=lacking(TOOLS) or "-")

LEVELS = ["firmware", "boot loader", "kernel", "login", "cloud-init", "ssh", "systemd", "checks"]

BROKEN = {
    "CC-No-Loader": ("no_boot_loader", "firmware: [bios, uefi]", "boot loader", r"boot loader: .*\(.*bios.*\)"),
    "CC-No-Root": ("no_root_device", "firmware: [bios]", "login", r"the kernel finds no root file system"),
    "CC-No-Cloud-Init": ("no_cloud_init", "firmware: [bios]", "cloud-init", r"cloud-init does not run"),
    "CC-No-Sshd": ("no_sshd", "firmware: [uefi]", "ssh", r"nothing listens on port 22"),
    "CC-Failing": ("failing_unit", "firmware: [bios]", "systemd", r"degraded: cc-broken\.service failed"),
    "CC-Lacking": ("nothing", "firmware: [bios], checks: {ports: [23/tcp]}", "checks",
                   r"nothing listens on port 23/tcp"),
    "CC-Lacking-A-File": ("nothing", "firmware: [bios], checks: {files: {/etc/not-there: }}", "inside",
                          r"/etc/not-there is not there"),
    "CC-Leaking": ("leaked_secret", "environment: {DIB_PROXY: 'http://build:correct-horse@proxy/'}", "inside",
                   r"/etc/apt/apt\.conf\.d/99build holds a secret"),
    "CC-Shared": ("shared_identity", "firmware: [bios]", "inside", r"ssh_host_ed25519_key is a host key"),
}  # fmt: skip
"""How each image is broken, what the catalogue says of it, the level at which it is refused, and the reason."""

SLOW = ("CC-No-Cloud-Init", "CC-No-Sshd", "CC-Failing")
"""Those whose guests come as far as CC-Lacking's: `make deep` boots them, too."""


def record(project: Project, tag: str) -> dict[str, object]:
    """Return what a build's record says of its newest boot test."""
    store = Store(project.store)
    build = next(store.builds(tag, Arch.AMD64))
    said: dict[str, object] = store.details(build)["boot"]
    assert said["level"] == build.boot
    return said


def test_a_good_image_reaches_every_level_with_bios_and_uefi(debian: Project) -> None:
    said = record(debian, "cc-debian12")
    assert said["passed"] is True
    boots = said["boots"]
    assert isinstance(boots, dict)
    assert sorted(boots) == ["bios", "uefi"]
    for firmware, boot in boots.items():
        print(firmware, boot["levels"])
        assert boot["levels"].keys() == set(LEVELS)
        seconds = [boot["levels"][level] for level in LEVELS]
        assert seconds == sorted(seconds)
    properties = json.loads((debian.site / "CC-Debian12.json").read_text())["properties"]
    assert properties["build-boot"] == "checks"
    assert json.loads((debian.site / "CC-Tiny.json").read_text())["properties"]["build-boot"] == "not tested"
    serial = next((debian.store / "logs").glob("*/boot-cc-debian12-amd64-uefi-serial.log"))
    assert "login:" in serial.read_text(errors="replace"), "the serial log is kept"


def test_a_second_push_does_not_boot_again(debian: Project) -> None:
    code, output = debian.run("-p", "cc-debian12")
    assert code == 0, output
    assert re.search(r"^boot cc-debian12 amd64 +cached", output, re.MULTILINE), output
    text = (debian.folder / "images.yaml").read_text()
    try:
        more = text.replace("CC-Debian12:\n", "CC-Debian12:\n  checks: {ports: [23/tcp]}\n", 1)
        (debian.folder / "images.yaml").write_text(more)
        code, output = debian.run("plan", "-p", "cc-debian12")
        assert re.search(r"boot +run +bios and uefi, \d+ checks", output), "what is looked for has changed"
    finally:
        (debian.folder / "images.yaml").write_text(text)


@pytest.fixture(scope="module")
def refused(debian: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str]]:
    """Push all broken images at once; return the project and what was said."""
    folder = tmp_path_factory.mktemp("broken")
    chosen = {name: each for name, each in BROKEN.items() if DEEP or name not in SLOW}
    entries = [f"{name}: {{elements: [debian-minimal], {more}}}" for name, (_, more, _, _) in chosen.items()]
    write_files(folder, images="\n".join(entries), sites="local: {directory: site, is_baremetal: true}")
    project = Project(folder, clean_environment(folder) | {"PYTHONPATH": debian.environment["PYTHONPATH"]}, boots=True)
    good = Store(debian.store).image_link("CC-Debian12", Format.QCOW2)
    for name, (way, _, _, _) in chosen.items():
        store_broken(Store(project.store), good.resolve(), name, way, folder / f"make-{name}")
        shutil.rmtree(folder / f"make-{name}")
    code, output = project.run("-p", "all")
    print(output)
    assert code == 3, output
    yield project, output
    project.assert_nothing_leaked()


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.deep] if each in SLOW else []) for each in BROKEN]
)
def test_a_broken_image_is_refused_with_level_and_reason(refused: tuple[Project, str], name: str) -> None:
    project, output = refused
    _, _, level, reason = BROKEN[name]
    tag = name.lower()
    failure = re.search(rf"^boot {tag} amd64 failed: (.*)$", output, re.MULTILINE)
    assert failure, output
    assert failure[1].startswith(f"{level}: "), failure[1]
    assert re.search(reason, failure[1]), failure[1]
    assert re.search(rf"^push {tag} amd64 to local +blocked", output, re.MULTILINE)
    said = record(project, tag)
    assert (said["passed"], said["failed"]) == (False, level)
    assert not project.site.exists() or not list(project.site.iterdir()), "nothing was pushed"


def test_everything_shared_is_named_at_once(refused: tuple[Project, str]) -> None:
    (failure,) = re.findall(r"^boot cc-shared amd64 failed: (.*)$", refused[1], re.MULTILINE)
    for part in ("machine-id is set", "dib_environment is a leftover", "root has a password"):
        assert part in failure
    assert "correct-horse" not in refused[1], "a secret is not shown by whoever looks for it"


def test_a_failure_shows_the_console(refused: tuple[Project, str]) -> None:
    failure = refused[1][refused[1].index("boot cc-no-root amd64 failed") :]
    assert "last lines of its log" in failure
    assert "whole log: " in failure
    assert re.search(r"what to do: read \S+-bios-serial\.log, or look yourself: `cc-images boot cc-no-root", failure)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGKILL, -9, id="kill"),
        pytest.param(signal.SIGINT, 130, id="interrupt", marks=pytest.mark.deep),
    ],
)
def test_guests_end_with_cc_images(refused: tuple[Project, str], number: signal.Signals, code: int) -> None:
    project, _ = refused
    run = Watched(project.start("-p", "cc-no-loader"))
    run.wait_for(r"^\[boot cc-no-loader amd64\] .* bios: firmware")
    assert run.end(number) == code
    project.assert_nothing_leaked()
    assert not project.site.exists() or not list(project.site.iterdir())


def test_a_hostile_image_is_looked_into_without_harm(debian: Project, tmp_path: Path) -> None:
    good = Store(debian.store).image_link("CC-Debian12", Format.QCOW2)
    store = Store(tmp_path / "store")
    store_broken(store, good.resolve(), "CC-Hostile", "hostile", tmp_path / "make")
    disk = store.image_link("CC-Hostile", Format.QCOW2).resolve()
    code, output = debian.run("inspect", str(disk))
    assert code in (0, 3), output
    assert "Traceback" not in output
    assert "\x1b" not in output
    assert "evil ?[2J os" in output
    debian.assert_no_leftovers()


def test_an_image_that_refers_to_a_file_of_this_host_is_not_opened(debian: Project, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:x" * 1000)
    for name in ("plain.qcow2", "-odd,name:1.qcow2"):
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), f"./{name}"]
        subprocess.run(command, cwd=tmp_path, check=True)
        code, output = debian.run("inspect", str(tmp_path / name))
        assert code == 2, output
        assert f"refers to another file ({secret})" in output
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"./{name}", "1M"], cwd=tmp_path, check=True)
        code, output = debian.run("inspect", str(tmp_path / name))
        assert code == 3, output
        assert "no partition has a Linux root file system" in output


def test_what_is_inside_is_told_and_compared(debian: Project) -> None:
    code, output = debian.run("inspect", "cc-debian12")
    assert code == 0, output
    assert "Debian GNU/Linux 12 (bookworm)" in output
    assert re.search(r"packages +\d+, as dib's manifest", output)
    assert "nothing is wrong" in output
    code, output = debian.run("inspect", "cc-debian12", "--against", str(debian.site / "CC-Debian12.qcow2"))
    assert code == 0, output
    assert "no difference" in output
