"""Carrying over: a new version gets what others have put on the image that it replaces. Pure.

Properties that cc-images sets are listed on the image itself, so that those of others are known, and those that are
configured no more. An image without that list was published by an older version: its properties stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from cc_images.sites.entry import ENDED, RETIRED, Entry

LISTED = "build-properties"
"""The property that names those which cc-images has set."""

EACH_ITS_OWN = frozenset(
    {"min_disk", "min_ram", "build-name", "build-version", "build-key", "build-boot", LISTED, RETIRED, ENDED}
    | {"img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid"}
)
"""Properties that every new image of ours sets itself, or that a site gives it; a signature is over its own bytes."""


def listed(properties: Mapping[str, str]) -> dict[str, str]:
    """Return properties with the list of their names."""
    names = sorted(name for name in properties if name not in EACH_ITS_OWN)
    return {**properties, LISTED: ",".join(names)}


def set_by_us(entry: Entry) -> frozenset[str]:
    """Return the names of properties that cc-images has set on an image; none where it does not say."""
    said = entry.properties.get(LISTED)
    return frozenset(said.split(",")) - {""} if said is not None and entry.made else frozenset()


def set_by_others(entry: Entry) -> dict[str, str]:
    """Return what others have set on an image of ours; nothing where the image does not say what we did."""
    if LISTED not in entry.properties or not entry.made:
        return {}
    ours = set_by_us(entry) | EACH_ITS_OWN
    return {name: value for name, value in entry.properties.items() if name not in ours}


def carried(old: Entry, new: Entry) -> dict[str, str]:
    """Return the properties of an image that replaces another one: its own, and those of others on the old one.

    What others have set on the new image itself, when it had the name before, goes.
    """
    if LISTED not in old.properties or not old.made:
        return dict(new.properties)
    before = set_by_others(new)
    return set_by_others(old) | {name: value for name, value in new.properties.items() if name not in before}


def described(entry: Entry, properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that an image shall have: those wanted, and those of others.

    A list of names alone is no reason to change an image of an older version.
    """
    gone = set_by_us(entry) - properties.keys()
    kept = {name: value for name, value in entry.properties.items() if name not in gone}
    wanted = kept | dict(properties)
    if LISTED not in entry.properties and {**wanted, LISTED: ""} == {**entry.properties, LISTED: ""}:
        return dict(entry.properties)
    return wanted
