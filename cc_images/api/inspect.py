"""Inspection of one image: the contents of a build or a file, and a build booted for a person.

Puts the parts together for the verbs `inspect` and `boot`; neither records a boot test.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cc_images import clock
from cc_images.api.open_run import clear_up
from cc_images.boottest import acceleration, contents, guest, hygiene, inspector, qemu
from cc_images.boottest.boot import BootResult, climb
from cc_images.boottest.guest import Drive, Guest
from cc_images.boottest.policy import boot_job
from cc_images.boottest.qemu import Machine
from cc_images.builders.resolver import image_builder
from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.host import root
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Firmware, Format, Image, Json, Level
from cc_images.model.contract import settled
from cc_images.model.run import State
from cc_images.model.target import Target
from cc_images.planner.selection import names_images, select_one
from cc_images.report.release_notes import Edition
from cc_images.store.journal import Journal
from cc_images.store.records import Store
from cc_images.store.workspace import Run

MOST_FOR_A_SOCKET = 90
"""Characters of a folder in which a socket may lie; see unix(7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How a look at an image is ended early, and the words of the command line for the run's journal."""

    stop: threading.Event = field(default_factory=threading.Event)
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """How a person visits a guest: with `shell` by logging in, with `keep` until Ctrl-C."""

    firmware: Firmware | None = None
    """None: uefi where the image has it."""
    shell: bool = False
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The findings inside an image: its name for people, the file's size, the facts, and what is wrong."""

    title: str
    size: int
    facts: Json
    problems: tuple[str, ...]


def inspect(
    config: Config, what: str, arches: Sequence[Arch], against: str = "", *, bench: Bench | None = None
) -> tuple[Inspection, Inspection | None]:
    """Return what is inside the newest build of a tag, or a file, and inside what it shall be compared with.

    `against` is a version of the same tag, or a file. Raises UserError for what is neither.
    """
    inspector.require_host()
    with looking(config, bench) as (store, run, stop):
        one = _inspected(config, store, run, stop, what, arches, "")
        other = None
        if against:
            is_file = os.path.isfile(against) or what.lower() not in config.images
            other = _inspected(config, store, run, stop, *((against, (), "") if is_file else (what, arches, against)))
            for each in (one, other):
                inspector.require_system(each.facts)
    return one, other


def editions(
    config: Config, tag: str, arches: Sequence[Arch], old: str = "", new: str = "", *, bench: Bench | None = None
) -> tuple[Edition, Edition]:
    """Return two versions of a tag: by default the newest, and the one before the other.

    What their records do not say is looked up inside. Raises UserError for versions that the store does not have.
    """
    image, arch = one_of(config, tag, arches)
    store = Store(config.store)
    later, _ = stored(store, image, arch, new)
    versions = [build.version for build in store.builds(image.tag, arch)]
    before = old or next((version for version in versions if version < later.version), "")
    if not before:
        raise UserError(
            f"the store has no version of {image.tag} for {arch} before {later.version}",
            hint="a diff needs two versions; the next build makes one",
            reason=Reason.NEVER_BUILT,
        )
    earlier, _ = stored(store, image, arch, before)
    return _edition(config, store, image, earlier, bench), _edition(config, store, image, later, bench)


def _edition(config: Config, store: Store, image: Image, build: Build, bench: Bench | None) -> Edition:
    known = store.details(build).get("contents") or seen(config, store, image, build, bench)
    return Edition(
        name=image.published_name(build.arch),
        arch=build.arch,
        version=build.version,
        size=min(output.size for output in build.outputs.values()),
        contents=known,
    )


def seen(config: Config, store: Store, image: Image, build: Build, bench: Bench | None) -> Json:
    """Return the contents of a build by a look inside. Raises CCImagesError where that finds no system."""
    inspector.require_host()
    with looking(config, bench) as (_, run, stop):
        found = _inspected(config, store, run, stop, image.tag, (build.arch,), build.version)
    inspector.require_system(found.facts)
    return contents.contents(found.facts)


def _inspected(
    config: Config, store: Store, run: Run, stop: threading.Event, what: str, arches: Sequence[Arch], version: str
) -> Inspection:
    secrets: tuple[str, ...] = ()
    admitted: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    if names_images(what, config) and not os.path.isfile(what):
        image, arch = one_of(config, what.lower(), arches)
        build, output = stored(store, image, arch, version)
        path, title = store.blobs.path(output.digest), f"{image.tag} {arch} {build.version}"
        secrets = config.secrets(image.tag)
        admitted = inspector.admitted_keys(config.variables(image))
        allowed = image.allow
    else:
        path = Path(what)
        title = str(path)
        if not path.is_file():
            raise UserError(
                f"{what} is neither an image of the catalogue nor a file",
                hint="`cc-images list` shows the catalogue",
                reason=Reason.UNKNOWN_IMAGE,
            )
    workspace = run.work / f"look-{time.monotonic_ns()}"
    with run.log_path("inspect").open("ab") as log:
        facts = inspector.look(path, workspace, secrets=secrets, guards=run.work / "guards", log=log, stop=stop)
    if "trouble" in facts:
        problems: tuple[str, ...] = (facts["trouble"],)
    else:
        problems = tuple(hygiene.problems(facts, inspector.nameservers(), admitted, allowed))
    return Inspection(title=title, size=path.stat().st_size, facts=facts, problems=problems)


def boot(
    config: Config,
    tag: str,
    arches: Sequence[Arch],
    visit: Visit,
    *,
    tell: Callable[[str], None],
    bench: Bench | None = None,
) -> BootResult:
    """Boot the newest build of a tag for a person; `tell` gets a line for each thing that is known.

    The guest has all cores of this host and its network. Its writes are lost.
    """
    image, arch = one_of(config, tag, arches)
    if not image.boots_with(arch):
        raise UserError(f"{tag} boots nowhere: its formats are {', '.join(image.formats)}", hint="shell opens a tree")
    chosen = visit.firmware or image.boots_with(arch)[-1]
    if chosen not in image.boots_with(arch):
        raise UserError(f"{image.tag} does not boot with {chosen} on {arch}", hint="its firmware is set in images.yaml")
    guest.require(qemu.lacking(arch, (chosen,)))
    with looking(config, bench) as (store, run, stop), _near(run) as near:
        build, output = stored(store, image, arch, "")
        output = _bootable(build, output)
        builder = image_builder()
        resolver = builder.resolver(config, store, builder.host_facts([arch]), fetch=False)
        ((image, _),), _ = resolver.with_claims([Target(image, arch)])
        job = boot_job(image, arch, build.version, (output.format,))
        contract, _ = settled(job.boot, store.details(build).get("contents", {}), output.format, arch)
        memory = store.root / acceleration.MEMORY
        drive, console = _drive(build, output, store, run), near / "console"
        cores = min(4, len(os.sched_getaffinity(0)))
        with ExitStack() as machines:

            def start(fast: bool) -> tuple[Guest, BootResult]:
                speed = "with KVM" if fast else "in software"
                tell(f"{image.tag} {arch} {build.version} with {chosen}, {speed}")
                machine = Machine(arch=arch, firmware=chosen, cores=cores, memory_mib=job.memory_mib, accelerated=fast)
                folder = run.work / f"guest-{speed.replace(' ', '-')}"
                guest = Guest(machine, drive, folder, contract=contract, network=True, socket=console)
                machines.enter_context(guest)
                return guest, climb(guest, job.checks, stop=stop, report=lambda at: tell(f"{guest.now:6.1f}s {at}"))

            running, found = start(acceleration.acceleration(arch, memory).runs)
            if found.silent and running.machine.accelerated:
                machines.close()
                first = found
                running, found = start(False)
                if found.is_beyond(first):
                    acceleration.distrust(arch, memory, "; ".join(first.problems))
            if found.failed is not None:
                tell(f"{found.failed}: {'; '.join(found.problems)}")
            if visit.keep:
                tell(f"log in:  {' '.join(running.ssh_argv())}")
                tell(f"console: socat -,raw,echo=0,escape=0x1d unix-connect:{console}  (Ctrl-] leaves; package socat)")
                tell("the machine runs until Ctrl-C")
            if visit.shell and _reached(found, Level.CLOUD_INIT):
                subprocess.run(running.ssh_argv(), check=False)
            while visit.keep and running.running and not stop.wait(0.5):
                pass
    return found


def _bootable(build: Build, output: Output) -> Output:
    """Return the disk of a version, or its ramdisk. Raises UserError when it has neither."""
    if output.format.is_disk:
        return output
    if not {Format.INITRAMFS, Format.KERNEL} <= build.outputs.keys():
        raise UserError(f"version {build.version} of {build.tag} has nothing to boot", hint=f"-b {build.tag} builds it")
    return build.outputs[Format.INITRAMFS]


def _drive(build: Build, output: Output, store: Store, run: Run) -> Drive:
    """Return an output as a guest's drive; a ramdisk has its kernel."""
    kernel = build.outputs.get(Format.KERNEL) if output.format is Format.INITRAMFS else None
    files = [run.use(store.blobs.path(each.digest)) for each in (output, kernel) if each is not None]
    return Drive(files[0], output.format, *files[1:])


@contextmanager
def _near(run: Run) -> Iterator[Path]:
    """Give a folder whose path is short enough for a socket: the run's own, if it is."""
    if len(str(run.work)) < MOST_FOR_A_SOCKET:
        yield run.work
        return
    with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
        yield Path(folder)


def _reached(found: BootResult, level: Level) -> bool:
    order = list(Level)
    return found.reached is not None and order.index(found.reached) >= order.index(level)


def one_of(config: Config, tag: str, arches: Sequence[Arch]) -> Target:
    """Return the image and its one architecture: by default this host's own. Raises UserError, as `select_one` does."""
    chosen = select_one(tag, arches, config)
    own = [each for each in chosen if each[1].machine == os.uname().machine]
    return (own or chosen)[0]


def stored(store: Store, image: Image, arch: Arch, version: str) -> tuple[Build, Output]:
    """Return a build and the output to look at: the smallest file, which is the compressed one."""
    builds = list(store.builds(image.tag, arch))
    wanted = store.in_force(image.tag, arch) if not version else None
    found = wanted or next((build for build in builds if build.version == version), None)
    if found is None:
        known = ", ".join(build.version for build in builds)
        raise UserError(
            f"there is no {f'version {version}' if version else 'build'} of {image.tag} for {arch} in the store",
            hint=f"the store has {known}" if known else f"`cc-images -b {image.tag}` builds it",
            reason=Reason.NEVER_BUILT,
        )
    shown = [output for each, output in found.outputs.items() if each is not Format.KERNEL]
    smallest = min(shown, key=lambda output: (not output.format.is_disk, output.size))
    return found, found.outputs.get(Format.QCOW2) or smallest


@contextmanager
def looking(config: Config, bench: Bench | None) -> Iterator[tuple[Store, Run, threading.Event]]:
    """Give a private folder in the store, which is gone afterwards, and an event that asks to stop."""
    bench, store = bench or Bench(), Store(config.store)
    clear_up(store)
    run = store.start_run(clock.now())
    try:
        yield store, run, bench.stop
    finally:
        Journal(store.root, run.version).note(state=State.OK, words=list(bench.words))
        store.finish_run(run, root.remove)
