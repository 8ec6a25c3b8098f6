"""Publishing with archive and rollback, written once above the site protocol.

    stage    upload privately under a temporary name, then compare digest and size with what the store has
    archive  give the old image its archive name: <name>-<YYYYMMDD of its creation>[.n]
    publish  give the new image the name

A failure at any point undoes what was done, newest first, so that the old image has its name back. A killed run leaves
a staged image that says which image it replaces; the next run for the same name finishes it or rolls it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from cc_images.errors import CCImagesError
from cc_images.sites.base import ARCHIVED, Entry, ImageSite, Publication, Stop


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
) -> Outcome:
    """Make the site have this image, with at least its properties, under its name.

    At most `keep` archived versions of it stay (None: all).

    Raises CCImagesError when the site holds several images of the name, or when what it received is not what was sent.
    """
    with site.exclusive():
        return _publish(site, publication, stop, report, keep)


def _publish(
    site: ImageSite, publication: Publication, stop: Stop, report: Callable[[int], None], keep: int | None
) -> Outcome:
    name = publication.name
    recover(site, name)
    current = _only(site, name)
    if current is not None and _same(current, publication):
        return Outcome(changed=False, address=site.address(name), removed=retain(site, name, keep))
    archived = ""
    with ExitStack() as undo:
        staged = site.upload(publication, current.id if current else "", stop=stop, report=report)
        undo.callback(site.delete, staged)
        _verify(staged, publication)
        if current is not None:
            archived = archive_name(site, current)
            undo.callback(site.restore, current, name)
            site.archive(current, archived)
        site.publish(staged, name)
        undo.pop_all()
    return Outcome(changed=True, address=site.address(name), archived=archived, removed=retain(site, name, keep))


def retain(site: ImageSite, name: str, keep: int | None) -> tuple[str, ...]:
    """Delete all but the newest `keep` archived versions (None: none); return the names of those deleted.

    Only images that cc-images made count, and protected ones or ones in use stay.
    """
    if keep is None:
        return ()
    removed: list[str] = []
    for entry in surplus(site, name, keep, ()):
        try:
            site.delete(entry)
        except CCImagesError:  # in use, or protected meanwhile: the site knows better
            continue
        removed.append(entry.name)
    return tuple(removed)


def surplus(site: ImageSite, name: str, keep: int, newer: Sequence[Entry]) -> list[Entry]:
    """Return the archived versions that retention would delete once those in `newer` are archived too."""
    versions = [entry for entry in site.archived(name) if ARCHIVED.fullmatch(entry.name.removeprefix(name))]
    return [entry for entry in [*newer, *versions][keep:] if not entry.protected]


def recover(site: ImageSite, name: str) -> list[str]:
    """Finish or roll back what killed runs left of a publication; return what was done, a phrase each.

    A complete staged image is published when the one that it replaces has already lost the name; in every other case
    it is removed and the old image has the name.
    """
    done: list[str] = []
    for staged in site.staged(name):
        holders = site.find(name)
        if staged.complete and not holders and staged.replaces:
            site.publish(staged, name)
            done.append(f"the publication of run {staged.run} was finished")
            continue
        for old in holders:
            if old.id == staged.replaces:
                site.restore(old, name)
        site.delete(staged)
        done.append(f"what run {staged.run or '?'} had uploaded was removed")
    return done


def archive_name(site: ImageSite, entry: Entry) -> str:
    """Return the first free archive name of an image, by the day on which it was created (UTC)."""
    base = f"{entry.name}-{entry.created:%Y%m%d}"
    names = (base if n == 0 else f"{base}.{n}" for n in range(1000))
    return next(candidate for candidate in names if not site.find(candidate))


def _only(site: ImageSite, name: str) -> Entry | None:
    found = site.find(name)
    if len(found) > 1:
        raise CCImagesError(
            f"the site has {len(found)} images named {name}: {', '.join(entry.id for entry in found)}",
            hint="rename or delete all but one of them, then push again",
            reason="ambiguous",
        )
    return found[0] if found else None


def _same(current: Entry, publication: Publication) -> bool:
    return current.sha512 == publication.sha512 and _includes(current.properties, publication.properties)


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
