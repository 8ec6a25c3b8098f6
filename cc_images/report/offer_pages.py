"""The page for the people who use the images: HTML, the same as JSON, and an Atom feed of new versions.

Pure functions of the offers: equal offers give equal files. The page asks for nothing from anywhere, as that of a run.
Rules of the feed: RFC 4287.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from html import escape
from xml.etree import ElementTree

from cc_images.model.catalog import RAMDISK, Format
from cc_images.model.offer import Offer, Place, Release
from cc_images.report.html import badge, document, table
from cc_images.report.units import size

HALVES = (("kernel", Format.KERNEL), ("ramdisk", Format.INITRAMFS))
"""Ironic's words for the two images of a ramdisk."""

SPACE = uuid.UUID("0b9d3f0e-3d57-5b0f-9d8e-4d5f9a3c4c55")
"""The namespace of the feed's identifiers."""

ATOM = "http://www.w3.org/2005/Atom"
MOST = 40
"""Phrases of a subject that the page shows."""


def page(offers: Sequence[Offer], title: str, today: date) -> str:
    """Return the page; `today` tells which images are past their end of life."""
    body = [
        f"<header><h1>{escape(title)}</h1></header>",
        f"<p class=lead>{_lead(offers)} <a href=catalogue.json>JSON</a> · <a href=feed.atom>news</a></p>",
        *(_offer(each, today) for each in offers),
    ]
    return document(title, body)


def _lead(offers: Sequence[Offer]) -> str:
    if not offers:
        return "Nothing is published yet."
    newest = max(each.updated for each in offers)
    return f"{len(offers)} image{'s' * (len(offers) != 1)}, the newest of {newest:%Y-%m-%d}."


def _offer(offer: Offer, today: date) -> str:
    ended = offer.eol is not None and offer.eol < today
    heading = f"<header><h2>{escape(offer.name)} <span class=badge>{escape(offer.arch)}</span></h2>"
    heading += (badge("past its end of life", "bad") if ended else "") + "</header>"
    rows = [("system", offer.system), ("builds on", offer.builds_on)]
    rows.append(("end of life", f"{offer.eol:%Y-%m-%d}" if offer.eol else ""))
    known = [[f"<b>{escape(name)}</b>", escape(value)] for name, value in rows if value]
    return "\n".join(
        [
            f"<article id={escape(offer.tag)}-{escape(offer.arch)}>{heading}<div class=columns><div>",
            table((), known) if known else "",
            "<h3>Where, and how to start it</h3>",
            *(_place(each) for each in offer.places),
            "</div><div>",
            *(_release(each) for each in offer.releases),
            "</div></div></article>",
        ]
    )


def _place(place: Place) -> str:
    """Return where an image is, and how to start it; a line each, since a phone has no room for a table of them."""
    start = _start(place)
    said = f"<b>{escape(place.site)}</b>: version {escape(place.version)}, since {place.since:%Y-%m-%d}"
    if place.security and place.checked:
        count = f"{place.security} security update{'s' * (place.security != 1)} since"
        said += " " + badge(f"{count}, as of {place.checked:%Y-%m-%d}", "bad")
    return f"<p>{said}<br>{start}</p>"


def _start(place: Place) -> str:
    """Return how a machine is started from an image, or where its file is."""
    name = escape(place.name)
    if place.cloud and place.format in RAMDISK:
        stem = escape(place.name.rpartition(".")[0])
        halves = " ".join(f'--driver-info deploy_{half}="{stem}.{ending}"' for half, ending in HALVES)
        return f"<code>baremetal node set NODE {halves}</code>"
    if place.cloud:
        return f'<code>openstack server create --image "{name}" --flavor FLAVOR NAME</code>'
    if place.download:
        return f'<a href="{escape(place.download)}">{escape(place.download.rpartition("/")[2])}</a>'
    return f"<code>{name} in its folder</code>"


def _release(release: Release) -> str:
    """Return one version; its changes are folded up."""
    boots = badge(f"boots: {release.boot}", "good") if release.boot else badge("not boot-tested", "warn")
    held = badge("withdrawn", "bad") if release.held else ""
    lines = [f"<h3>{escape(release.version)} {boots} {held}</h3>"]
    if release.held:
        lines.append(f"<p>{escape(release.held)}</p>")
    facts = [f"{release.packages} packages", *(f"{form} {size(count)}" for form, count, _ in release.files)]
    lines.append(f"<p>{escape(', '.join(facts))}</p>")
    lines += [f"<p>sha256 of the {escape(form)} file: <code>{digest}</code></p>" for form, _, digest in release.files]
    if release.changes:
        lines.append(f"<details><summary>changes since {escape(release.before)}</summary>")
        for heading, phrases in release.changes:
            more = f", the first {MOST}" if len(phrases) > MOST else ""
            lines.append(f"<h3>{escape(heading)} ({len(phrases)}{more})</h3><ul>")
            lines += [f"<li><code>{escape(phrase)}</code></li>" for phrase in phrases[:MOST]]
            lines.append("</ul>")
        lines.append("</details>")
    return "\n".join(lines)


def as_json(offers: Sequence[Offer]) -> str:
    """Return the offers as one JSON document."""

    def plain(value: object) -> str:
        assert isinstance(value, date)  # datetime is one
        return value.isoformat()

    return json.dumps({"format": 1, "images": [asdict(each) for each in offers]}, indent=1, default=plain) + "\n"


def feed(offers: Sequence[Offer], title: str) -> str:
    """Return the newest version of each image as an Atom feed."""
    ElementTree.register_namespace("", ATOM)
    root = ElementTree.Element(f"{{{ATOM}}}feed")
    newest = max((each.updated for each in offers), default=datetime.fromisoformat("1970-01-01T00:00:00+00:00"))
    _element(root, "id", f"urn:uuid:{uuid.uuid5(SPACE, title)}")
    _element(root, "title", title)
    _element(root, "updated", newest.isoformat())
    _element(_element(root, "author", ""), "name", title)
    for offer in sorted(offers, key=lambda each: each.updated, reverse=True):
        entry = _element(root, "entry", "")
        version = offer.releases[0].version if offer.releases else offer.places[0].version
        said = ", ".join(f"{place.site} since {place.since:%Y-%m-%d}" for place in offer.places)
        _element(entry, "id", f"urn:uuid:{uuid.uuid5(SPACE, f'{offer.name} {offer.arch} {version}')}")
        _element(entry, "title", f"{offer.name} {version} ({offer.arch})")
        _element(entry, "updated", offer.updated.isoformat())
        _element(entry, "summary", _summary(offer, said))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _summary(offer: Offer, said: str) -> str:
    changes = offer.releases[0].changes if offer.releases else ()
    return "; ".join([said, *(f"{heading}: {len(phrases)}" for heading, phrases in changes)])


def _element(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, f"{{{ATOM}}}{name}")
    made.text = text or None
    return made
