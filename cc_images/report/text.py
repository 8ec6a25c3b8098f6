"""Text for people: the final table, failures that help, and the findings of verbs. Owns text only."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TextIO

from cc_images.model.catalog import Image, Json
from cc_images.model.plain_text import printable
from cc_images.model.plan import Plan, Result, Status
from cc_images.model.status import Holding, ImageStatus, Kind
from cc_images.report.units import age, aligned, clipped, duration, size

TAIL = 15
"""Lines of a log that a failure shows."""

WIDTH = 120
"""Columns of wrapped text."""

SUMMARY = 400
"""Characters of the line that sums up a run."""

SIGNS: Mapping[Status, str] = {
    Status.DONE: "done",
    Status.CACHED: "cached",
    Status.FAILED: "FAILED",
    Status.BLOCKED: "blocked",
    Status.INTERRUPTED: "stopped",
}


def summary(told: Json) -> str:
    """Return what a run did, by its journal, in one line."""
    counts, state = told.get("counts", {}), told["state"]
    words = [f"{count} {what}" for what, count in counts.items() if count]
    if not words and state == "ok":
        words = ["nothing to do"]
    said = ", ".join(words)
    if told.get("seconds") is not None:
        said += f"{' ' if said else ''}in {duration(told['seconds'])}"
    failed = [each for each in told.get("results", []) if each["status"] == Status.FAILED]
    if failed:
        said += f"; {failed[0]['task']}: {failed[0]['error']}" + (f" and {len(failed) - 1} more" if failed[1:] else "")
    elif told.get("error"):
        said = told["error"].replace("\n", "; ")
    name = " ".join(filter(None, ("cc-images", told.get("run", ""))))
    line = printable(f"{name} {state}: {said}", instead=" ")
    return clipped(" ".join(line.split()), SUMMARY)


def result_table(plan: Plan, results: Mapping[str, Result], seconds: float) -> str:
    """Return the table of a run: task, result, time, size, where."""
    rows = [("task", "result", "time", "size", "where")]
    for task in plan.tasks:
        result = results[task.id]
        took = duration(result.seconds) if result.seconds else ""
        rows.append((task.id, SIGNS[result.status], took, size(result.size) if result.size else "", result.where))
    lines = aligned(rows)
    counts = {status: sum(result.status is status for result in results.values()) for status in Status}
    summary = ", ".join(f"{count} {SIGNS[status].lower()}" for status, count in counts.items() if count)
    return "\n".join([*lines, f"{summary or 'nothing to do'} in {duration(seconds)}"])


def failure(result: Result) -> str:
    """Return what failed, why, the last lines of its log, where the whole log is, and what to do."""
    lines = [f"{result.task} failed: {result.error}"]
    if result.tail:
        lines += ["  last lines of its log:", *(f"    {line}" for line in result.tail[-TAIL:])]
    if result.log:
        lines.append(f"  whole log: {result.log}")
    if result.hint:
        lines.append(f"  what to do: {result.hint}")
    return "\n".join(lines)


def catalogue(found: Sequence[ImageStatus], now: datetime) -> list[str]:
    """Return the table of the catalogue: tag, architecture, parents, newest build and its age, state, end of life.

    The family of variants has a column where there are variants.
    """
    has_variants = any(each.image.variant for each in found)
    family = ("variant of",) if has_variants else ()
    table: list[Sequence[str]] = [
        ("tag", "arch", "depends on", *family, "newest build", "age", "state", "end of life", "")
    ]
    before = None
    for each in found:
        image, first = each.image, each.image is not before
        table.append(
            (
                image.tag if first else "",
                each.arch,
                (", ".join(image.depends) or "-") if first else "",
                *([(image.family.lower() or "-") if first else ""] if has_variants else []),
                each.newest.version if each.newest else "-",
                age(now - each.newest.created) if each.newest else "-",
                f"{each.state}, held" if each.held else each.state,
                end_of_life(image, now) if first else "",
                "bare metal only" if image.baremetal_only and first else "",
            )
        )
        before = image
    return aligned(table)


def standing(found: Sequence[ImageStatus], now: datetime) -> list[str]:
    """Return how images stand: newest build, age, state and why, how far it booted, and where it is."""
    if not found:
        return []
    table: list[Sequence[str]] = [("image", "arch", "newest build", "age", "state", "boot test", "on sites")]
    lines: list[str] = []
    for each in found:
        newest = each.newest
        table.append(
            (
                each.image.tag,
                each.arch,
                newest.version if newest else "-",
                age(now - newest.created) if newest else "-",
                each.state,
                (newest.boot or "not tested") if newest else "-",
                "; ".join(_on_site(each, site) for site in each.put) or "-",
            )
        )
        ended = each.image.eol is not None and each.image.eol < now.date()
        why = [*each.why, *([f"past its end of life ({each.image.eol})"] if ended else [])]
        why += [f"version {each.held.version} is held: {each.held.why}"] if each.held else []
        more = textwrap.wrap(", ".join(why), WIDTH - 8, break_on_hyphens=False, break_long_words=False)
        lines += [f"  {each.image.tag} {each.arch}:", *(f"    {line}" for line in more)] if why else []
    return [*aligned(table), *lines, ""]


def _on_site(standing: ImageStatus, site: str) -> str:
    version = standing.put[site].version
    return f"{site} {'the same' if standing.newest and version == standing.newest.version else version}"


def standings(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the table of what is on the sites; a row is site, image, version, day and a remark."""
    return aligned([("site", "image", "version", "created", ""), *(row[:5] for row in rows)])


def accounts(images: Sequence[Json]) -> list[str]:
    """Return what became of the images of a run, a line each and one for each subject that changed."""
    lines: list[str] = []
    for each in images:
        was = f" (before: {each['before']})" if each["before"] else ""
        sites = ", ".join(f"{put['site']} {put['status']}" for put in each["sites"])
        built = "built" if each["built"] else "unchanged"
        lines.append(
            f"{each['image']} {each['arch']} {each['version'] or '-'} {built}{was}" + (f": {sites}" if sites else "")
        )
        for subject, phrases in (each.get("changes") or {}).items():
            lines.append(f"  {subject}: {clipped(', '.join(phrases), WIDTH)}")
    return lines


def reasons(found: Iterable[Json], notes: Iterable[str]) -> str:
    """Return what `Snapshot.reasons` says, for people."""
    lines = [f"note: {note}" for note in notes]
    for each in found:
        if each["newest"] is None:
            lines.append(f"{each['image']}: never built")
        elif each["serves"]:
            lines.append(f"{each['image']}: nothing has changed since version {each['serves']}")
            lines += [f"  not sure: {each['unsure']}"] if each["unsure"] else []
            lines += [f"  {each['quiet']}"] if each["quiet"] else []
        else:
            lines.append(f"{each['image']}: changed since version {each['newest']}")
            lines += [f"  {change}" for change in each["changed"]]
    return "\n".join(lines)


def holding(held: Holding) -> Json:
    """Return a holding as plain data."""
    return {each.name: getattr(held, each.name) for each in fields(held)}


def holdings(held: Sequence[Holding], root: Path) -> list[str]:
    """Return the table of what the store holds, and its size; nothing when there is nothing."""
    if not held:
        return []
    runs = [each for each in held if each.kind is Kind.RUN]
    single = [each for each in held if each.kind is not Kind.RUN]
    rows = [(each.kind.value, each.name, each.version[:20], size(each.size), each.in_use) for each in single]
    if runs:
        rows.append(("runs", "logs", f"{len(runs)} runs", size(sum(each.size for each in runs)), ""))
    total = size(sum(each.size for each in held))
    return [*aligned([("store", "of", "version", "size", ""), *rows]), f"{total} in {root}", ""]


def pruned(gone: Sequence[tuple[Holding, str, int]], dry_run: bool) -> str:
    """Return what was removed from the store, why, and how much that freed."""
    return dropped([(f"{each.kind} {each.name} {each.version[:20]}", why, freed) for each, why, freed in gone], dry_run)


def dropped(gone: Sequence[tuple[str, str, int]], dry_run: bool) -> str:
    """Return what was removed, by names, why, and how many bytes that freed."""
    freed = size(sum(freed for _, _, freed in gone))
    done = f"would free up to {freed}" if dry_run else f"freed {freed}"
    return "\n".join([*(f"{name}: {why}" for name, why, _ in gone), done if gone else "nothing to remove"])


def _check(said: Json) -> str:
    expected = ", ".join(f"{key} {text}" for key, text in said["expected"].items())
    return f"{said['kind']} {said['name']}{f': {expected}' if expected else ''}  ({said['from']})"


def resolved(said: Json) -> str:
    """Return what an image is resolved to, by subject, and where each thing comes from."""
    parents = f", on {', '.join(said['parents'])}" if said["parents"] else ""
    firmware = f"; {' and '.join(said['firmware'])}" if said["firmware"] else ""
    lines = [f"{said['image']} {said['arch']}{parents}{firmware}; {', '.join(said['formats'])}"]
    rows: dict[str, list[tuple[str, ...]]] = {
        "container": [(f"{name}: {value}",) for name, value in said.get("container", {}).items()],
        **{name: [(line,) for line in value.splitlines()] for name, value in said.get("readme", {}).items()},
        "elements": [(each["name"], each["from"], each["why"]) for each in said["elements"]],
        "variables": [(f"{each['name']}={each['value']}", each["from"]) for each in said["variables"]],
        "packages": [(each["name"], each["from"]) for each in said["packages"]],
        "artifacts": [(each["variable"], each["address"], each["from"]) for each in said["artifacts"]],
        "checks": [(_check(each),) for each in said["checks"]],
    }
    for subject, table in rows.items():
        if table:
            lines += ["", f"{subject}:", *(f"  {line}".rstrip() for line in aligned(table))]
    return "\n".join(lines)


SUBJECT = 24
"""Columns for the subject of a finding."""


def finding(subject: str, state: str, text: str, remedy: str) -> str:
    """Return one thing that a checkup has found: state, subject, text; and below what is not fine, the remedy."""
    line = f"{state:5} {subject.ljust(SUBJECT)}  {text}"
    return f"{line}\n{'':5} {'':{SUBJECT}}  what to do: {remedy}" if remedy else line


def headed(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return rows of a heading and its text, long texts wrapped."""
    indent = max(len(heading) for heading, _ in rows) + 4
    lines: list[str] = []
    for heading, text in rows:
        first, *more = textwrap.wrap(text, max(40, WIDTH - indent), break_on_hyphens=False) or [""]
        lines.append(f"  {heading.ljust(indent - 2)}{first}")
        lines += [" " * indent + line for line in more]
    return lines


def as_json(data: object) -> str:
    """Return data as one JSON document."""
    return json.dumps(data, indent=1, default=str)


def say(text: str, *, to: TextIO | None = None) -> None:
    """Print a text and make sure that it is seen; names in it may be of others, and steer no terminal."""
    out = to or sys.stdout
    print(printable(text, "\n\t\N{NO-BREAK SPACE}") if out.isatty() else text, file=out, flush=True)


def end_of_life(image: Image, now: datetime) -> str:
    """Return an image's end of life, and whether that is over."""
    return "-" if image.eol is None else f"{image.eol}{' (over)' if image.eol < now.date() else ''}"
