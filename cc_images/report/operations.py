"""What was done to published images, or would be, as text: rollbacks, holds, retirement."""

from __future__ import annotations

from collections.abc import Sequence

from cc_images.model.plain_text import printable
from cc_images.model.retirement import Fate, Retired
from cc_images.model.status import Hold, Rollback
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
