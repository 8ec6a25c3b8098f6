"""The report of a run as one HTML file: when each task ran, what became of each image, what failed.

A function of the journal alone. The page asks for nothing from anywhere: its policy forbids it, its style is inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from cc_images.model.catalog import Json, Level
from cc_images.report.text import TAIL, summary
from cc_images.report.units import clock_time, duration, size

POLICY = "default-src 'none'; style-src 'unsafe-inline'"

TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
"""Seconds between two marks of the time axis, of which the first that gives no more than six marks is taken."""

STATES: Mapping[str, str] = {"ok": "good", "failed": "bad", "running": "path"}
"""The colour of a state; the others are a warning."""

RESULTS: Mapping[str, str] = {"done": "good", "cached": "", "failed": "bad"}


def page(told: Json) -> str:
    """Return the page for what a journal tells."""
    run, state = told["run"], told["state"]
    body = [
        f"<header><h1>Run <span class=mono>{escape(run)}</span></h1>",
        f"{badge(state, STATES.get(state, 'warn'))}</header>",
        f"<p class=lead>{escape(summary(told))}</p>",
        _numbers(told),
        *_failures(told),
        *_timeline(told),
        *(_image(each) for each in told.get("images", [])),
        *_nothing_done(told),
        _footer(told),
    ]
    return document(f"cc-images {run}: {state}", body)


def document(title: str, body: Sequence[str]) -> str:
    """Return a page that has its style inside and asks for nothing."""
    style = Path(__file__).with_name("page.css").read_text()
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{style}</style></head>",
            "<body><main>",
            *body,
            "</main></body></html>",
            "",
        ]
    )


def _numbers(told: Json) -> str:
    counts: Mapping[str, int] = told.get("counts", {})
    shown = [(str(count), what) for what, count in counts.items() if count or what in ("built", "pushed", "failed")]
    if told.get("seconds") is not None:
        shown.append((duration(told["seconds"]), "in all"))
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in shown)
    return f"<div class=numbers>{cells}</div>"


# -- what failed --------------------------------------------------------------------------------------------------


def _failures(told: Json) -> list[str]:
    failed = [each for each in told.get("results", []) if each["status"] == "failed"]
    found = [_failure(each["task"], each["error"], each["hint"], each["tail"], each["log"]) for each in failed]
    if told.get("error"):
        found.append(_failure("The run", told["error"], "", (), ""))
    return found


def _failure(what: str, error: str, hint: str, tail: Sequence[str], log: str) -> str:
    lines = [f"<section class=failure><h2>{escape(what)} failed</h2><p>{escape(error)}</p>"]
    if hint:
        lines.append(f"<p><b>What to do:</b> {escape(hint)}</p>")
    if tail:
        lines.append(f"<pre>{escape(chr(10).join(tail[-TAIL:]))}</pre>")
    if log:
        lines.append(f"<p>Whole log: {_link(log)}</p>")
    return "\n".join([*lines, "</section>"])


def _link(path: str) -> str:
    """Return a file of the store as a link, which leads there from the store's own machine; its name is to be read."""
    parts = Path(path).parts
    beside = f"../logs/{quote('/'.join(parts[-2:]))}" if len(parts) > 2 and parts[-3] == "logs" else quote(path)
    return f'<a href="{escape(beside)}"><code>{escape(path)}</code></a>'


# -- when each task ran -------------------------------------------------------------------------------------------


def _timeline(told: Json) -> list[str]:
    tasks = {task["id"]: task for task in told.get("plan", {}).get("tasks", [])}
    ran = [each for each in told.get("results", []) if each["seconds"] > 0 and each["task"] in tasks]
    if not ran:
        return []
    path = told.get("critical", [])
    begin = min(each["started"] for each in ran)
    whole = max(each["started"] + each["seconds"] for each in ran) - begin or 1.0
    lines = ["<section><h2>Timeline</h2>"]
    for kind in dict.fromkeys(tasks[each["task"]]["resource"] for each in ran):
        lines.append(f"<div class=kind>{escape(kind)}</div>")
        of_kind = [each for each in ran if tasks[each["task"]]["resource"] == kind]
        lines += [_row(each, begin, whole, each["task"] in path) for each in sorted(of_kind, key=_started)]
    lines.append(f"<div class=row><span></span>{_axis(whole)}</div>")
    on_path = " → ".join(escape(name) for name in path)
    lines.append(
        '<p class=legend><span><i style="background:var(--path)"></i>critical path: what the run waited for</span>'
        '<span><i style="background:var(--bar)"></i>beside it</span>'
        "<span><i class=cached></i>found done</span>"
        '<span><i style="background:var(--bad)"></i>failed</span></p>'
    )
    if len(path) > 1:
        lines.append(f"<p class=legend>{on_path}</p>")
    return [*lines, "</section>"]


def _started(result: Json) -> float:
    return float(result["started"])


def _row(result: Json, begin: float, whole: float, on_path: bool) -> str:
    left, width = (100 * (result["started"] - begin) / whole, 100 * result["seconds"] / whole)
    plain = "cached" if result["status"] == "cached" else ""
    kind = "failed" if result["status"] == "failed" else "path" if on_path else plain
    end = left + width
    place = f"left:{end:.2f}%" if end < 80 else f"right:{100 - left:.2f}%" if left > 20 else "right:0"
    name, took = escape(result["task"]), escape(duration(result["seconds"]))
    hooks = sorted(result.get("timings", {}).items(), key=lambda item: -item[1])[:6]
    title = escape("\n".join([f"{result['task']}: {result['status']}", *(f"{s:.1f} s {hook}" for hook, s in hooks)]))
    return (
        f'<div class=row title="{title}"><span class=name>{name}</span><span class=track>'
        f'<i class="{kind}" style="left:{left:.2f}%;width:{width:.2f}%"></i>'
        f'<span style="{place}">{took}</span></span></div>'
    )


def _axis(whole: float) -> str:
    every = next((each for each in TICKS if whole / each <= 6), TICKS[-1])
    marks = [at for at in range(0, int(whole) + 1, every) if at < 0.9 * whole]
    spans = [f'<span style="left:{100 * at / whole:.2f}%">{clock_time(at)}</span>' for at in marks]
    spans.append(f'<span style="left:100%">{clock_time(whole)}</span>')
    return f"<span class=axis>{''.join(spans)}</span>"


# -- what became of each image ------------------------------------------------------------------------------------


def _image(told: Json) -> str:
    verdict = ("built", "path") if told["built"] else ("unchanged", "")
    heading = f"<header><h2>{escape(told['image'])} <span class=badge>{escape(told['arch'])}</span></h2>"
    heading += badge("failed", "bad") if not told["ok"] else badge(*verdict)
    heading += _boot_badge(told.get("boot")) + "</header>"
    if "size" not in told:
        return f"<article>{heading}<p>There is no version of it.</p></article>"
    rows = [("version", told["version"]), *([("before", told["before"])] if told["before"] else [])]
    rows += [("file", _grown(told["size"], told["size_before"])), ("disk", size(told["disk"]))]
    rows.append(("packages", str(told["packages"])))
    parts = [
        f"<article>{heading}<div class=columns><div>",
        table((), [[f"<b>{escape(name)}</b>", escape(value)] for name, value in rows]),
        *_sites(told["sites"]),
        "</div><div>",
        *_boot(told.get("boot")),
        *_sizes(told["sizes"], told["rest"]),
        "</div></div>",
        *_changes(told),
        "</article>",
    ]
    return "\n".join(parts)


def _grown(now: int, before: int | None) -> str:
    if before is None or before == now:
        return size(now)
    sign = "+" if now > before else "\N{MINUS SIGN}"
    return f"{size(now)} ({sign}{size(abs(now - before))})"


def _sites(sites: Sequence[Json]) -> list[str]:
    rows = [
        [escape(each["site"]), badge(each["status"], RESULTS.get(each["status"], "warn")),
         escape(each["error"] or each["where"])]
        for each in sites
    ]  # fmt: skip
    return ["<h3>Sites</h3>", table(("site", "", "where"), rows)] if rows else []


def _boot_badge(boot: Json | None) -> str:
    if not boot:
        return badge("not boot-tested", "warn")
    return badge(f"boots: {boot['level']}", "good") if boot["passed"] else badge(f"boot: {boot['failed']}", "bad")


def _boot(boot: Json | None) -> list[str]:
    if not boot or not boot["boots"]:
        return []
    seen = {level for each in boot["boots"].values() for level in each["levels"]}
    levels = [level.value for level in Level if level in seen]
    rows = [
        [escape(level), *(_seconds(each["levels"].get(level)) for each in boot["boots"].values())] for level in levels
    ]
    return ["<h3>Boot levels, seconds from power-on</h3>", table(("", *boot["boots"]), rows)]


def _seconds(at: float | None) -> str:
    return "-" if at is None else f"{at:.1f}"


def _sizes(sizes: Mapping[str, int], rest: int) -> list[str]:
    if not sizes:
        return []
    shown = [*sorted(sizes.items(), key=lambda item: -item[1]), *([("all others", rest)] if rest else [])]
    most = max(used for _, used in shown) or 1
    lines = [
        f"<div class=share><span class=mono>{escape(name)}</span>"
        f'<i style="width:{100 * used / most:.1f}%"></i><b>{size(used)}</b></div>'
        for name, used in shown
    ]
    return ["<h3>Size by folder</h3>", *lines]


def _changes(told: Json) -> list[str]:
    changes: Mapping[str, Sequence[str]] | None = told["changes"]
    if changes is None:
        return []
    if not changes:
        what = "packages, units, accounts, rights, sizes" if told["compared"] else "packages alone"
        return [f"<p>No difference from version {escape(told['before'])} ({what}).</p>"]
    lines = [f"<h3>Since {escape(told['before'])}</h3>"]
    for subject, phrases in changes.items():
        opened = " open" if len(phrases) <= 12 else ""
        items = "".join(f"<li class={_sort(each)}>{escape(each)}</li>" for each in phrases)
        lines.append(
            f"<details{opened}><summary>{escape(subject)}: {escape(_tally(phrases))}</summary>"
            f"<ul class=packages>{items}</ul></details>"
        )
    return lines


def _sort(phrase: str) -> str:
    return {"+": "added", "-": "removed"}.get(phrase[:1], "changed")


def _tally(phrases: Iterable[str]) -> str:
    sorts = [_sort(each) for each in phrases]
    return ", ".join(f"{sorts.count(each)} {each}" for each in ("added", "removed", "changed") if each in sorts)


# -- the rest -----------------------------------------------------------------------------------------------------


def _nothing_done(told: Json) -> list[str]:
    cached = [each["task"] for each in told.get("results", []) if each["status"] == "cached"]
    notes = told.get("plan", {}).get("notes", [])
    lines: list[str] = []
    if notes:
        lines += ["<section><h2>Notes</h2><ul>", *(f"<li>{escape(note)}</li>" for note in notes), "</ul></section>"]
    if cached:
        items = "".join(f"<li>{escape(name)}</li>" for name in cached)
        lines.append(
            f"<section><details><summary>{len(cached)} tasks had nothing to do</summary>"
            f"<ul class=packages>{items}</ul></details></section>"
        )
    return lines


def _footer(told: Json) -> str:
    words = " ".join(["cc-images", *told.get("words", [])])
    return f"<footer>Began {escape(told.get('began', '?'))}, with <code>{escape(words)}</code></footer>"


def badge(text: str, colour: str = "") -> str:
    """Return a word in a coloured field: `good`, `bad`, `warn`, `path` or none."""
    return f'<span class="badge {colour}">{escape(text)}</span>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    """Return a table; the cells are HTML already, the headings are not."""
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table>{f'<tr>{head}</tr>' if head else ''}{body}</table></div>"
