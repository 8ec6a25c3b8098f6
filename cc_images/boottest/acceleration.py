"""Acceleration: whether guests run with KVM on this host, shown by guests that did.

The presence of /dev/kvm proves nothing. It may open and never run a guest; and where the host is a guest itself, its
kernel may emulate a part of the processor only, so that a few instructions run and firmware does not. So a probe runs
a program in long mode with paging and the UEFI firmware, both on the machine type that boot tests use. A guest that
stays silent in spite of the probe is started again in software, and `distrust` remembers that for a day.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from cc_images.boottest import qemu
from cc_images.boottest.console import Console
from cc_images.boottest.qemu import Emulator, Machine, comma, engine
from cc_images.errors import CCImagesError
from cc_images.host import record_files
from cc_images.host.files import write_json
from cc_images.model import record_shapes
from cc_images.model.catalog import Arch, Firmware, Json, Level

MEMORY = "accelerators.json"
"""The file of a store in which it is kept whether hosts run guests accelerated."""

DAY = 86400.0
"""Seconds for which it is believed that guests do not run accelerated."""

PROBE_TIMEOUT = 20.0
"""Seconds that each guest of a probe gets; in software emulation they take 0.2 and 3."""

_log = logging.getLogger(__name__)

LOOK = 0.05
"""Seconds between two looks at a guest's console."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether guests run accelerated, when that was found (seconds since 1970), and why they do not."""

    runs: bool
    asked: float
    why: str = ""


def acceleration(
    arch: Arch, memory: Path, *, anew: bool = False, believed: float = DAY, timeout: float = PROBE_TIMEOUT
) -> Answer:
    """Return whether guests of this architecture run accelerated here; the file `memory` keeps the answer.

    That none runs is `believed` for a while, in seconds: the host may have been busy, or be set up otherwise since.
    `anew` asks again. `timeout` is in seconds, for each guest of the probe.
    """
    now = time.time()
    if platform.machine() != arch.machine:
        return Answer(runs=False, asked=now, why=f"this host is {platform.machine()}")
    if why := kvm_refuses():
        return Answer(runs=False, asked=now, why=why)
    known = record_files.entries(memory, record_shapes.AcceleratorShape)
    found = known.get(_host(arch))
    if not anew and found is not None and "why" in found and (found["runs"] or now - found["asked"] < believed):
        return Answer(**{name: found[name] for name in ("runs", "asked", "why")})
    why = probe(arch, accelerate=True, timeout=timeout)
    return _remember(arch, memory, Answer(runs=not why, asked=now, why=why), known)


def distrust(arch: Arch, memory: Path, why: str) -> None:
    """Remember for a day that guests do not run accelerated here, whatever a probe says."""
    known = record_files.entries(memory, record_shapes.AcceleratorShape)
    if (before := known.get(_host(arch))) is None or before["runs"]:
        _log.warning("guests do not run accelerated here; boot tests use software emulation for a day: %s", why)
    _remember(arch, memory, Answer(runs=False, asked=time.time(), why=why), known)


def _remember(arch: Arch, memory: Path, answer: Answer, known: dict[str, Json]) -> Answer:
    with suppress(OSError):
        write_json(memory, record_files.encoded(record_shapes.MemoryShape, known | {_host(arch): asdict(answer)}))
    return answer


def kvm_refuses() -> str:
    """Return why KVM is out of the question, or an empty string."""
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    return "" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "no permission to open /dev/kvm (group kvm)"


def _host(arch: Arch) -> str:
    """Return what an answer is for: this host, its kernel, and its QEMU."""
    program = shutil.which(qemu.EMULATORS[arch].program) or ""
    seen = os.stat(program).st_mtime_ns if program else 0
    return f"{socket.gethostname()} {platform.release()} {arch} {seen}"


def probe(arch: Arch, *, accelerate: bool, timeout: float = PROBE_TIMEOUT) -> str:
    """Run a few instructions, then firmware; return why guests do not run, or an empty string."""
    emulator = qemu.EMULATORS[arch]
    if shutil.which(emulator.program) is None:
        return f"{emulator.program} is missing"
    try:
        if not _runs_instructions(emulator, accelerate, timeout):
            return "a guest of a few instructions does not run"
        if any(Path(code).exists() for code, _ in emulator.uefi) and not _starts_firmware(arch, accelerate, timeout):
            return "a guest of a few instructions runs, but firmware does not start"
    except (OSError, CCImagesError) as error:
        return f"no guest could be started: {error}"
    return ""


def _runs_instructions(emulator: Emulator, accelerate: bool, timeout: float) -> bool:
    """Say whether a guest ran that ends itself."""
    with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
        program = Path(folder, "probe")
        program.write_bytes(emulator.probe)
        os.truncate(program, 1 << 20)  # firmware does not read a disk of one sector
        options = [option.format(probe=comma(program)) for option in emulator.probe_options]
        machine = [emulator.program, *engine(emulator, accelerate), "-m", "64", "-nodefaults", "-display", "none"]
        # a session of its own: Ctrl-C ends QEMU with the code of a guest that has ended itself
        with _started([*machine, "-no-reboot", *options]) as guest:
            try:
                return guest.wait(timeout) == emulator.probe_code
            except subprocess.TimeoutExpired:
                return False
            finally:
                guest.kill()


def _starts_firmware(arch: Arch, accelerate: bool, timeout: float) -> bool:
    """Say whether UEFI firmware without a disk has said on the console that it looks for one."""
    machine = Machine(arch=arch, firmware=Firmware.UEFI, memory_mib=256, accelerated=accelerate)
    with tempfile.TemporaryDirectory(prefix="cc-images-") as name:
        folder, console = Path(name), Console()
        serial = folder / "serial.log"
        serial.touch()
        output = ["-chardev", f"file,id=serial,path={comma(serial)}", "-serial", "chardev:serial", "-monitor", "none"]
        complaints = folder / "qemu.log"
        with (
            complaints.open("wb") as errors,
            _started([*machine.argv(folder), *output], errors) as guest,
            serial.open("rb") as said,
        ):
            deadline = time.monotonic() + timeout
            try:
                while time.monotonic() < deadline and guest.poll() is None and not has_given_up(complaints):
                    console.feed(said.read(), 0.0)
                    if console.reached(Level.FIRMWARE):
                        return True
                    time.sleep(LOOK)
            finally:
                guest.kill()
    return False


def has_given_up(log: Path) -> bool:
    """Say whether QEMU's output shows that KVM cannot go on: the guest then stops while QEMU keeps running."""
    return "KVM internal error" in record_files.text(log)


def _started(argv: list[str], errors: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start QEMU; it dies with this thread."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )
