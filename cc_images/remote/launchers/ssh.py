"""Builder hosts by ssh: jobs are started, looked at and ended by commands there; bytes come through a tunnel.

The tunnel leads from a socket on the builder host to the hub of the head. When the link breaks it is made again, with
another socket behind the same name, so a job there notices nothing but a pause. A job does not hang on any connection.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shlex
import subprocess
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment
from cc_images.model.attempt import BuilderHost, JobState, Ticket
from cc_images.model.catalog import Json
from cc_images.remote.lines import object_of, plain_text
from cc_images.remote.protocol import encoded_ticket

SSH = (
    *("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"),
)
"""Nobody is there to type a password; a link of which nothing is heard for 30 seconds is given up."""

ANSWER = 60.0
"""Seconds that a command on a builder host gets."""

AGAIN = (1.0, 2.0, 5.0)
"""Seconds between tries of a tunnel that breaks; the last one from then on."""

LOOKED_UP = 10.0
"""Seconds that ssh gets to say what its configuration has for a host."""

FOLDER = 'd="${XDG_RUNTIME_DIR:-/tmp}/cc-images-$(id -u)"; mkdir -p -m 700 "$d" && [ -O "$d" ] && [ ! -L "$d" ]'
"""Makes the folder of the sockets, which nobody else can enter."""

ADVICE = "cc-images: what to do:"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tunnel:
    """A way from a builder host to the hub, which is kept open."""

    destination: tuple[str, ...]
    hub: str
    """Where the hub listens on this host: a socket's path, or 127.0.0.1:PORT."""
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    address: str = ""
    """The hub's address on the builder host."""
    trouble: str = ""
    """Why there is none now."""
    _over: threading.Event = field(default_factory=threading.Event)
    _process: subprocess.Popen[bytes] | None = None
    _thread: threading.Thread | None = None
    _count: int = 0

    def open(self) -> None:
        """Open the tunnel for the first time. Raises CCImagesError when that fails."""
        folder = _said(self.destination, f'{FOLDER} && find "$d" -mmin +20160 -delete; echo "$d"').strip()
        if not folder.startswith("/"):
            raise _trouble(self.destination, f"it has no folder for a socket: {folder!r}")
        self.address = f"unix:{folder}/{self.name}"
        if not self._begin(folder):
            raise _trouble(self.destination, self.trouble)
        self._thread = threading.Thread(target=self._keep, args=(folder,), name="tunnel", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close it."""
        self._over.set()
        if self._process is not None:
            _end(self._process)
        if self._thread is not None:
            self._thread.join(ANSWER)

    def _begin(self, folder: str) -> bool:
        """Start ssh; say whether the way is there."""
        self._count += 1
        name = f"{folder}/{self.name}"
        link, socket = shlex.quote(name), shlex.quote(f"{name}.{self._count}")
        clear = f'rm -f {socket}; [ "$(readlink {link})" = {socket} ] && rm -f {link}'
        words = f"trap {shlex.quote(clear)} EXIT; ln -sfn {socket} {link} && echo ready; cat > /dev/null"
        way = ("-o", "ExitOnForwardFailure=yes", "-R", f"{name}.{self._count}:{self.hub}")
        self._process = subprocess.Popen(
            [*SSH, *way, *self.destination, words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        if self._process.stdout.readline().strip() == b"ready":
            self.trouble = ""
            return True
        self.trouble = _last(self._process.stderr.read())
        _end(self._process)
        return False

    def _keep(self, folder: str) -> None:
        tries = 0
        while not self._over.is_set():
            assert self._process is not None
            if self._process.poll() is None and not self.trouble:
                time.sleep(0.2)
                continue
            _log.warning("the tunnel to %s is broken: %s", self.destination[-1], self.trouble or "ssh has ended")
            if self._over.wait(AGAIN[min(tries, len(AGAIN) - 1)]):
                return
            tries = 0 if self._begin(folder) else tries + 1


class SshLauncher:
    """Jobs on one builder host; see `launchers.base.Launcher`."""

    def __init__(self, host: BuilderHost, hub: str, options: tuple[str, ...] = ()) -> None:
        """Take an entry, where the hub listens on this host, and further options of ssh."""
        self._host = host
        self._destination = (*options, host.ssh)
        self._tunnel = Tunnel(self._destination, hub)

    def facts(self) -> Json | None:
        said = _said(self._destination, self._command("--facts"))
        found = object_of(said)
        if not found:
            raise _trouble(self._destination, f"it does not say what it is: {said[:80]!r}")
        return found

    def open(self) -> str:
        if self._host.hub:
            return self._host.hub
        self._tunnel.open()
        return self._tunnel.address

    def close(self) -> None:
        self._tunnel.close()

    def start(self, ticket: Ticket) -> None:
        _said(self._destination, self._command("--detach", "-"), json.dumps(encoded_ticket(ticket)))

    def look(self, attempts: Collection[str]) -> Mapping[str, JobState]:
        try:
            said = object_of(_said(self._destination, self._command("--look", *sorted(attempts))))
            return {each: JobState(said.get(each, JobState.UNKNOWN)) for each in attempts}
        except (CCImagesError, ValueError) as error:
            _log.warning("%s: %s", self._host.name, error)
            return dict.fromkeys(attempts, JobState.UNKNOWN)

    def trouble(self) -> str:
        try:
            _said(self._destination, "true")
        except CCImagesError as error:
            return error.message
        return ""

    def destroyed(self, attempt: str) -> bool:
        return False

    def cancel(self, attempt: str) -> None:
        _said(self._destination, self._command("--cancel", attempt))

    def _command(self, *words: str) -> str:
        """Return a command for the shell of the builder host."""
        store = f"CC_IMAGES_STORE={shlex.quote(self._host.scratch)} " if self._host.scratch else ""
        return store + shlex.join([self._host.command, "perform", *words])


def looked_up(destination: str) -> str:
    """Return the host and port that ssh's configuration has for a destination; empty where it says nothing."""
    try:
        done = subprocess.run(
            ["ssh", "-G", destination], capture_output=True, text=True, timeout=LOOKED_UP, env=environment.whole()
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = dict(re.findall(r"^(hostname|port) (\S+)$", done.stdout, re.MULTILINE))
    if len(said) < 2:
        return ""
    host = f"[{said['hostname']}]" if ":" in said["hostname"] else said["hostname"]
    return f"{host}:{said['port']}"


def _said(destination: tuple[str, ...], command: str, text: str = "") -> str:
    """Run a command on a builder host; return what it prints. Raises CCImagesError."""
    try:
        done = subprocess.run(
            [*SSH, *destination, command],
            input=text.encode(),
            capture_output=True,
            timeout=ANSWER,
            env=environment.whole(),
        )
    except subprocess.TimeoutExpired as error:
        raise _trouble(destination, f"no answer within {ANSWER:.0f} s") from error
    except OSError as error:
        raise _trouble(destination, f"ssh: {error.strerror}") from error
    if done.returncode != 0:
        raise _trouble(destination, _last(done.stderr) or f"exit code {done.returncode}")
    return done.stdout.decode(errors="replace")


def _trouble(destination: tuple[str, ...], why: str) -> CCImagesError:
    return CCImagesError(
        f"builder host {destination[-1]}: {why}",
        hint=f"try `ssh {destination[-1]} cc-images --version`; docs/builders.md says what it needs",
        reason=Reason.BUILDER,
        temporary=True,
    )


def _last(said: bytes) -> str:
    """Return the last line that says something; the advice behind an error of cc-images is for people there."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
    found = next((line for line in reversed(lines) if line and not line.startswith(ADVICE)), "")
    return plain_text(found.removeprefix("cc-images: "))


def _end(process: subprocess.Popen[bytes]) -> None:
    for each in (process.stdin, process.stdout, process.stderr):
        if each is not None:
            each.close()
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
