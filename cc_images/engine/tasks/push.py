"""Publish one output of a version at a site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cc_images.engine.bills import documents
from cc_images.engine.contracts import require_kept
from cc_images.engine.currency import require_current
from cc_images.engine.envelope import Envelope
from cc_images.engine.gate import closed, taken_back
from cc_images.engine.ramdisks import image_name, links, partner
from cc_images.engine.tasks.stored import intact, outputs_of
from cc_images.engine.withdraw import By
from cc_images.errors import CCImagesError, Interrupted
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Level
from cc_images.model.events import Published as PublishedEvent
from cc_images.model.plan import PushJob, Result, Status
from cc_images.model.site import Site
from cc_images.model.statement import LARGEST, SIGNATURE, STATEMENT
from cc_images.outputs.labels import labels_of
from cc_images.sites import open_site
from cc_images.sites.base import ImageSite, Publication
from cc_images.sites.carrying import listed
from cc_images.sites.publish import Outcome, Terms, publish, recover
from cc_images.sites.registry_names import LABEL, VERSION
from cc_images.sites.view import version_of
from cc_images.store.holds import Holds
from cc_images.store.published import Published
from cc_images.store.run_context import TaskContext
from cc_images.store.signatures import image_signed, signed

GIB = 1 << 30


def do(envelope: Envelope, context: TaskContext, result: Result) -> Result:
    """Publish, unless the site has this very version."""
    job, at = envelope.job, envelope.site
    assert isinstance(job, PushJob)
    assert at is not None, "an envelope of a push has the site"
    by = By(store=context.store, run=context.run.run.name, opened=open_site, stop=context.stop, say=context.step)
    if (row := taken_back(at, job, context, by)) is not None:
        where = f"{row.after} has the name again: {row.before} is held"
        return replace(result, status=Status.DONE if row.done else Status.CACHED, where=where)
    try:
        if waits := job.waits or closed(envelope, at, job, context, by):
            return replace(result, status=Status.CACHED, where=_order_alone(at, job, f"waits: {waits}", context))
        build, (output,) = outputs_of(job, (job.format,), context.run)
        require_kept(job, at, output, context.store)
        if at.refuses_insecure and not _has(at, job, build.version, by):
            require_current(build, job, context)
    except Interrupted:
        raise
    except CCImagesError:
        _order_alone(at, job, "", context)  # what an earlier push has left must not wait for better news
        raise
    other, there = partner(job, at), links(job, at, build.version, open_site)
    result, changed = _published(job, at, build, output, there, context, result)
    if other is not None and there and changed and other.format in build.outputs:  # what came first could not name it
        try:
            back = links(other, at, build.version, open_site)
            _published(other, at, build, build.outputs[other.format], back, context, result)
        except CCImagesError as error:  # this half is published, and the next push of the other one names it
            result = replace(result, where=f"{result.where} ({other.name} does not name it yet: {error.message})")
    return result


def _published(
    job: PushJob,
    at: Site,
    build: Build,
    output: Output,
    linked: Mapping[str, str],
    context: TaskContext,
    result: Result,
) -> tuple[Result, bool]:
    """Publish an output with the properties `linked`, unless it is held; say whether the site was changed."""
    bills = documents(context.store, build, image_name(job))
    others = {**linked, **_signature(job, at, build, bills.documents, context)}
    others |= image_signed(context.store, build, output, at.certificate) if at.cloud and any(at.certificate) else {}
    publication = _publication(job, build, output, bills.documents, others, context)
    with context.run.lock(context.task, f"push {at.cloud or job.site} {job.name}"):
        site = open_site(at, job.format)
        hold = Holds(context.store).of(job.tag, job.arch).get(build.version)  # it may be younger than the plan
        if hold is not None and not (hold.released or job.insist):
            why = f"version {hold.version} is held ({hold.why})"
            return replace(result, status=Status.CACHED, where=_in_order(site, job, why, context)), False
        try:
            outcome = publish(
                site,
                publication,
                _terms(job, at, build.version, site.place(), context),
                stop=context.stop,
                report=lambda done: context.bytes(done, output.size),
                say=context.step,
            )
            place = site.place()
        except CCImagesError:
            intact(output, context.run)  # a damaged blob explains the failure, and must not be the next one's cause too
            raise
    version = "" if outcome.kept and not outcome.same else build.version
    if outcome.changed and version:
        context.run.emit(PublishedEvent(task=context.task, site=job.site, name=job.name, version=version))
    done = replace(
        result,
        status=Status.DONE if outcome.changed else Status.CACHED,
        size=output.size,
        where=outcome.address + _notes(outcome, bills.lacking if at.folder and outcome.changed else ""),
        version=version,
        place=place,
        peaks={"disk": output.size >> 20} if at.folder and outcome.changed else {},
    )
    return done, outcome.changed


def _terms(job: PushJob, at: Site, version: str, place: str, context: TaskContext) -> Terms:
    """Return on which terms a version is published."""
    holds = Holds(context.store).of(job.tag, job.arch)
    return Terms(
        keep=at.keep,
        ours=context.store.knows,
        insist=job.insist,
        tags=frozenset(job.image_tags),
        members=frozenset(at.members),
        carry=at.carry,
        released=version in holds,
        held=frozenset(each for each, hold in holds.items() if not hold.released) - {version},
        before=_was_last(job, version, place, context),
    )


def _has(at: Site, job: PushJob, version: str, by: By) -> bool:
    """Say whether a site has a version already."""
    holder = by.look(at, job.name, job.format).holder
    return holder is not None and version_of(holder.properties) == version


def _order_alone(at: Site, job: PushJob, why: str, context: TaskContext) -> str:
    """Only put in order what an earlier push has left; return `why`, and what was done."""
    with context.run.lock(context.task, f"push {at.cloud or job.site} {job.name}"):
        return _in_order(open_site(at, job.format), job, why, context)


def _in_order(site: ImageSite, job: PushJob, why: str, context: TaskContext) -> str:
    """Put in order what an interrupted push or rollback has left; say why nothing else was done."""
    try:
        with site.exclusive(context.stop):
            held = frozenset(Holds(context.store).held(job.tag, job.arch))
            order = recover(site, job.name, context.store.knows, held)
    except CCImagesError as error:
        order = [error.message]
    return "; ".join([f"{site.address(job.name)}: {why}", *order])


def _publication(
    job: PushJob,
    build: Build,
    output: Output,
    bills: Mapping[str, str],
    others: Mapping[str, str],
    context: TaskContext,
) -> Publication:
    """Return what the site is to have."""
    passed = context.store.passes([output.digest]).get(output.digest) == job.test_key
    return Publication(
        name=job.name,
        path=context.run.run.use(context.store.blobs.path(output.digest)),
        sha512=output.sha512,
        size=output.size,
        properties=listed(
            {
                "min_disk": str(-(-output.virtual_size // GIB)),
                **job.properties,
                **_own_version(job, output, context),
                **others,
                "build-version": build.version,
                "build-key": build.key,
                "build-boot": Level.CHECKS if passed else build.boot or "not tested",
            }
        ),
        run=context.run.run.name,
        details={
            "version": build.version,
            "key": build.key,
            "arch": job.arch,
            "format": job.format,
            "sha256": output.digest,
            "virtual_size": output.virtual_size,
            "packages": build.packages,
        },
        bills=bills,
    )


def _own_version(job: PushJob, output: Output, context: TaskContext) -> dict[str, str]:
    """Return the version that a finished image says by a label, where that was not known before."""
    if job.properties.get(VERSION) != LABEL:
        return {}
    return {VERSION: labels_of(context.store.blobs.path(output.digest), output.format).get("version", "")}


def _signature(job: PushJob, at: Site, build: Build, bills: Mapping[str, str], context: TaskContext) -> dict[str, str]:
    """Return the properties that say who has published what, where something signs; those of clouds have a limit."""
    if not context.run.settings.sign:
        return {}
    said, made = signed(context.store, build, image_name(job), context.run.settings.sign, bills)
    return {STATEMENT: said, SIGNATURE: made} if not at.cloud or len(said) + len(made) <= LARGEST else {}


def _notes(outcome: Outcome, lacking: str) -> str:
    """Return what people should know of a publication besides its address."""
    note = f" (the old one is {outcome.archived} now)" if outcome.archived else ""
    note += f" (removed {', '.join(outcome.removed)})" if outcome.removed else ""
    return note + "".join(f" ({text})" for text in (outcome.kept, *outcome.notes, lacking) if text)


def _was_last(job: PushJob, version: str, place: str, context: TaskContext) -> bool:
    """Say whether this store's last publication in this place was this very build."""
    last = Published(context.store.root).last(job.site, job.name, job.format)
    return last is not None and (last.version, last.place) == (version, place) and bool(place)
