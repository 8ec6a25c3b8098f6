"""Places that images are published to, and the one way of publishing.

    base       what a site must be able to do, and the values that pass: images and steps
    view       everything that a site has for one name, and the facts that follow
    reconcile  which step comes next, decided once for all sites
    publish    the rules, and the messages between decisions and a site
    queries    questions about one name
    remarks    what is not as cc-images has made it, for people
    directory  a folder
    chunk_folder  a folder of chunks
    catalogue  versions that other sites pull, in a folder
    container_catalogue  the same in a container of Swift
    registry   a registry for containers, by skopeo
    glance     a cloud, by image_api

To add a kind of site: a module here with `observe` and `act` (`base.ImageSite`), and its line in `open_site`;
CONTRIBUTING.md has the rest.
"""

from __future__ import annotations

from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites.base import ImageSite
from cc_images.sites.cloud import ENOUGH, LOOK, Patience

__all__ = ["LOOK", "ImageSite", "open_site"]


def open_site(site: Site, disk_format: Format, patience: Patience = ENOUGH) -> ImageSite:
    """Return the site as something to publish to in one format. Nothing is contacted before it is used."""
    if site.directory:
        from cc_images.sites.chunk_folder import ChunkFolder
        from cc_images.sites.directory import DirectorySite

        if site.chunks:
            return ChunkFolder(site, disk_format)
        return DirectorySite(site, disk_format)
    if site.catalogue:
        from cc_images.sites.catalogue import CatalogueSite
        from cc_images.sites.container_catalogue import ContainerCatalogue

        if not site.folder:
            return ContainerCatalogue(site, disk_format, patience)
        return CatalogueSite(site, disk_format)
    if site.registry:
        from cc_images.sites.registry import RegistrySite

        return RegistrySite(site, disk_format, patience)
    from cc_images.sites.glance import GlanceSite

    return GlanceSite(site, disk_format, patience)
