"""The preflight check: a plan's needs of this host and of the sites, asked before anything runs.

So that a build of an hour does not end with a site that could have said no at once.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cc_images import clock
from cc_images.boottest import guest, inspector, qemu
from cc_images.builders.dib.disk_layout import lacking
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import root, user_emulation
from cc_images.host.files import refusal
from cc_images.model.catalog import Arch, Level, Material
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, Plan, PushJob, Request
from cc_images.model.redaction import without_secrets
from cc_images.model.site import Site
from cc_images.outputs.tree import tools
from cc_images.planner.partial import require_sense
from cc_images.planner.selection import select, sites_of
from cc_images.sites import LOOK, open_site

LOOP_CONTROL = Path("/dev/loop-control")
"""Where loop devices, on which dib makes disks, are asked for."""


def selected(request: Request, config: Config) -> set[tuple[str, Arch]]:
    """Return the images that a request names, by tag and architecture.

    Raises UserError for unknown names, and for options that do not go together.
    """
    require_sense(request)
    chosen, _ = select(request, config, clock.now().date())
    sites_of(request, config)
    return {(image.tag, arch) for image, arch in chosen}


def checked(plan: Plan, sites: Sequence[Site], offline: bool, away: Collection[str] = ()) -> Plan:
    """Return a plan that can be carried out, with notes on what sites lack. Raises as `require`."""
    return replace(plan, notes=(*plan.notes, *require(plan, sites, offline, away=away)))


def require(
    plan: Plan,
    sites: Sequence[Site],
    offline: bool = False,
    loop_control: Path = LOOP_CONTROL,
    away: Collection[str] = (),
) -> list[str]:
    """Return what the user should know of sites and mirrors before it runs, a sentence each.

    The tasks `away` are done on other hosts.

    Raises CCImagesError or UserError for what this host lacks, and when no site that the plan pushes to can be used at
    all: its entry is wrong, or refuses us. One of several that cannot is no reason not to serve the others.
    """
    jobs = [task.job for task in plan.tasks if not task.cached and task.id not in away]
    if builds := [job for job in jobs if isinstance(job, BuildJob)]:
        hosts = {f"{job.tag} ({job.spec.why_hosts_root})" for job in builds if job.spec.needs_hosts_root}
        root.require_host(hosts=sorted(hosts))
        user_emulation.require_programs({job.arch for job in builds})
        if not loop_control.exists() and any(job.spec.needs_loop_devices for job in builds):
            raise CCImagesError(
                f"{loop_control} is missing; builds make disks on loop devices",
                hint="modprobe loop; a container needs --device /dev/loop-control, or --privileged",
                reason=Reason.MISSING_DEVICE,
            )
    users: dict[str, dict[str, None]] = {}
    for job in builds:
        for program in job.spec.host_programs:
            users.setdefault(program, {})[job.tag] = None
    if missing := lacking(users):
        raise CCImagesError(
            "missing on this host: " + "; ".join(f"{each}, for {', '.join(users[each])}" for each in missing),
            hint="install it",
            reason=Reason.MISSING_TOOL,
        )
    converts = [job for job in jobs if isinstance(job, ConvertJob)]
    trees = [each for job in converts for each in job.formats if not each.is_disk]
    root.require_tools({name: package for each in trees for name, package in tools(each)})
    if any(job.makes is Material.DISK and not each.is_disk for job in converts for each in job.formats):
        inspector.require_host()
    if boots := [job for job in jobs if isinstance(job, BootJob)]:
        started = [job for job in boots if job.firmware and job.boot.level is not Level.INSIDE]
        guest.require(sorted({each for job in started for each in qemu.lacking(job.arch, job.firmware)}))
        inspector.require_host()
        user_emulation.require_programs({job.arch for job in boots if job.trial and job.boot.level is not Level.INSIDE})
    if not any(isinstance(task.job, BuildJob) for task in plan.tasks if not task.cached):
        return []
    return [*_ask(plan, sites), *_taken(plan, sites), *([] if offline else _mirrors(builds))]


def _mirrors(builds: Sequence[BuildJob]) -> list[str]:
    """Say which of the mirrors that variables name do not answer; any answer will do."""
    named = dict.fromkeys(address for job in builds for address in job.spec.mirrors)

    def look(address: str) -> str:
        request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "cc-images"})
        try:
            urllib.request.urlopen(request, timeout=LOOK.connect).close()
        except urllib.error.HTTPError:
            return ""
        except (OSError, ValueError, http.client.HTTPException) as error:
            said = getattr(error, "reason", error)
            return f"the mirror {without_secrets(address)} does not answer ({said}); builds will need it"
        return ""

    with ThreadPoolExecutor(8, thread_name_prefix="mirrors") as pool:
        return [each for each in pool.map(look, named) if each]


def _ask(plan: Plan, sites: Sequence[Site]) -> list[str]:
    """Look at each site that the plan pushes to, once."""
    wanted: dict[str, PushJob] = {}
    for task in plan.tasks:
        if isinstance(task.job, PushJob) and not task.cached:
            wanted.setdefault(task.job.site, task.job)
    known = {site.name: site for site in sites}

    def look(job: PushJob) -> CCImagesError | None:
        site = known[job.site]
        if site.folder and (trouble := refusal(Path(site.folder))):
            return UserError(f"site {site.name}: {site.folder}: {trouble}", hint="name a folder of yours in sites.yaml")
        try:
            open_site(known[job.site], job.format, LOOK).find(job.name)
        except CCImagesError as error:
            return error
        return None

    with ThreadPoolExecutor(8, thread_name_prefix="sites") as pool:
        troubles = [error for error in pool.map(look, wanted.values()) if error is not None]
    hopeless = [error for error in troubles if not error.temporary]
    if hopeless and len(hopeless) == len(wanted):
        raise hopeless[0]
    return [
        f"{error.message}; pushes to it {'will be tried anyway' if error.temporary else 'will fail'}"
        for error in troubles
    ]


def _taken(plan: Plan, sites: Sequence[Site]) -> list[str]:
    """Say which versions of what the plan builds are in a registry, which may refuse them once they are built."""
    known = {site.name: site for site in sites if site.registry}
    jobs = [task.job for task in plan.tasks if isinstance(task.job, PushJob) and not task.cached]
    pushes = [job for job in jobs if job.site in known and job.version == plan.version]

    def look(job: PushJob) -> str:
        with suppress(CCImagesError):  # a site that does not answer is said elsewhere
            if said := open_site(known[job.site], job.format, LOOK).refusal(job.name, job.properties, None):
                return f"site {job.site}: {said}: raise the image's version, or say bump: yes"
        return ""

    with ThreadPoolExecutor(8, thread_name_prefix="versions") as pool:
        return [each for each in pool.map(look, pushes) if each]
