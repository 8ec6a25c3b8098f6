"""Capacity: the resources of this host, and the share that each task of a plan books.

Decides, from the measurements of earlier runs, how much memory and room a task gets and whether a build's scratch
folder lies in memory. A task without an earlier run books what its catalogue entry says. The engine lets tasks wait
for resources that are taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cc_images.boottest.policy import LEAST_MEMORY
from cc_images.engine.resources import Reservation
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, LayerJob, Plan, PushJob, Resource
from cc_images.model.site import Site
from cc_images.store.durations import History

FETCHES, CONVERSIONS, BOOTS, PUSHES = 4, 2, 16, 4
"""How many artifacts are fetched, disks converted, images booted (if cores and memory allow) and pushed at a time."""

BUILD_MIB, GUEST_MIB = 512, 768
"""MiB that a build takes besides its files, and a guest besides its own memory: QEMU with its translated code."""

TMPFS_SHARE = 0.6
"""Part of the free memory that all builds together may use for their scratch folders."""

DISK_MIB, OUTPUT_MIB = 3 << 10, 1 << 10
"""MiB that a build leaves in its workspace, and a conversion in the store, as long as there is no measurement."""

RESERVE_MIB = 1 << 10
"""MiB of the store's file system that no task books."""

MARGIN = 1.25
"""The factor by which bookings exceed measurements: images grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host's free resources at the start of a run; memory and disk in MiB."""

    cores: int
    memory: int
    disk: int

    @classmethod
    def here(cls, free_bytes: int) -> Host:
        """Return this host, with `free_bytes` in the store."""
        return cls(cores=len(os.sched_getaffinity(0)), memory=free_mib(), disk=free_bytes >> 20)

    @property
    def guests_at_once(self) -> int:
        """How many guests of one image run at a time: one after the other where memory is short."""
        return 2 if self.memory >= 2 * (LEAST_MEMORY + GUEST_MIB) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookings:
    """The resources that a run may use, and what each of its tasks books of them.

    `tmpfs` has the size in MiB of each scratch folder that lies in memory. It is a limit above what is booked: a build
    that has grown uses more than it booked instead of failing.
    """

    limits: Mapping[Resource, int]
    reserved: Mapping[str, Reservation]
    tmpfs: Mapping[str, int] = field(default_factory=dict)
    guest_cores: int = 1


def book(plan: Plan, host: Host, jobs: int, history: History, copies: Collection[str] = ()) -> Bookings:
    """Return what each task of a plan books, with at most `jobs` builds at a time.

    `copies` names the sites that are folders on the store's own file system: what is pushed there takes room twice.
    """
    limits = {
        Resource.FETCH: FETCHES,
        Resource.BUILD: jobs,
        Resource.CONVERT: CONVERSIONS,
        Resource.BOOT: BOOTS,
        Resource.PUSH: PUSHES,
        Resource.CORES: host.cores,
        Resource.MEMORY: host.memory,
        Resource.DISK: max(0, host.disk - RESERVE_MIB),
    }
    guest_cores = cores_of_guests(plan, host.cores, host.guests_at_once)
    reserved: dict[str, Reservation] = {}
    tmpfs: dict[str, int] = {}
    conversions = {need: task.id for task in plan.tasks if isinstance(task.job, ConvertJob) for need in task.needs}
    for task in plan.tasks:
        known = history.most(task.id)
        match task.job:
            case BuildJob():
                scratch = _measured(known.scratch) if known and known.scratch else task.job.spec.scratch << 10
                disk = _measured(known.disk) if known and known.disk else DISK_MIB
                disk += _room(history, conversions[task.id]) if task.id in conversions else 0
                in_memory = scratch <= host.memory * TMPFS_SHARE / jobs
                if in_memory:
                    tmpfs[task.id] = int(host.memory * TMPFS_SHARE)
                memory = max(BUILD_MIB, _measured(known.memory) if known else 0)
                uses = (
                    {Resource.MEMORY: memory + scratch, Resource.DISK: disk}
                    if in_memory
                    else {Resource.MEMORY: memory, Resource.DISK: disk + scratch}
                )
                left = {Resource.DISK: disk}
                reserved[task.id] = (
                    Reservation(uses=uses, kept=left)
                    if isinstance(task.job, LayerJob)
                    else Reservation(uses=uses, until_consumed=left)  # room for the conversion, too: none waits
                )
            case ConvertJob():
                room = {Resource.DISK: _room(history, task.id)}
                reserved[task.id] = Reservation(uses={} if task.needs else room, kept=room)  # its build has the room
            case PushJob(site=site) if site in copies:
                room = {Resource.DISK: _room(history, task.id)}
                reserved[task.id] = Reservation(uses=room, kept=room)
            case BootJob():
                guests = task.job.guests(host.guests_at_once)
                memory = guests * (task.job.memory_mib + GUEST_MIB)
                reserved[task.id] = Reservation(uses={Resource.CORES: guests * guest_cores, Resource.MEMORY: memory})
    return Bookings(limits=limits, reserved=reserved, tmpfs=tmpfs, guest_cores=guest_cores)


def beside(limits: Mapping[Resource, int], places: int) -> Mapping[Resource, int]:
    """Return the limits of a run of which other hosts do some images, `places` at a time, from build to boot test."""
    more = (Resource.CONVERT, Resource.BOOT)
    return {each: limit + (places if each in more else 0) for each, limit in limits.items()}


def copies(sites: Iterable[Site], store: Path) -> frozenset[str]:
    """Return the names of the sites that are folders on the store's own file system."""
    folders = {site.name: Path(site.folder).expanduser() for site in sites if site.folder}
    return frozenset(name for name, folder in folders.items() if _device(folder) == _device(store))


def _device(path: Path) -> int:
    """Return the file system of a path, or of the nearest folder above that is there."""
    for each in (path, *path.parents):
        with suppress(OSError):
            return each.stat().st_dev
    return 0


def cores_of_guests(plan: Plan, cores: int, at_once: int) -> int:
    """Return the cores of each guest: on few, one each for two guests is faster than two for one after the other."""
    boots = [task.job for task in plan.tasks if isinstance(task.job, BootJob) and not task.cached]
    alone = sum(job.guests(at_once) for job in boots) == 1
    return min(2, cores) if alone or cores >= 4 else 1


def _room(history: History, task: str) -> int:
    """Return what an image in its published form is expected to take, in MiB."""
    known = history.most(task)
    return _measured(known.disk) if known and known.disk else OUTPUT_MIB


def _measured(most: int) -> int:
    return int(most * MARGIN)


def free_mib() -> int:
    """Return the memory that programs may use, in MiB: what the kernel has, and what this control group may have."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return min([int(line.split()[1]) >> 10, *left_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])
    return 0


def left_in_groups(groups: Path, root: Path) -> list[int]:
    """Return what is left of the memory, in MiB, of each limited control group that this process is in.

    Rule: version 2 of cgroups(7); files that nobody uses now can be dropped from memory, so they count as left.
    """
    left: list[int] = []
    with suppress(OSError, ValueError):
        own = re.search(r"^0::/(.*)$", groups.read_text(), re.MULTILINE)
        place = root / own[1] if own else root.parent
        for folder in (place, *place.parents):
            if not folder.is_relative_to(root):
                break
            with suppress(OSError, ValueError):
                most, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
                files = re.search(r"^inactive_file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
                left.append(max(0, most - used + (int(files[1]) if files else 0)) >> 20)
    return left
