"""The schema of sites.yaml: one site."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import replace

from cc_images.config.durations import duration, retirement
from cc_images.config.image_parts import MACHINES, NAME, check_properties, formats_of, tags_of
from cc_images.config.yaml_file import Section
from cc_images.config.yaml_text import choice
from cc_images.model.catalog import RAMDISK, Arch, Format, Image
from cc_images.model.contracts import CONTRACTS
from cc_images.model.site import OnBad, Site
from cc_images.model.swift_address import SwiftAddress

SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z")
_VISIBILITIES = ("private", "shared", "community", "public")
_REGISTRY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+\Z")
"""A host and a path, by the distribution specification: no scheme, no user, small letters in the path."""

_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?(/|\Z)")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
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
        registry=section.text("registry", _REGISTRY, "HOST/PREFIX, such as registry.example.org/images"),
        insecure=section.flag("insecure"),
        is_baremetal=section.flag("is_baremetal"),
        arches=section.choices("arch", Arch, MACHINES),
        formats=formats_of(section),
        takes=_selector(section),
        amazon=_is_amazon(section),
        visibility=section.text("visibility"),
        properties=section.mapping("properties", NAME, "a property's name"),
        tags=tags_of(section),
        members=section.words("members"),
        owners=section.words("owners"),
        carry=section.flag("carry", default=True),
        certificate=_certificate(section.child("image-signature")),
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
        contract=_contracts(section),
    )
    _check_kind(section, site)
    _check_catalogue(section, site)
    if site.visibility and site.visibility not in _VISIBILITIES:
        section.problem("visibility", choice(site.visibility, _VISIBILITIES))
    _check_formats(section, site)
    check_properties(section, site.properties)
    if site.members and site.visibility not in ("", "shared"):
        section.problem("members", f"are those of shared images; visibility is {site.visibility}")
    of_clouds = {
        "visibility": site.visibility,
        "stores": site.stores,
        "tags": site.tags,
        "members": site.members,
        "owners": site.owners,
        "ramdisk": site.amazon,
        "image-signature": any(site.certificate),
    }
    for key, value in of_clouds.items():
        if value and not site.cloud:
            section.unused(key, "only clouds have it")
    _check_waves(section, site)
    section.ignore("image_container", "images are published to Glance or a folder")
    section.close()
    return replace(site, keep=None) if site.keep == -1 else site


def _check_kind(section: Section, site: Site) -> None:
    """Report a site of no kind or of several, and keys that only other kinds have."""
    if len(site.directory) > 1000:
        section.problem("directory", "has more than 1,000 characters")
    if sum(map(bool, (site.cloud, site.directory, site.catalogue, site.registry))) != 1:
        said = "cloud (an entry of clouds.yaml) or directory or catalogue (a folder) or registry (HOST/PREFIX)"
        section.problem("", f"needs either {said}")
    if site.insecure and not site.registry:
        section.unused("insecure", "only registries have it")
    if site.insecure and site.registry and not _LOOPBACK.match(site.registry):
        section.problem("insecure", "is for a registry on this host's loopback; give others a certificate")
    if site.chunks and (not site.directory or site.formats):
        section.problem("chunks", "is for a directory, and takes no formats: what is kept is the disk")


def _check_formats(section: Section, site: Site) -> None:
    """Report formats that a site of its kind cannot take."""
    named = [each for each in site.formats if each not in RAMDISK]
    what = "cloud" if site.cloud else "catalogue"
    if site.cloud and not all(each.is_disk for each in named):
        section.problem("formats", "a cloud takes disks and ramdisks; trees of files go to folders")
    if site.registry and not {*site.formats} <= {Format.OCI, Format.SIF}:
        section.problem("formats", "a registry takes oci and sif")
    if site.catalogue and len(named) < len(site.formats):
        section.problem("formats", "a catalogue takes no ramdisks, which are two files of one name")
    if (site.cloud or site.catalogue) and len(named) > 1:
        section.problem("formats", f"a {what} takes each image in one format, because names are the same for all")
    suffixes = [disk_format.suffix for disk_format in site.formats]
    if len(set(suffixes)) < len(suffixes):
        section.problem("formats", "two of them have the same file ending")


def _certificate(section: Section) -> tuple[str, str]:
    """Read whose certificate Glance checks images against."""
    found = section.text("certificate", _UUID, "the id of a certificate"), section.text("key")
    if any(found) and not all(found):
        section.problem("", "needs certificate (an id) and key (the file of its private key)")
    if found[1] and not found[1].startswith(("/", "~/")):
        section.problem("key", f"{found[1]} must begin with / or ~/")
    section.close()
    return found


def _selector(section: Section) -> dict[str, str]:
    """Read the properties of images that a site takes."""
    found = section.mapping("takes", NAME, "a property's name")
    for name, wanted in found.items():
        if not wanted:
            section.problem(f"takes.{name}", "needs a value, or a pattern such as *")
    return found


def _is_amazon(section: Section) -> bool:
    """Say whether a ramdisk's files have Amazon's formats on a site."""
    said = section.text("ramdisk")
    if said not in ("", "raw", "aki-ari"):
        section.problem("ramdisk", choice(said, ("raw", "aki-ari")))
    return said == "aki-ari"


def _check_catalogue(section: Section, site: Site) -> None:
    if site.folder or not site.catalogue:
        return
    try:
        address = SwiftAddress.parse(site.catalogue)
    except ValueError as error:
        section.problem("catalogue", f"{error}, nor a folder")
        return
    if address.path:
        section.problem("catalogue", f"has a path below the container; scope: {address.path} says the same")


def _gates(section: Section) -> bool:
    """Say whether a version that lacks security updates is refused."""
    said = section.text("security-updates")
    if said not in ("", "refuse", "publish"):
        section.problem("security-updates", f"{choice(said, ('refuse', 'publish'))}")
    section.close()
    return said == "refuse"


def _contracts(section: Section) -> tuple[str, ...]:
    """Read the names of rules that all containers of a site must keep."""
    found = section.words("contract")
    for name in found:
        if name not in CONTRACTS:
            section.problem("contract", choice(name, CONTRACTS))
    return found


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


def idle(sites: Iterable[Site], images: Iterable[Image]) -> list[str]:
    """Return a note for each site that asks for a property which no image has."""
    there = [image for image in images if not image.abstract]
    return [
        f"sites.yaml: {site.name}.takes: no image has "
        + ", ".join(f"{name}: {wanted}" for name, wanted in site.takes.items())
        for site in sites
        if there and site.takes and not any(map(site.selects, there))
    ]
