"""Programs of another architecture in a sandbox: who runs them, and that the host's binfmt_misc stays as it was."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.host import user_emulation
from cc_images.model.catalog import Arch
from cc_images.toolbox import interpreters
from tests.conftest import REPOSITORY

OTHER = Arch.ARM64 if os.uname().machine == "x86_64" else Arch.AMD64
EMULATOR = user_emulation.USER_EMULATORS[OTHER].path

pytestmark = pytest.mark.skipif(
    EMULATOR is None, reason=f"needs {user_emulation.USER_EMULATORS[OTHER].programs[0]} (package qemu-user-static)"
)

CODE = {
    Arch.ARM64: "400580d2 a80b80d2 010000d4",  # mov x0, #42; mov x8, #93; svc #0: exit(42)
    Arch.AMD64: "bf2a000000 b83c000000 0f05",  # mov edi, 42; mov eax, 60; syscall
}
MACHINE = {Arch.ARM64: 183, Arch.AMD64: 62}


def foreign_program(path: Path) -> Path:
    """Write an executable of the other architecture that ends with the code 42; the layout is that of elf(5)."""
    base, code = 0x400000, bytes.fromhex(CODE[OTHER].replace(" ", ""))
    start = 64 + 56
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, 0, 2, MACHINE[OTHER], 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    size = start + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + segment + code)
    path.chmod(0o755)
    return path


PROGRAM = """
import sys, threading
from pathlib import Path
from cc_images.host import process, sandbox
from cc_images.host import user_emulation as foreign
from cc_images.model.catalog import Arch

folder, arch, private, script = Path(sys.argv[1]), Arch(sys.argv[2]), sys.argv[3] == "private", sys.argv[4]
told = dict(foreign.registration(arch)) | {"private": private}
if len(sys.argv) > 5:
    told["path"] = sys.argv[5]
box = sandbox.Sandbox(workspace=folder, guards=folder / "guards", interpreter=told, visible=(folder.parent,))
folder.mkdir(exist_ok=True)
with (folder / "log").open("wb") as log:
    try:
        box.run(["sh", "-c", script], {}, log=log, timeout=60, stop=threading.Event(),
                on_line=lambda line: print(line, flush=True))
    except process.CommandFailed as error:
        sys.exit(error.code)
"""


class Host:
    """A host with a binfmt_misc of its own: the tests' process, in a mount namespace in which it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        foreign_program(self.root / "program")
        self._made = not (interpreters.REGISTRY / "register").exists()
        script = f"""
            set -e
            [ -e {interpreters.REGISTRY}/register ] || mount -t binfmt_misc binfmt_misc {interpreters.REGISTRY}
            echo ready
            exec sleep 600
        """
        # it ends with the tests, however they end: the kernel keeps entries as long as somebody has them mounted
        words = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private"]
        words += ["sh", "-c", script]
        self._keeper = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "ready\n"
        if self._made:
            self.do(f"printf '%s' '{self.entry('qemu-own').decode()}' > {interpreters.REGISTRY}/register")

    def entry(self, name: str) -> bytes:
        told = user_emulation.registration(OTHER)
        return interpreters.entry(name, str(told["magic"]), str(told["mask"]), str(told["path"]))

    def close(self) -> None:
        if self._made:
            self.do(f"echo -1 > {interpreters.REGISTRY}/qemu-own")
        self._keeper.kill()
        self._keeper.wait()

    def words(self, *words: str) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", f"--wd={REPOSITORY}", *words]

    def do(self, script: str) -> str:
        """Run a shell script on this host, and return what it says."""
        return subprocess.run(self.words("sh", "-c", script), check=True, capture_output=True, text=True).stdout

    def registry(self) -> dict[str, str]:
        """Return what binfmt_misc has, by name; an entry may be taken away while this looks."""
        names = self.do(f"cd {interpreters.REGISTRY} && ls").split()
        found = {name: self.do(f"cat {interpreters.REGISTRY}/{name} || true") for name in names if name != "register"}
        return {name: said for name, said in found.items() if said}

    def start(self, way: str, script: str, name: str = "box", *interpreter: str) -> subprocess.Popen[str]:
        """Start a shell script in a sandbox that can run programs of the other architecture."""
        words = [sys.executable, "-c", PROGRAM, str(self.folder / name), OTHER, way, script, *interpreter]
        return subprocess.Popen(
            self.words(*words), env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True
        )

    def busy(self, way: str, name: str = "box") -> subprocess.Popen[str]:
        """Start a sandbox that stays, and wait until it runs."""
        box = self.start(way, f"chroot {self.root} /program; echo $?; sleep 600", name)
        assert box.stdout is not None
        assert box.stdout.readline() == "42\n", (self.folder / name / "log").read_text()
        return box

    def guard_and_keeper(self, name: str = "box") -> tuple[int, int]:
        """Return the processes that guard a sandbox, and keep its interpreter."""
        found: dict[int, int] = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if f"{self.folder / name}/spec.json" in (place / "cmdline").read_text():
                    found[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
        (guard,) = [each for each, parent in found.items() if parent not in found]
        (keeper,) = [each for each in found if each != guard and os.getpgid(each) == each]
        return guard, keeper

    def await_registry(self, wanted: dict[str, str]) -> None:
        deadline = time.monotonic() + 60
        while self.registry() != wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.registry() == wanted


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.close()


WAYS = ["private", "shared"] if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 7) else ["shared"]


@pytest.mark.parametrize("way", WAYS)
def test_programs_run_below_a_chroot_and_the_host_is_as_it_was(host: Host, way: str) -> None:
    before = host.registry()
    box = host.start(way, f"chroot {host.root} /program")
    said, _ = box.communicate(timeout=60)
    assert box.returncode == 42, said
    assert host.registry() == before
    assert not (interpreters.USERS / interpreters.own(str(user_emulation.registration(OTHER)["name"]))).exists()


@pytest.mark.parametrize("way", WAYS)
def test_the_interpreter_may_lie_where_nothing_may_be_executed(host: Host, way: str) -> None:
    place = host.folder / "a:b"
    place.mkdir()
    assert EMULATOR is not None
    host.do(f"mount -t tmpfs -o noexec tmpfs '{place}' && cp {EMULATOR} '{place}/qemu'")
    box = host.start(way, f"chroot {host.root} /program", "box", f"{place}/qemu")
    said, _ = box.communicate(timeout=60)
    assert box.returncode == 42, said


def test_a_private_interpreter_is_never_seen_by_the_host(host: Host) -> None:
    if "private" not in WAYS:
        pytest.skip("needs Linux >= 6.7")
    before = host.registry()
    box = host.busy("private")
    assert host.registry() == before
    box.kill()
    box.wait()


def test_sandboxes_share_an_entry_and_the_last_takes_it_away(host: Host) -> None:
    before = host.registry()
    name = interpreters.own(str(user_emulation.registration(OTHER)["name"]))
    first, second = host.busy("shared", "first"), host.busy("shared", "second")
    assert host.registry().keys() == {*before, name}
    for box, left in ((first, {*before, name}), (second, {*before})):
        box.kill()
        box.wait()
        deadline = time.monotonic() + 60
        while host.registry().keys() != left and time.monotonic() < deadline:
            time.sleep(0.1)
        assert host.registry().keys() == left
    assert host.registry() == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("victims", ["run", "guard", "keeper", "guard and keeper"])
def test_a_kill_leaves_the_hosts_entries_as_they_were(host: Host, way: str, victims: str) -> None:
    before = host.registry()
    box = host.busy(way)
    guard, keeper = host.guard_and_keeper()
    targets = {"run": [box.pid], "guard": [guard], "keeper": [keeper], "guard and keeper": [keeper, guard]}[victims]
    for target in targets:
        os.kill(target, signal.SIGKILL)
    if victims == "keeper":
        box.kill()
    box.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{each}").exists() for each in (guard, keeper)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [each for each in (guard, keeper) if Path(f"/proc/{each}").exists()], "neither stays"
    if (way, victims) == ("shared", "guard and keeper"):  # nobody is left: the next sandbox finds it
        next_box = host.start(way, "true", "next")
        assert next_box.wait(60) == 0
    host.await_registry(before)


def test_doctor_takes_away_what_nobody_uses(host: Host, tmp_path: Path) -> None:
    before = host.registry()
    name = interpreters.own(f"{interpreters.PREFIX}{OTHER.machine}-left")
    (interpreters.USERS / name).touch()
    host.do(f"printf '%s' '{host.entry(name).decode()}' > {interpreters.REGISTRY}/register")
    (tmp_path / "images.yaml").write_text("CC-One: {elements: [debian-minimal], disk: []}\n")
    (tmp_path / "sites.yaml").write_text("local: {directory: site}\n")
    (tmp_path / "third-party.yaml").write_text("")
    settings = (
        f"cd {tmp_path} && CC_IMAGES_STORE={tmp_path}/store PYTHONPATH={REPOSITORY} {sys.executable} -m cc_images"
    )
    assert f"binfmt_misc entry {name}" in host.do(f"{settings} doctor --dry-run || true")
    assert host.registry().keys() == {*before, name}
    assert f"binfmt_misc entry {name}: removed" in host.do(f"{settings} doctor --mend || true")
    assert host.registry() == before


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="needs systemctl (package systemd)")
def test_systemctl_knows_that_it_is_in_a_chroot(host: Host) -> None:
    if "private" not in WAYS:
        pytest.skip("needs Linux >= 6.7")
    box = host.start("private", "chroot / systemctl daemon-reload")
    said, _ = box.communicate(timeout=60)
    assert box.returncode == 0, said
    assert "ignoring" in said
