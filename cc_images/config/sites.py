"""The schema of sites.yaml: one site."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from cc_images.config.durations import duration, retirement
from cc_images.config.image_parts import MACHINES, NAME, check_properties, tags_of
from cc_images.config.yaml_file import Section
from cc_images.config.yaml_text import choice
from cc_images.model.catalog import Arch, Format, OnBad, Site

SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z")
_VISIBILITIES = ("private", "shared", "community", "public")
_ASKED = ("image", "name", "arch", "version", "site")
"""What a health question may be about."""


def site_of(section: Section) -> Site:
    """Read one entry of sites.yaml; what is wrong with it is noted in the section."""
    site = Site(
        name=section.name,
        cloud=section.text("cloud"),
        directory=section.text("directory"),
        catalogue=section.text("catalogue"),
        scope=section.text("scope", NAME, "a folder's name") or "images",
        is_baremetal=section.flag("is_baremetal"),
        arches=section.choices("arch", Arch, MACHINES),
        formats=section.choices("formats", Format),
        visibility=section.text("visibility"),
        properties=section.mapping("properties", NAME, "a property's name"),
        tags=tags_of(section),
        members=section.words("members"),
        owners=section.words("owners"),
        carry=section.flag("carry", default=True),
        stores=section.words("stores"),
        chunks=section.flag("chunks"),
        keep=section.number("keep", -1, least=0),
        wave=section.number("wave", 1, least=1, most=100),
        bake=duration(section, "bake"),
        health=section.text("health"),
        on_bad=next(iter(section.choices("on-bad", OnBad)), OnBad.STOP),
        retire=retirement(section),
        refuses_unsigned=section.flag("require-signature"),
        refuses_insecure=_gates(section.child("gates")),
    )
    if len(site.directory) > 1000:
        section.problem("directory", "has more than 1,000 characters")
    if sum(map(bool, (site.cloud, site.directory, site.catalogue))) != 1:
        section.problem("", "needs either cloud (an entry of clouds.yaml) or directory or catalogue (a folder)")
    if site.chunks and (not site.directory or site.formats):
        section.problem("chunks", "is for a directory, and takes no formats: what is kept is the disk")
    if site.visibility and site.visibility not in _VISIBILITIES:
        section.problem("visibility", choice(site.visibility, _VISIBILITIES))
    if not site.directory and len(site.formats) > 1:
        what = "cloud" if site.cloud else "catalogue"
        section.problem("formats", f"a {what} takes each image in one format, because names are the same for all")
    suffixes = [disk_format.suffix for disk_format in site.formats]
    if len(set(suffixes)) < len(suffixes):
        section.problem("formats", "two of them have the same file ending")
    check_properties(section, site.properties)
    if site.members and site.visibility not in ("", "shared"):
        section.problem("members", f"are those of shared images; visibility is {site.visibility}")
    for key in ("visibility", "stores", "tags", "members", "owners"):
        if not site.cloud and getattr(site, key):
            section.unused(key, "only clouds have it")
    _check_waves(section, site)
    section.ignore("image_container", "images are published to Glance or a folder")
    section.close()
    return replace(site, keep=None) if site.keep == -1 else site


def _gates(section: Section) -> bool:
    """Say whether a version that lacks security updates is refused."""
    said = section.text("security-updates")
    if said not in ("", "refuse", "publish"):
        section.problem("security-updates", f"{choice(said, ('refuse', 'publish'))}")
    section.close()
    return said == "refuse"


def _check_waves(section: Section, site: Site) -> None:
    if site.bake and site.wave == 1:
        section.problem("bake", "is for sites of a later wave; add wave: 2")
    if site.on_bad is OnBad.ROLLBACK and not site.health:
        section.problem("on-bad", "needs health, which says what is bad")
    try:
        words = shlex.split(site.health)
    except ValueError as error:
        section.problem("health", f"is no command: {error}")
        return
    if site.health and not words:
        section.problem("health", "is neither a command nor an address")
    for word in re.findall(r"\{(\w*)\}", site.health):
        if word not in _ASKED:
            section.problem(
                "health", f"{{{word}}} is not known; there are " + ", ".join(f"{{{each}}}" for each in _ASKED)
            )
