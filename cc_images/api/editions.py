"""Editions: what the store knows of one version of an image: its contents, where it is published, how to pull it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cc_images.config.loader import Config
from cc_images.errors import UserError
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Format
from cc_images.model.site import Site
from cc_images.report.release_notes import Edition
from cc_images.sites.registry_names import place_of, version_tags
from cc_images.store.published import Published
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A version on a site, as this store has put it there. `pull` are lines for a shell, of a registry alone."""

    site: str
    name: str
    version: str
    format: str
    since: datetime
    pull: tuple[str, ...] = ()


def edition(build: Build, store: Store) -> Edition:
    """Return what the record of a build has of its contents; nothing is looked into."""
    details = store.details(build)
    known = details.get("contents") or {"packages": details.get("packages", {})}
    size = min(output.size for output in build.outputs.values())
    return Edition(name=build.name, arch=build.arch, version=build.version, size=size, contents=known)


def stored_edition(config: Config, tag: str, arch: str, version: str) -> Edition | None:
    """Return a version that the store has; None if it does not."""
    store = Store(config.store)
    found = next((each for each in store.builds(tag, Arch(arch)) if each.version == version), None)
    return edition(found, store) if found is not None else None


def publications(config: Config) -> dict[tuple[str, str], list[Publication]]:
    """Return where images are, by tag and architecture, as far as this store knows; no site is asked."""
    sites = {site.name: site for site in config.sites}
    found: dict[tuple[str, str], list[Publication]] = {}
    for put in Published(config.store).all():
        site = sites.get(put.site)
        if site is None:
            continue
        said = Publication(
            site=put.site,
            name=put.name,
            version=put.version,
            format=put.format,
            since=datetime.fromtimestamp(put.since, UTC),
            pull=_pull(site, config, put.tag, put.name, put.version, put.format),
        )
        found.setdefault((put.tag, put.arch), []).append(said)
    return found


def _pull(site: Site, config: Config, tag: str, name: str, version: str, form: str) -> tuple[str, ...]:
    """Return the lines that pull a version from a registry: by the tag that it keeps, where that is known."""
    if not site.registry or form not in (Format.OCI, Format.SIF):
        return ()
    try:
        place = place_of(site, name, Format(form))
    except UserError:
        return ()
    image = config.images.get(tag)
    has_own = image is not None and image.version != ""
    tags = [] if has_own else version_tags(place, {"build-version": version})
    reference = f"{site.registry}/{place.repository}:{(*tags, place.latest)[0]}"
    if form == Format.SIF:
        return (f"apptainer pull {'--no-https ' if site.insecure else ''}oras://{reference}",)
    return (
        f"podman pull {'--tls-verify=false ' if site.insecure else ''}{reference}",
        f"apptainer pull {'--no-https ' if site.insecure else ''}docker://{reference}",
    )
