"""What was done to published images, or would be, as text: rollbacks, holds, retirement."""

from __future__ import annotations

from collections.abc import Sequence

from cc_images.model.plain_text import printable
from cc_images.model.pulling import Pulled
from cc_images.model.retirement import Fate, Retired
from cc_images.model.signed import Signed
from cc_images.model.status import Hold, Rollback
from cc_images.model.updates import Pending
from cc_images.report.units import aligned


def rollbacks(found: Sequence[Rollback], *, dry_run: bool) -> list[str]:
    """Return what became of each image of a rollback, or would become, a row each."""
    table: list[Sequence[str]] = [("site", "image", "before", "after", "")]
    for each in found:
        did = "would be rolled back" if dry_run and each.before != each.after else "rolled back" if each.done else ""
        old = f"the old one is {each.archived} now" if each.archived else ""
        said = "; ".join(part for part in (did, old, each.note, f"FAILED: {each.error}" if each.error else "") if part)
        row = (each.site, each.name, each.before or "-", each.after or "-", said)
        table.append([printable(cell) for cell in row])
    return aligned(table)


def hold(each: Hold) -> str:
    """Return a hold, or a release, in a line."""
    if each.released:
        return f"{each.tag} {each.arch} {each.version} is released: the next push publishes it, if it is in force"
    return f"{each.tag} {each.arch} {each.version} is held: {each.why}"


def calendar(fates: Sequence[Fate], failed: Sequence[Retired]) -> list[str]:
    """Return what becomes of old versions, soonest first, a row each."""
    table: list[Sequence[str]] = [("date", "site", "image", "version", "becomes", "")]
    for each in fates:
        said = f"stays: {each.note}" if each.note else "due" if each.due else ""
        row = (f"{each.when:%Y-%m-%d}", each.site, each.name, each.version or "-", each.fate, said)
        table.append([printable(cell) for cell in row])
    rows = aligned(table) if fates else ["nothing retires by the rules"]
    return [*rows, *_failures(failed)]


def retired(rows: Sequence[Retired]) -> list[str]:
    """Return what was done to old versions, a line each."""
    lines = [f"{each.site}  {each.name}: {phrase}" for each in rows for phrase in each.done]
    return [*map(printable, lines or ["nothing was due"]), *_failures(rows)]


def _failures(rows: Sequence[Retired]) -> list[str]:
    return [printable(f"{each.site}  {each.name}: FAILED: {each.error}") for each in rows if each.error]


def pending(found: Sequence[Pending]) -> list[str]:
    """Return what published images lack, a row each, then the packages of each that lacks any."""
    if not found:
        return ["nothing was published, as far as this store knows; --sites asks the sites"]
    table: list[Sequence[str]] = [("site", "image", "version", "updates", "security", "")]
    for each in found:
        counts = ("-", "-") if each.unknown else (str(len(each.updates)), str(len(each.urgent)))
        said = f"unknown: {each.unknown}" if each.unknown else f"{len(each.ignored)} ignored" if each.ignored else ""
        table.append([printable(cell) for cell in (each.site, each.name, each.version or "-", *counts, said)])
    lines = aligned(table)
    told: set[tuple[str, str, str]] = set()
    for each in found:
        if each.updates and (which := (each.tag, each.arch, each.version)) not in told:
            told.add(which)
            lines += ["", f"{each.tag} {each.arch} {each.version}:", *_updates(each)]
    return lines


def _updates(each: Pending) -> list[str]:
    """Return what a version lacks, a line each, those for security first."""
    first = sorted(each.updates, key=lambda update: (not update.urgent, update.name))
    return [
        printable(
            f"  {update.name} {update.has} → {update.offered}"
            + ("  security" if update.urgent else "")
            + (f" ({', '.join(update.flaws)})" if update.flaws else "")
        )
        for update in first
    ]


def pulls(rows: Sequence[Pulled]) -> list[str]:
    """Return what became of each image of a catalogue on each site, a row each."""
    if not rows:
        return ["the catalogue has no images"]
    table: list[Sequence[str]] = [("site", "image", "before", "after", "")]
    for each in rows:
        said = ["published"] if each.done else []
        said += [each.note] if each.note else []
        said += [f"FAILED: {each.error}"] if each.error else []
        row = (each.site, each.name, each.before or "-", each.after or "-", "; ".join(said))
        table.append([printable(cell) for cell in row])
    return aligned(table)


def signatures(found: Sequence[Signed]) -> list[str]:
    """Return who has signed what, a row each."""
    table: list[Sequence[str]] = [("where", "image", "version", "signed by")]
    for each in found:
        said = f"REFUSED: {each.error}" if each.error else each.signer
        table.append([printable(cell) for cell in (each.where, each.name, each.version or "-", said)])
    return aligned(table) if found else ["there are no images of the catalogue"]
