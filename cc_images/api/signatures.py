"""Signatures of published images: whether a trusted key has signed a statement about just these bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cc_images.api.places import Place, places
from cc_images.api.site_status import observed
from cc_images.api.trust import require_signed, required_keys
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import record_files
from cc_images.host.files import file_digest
from cc_images.model import site_shapes
from cc_images.model.bill_forms import FORMS
from cc_images.model.catalog import Download
from cc_images.model.plan import Request
from cc_images.model.signed import Signed
from cc_images.model.site import Site
from cc_images.model.swift_address import SwiftAddress
from cc_images.sites import open_site
from cc_images.sites.entry import Entry
from cc_images.sites.view import Memory, View, Wish, version_of
from cc_images.sources.transports import opener
from cc_images.store.published import Published


def signatures(config: Config, what: str) -> list[Signed]:
    """Return who has signed the images that have their names on a site, or a file; or why that counts for nothing.

    The statement about a file is in the description beside it. Raises UserError for what is neither, and without keys
    that are trusted.
    """
    trusted = required_keys(config)
    site = next((each for each in config.sites if each.name == what), None)
    if site is not None:
        return _of_site(site, config, trusted)
    file = Path(what)
    if not file.is_file():
        raise UserError(f"{what} is neither a site nor a file", hint="`cc-images status` lists the sites")
    row = Signed(where=str(file), name=file.stem)
    return [_checked(row, _beside(file), ("sha256", file_digest(file)), trusted)]


def _of_site(site: Site, config: Config, trusted: Path) -> list[Signed]:
    tags = tuple(tag for tag, image in config.images.items() if not image.abstract)
    known = Published(config.store)
    rows: list[Signed] = []
    for place in places(Request(tags=tags, sites=(site.name,)), config):
        seen = observed(place.site, [(place.name, place.format)])[place.name, place.format]
        view = View(Wish(name=place.name), seen, Memory())
        row = Signed(where=site.name, name=place.name)
        if len(view.holders) > 1:
            rows.append(replace(row, error=f"{len(view.holders)} images have the name"))
        elif (holder := view.holder) is not None:
            row = replace(row, version=version_of(holder.properties))
            rows.append(_checked(row, holder.properties, _digest(place, holder), trusted, place))
        elif missing := _missing(place, seen, known):
            rows.append(replace(row, error=missing))
    return rows


def _missing(place: Place, seen: Sequence[Entry], known: Published) -> str:
    """Return why a site should have an image that it has not, if it should."""
    if any(entry.name == place.name for entry in seen):
        return "its file is missing, or not whole"
    put = known.last(place.site.name, place.name, place.format)
    return f"version {put.version} was published here, and is gone" if put is not None else ""


def _digest(place: Place, holder: Entry) -> tuple[str, str]:
    """Return the digest of what a site has: as Glance computed it, or of the bytes, which may have changed."""
    if place.site.cloud or place.site.chunks:
        return holder.algorithm, holder.sha512
    where = open_site(place.site, place.format).address(place.name)
    if place.site.registry:
        raise CCImagesError(
            f"{where}: a registry keeps layers and no file, so the signature of the file says nothing about them",
            hint="look at the file in the store with `cc-images verify`, or at a folder that is a site",
            reason=Reason.SITE,
        )
    if not place.site.folder:
        return "sha256", _object_digest(SwiftAddress.parse(f"{where}/{place.name}.{place.format.suffix}"))
    address = Path(where)
    file = address / f"{place.name}.{place.format.suffix}" if place.site.catalogue else address
    try:
        return "sha256", file_digest(file)
    except OSError as error:
        raise CCImagesError(f"{file}: {error.strerror}", reason=Reason.SITE) from error


def _object_digest(at: SwiftAddress) -> str:
    artifact = Download(object=f"{at.container}/{at.path}", site=at.cloud)
    with opener(artifact, {})(0) as stream:
        digest, size = hashlib.sha256(), 0
        for chunk in stream.chunks:
            digest.update(chunk)
            size += len(chunk)
        if size != stream.total:
            message = f"{artifact.shown} broke off after {size} of {stream.total} bytes"
            raise CCImagesError(message, hint="try again", reason=Reason.FETCH, temporary=True)
    return digest.hexdigest()


def _checked(
    row: Signed, properties: Mapping[str, str], digest: tuple[str, str], trusted: Path, place: Place | None = None
) -> Signed:
    image = {}
    if place is not None:
        own = place.image.published_name(place.arch)
        image = {"file": f"{own}.{place.format.suffix}", "arch": str(place.arch)}
    try:
        return replace(row, signer=require_signed(properties, digest, trusted, **image))
    except UserError:
        raise
    except CCImagesError as error:
        return replace(row, error=error.message)


def _beside(file: Path) -> Mapping[str, str]:
    """Return the properties in the description beside a file, of a folder or of a catalogue; nothing without one."""
    for ending in FORMS.values():  # a bill of materials has the description of its image
        file = file.with_name(file.name.removesuffix(f".{ending}.json"))
    described: Sequence[Path] = (file.with_suffix(".json"), file.with_name(f"{file.name}.json"),
                                 file.with_name("manifest.json"))  # fmt: skip
    for path in described:
        if found := record_files.found(path, site_shapes.SidecarShape):
            properties: Mapping[str, str] = found.get("properties", {})
            return properties
    return {}
