"""What the real tests share: a tiny system to build from, a project around it, and a look for leaks."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.support import leaks
from tests.support.sshbed import SshBed
from tests.support.testbed import TestBed

TOOLS = ("mmdebstrap", "qemu-img", "sgdisk", "mkfs.vfat", "setpriv")
REASON = lacking(TOOLS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here as real, and skip it with the reason where it cannot run."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("real")
            if REASON:
                item.add_marker(pytest.mark.skip(reason=REASON))


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test has passed until its fixtures end."""
    report = yield
    item.stash[PASSED] = item.stash.get(PASSED, True) and report.passed
    return report


@pytest.fixture(autouse=True)
def stores_of_what_failed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Remove the folder of a test that has passed: their stores would fill a disk of 30 GB in one run."""
    yield
    if request.node.stash.get(PASSED, False):
        leaks.remove_unmounted(tmp_path)


def host_mirrors() -> dict[str, str]:
    """Return the variables that point dib at this host's own mirrors."""
    said = subprocess.run([REPOSITORY / "script" / "host-mirrors"], check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r"^export (\w+)=(.*)$", said, re.MULTILINE))


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive of a minimal Debian tree."""
    archive = tmp_path_factory.mktemp("root") / "root.tar"
    mirror = host_mirrors().get("DIB_DEBIAN_DISTRIBUTION_MIRROR", "")
    options = ["--variant=minbase", "--quiet", "--dpkgopt=path-exclude=/usr/share/doc/*"]
    command = ["mmdebstrap", *options, "bookworm", str(archive), *([mirror] if mirror else [])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return archive


CAP = 48 << 20
"""Bytes that an image may have on the site kvm."""


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """Return a Keystone with the sites metal, which has an object store too, and kvm, which hashes with SHA-256."""
    with TestBed(
        tmp_path_factory.mktemp("bed"), {"kvm": f"image_size_cap = {CAP}\nhashing_algorithm = sha256"}, objects="metal"
    ) as made:
        yield made


@dataclass
class Project:
    """A folder with a catalogue of tiny images, a store and a local site, and a way to run cc-images there."""

    folder: Path
    environment: dict[str, str]
    boots: bool = False
    """Whether its images can pass a boot test; the tiny ones have neither kernel nor boot loader."""
    through: tuple[str, ...] = ()
    """The words of a program that becomes cc-images."""

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start cc-images with its output in pipes."""
        if "-p" in words and not self.boots:
            words = ("--no-boot-test", *words)
        return self.start_module("cc_images", *words, **environment)

    def start_module(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a module of Python with signals as at a prompt.

        In the background of a script, where tests may run, SIGINT is ignored, and cc-images respects that.
        """
        return subprocess.Popen(
            ["env", "--default-signal=INT,TERM,HUP", *self.through, sys.executable, "-m", *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run cc-images to its end; return exit code and output."""
        process = self.start(*words, **environment)
        try:
            output, _ = process.communicate(timeout=1500)
        except BaseException:  # the tests themselves are ended, or it hangs
            process.terminate()
            process.communicate(timeout=120)
            raise
        return process.returncode, output

    def published(self, name: str = "CC-Tiny") -> str:
        """Check that the site has one whole image of the name that fits its description; return its version."""
        said = json.loads((self.site / f"{name}.json").read_text())
        with (self.site / f"{name}.qcow2").open("rb") as file:
            assert hashlib.file_digest(file, "sha512").hexdigest() == said["sha512"]
        return str(said["version"])

    def assert_nothing_leaked(self) -> None:
        """Check that no process, mount or loop device of this project is left; give the kernel a moment."""
        deadline = time.monotonic() + 60
        while (found := self._leaks()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not found

    def assert_no_leftovers(self) -> None:
        """Check that no temporary folder is left either."""
        self.assert_nothing_leaked()
        assert list((self.store / "work").iterdir()) == []
        assert not [path for path in Path("/tmp").glob("dib_*") if path.stat().st_mtime > self._began]
        assert not [path.name for path in self.site.glob(".*") if path.name != ".bills"]

    _began: float = field(default_factory=time.time)
    _orphans: set[str] = field(default_factory=leaks.orphaned_loops)

    def _leaks(self) -> list[str]:
        found = [f"process {number}: {words}" for number, words in leaks.processes(str(self.store)).items()]
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.store) in line]
        found += [f"{device} has a file of the store" for device in sorted(leaks.loops(self.store))]
        return found + [f"{device} is held by nobody" for device in sorted(leaks.orphaned_loops() - self._orphans)]


CATALOGUE = """\
CC-Tiny:
  elements: [tiny-os]
  disk: [block-device-efi, tiny-disk]
  artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}
CC-Tiny-Too:
  elements: [tiny-os]
  disk: [block-device-efi, tiny-disk]
  artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}
CC-Tiny-Child:
  depends: [CC-Tiny]
  layer: false
  elements: []
  disk: [block-device-efi, tiny-disk]
"""


@pytest.fixture
def project(tmp_path: Path, tiny_root: Path) -> Iterator[Project]:
    """Return a project of tiny images; check at the end that nothing of it is left on the host."""
    write_files(
        tmp_path,
        images=CATALOGUE.replace("TINY_ROOT_URL", tiny_root.as_uri()),
        sites="local: {directory: site, is_baremetal: true}",
    )
    (tmp_path / "elements").symlink_to(REPOSITORY / "tests" / "elements")
    environment = clean_environment(tmp_path) | host_mirrors()
    environment |= {"PYTHONPATH": str(REPOSITORY)}
    made = Project(tmp_path, environment)
    yield made
    made.assert_nothing_leaked()


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshBed]:
    """Return an sshd on loopback, and builder hosts behind it."""
    with SshBed(tmp_path / "ssh") as made:
        yield made


class Watched:
    """A running cc-images whose output is read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()

    def wait_for(self, pattern: str, seconds: float = 600) -> None:
        """Wait for a line that matches."""
        with self._changed:
            seen = self._changed.wait_for(lambda: any(re.search(pattern, line) for line in self.lines), seconds)
        assert seen, f"no line matches {pattern}:\n" + "\n".join(self.lines[-20:])

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = 300) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(seconds)
        self._reader.join(10)
        return code


FPGA = [("NALLATECH", "SDK"), ("NALLATECH", "BSP"), ("TERASIC", "SDK"), ("TERASIC", "BSP"), ("XILINX", "XRT"),
        ("XILINX", "PLATFORM")]  # fmt: skip
"""What the elements for FPGA cards want: vendor and part."""


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Project:
    """Build cc-debian12 beside a second small Debian image, two at a time; boot-test the one, and publish both."""
    folder = tmp_path_factory.mktemp("debian")
    images = (REPOSITORY / "images.yaml").read_text() + (
        "\nCC-Tiny:\n  elements: [tiny-os]\n  disk: [block-device-efi, tiny-disk]\n"
        f"  artifacts: {{DIB_TINY_ROOT: {{url: '{tiny_root.as_uri()}'}}}}\n"
        "\nCC-FPGA:\n  depends: [CC-Debian12]\n  elements: [cc-nallatech, cc-terasic, cc-xilinx]\n  artifacts:\n"
        + "".join(
            f"    DIB_{vendor}_{part}: {{site: metal, object: fpga/{vendor}-{part}.tar.gz}}\n" for vendor, part in FPGA
        )
        + "\nCC-Kid: {depends: [CC-Debian12], elements: [probe-kid], packages: [iputils-ping, acl]}\n"
    )
    write_files(folder, images=images, sites="local: {directory: site, is_baremetal: true}")
    elements = folder / "elements"
    elements.mkdir()
    for element in [*(REPOSITORY / "elements").iterdir(), *(REPOSITORY / "tests" / "elements").iterdir()]:
        if element.is_dir():
            (elements / element.name).symlink_to(element)
    hook = elements / "probe-kid" / "install.d" / "50-probe"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/bash\nset -eu\nset -o pipefail\nsystemctl enable serial-getty@ttyS1.service\n")
    hook.chmod(0o755)
    (elements / "probe-kid" / "package-installs.yaml").write_text("rsync:\nrng-tools5:\n")
    (elements / "probe-kid" / "element-deps").write_text("package-installs\n")
    project = Project(
        folder,
        clean_environment(folder) | host_mirrors() | {"PYTHONPATH": str(REPOSITORY), "ARCH": "amd64"},
        boots=True,
    )
    run = Watched(project.start("-b", "-p", "cc-debian12"))
    run.wait_for(r"^\[build .* finalise\.d", 900)
    run.end(signal.SIGKILL)
    project.assert_nothing_leaked()
    code, output = project.run("-b", "-t", "2", "cc-debian12", "cc-tiny")
    assert code == 0, output
    code, output = project.run("-p", "--no-boot-test", "cc-tiny")
    assert code == 0, output
    assert "--no-boot-test: images are pushed that may not boot" in output
    code, output = project.run("-p", "cc-debian12")
    assert code == 0, output
    project.assert_no_leftovers()
    print(output)
    return project
