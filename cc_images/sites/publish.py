"""Publishing with archive and rollback, written once above the site protocol.

    stage    upload privately under a temporary name, then compare digest and size with what the store has
    archive  give the old image its archive name: <name>-<YYYYMMDD of its creation>[.n]
    publish  give the new image the name

A failure at any point undoes what was done, newest first, so that the old image has its name back. A killed run leaves
a staged image that says which image it replaces; the next run for the same name finishes it or rolls it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from cc_images import clock
from cc_images.errors import CCImagesError
from cc_images.sites.base import Entry, ImageSite, Publication, Stop

FOREIGN = timedelta(hours=6)
"""For so long a staged image of another host's run may belong to a living one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What publishing did. `archived` is the name that the old image has now; `removed` what retention deleted."""

    changed: bool
    address: str
    archived: str = ""
    removed: tuple[str, ...] = ()


def publish(
    site: ImageSite,
    publication: Publication,
    *,
    stop: Stop,
    report: Callable[[int], None] = lambda done: None,
    keep: int | None = None,
    ours: Callable[[str], bool] = lambda run: True,
) -> Outcome:
    """Make the site have this image, with at least its properties, under its name.

    It is as visible as the site says, else as the image that it replaces. No bytes are sent that are there already.

    At most `keep` archived versions of it stay (None: all).

    Raises CCImagesError when the site holds several images of the name, or when what it received is not what was sent.
    """
    with site.exclusive(stop):
        return _publish(site, publication, stop, report, keep, ours)


def _publish(
    site: ImageSite,
    publication: Publication,
    stop: Stop,
    report: Callable[[int], None],
    keep: int | None,
    ours: Callable[[str], bool],
) -> Outcome:
    name = publication.name
    recover(site, name, ours)
    current = _only(site, name)
    visibility = site.visibility or (current.visibility if current is not None else site.first_visibility())
    publication = replace(publication, visibility=visibility)
    if current is not None and current.sha512 == publication.sha512:
        changed = not _includes(current.properties, publication.properties) or current.visibility != visibility
        if changed:
            site.describe(current, publication)
        return Outcome(changed=changed, address=site.address(name), removed=retain(site, name, keep))
    staged = site.upload(publication, current.id if current else "", stop=stop, report=report)
    try:
        _verify(staged, publication)
        current = _only(site, name)  # an upload may take hours: look again
    except BaseException:
        site.delete(staged)
        raise
    archived = _swap(site, staged, current, name)
    _only(site, name)
    return Outcome(changed=True, address=site.address(name), archived=archived, removed=retain(site, name, keep))


def _swap(site: ImageSite, staged: Entry, current: Entry | None, name: str) -> str:
    """Give the name to the staged image and an archive name to the current one; return that. Undo on failure."""
    archived = ""
    try:
        if current is not None:
            archived = archive_name(site, current)
            site.archive(current, archived)
        site.publish(staged, name)
    except BaseException:
        # The answer may have been lost, not the call. What cannot be undone is left to the next run: the staged image
        # is the only record of what was going on, so it goes last.
        if site.holds(staged.id, name):
            return archived
        if current is not None:
            site.restore(current.id, name)
        site.delete(staged)
        raise
    return archived


def recover(site: ImageSite, name: str, ours: Callable[[str], bool] = lambda run: True) -> list[str]:
    """Finish or roll back what killed runs left of a publication; return what was done, a phrase each.

    A complete staged image is published when nobody has the name any more. Otherwise, or if the site refuses that, it
    is removed and the image that it was to replace has the name. `ours` tells the runs of this store: a young one of
    another host is left alone, with an error, because it may be alive.
    """
    done: list[str] = []
    for staged in site.staged(name):
        if not ours(staged.run) and clock.now() - staged.created < FOREIGN:
            raise CCImagesError(
                f"another host is publishing {name} (run {staged.run}, begun {staged.created:%H:%M} UTC)",
                hint=f"wait for it; what it leaves is cleared up after {FOREIGN.total_seconds() / 3600:.0f} hours",
                reason="busy",
                temporary=True,
            )
        if staged.complete and staged.replaces and not site.find(name) and _published(site, staged, name):
            done.append(f"the publication of run {staged.run} was finished")
            continue
        if staged.replaces:
            site.restore(staged.replaces, name)
        if not site.holds(staged.id, name):
            site.delete(staged)
            done.append(f"what run {staged.run or '?'} had uploaded was removed")
    return done


def _published(site: ImageSite, staged: Entry, name: str) -> bool:
    """Publish, and say whether the site let us."""
    try:
        site.publish(staged, name)
    except CCImagesError as error:
        if error.temporary:
            raise
        return False
    return True


def archive_name(site: ImageSite, entry: Entry) -> str:
    """Return the first free archive name of an image, by the day on which it was created (UTC)."""
    base = f"{entry.name}-{entry.created:%Y%m%d}"
    names = (base if n == 0 else f"{base}.{n}" for n in range(1000))
    return next(candidate for candidate in names if not site.find(candidate))


def retain(site: ImageSite, name: str, keep: int | None) -> tuple[str, ...]:
    """Delete all but the newest `keep` archived versions (None: none); return the names of those deleted.

    Only images that cc-images made count, and protected ones or ones in use stay.
    """
    if keep is None:
        return ()
    removed: list[str] = []
    with suppress(CCImagesError):  # a publication that has succeeded does not fail for this; the next one tries again
        for entry in surplus(site, name, keep, ()):
            with suppress(CCImagesError):  # in use, or protected meanwhile: the site knows better
                site.delete(entry)
                removed.append(entry.name)
    return tuple(removed)


def surplus(site: ImageSite, name: str, keep: int, newer: Sequence[Entry]) -> list[Entry]:
    """Return the archived versions that retention would delete once those in `newer` are archived too."""
    return [entry for entry in [*newer, *site.archived(name)][keep:] if not entry.protected]


def _only(site: ImageSite, name: str) -> Entry | None:
    found = site.find(name)
    if len(found) > 1:
        raise CCImagesError(
            f"the site has {len(found)} images named {name}: {', '.join(entry.id for entry in found)}",
            hint="rename or delete all but one of them, then push again",
            reason="ambiguous",
        )
    return found[0] if found else None


def _includes(properties: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(properties.get(name) == value for name, value in wanted.items())


def _verify(staged: Entry, publication: Publication) -> None:
    if not staged.complete or staged.size != publication.size or staged.sha512 != publication.sha512:
        raise CCImagesError(
            f"the site holds {staged.size} bytes (sha512 {staged.sha512[:12]}…) of {publication.name}, "
            f"not the {publication.size} (sha512 {publication.sha512[:12]}…) that were sent",
            hint="push again; if it repeats, the site's storage or the file in the store is damaged",
            reason="verification",
            temporary=True,
        )
