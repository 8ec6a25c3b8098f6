"""Offers: what this store has published and remembers, for the people who use the images. No site is asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType
from urllib.parse import quote

from cc_images.api.editions import edition
from cc_images.config.loader import Config
from cc_images.model.builds import Build
from cc_images.model.catalog import Format, Image, Json
from cc_images.model.offer import Offer, Place, Release
from cc_images.model.status import Hold, Put
from cc_images.report import release_notes
from cc_images.store import updates
from cc_images.store.holds import Holds
from cc_images.store.published import Published
from cc_images.store.records import Store

RELEASES = 5
"""Versions of each image that are shown."""


def offers(config: Config, folders: Mapping[str, str] = MappingProxyType({})) -> list[Offer]:
    """Return what is published, in the catalogue's order; `folders` are addresses of sites' folders on the web.

    Raises CCImagesError when the store cannot be read.
    """
    store = Store(config.store)
    pending = {(row["site"], row["name"], row["version"]): row for row in updates.remembered(store)}
    published, holds = Published(store.root).by_image(), Holds(store).by_image()
    clouds = {site.name for site in config.sites if site.cloud}
    known = {site.name for site in config.sites}
    found: list[Offer] = []
    for image in config.images.values():
        for arch in image.arches:
            puts = [put for put in published.get((image.tag, arch), {}).values() if put.site in known]
            if image.abstract or not puts:
                continue
            places = [
                Place(site=put.site, name=put.name, version=put.version, since=datetime.fromtimestamp(put.since, UTC),
                      cloud=put.site in clouds, format=put.format, download=_address(folders.get(put.site, ""), put),
                      **_lacks(pending.get((put.site, put.name, put.version))))
                for put in sorted(puts, key=lambda put: put.site)
            ]  # fmt: skip
            newest = max(put.version for put in puts)
            builds = [build for build in store.builds(image.tag, arch) if build.version <= newest][: RELEASES + 1]
            releases = _releases(builds, store, holds.get((image.tag, arch), {}))
            found.append(
                Offer(
                    name=image.published_name(arch),
                    tag=image.tag,
                    arch=arch,
                    system=_system(image),
                    places=places,
                    releases=releases[:RELEASES],
                    builds_on=image.depends[0] if image.depends else "",
                    eol=image.eol,
                )
            )
    return found


def _address(folder: str, put: Put) -> str:
    """Return where a published file is on the web, below the address of its folder."""
    if not folder or not put.format:
        return ""
    return f"{folder.rstrip('/')}/{quote(put.name)}.{Format(put.format).suffix}"


def _lacks(row: Json | None) -> Json:
    """Return what is known of the security updates that a published version lacks."""
    if row is None or row["unknown"]:
        return {}
    return {"security": row["security"], "checked": datetime.fromtimestamp(row["checked"], UTC)}


def _system(image: Image) -> str:
    said = (image.provenance.get(each, "") for each in ("distro", "release", "variant"))
    return " ".join(filter(None, said))


def _releases(builds: list[Build], store: Store, holds: Mapping[str, Hold]) -> list[Release]:
    """Return versions with what changed from each to the next; of the oldest nothing is known."""
    editions = [edition(build, store) for build in builds]
    changes = {
        new.version: (old.version, release_notes.sections(release_notes.compare(old, new)))
        for new, old in pairwise(editions)
    }
    found: list[Release] = []
    for build in builds:
        before, said = changes.get(build.version, ("", []))
        hold = holds.get(build.version)
        found.append(
            Release(
                version=build.version,
                created=build.created,
                packages=build.packages,
                boot=build.boot,
                files=[(str(form), output.size, output.digest) for form, output in build.outputs.items()],
                before=before,
                changes=said,
                held=hold.why if hold is not None and not hold.released else "",
            )
        )
    return found
