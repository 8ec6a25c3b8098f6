"""Services of a cluster's host: units of systemd where that runs, else processes with files that name them."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment, process
from cc_images.host.files import write_bytes
from cc_images.host.root import SYSTEM_PATH
from cc_images.remote.cluster import Service
from cc_images.remote.cluster_texts import CONTROLLER, NODE, Place, unit

PATIENCE = 30.0
"""Seconds that a process has to end before it is killed."""

BEGIN = 15.0
"""Seconds in which a process names itself."""

BOOT = Path("/proc/sys/kernel/random/boot_id")

START = """\
read -r boot </proc/sys/kernel/random/boot_id
read -r stat </proc/$$/stat
begun=$(set -- $stat; shift 21; echo "$1")
echo "$$ $begun $boot $2" >"$1.new" && mv "$1.new" "$1" || exit 1
shift 2
exec "$@"
"""
"""The process names itself in its file before it becomes the program, so none runs without one."""


class Services(Protocol):
    """The services of this host."""

    def running(self, name: str) -> str | None:
        """Return the stamp of a service that runs, or None."""

    def start(self, service: Service) -> None: ...

    def stop(self, name: str) -> None: ...

    def forget(self, name: str) -> None:
        """Remove what is left of a service that was ended, outside of the cluster's folder."""

    def log(self, name: str) -> str:
        """Return the last lines that a service has written."""


def services(place: Place) -> Services:
    """Return those of this host."""
    return Units(Path("/etc/systemd/system")) if Path("/run/systemd/system").is_dir() else Processes(place)


def path() -> str:
    """Return where services find their programs."""
    return ":".join(SYSTEM_PATH)


class Processes:
    """Processes that outlive the one that starts them."""

    def __init__(self, place: Place) -> None:
        self._runs, self._logs = place.folder / "run", place.folder / "log"

    def running(self, name: str) -> str | None:
        found = self._process(name)
        return found[1] if found else None

    def start(self, service: Service) -> None:
        """Start a service in a session of its own. Raises CCImagesError when it does not come to be."""
        self._runs.mkdir(exist_ok=True)
        self._logs.mkdir(exist_ok=True, mode=0o700)
        words = [str(self._file(service.name)), service.stamp, *_as_user(service.user), *service.argv]
        log = os.open(self._logs / service.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            subprocess.run(
                ["setsid", "--fork", "sh", "-c", START, "sh", *words],
                env={"PATH": path(), "LANG": "C.UTF-8", **service.environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, cwd="/",
            )  # fmt: skip
        finally:
            os.close(log)
        deadline = time.monotonic() + BEGIN
        while self.running(service.name) is None:
            if time.monotonic() > deadline:
                raise CCImagesError(f"{service.name} ended at once: {self.log(service.name)}", reason=Reason.COMMAND)
            time.sleep(0.02)

    def stop(self, name: str) -> None:
        """End a service, by SIGTERM and after a while by SIGKILL."""
        if found := self._process(name):
            number, _ = found
            os.kill(number, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            while self._process(name):
                if time.monotonic() > deadline:
                    with suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                time.sleep(0.02)
        self._file(name).unlink(missing_ok=True)

    def forget(self, name: str) -> None: ...

    def log(self, name: str) -> str:
        try:
            return "\n".join((self._logs / name).read_text(errors="replace").splitlines()[-5:])
        except OSError:
            return ""

    def _file(self, name: str) -> Path:
        return self._runs / f"{name}.pid"

    def _process(self, name: str) -> tuple[int, str] | None:
        """Return process and stamp of a service that runs; a number that was given to another process is none."""
        try:
            number, begun, boot, stamp = self._file(name).read_text().split()
            state, *rest = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        same = boot == BOOT.read_text().strip() and rest[18] == begun and state not in "ZX"
        return (int(number), stamp) if same else None


class Units:
    """Units of systemd, with names that begin with cc-images."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def running(self, name: str) -> str | None:
        try:
            stamp = re.match(r"# stamp (\w+)\n", self._file(name).read_text())
            self._ask("is-active", "--quiet", self._file(name).name)
        except (OSError, process.CommandFailed):
            return None
        return stamp[1] if stamp else ""

    def start(self, service: Service) -> None:
        """Write the unit, and start it; Debian's own of the same daemon stays off. Raises CCImagesError."""
        if service.name in (CONTROLLER, NODE):
            with suppress(process.CommandFailed):
                self._ask("disable", "--now", f"{service.name}.service")
        write_bytes(self._file(service.name), unit(service).encode())
        self._ask("daemon-reload")
        self._ask(*(["enable", "--now"] if service.stays else ["start"]), self._file(service.name).name)

    def stop(self, name: str) -> None:
        self._ask("disable", "--now", self._file(name).name)

    def forget(self, name: str) -> None:
        if self._file(name).exists():
            self.stop(name)
            self._file(name).unlink()
            self._ask("daemon-reload")

    def log(self, name: str) -> str:
        try:
            words = ("--no-pager", "--lines=5", "--output=cat", f"--unit={self._file(name).name}")
            return process.run(["journalctl", *words], env=environment.plain(), timeout=20)
        except CCImagesError:
            return ""

    def _file(self, name: str) -> Path:
        return self._folder / f"cc-images-{name}.service"

    def _ask(self, *words: str) -> None:
        process.run(["systemctl", *words], env=environment.plain(), timeout=120)


def _as_user(name: str) -> list[str]:
    """Return what stands before a command of another user."""
    if not name:
        return []
    return ["setpriv", f"--reuid={name}", f"--regid={pwd.getpwnam(name).pw_gid}", "--init-groups", "--"]
