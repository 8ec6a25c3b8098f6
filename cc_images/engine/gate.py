"""The gate before a later wave: the sites before must have a version, and it must be well there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from cc_images import clock
from cc_images.engine import health
from cc_images.engine.envelope import Envelope
from cc_images.engine.health import Health
from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Format
from cc_images.model.plan import Gate, PushJob
from cc_images.model.site import OnBad, Site
from cc_images.model.status import Hold, Rollback
from cc_images.sites.gates import passage, to_take_back
from cc_images.sites.rollbacks import Goal
from cc_images.sites.view import View, version_of
from cc_images.store.holds import Holds
from cc_images.store.records import Store
from cc_images.store.run_context import TaskContext

_log = logging.getLogger(__name__)


class Hands(Protocol):
    """What looks at sites, and takes versions back, for a run of a store."""

    @property
    def store(self) -> Store:
        """The store."""

    def look(self, site: Site, name: str, disk_format: Format) -> View:
        """Return what a site has of a name. Raises CCImagesError."""

    def withdraw(self, site: Site, each: Rollback, goal: Goal) -> Rollback:
        """Roll one image back on one site; return what became of it, also when that failed."""


def closed(envelope: Envelope, site: Site, job: PushJob, context: TaskContext, by: Hands) -> str:
    """Return why a push may not go on now, or nothing.

    Raises CCImagesError for a version that is bad on a site of the wave before, after it was rolled back where that
    site says so, and when nobody can say whether it is well.
    """
    gate = job.gate
    if gate is None:
        return ""
    sites = {each.name: each for each in envelope.before}
    views = {(name, out): by.look(sites[name], there, out) for name, out, there in gate.before}
    found = passage(job.version, by.look(site, job.name, job.format), views)
    for name in () if gate.promoted else dict.fromkeys(found.ask):
        _require_health(sites[name], gate, sites, job, context, by)
    return found.closed


def _require_health(
    asked: Site, gate: Gate, sites: Mapping[str, Site], job: PushJob, context: TaskContext, by: Hands
) -> None:
    """Raise CCImagesError unless the version is well on a site."""
    if not asked.health:
        return
    context.step(f"asking how {job.version} is on {asked.name}")
    facts = {"image": job.tag, "name": job.name, "arch": job.arch, "version": job.version, "site": asked.name}
    answer = health.ask(asked.health, facts, context.stop)
    _log.info("%s: version %s on %s: %s %s", context.task, job.version, asked.name, answer.health, answer.said)
    if answer.health is Health.GOOD:
        return
    if answer.health is Health.UNKNOWN:
        raise CCImagesError(
            f"nobody can say whether version {job.version} of {job.tag} is well on {asked.name}: {answer.said}",
            hint=f"mend what `health` of {asked.name} asks; `cc-images promote {job.tag}` goes on by hand",
            reason=Reason.UNKNOWN_HEALTH,
            temporary=True,
        )
    rolled = _rolled_back(gate, sites, job, answer.said, context, by) if asked.on_bad is OnBad.ROLLBACK else []
    hint = f"`cc-images rollback {job.tag}` takes it back, `cc-images promote {job.tag}` goes on in spite of it"
    if rolled:
        hint = f"`cc-images release {job.tag} {job.version}` if it is good after all"
    raise CCImagesError(
        "; ".join([f"version {job.version} of {job.tag} is bad on {asked.name}: {answer.said}", *rolled]),
        hint=hint,
        reason=Reason.UNHEALTHY,
    )


def _rolled_back(
    gate: Gate, sites: Mapping[str, Site], job: PushJob, why: str, context: TaskContext, by: Hands
) -> list[str]:
    """Hold the version, and take it back on the sites of the wave before; return what became of them.

    Sites that are away, and others that have it, follow with their next push: the hold says so.
    """
    now = clock.now().timestamp()
    Holds(context.store).put(
        Hold(tag=job.tag, arch=job.arch, version=job.version, since=now, why=f"bad: {why}", back=True)
    )
    said: list[str] = []
    for name, disk_format, there in gate.before:
        row = _withdrawn(sites[name], replace(job, format=Format(disk_format), name=there), job.version, by)
        said.append(f"{name}: {row.error}" if row.error else f"{name} has {row.after} again")
    return said


def taken_back(site: Site, job: PushJob, context: TaskContext, by: Hands) -> Rollback | None:
    """Take back what a site has, if that was found bad elsewhere; return what became of it, None: nothing was bad.

    Raises CCImagesError when it is bad and stays.
    """
    holds = Holds(context.store).of(job.tag, job.arch)
    if job.insist or not any(hold.back and not hold.released for hold in holds.values()):
        return None
    holder = by.look(site, job.name, job.format).holder
    has = version_of(holder.properties) if holder is not None else ""
    if (hold := to_take_back(has, job.version, job.waits, holds)) is None:
        return None
    row = _withdrawn(site, job, hold.version, by)
    if row.error:
        raise CCImagesError(
            f"version {hold.version} of {job.tag} is held ({hold.why}), and stays on {site.name}: {row.error}",
            hint=f"build and push a newer one; `cc-images release {job.tag} {hold.version}` if it is good after all",
            reason=Reason.UNHEALTHY,
        )
    return row


def _withdrawn(site: Site, job: PushJob, bad: str, by: Hands) -> Rollback:
    image = Rollback(site=site.name, name=job.name, tag=job.tag, arch=job.arch, format=job.format)
    return by.withdraw(site, image, Goal(bad=bad, held=Holds(by.store).held(job.tag, job.arch)))
