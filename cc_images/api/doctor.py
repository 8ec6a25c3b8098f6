"""The checkup: whether this host can do the work of the catalogue, with a remedy for each lack. Changes nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from cc_images.api.finding import Finding, State, machine_finding
from cc_images.api.machines import with_provider
from cc_images.boottest import acceleration, inspector, qemu
from cc_images.builders.base import LEAST_FREE
from cc_images.builders.dib import disk_layout, disk_tools, twins
from cc_images.builders.dib.element_path import known_folders
from cc_images.builders.dib.elements import Elements, with_layout
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.host import network, process, root, user_emulation
from cc_images.host.files import refusal
from cc_images.model.catalog import Arch, Firmware
from cc_images.model.site import Site
from cc_images.outputs.tree import tools
from cc_images.sites import LOOK, open_site
from cc_images.sites.targets import formats_for, name_for
from cc_images.store.records import Store

LEAST_KERNEL = (5, 12)
"""mount_setattr, by which a sandbox sees the host read-only."""

ROOMY = 20 << 30
"""Bytes free in the store below which a family of images gets tight."""


def checkup(config: Config) -> Iterator[Finding]:
    """Look at everything, and ask every site; yield what is found as it is known."""
    arches = sorted({arch for image in config.images.values() for arch in image.arches}) or [Arch.AMD64]
    store = Store(config.store)
    yield from _kernel()
    yield from _tools()
    yield _root()
    if (found := looks()) is not None:
        yield found
    yield disks()
    yield _network()
    yield from _layouts(config, store)
    yield from containers(config)
    yield from _formats(config)
    yield from emulation(arches)
    for arch in arches:
        yield from _boots(arch, config, store)
    yield _space(store)
    yield _memory()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(_site, site, config) for site in config.sites]
        asked += [pool.submit(machine_finding, host, config) for host in with_provider(config)]
        yield from (each.result() for each in as_completed(asked))


def _kernel() -> Iterator[Finding]:
    release = platform.release()
    numbers = tuple(int(word) for word in release.split("-")[0].split(".")[:2])
    if numbers < LEAST_KERNEL:
        remedy = f"use a kernel of {LEAST_KERNEL[0]}.{LEAST_KERNEL[1]} or later"
        yield Finding(subject="kernel", state=State.LACK, text=release, remedy=remedy)
    else:
        yield Finding(subject="kernel", state=State.FINE, text=release)
    for device, purpose in (
        ("/dev/loop-control", "reading images, and disks by dib"),
        ("/dev/fuse", "reading images and FAT"),
    ):
        there = os.path.exists(device)
        yield Finding(
            subject=device,
            state=State.FINE if there else State.LACK,
            text=f"for {purpose}" if there else f"is missing, needed for {purpose}",
            remedy="" if there else f"load the kernel's module: modprobe {device.removeprefix('/dev/').split('-')[0]}",
        )
    known = Path("/proc/filesystems").read_text().split()
    if "overlay" not in known and not _module("overlayfs/overlay"):
        text = "this kernel has no overlayfs: each build copies its download cache"
        yield Finding(subject="overlayfs", state=State.SLOW, text=text, remedy="use a kernel with CONFIG_OVERLAY_FS")


def _module(name: str) -> bool:
    return any(Path("/lib/modules", platform.release()).glob(f"kernel/fs/{name}.ko*"))


def _tools() -> Iterator[Finding]:
    try:
        root.require_tools(root.build_tools())
    except CCImagesError as error:
        yield Finding(subject="tools of builds", state=State.LACK, text=error.message, remedy=error.hint)
    else:
        yield Finding(subject="tools of builds", state=State.FINE, text="all here")


def _root() -> Finding:
    try:
        root.require_root()
        words = [*root.as_root(), "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "true"]
        process.run(words, env=root.outside(), timeout=30)
    except CCImagesError as error:
        remedy = error.hint or "allow mount and PID namespaces: in a container, run it privileged"
        return Finding(subject="root and namespaces", state=State.LACK, text=error.message, remedy=remedy)
    return Finding(subject="root and namespaces", state=State.FINE, text=_way())


def looks() -> Finding | None:
    """Say whether an ordinary user can look into images here; None for whoever is root."""
    if root.way() is not root.Way.NAMESPACE:
        return None
    lacks = [*inspector.lacking(), *([] if os.access("/dev/fuse", os.R_OK | os.W_OK) else ["a /dev/fuse open for all"])]
    if not lacks:
        return Finding(subject="looks into images", state=State.FINE, text="by FUSE, for ext file systems and FAT")
    text = f"take the host's own root, without {' and '.join(lacks)}"
    remedy = "install the packages fuse2fs, fusefat and qemu-system-common (docs/rootless.md)"
    return Finding(subject="looks into images", state=State.SLOW, text=text, remedy=remedy)


def _way() -> str:
    """Say how builds become root here, and what that cannot do."""
    found = root.way()
    if found is root.Way.NAMESPACE:
        by_sudo = "" if root.way(hosts=True) is root.Way.ROOT else ", with sudo"
        whose = "as an ordinary user" if os.geteuid() else "as root, who is no less root in it"
        return f"in a user namespace, {whose}; disks made by dib take the host's own root{by_sudo}"
    if found is root.Way.SUDO:
        why = root.why_no_namespace() or f"{root.SWITCH}={found}"
        return f"through sudo, not in a user namespace: {why}"
    return "as root"


def disks() -> Finding:
    """Say who makes the disks of Debian and Ubuntu images here."""
    if why := disk_tools.why_not():
        text = f"dib makes all of them, on loop devices, and different in each build: {why}"
        remedy = "install mmdebstrap and debian-archive-keyring"
        return Finding(subject="disks of builds", state=State.SLOW, text=text, remedy=remedy)
    text = "put together here, the same bytes each time, for Debian and Ubuntu"
    return Finding(subject="disks of builds", state=State.FINE, text=text)


def emulation(arches: list[Arch]) -> Iterator[Finding]:
    """Say of each architecture that is not this host's how its programs would run in builds."""
    for arch in filter(user_emulation.is_foreign, arches):
        subject, emulator = f"builds for {arch}", user_emulation.USER_EMULATORS[arch]
        if not user_emulation.runs_programs(arch):
            text = f"programs for {arch.machine} do not run here: runs leave {arch} out, and refuse it with -a"
            yield Finding(subject=subject, state=State.SLOW, text=text, remedy=f"install {emulator.package}")
        elif not has_binfmt_misc():
            text = "this kernel has no binfmt_misc, which starts emulators"
            yield Finding(
                subject=subject, state=State.LACK, text=text, remedy="load the kernel's module: modprobe binfmt_misc"
            )
        elif not twins.wanted():
            text = f"by plain emulation, many times slower: {twins.SWITCH}=no"
            yield Finding(subject=subject, state=State.SLOW, text=text, remedy=f"unset {twins.SWITCH}")
        elif why := user_emulation.why_no_twins(arch):
            text = f"by plain emulation, many times slower: {why}"
            remedy = "install gcc" if "compiler" in why else ""
            yield Finding(subject=subject, state=State.SLOW, text=text, remedy=remedy)
        else:
            text = f"{emulator.path}, and native twins for Debian's and Ubuntu's programs"
            yield Finding(subject=subject, state=State.FINE, text=text)


def has_binfmt_misc() -> bool:
    """Say whether the kernel can hand programs to interpreters, or has a module for it (binfmt_misc)."""
    return "binfmt_misc" in Path("/proc/filesystems").read_text().split() or _module("binfmt_misc")


def _boots(arch: Arch, config: Config, store: Store) -> Iterator[Finding]:
    wanted = {each for image in config.images.values() if arch in image.arches for each in image.boots_with(arch)}
    firmware = tuple(each for each in Firmware if each in wanted)
    subject = f"boot tests of {arch}"
    if missing := qemu.lacking(arch, firmware):
        remedy = "install them, or push with --no-boot-test"
        state = State.LACK if user_emulation.runs_programs(arch) else State.SLOW  # nobody waits for it here
        yield Finding(subject=subject, state=state, text=f"missing: {', '.join(missing)}", remedy=remedy)
    elif (answer := acceleration.acceleration(arch, store.root / acceleration.MEMORY, anew=True)).runs:
        yield Finding(subject=subject, state=State.FINE, text="a guest and firmware ran with KVM")
    else:
        text = f"software emulation, much slower: {answer.why}"
        remedy = "run on the hardware, or allow nested virtualization" if arch.machine == platform.machine() else ""
        yield Finding(subject=subject, state=State.SLOW, text=text, remedy=remedy)


def _space(store: Store) -> Finding:
    if trouble := refusal(store.root):
        remedy = "set CC_IMAGES_STORE to a folder of yours"
        return Finding(subject="store", state=State.LACK, text=f"{store.root}: {trouble}", remedy=remedy)
    free = store.free_bytes()
    state = State.LACK if free < LEAST_FREE else State.SLOW if free < ROOMY else State.FINE
    remedy = "run `cc-images prune`, or set CC_IMAGES_STORE to a folder on a larger file system"
    text = f"{free >> 30} GiB free at {store.root}"
    return Finding(subject="store", state=state, text=text, remedy="" if state is State.FINE else remedy)


def _formats(config: Config) -> Iterator[Finding]:
    """Yield what the formats of the catalogue and the sites take and this host lacks."""
    wanted = {each: image.tag for image in config.images.values() for each in image.formats}
    wanted |= {each: f"site {site.name}" for site in config.sites for each in site.formats}
    for form, user in sorted(wanted.items()):
        try:
            root.require_tools(dict(tools(form)))
        except CCImagesError as error:
            text = f"{error.message}, for {form} of {user}"
            yield Finding(subject="formats", state=State.LACK, text=text, remedy=error.hint)


def containers(config: Config) -> Iterator[Finding]:
    """Yield which programs of containers are here, or who needs those that are not."""
    users = {
        "buildah": [image.tag for image in config.images.values() if image.builder != "dib"],
        "gpg": [image.tag for image in config.images.values() if image.builder == "spack"],
        "skopeo": [f"site {site.name}" for site in config.sites if site.registry],
    }
    wanted = {program: tags for program, tags in users.items() if tags}
    missing = disk_layout.lacking(wanted)
    for each in missing:
        program = each.partition(" ")[0]
        tags, package = wanted[program], disk_layout.PACKAGES.get(program, program)
        text = f"{program} is missing, for {', '.join(tags[:3])}{' and others' * (len(tags) > 3)}"
        yield Finding(subject="containers", state=State.LACK, text=text, remedy=f"install the package {package}")
    if wanted and not missing:
        yield Finding(subject="containers", state=State.FINE, text=f"by {' and '.join(wanted)}")


def _layouts(config: Config, store: Store) -> Iterator[Finding]:
    """Yield what the layouts of the catalogue's disks take and this host lacks."""
    elements = Elements(known_folders(config, store))
    missing: dict[str, list[str]] = {}
    for image in config.images.values():
        with suppress(CCImagesError):  # elements that are not here; a plan says which
            used = elements.closure(with_layout((*config.content(image), *image.disk), image.arches[0]))
            said = map(config.variables(image).get, disk_layout.LAYOUT_VARIABLES)
            for each in disk_layout.lacking(disk_layout.programs(elements, used, *said)):
                missing.setdefault(each, []).append(image.tag)
    for each, tags in missing.items():
        text = f"{each} is missing, for the disks of {', '.join(tags[:3])}{' and others' * (len(tags) > 3)}"
        yield Finding(subject="disk layouts", state=State.LACK, text=text, remedy="install it")


def _network() -> Finding:
    text = (
        "private, through slirp4netns"
        if network.program()
        else "the host's; with the package slirp4netns and /dev/net/tun builds get private ones"
    )
    return Finding(subject="network of builds", state=State.FINE, text=text)


def _memory() -> Finding:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    cores = len(os.sched_getaffinity(0))
    return Finding(subject="machine", state=State.FINE, text=f"{cores} cores, {pages} GiB of memory")


def _site(site: Site, config: Config) -> Finding:
    subject = f"site {site.name}"
    every = ((image, arch) for image in config.images.values() for arch in image.arches)
    taken = next(((image, arch, found) for image, arch in every if (found := formats_for(site, image, arch))), None)
    try:
        if taken is not None:
            image, arch, formats = taken
            open_site(site, formats[0], LOOK).find(name_for(site, image, arch, formats[0]))
    except CCImagesError as error:
        said = error.message.removeprefix(f"{subject}: ")
        return Finding(subject=subject, state=State.LACK, text=said, remedy=error.hint)
    where = site.folder or site.catalogue or site.registry or f"cloud {site.cloud}"
    if site.folder and (trouble := refusal(Path(site.folder))):
        remedy = "name a folder of yours in sites.yaml"
        return Finding(subject=subject, state=State.LACK, text=f"{where}: {trouble}", remedy=remedy)
    return Finding(subject=subject, state=State.FINE, text=where if site.folder else f"{where} answers")
