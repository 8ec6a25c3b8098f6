"""The acts of a cluster's host: observes, makes keys, writes files, starts and ends services."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment, process
from cc_images.host.files import write_public, write_secret
from cc_images.model.catalog import Arch
from cc_images.remote import cluster_texts as texts
from cc_images.remote.cluster import Act, Seen, Service, Step, Wanted, next_end, next_step, steps
from cc_images.remote.cluster_services import Services, path
from cc_images.remote.cluster_texts import Cluster, Habits, Place
from cc_images.remote.protocol import host_and_port

ANSWERS = 60.0
"""Seconds in which a service answers after its start."""

MOST = 60
"""Steps after which something undoes what the others do."""

FREEZER = Path("/sys/fs/cgroup/freezer/cgroup.procs")

KEPT = ("PYTHONPATH",)
"""Variables that cc-images needs as a service if it needs them now."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Makes:
    """A thing that is made once: whether it is there, and how it is made."""

    there: Callable[[], bool]
    make: Callable[[], None]


class Hands:
    """The one that observes and acts on this host."""

    def __init__(self, place: Place, services: Services, makes: Mapping[str, Makes]) -> None:
        self._place, self._services, self._makes = place, services, makes

    def observe(self, wanted: Wanted) -> Seen:
        """Return what is there of all that is wanted."""
        running = {each.name: self._services.running(each.name) for each in wanted.services}
        found = {name: stamp for name, stamp in running.items() if stamp is not None}
        return Seen(
            programs=frozenset(each for each in wanted.programs if shutil.which(each, path=path())),
            made=frozenset(name for name in wanted.made if self._makes[name].there()),
            texts={name: _content(Path(name)) for name in wanted.texts},
            running=found,
            answering=frozenset(name for name in found if self._answers(name, wanted)),
        )

    def left(self, wanted: Wanted) -> tuple[Step, ...]:
        """Return the steps that are left."""
        return steps(wanted, self.observe(wanted))

    def up(self, wanted: Wanted, say: Say) -> int:
        """Do what is left, a step at a time; return how many steps that took. Raises CCImagesError."""
        last = None
        for count in range(MOST):
            step = next_step(wanted, self.observe(wanted))
            if step is None:
                return count
            if step == last:  # a service that has ended again, say
                raise CCImagesError(f"{step}: this was done, and is not seen", reason=Reason.FAILED)
            self._take(step, wanted)
            say(_done(step))
            last = step
        raise CCImagesError("the cluster does not come to rest: something undoes the steps", reason=Reason.FAILED)

    def down(self, say: Say) -> int:
        """End all services of this host; return how many there were."""
        count = 0
        while step := next_end(texts.SERVICES, self._ends()):
            self._services.stop(step.name)
            say(_done(step))
            count += 1
        return count

    def open(self, service: Service, address: str) -> None:
        """Start a service unless it runs, and wait until it accepts connections. Raises CCImagesError."""
        deadline = time.monotonic() + ANSWERS
        while not accepts(address):
            if self._services.running(service.name) is None:
                self._services.start(service)
            if time.monotonic() > deadline:
                raise CCImagesError(f"the head does not answer at {address}", hint=self._services.log(service.name))
            time.sleep(0.2)

    def _ends(self) -> Seen:
        running = {name: self._services.running(name) for name in texts.SERVICES}
        return Seen(running={name: stamp for name, stamp in running.items() if stamp is not None})

    def _take(self, step: Step, wanted: Wanted) -> None:
        match step.act:
            case Act.INSTALL:
                install(step.name.split())
            case Act.MAKE:
                self._makes[step.name].make()
            case Act.WRITE:
                write_public(Path(step.name), wanted.texts[step.name])
            case Act.STOP:
                self._services.stop(step.name)
            case Act.START:
                self._services.start(next(each for each in wanted.services if each.name == step.name))
            case Act.AWAIT:
                self._await(step.name, wanted)

    def _await(self, name: str, wanted: Wanted) -> None:
        deadline = time.monotonic() + ANSWERS
        while not self._answers(name, wanted):
            if self._services.running(name) is None or time.monotonic() > deadline:
                how = "does not answer" if self._services.running(name) is not None else "has ended"
                raise CCImagesError(
                    f"{name} {how}", tail=self._services.log(name).splitlines(), reason=Reason.UNREACHABLE,
                    hint=f"its last words: {self._services.log(name) or 'none'}",
                )  # fmt: skip
            time.sleep(0.1)

    def _answers(self, name: str, wanted: Wanted) -> bool:
        service = next(each for each in wanted.services if each.name == name)
        match name:
            case texts.MUNGED:
                return _listens(str(self._place.socket))
            case texts.CONTROLLER:
                return " UP" in self.ask("scontrol", "ping")
            case texts.NODE:
                state = self.ask("scontrol", "--oneliner", "show", "node", service.argv[3])
                found = re.search(r" State=(\S+)", state)
                return found is not None and not re.search(r"DOWN|UNKNOWN|RESPOND|[*]", found[1])
            case _:
                address = service.argv[service.argv.index("--listen") + 1] if "--listen" in service.argv else ""
                return not address or accepts(address)

    def ask(self, *words: str) -> str:
        """Return what a command of Slurm's says of this cluster; empty when it fails."""
        more = environment.plain(SLURM_CONF=str(self._place.configuration)) | {"PATH": path()}
        try:
            return process.run(words, env=more, timeout=30) + "\n"
        except CCImagesError:
            return ""


def install(packages: list[str]) -> None:
    """Install Debian's packages. Raises CCImagesError where there is no apt, or it fails."""
    if shutil.which("apt-get") is None:
        raise CCImagesError(
            f"these packages are missing: {', '.join(packages)}",
            hint="install them as this system does; apt-get is not here",
            reason=Reason.MISSING_TOOL,
        )
    words = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    process.run(words, env=environment.plain(DEBIAN_FRONTEND="noninteractive"), timeout=1800)


def habits() -> Habits:
    """Return what this host is like."""
    if os.access(FREEZER, os.W_OK):
        tracking = "cgroup/v1"
    elif Path("/run/systemd/system").is_dir() and Path("/sys/fs/cgroup/cgroup.controllers").exists():
        tracking = "cgroup/autodetect"
    else:
        tracking = "linuxproc"
    return Habits(
        tracking=tracking,
        munge_user="munge" if _is_user("munge") else "",
        command=(sys.executable, "-m", "cc_images"),
        environment={name: value for name in KEPT if (value := environment.variable(name))},
    )


def node_here(address: str) -> texts.Node:
    """Return this host as a node; a twentieth of its memory is left to itself."""
    memory = next(line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    name = socket.gethostname().partition(".")[0]
    arch = next((each.value for each in Arch if each.machine == os.uname().machine), "")
    cores = len(os.sched_getaffinity(0))
    return texts.Node(name=name, address=address, cores=cores, memory=int(memory) // 1024 * 19 // 20, arch=arch)


def slurm_version() -> str:
    """Return the version of Slurm on this host."""
    return process.run(["slurmd", "-V"], env={"PATH": path()}, timeout=20).split()[-1]


def owner_of(store: Path) -> str:
    """Return the user whose store this is, or is going to be."""
    return environment.user(store.stat().st_uid) if store.exists() else environment.owner()


def own_address() -> str:
    """Return the address by which other hosts see this one; that of loopback when there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def munge_key(place: Place, content: bytes = b"") -> Makes:
    """Return how the key of munge is made, or kept as the head gave it."""

    def make() -> None:
        user = "munge" if _is_user("munge") else ""
        place.munge.mkdir(exist_ok=True, mode=0o755)
        place.munge.chmod(0o755)
        write_secret(place.munge_key, content or secrets.token_bytes(1024), user)
        if user:
            os.chown(place.munge, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        for folder, mode in ((place.state, 0o700), (place.spool, 0o755)):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)

    return Makes(there=lambda: place.munge_key.exists() and place.spool.exists(), make=make)


def certificate(cluster: Cluster, place: Place) -> Makes:
    """Return how the hub's key and certificate are made: the certificate comes last."""

    def make() -> None:
        staged = [place.folder / f".{each.name}.new" for each in (place.key, place.certificate)]
        names = f"subjectAltName=IP:{cluster.address},IP:127.0.0.1,DNS:{cluster.head},DNS:localhost"
        write_secret(staged[0], b"", cluster.hub_user)
        process.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "3650", "-subj", f"/CN={cluster.head}", "-addext", names,
             "-keyout", str(staged[0]), "-out", str(staged[1])],
            env=environment.plain() | {"PATH": path()}, timeout=60,
        )  # fmt: skip
        staged[0].chmod(0o600)
        staged[1].chmod(0o644)
        if cluster.hub_user:
            os.chown(staged[0], pwd.getpwnam(cluster.hub_user).pw_uid, -1)
        staged[0].rename(place.key)
        staged[1].rename(place.certificate)

    return Makes(there=place.certificate.exists, make=make)


def _done(step: Step) -> str:
    past = {Act.INSTALL: "installed", Act.MAKE: "made", Act.WRITE: "wrote", Act.STOP: "ended", Act.START: "started"}
    return f"{step.name} answers" if step.act is Act.AWAIT else f"{past[step.act]} {step.name}"


def _content(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""


def _is_user(name: str) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def _listens(file: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(file)
        return True
    return False


def accepts(address: str) -> bool:
    """Say whether something listens at HOST:PORT."""
    with suppress(OSError):
        socket.create_connection(host_and_port(address), 2).close()
        return True
    return False
