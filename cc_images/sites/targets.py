"""Targets: the formats that a site takes of an image, and the properties that an image has there."""

from __future__ import annotations

from collections.abc import Mapping

from cc_images.model.catalog import RAMDISK, Arch, Format, Image, Material
from cc_images.model.properties import NUMBERS
from cc_images.model.site import Site
from cc_images.sites.registry_names import BUMP, LABEL, VERSION


def arches_of(site: Site) -> tuple[Arch, ...]:
    """Return the architectures that a site takes: a site for virtual machines amd64 alone, unless it says otherwise."""
    return site.arches or (tuple(Arch) if site.is_baremetal or site.catalogue or site.registry else (Arch.AMD64,))


def formats_of(site: Site) -> tuple[Format, ...]:
    """Return the formats of disks, and of trees if it names any, that a site takes.

    Unless it says, a cloud for virtual machines takes raw, a registry OCI images, and others qcow2.
    """
    said = tuple(each for each in site.formats if each not in RAMDISK)
    if site.registry:
        return said or (Format.OCI,)
    return said or ((Format.RAW,) if site.cloud and not site.is_baremetal else (Format.QCOW2,))


def formats_for(site: Site, image: Image, arch: Arch) -> tuple[Format, ...]:
    """Return the formats in which a site takes an image; none for a bare-metal-only image and a site that is not.

    None, too, for an image without the properties that the site asks for.
    A catalogue takes every image but ramdisks. Where a folder or catalogue names no format, it takes an image without a
    disk in the image's own ones. Ramdisks go to clouds and folders, containers that an image says to registries.
    """
    if not site.selects(image):
        return ()
    if site.registry:
        wanted = formats_of(site) if image.makes is Material.TREE and arch in arches_of(site) else ()
        return tuple(each for each in wanted if each in image.formats)
    if arch not in arches_of(site) or (image.baremetal_only and not (site.is_baremetal or site.catalogue)):
        return ()
    found = formats_of(site)
    if image.makes is Material.TREE:
        own = [each for each in image.formats if each not in RAMDISK]
        own = own[:1] if site.catalogue else own
        found = tuple(each for each in found if not each.is_disk) if site.formats else tuple(own)
        found = () if site.cloud or site.chunks else found
    takes_ramdisks = not (site.catalogue or site.chunks) and (not site.formats or Format.KERNEL in site.formats)
    has_ramdisk = Format.KERNEL in image.formats
    return (*found, *(RAMDISK if has_ramdisk and takes_ramdisks else ()))


LINKS: Mapping[Format, str] = {Format.KERNEL: "kernel_id", Format.INITRAMFS: "ramdisk_id"}
"""The property by which an image names a ramdisk's half: Glance's "useful image properties"."""


def takes(site: Site, wanted: Format) -> bool:
    """Say whether a site takes files in a format that another one offers."""
    return wanted in formats_of(site) or not (
        wanted.is_disk or site.formats or site.cloud or site.chunks or site.registry
    )


def name_for(site: Site, image: Image, arch: Arch, wanted: Format) -> str:
    """Return an image's name on a site; on a cloud, where names have no endings, a ramdisk's two files have them."""
    name = image.published_name(arch)
    return f"{name}.{wanted}" if site.cloud and wanted in RAMDISK else name


def _version(image: Image) -> str:
    """Return the version that a registry knows an image by, LABEL where it is known when the image is built."""
    numbered = image.bump and bool(image.version) and image.builder != "dib"
    return LABEL if numbered or (image.builder == "spack" and not image.version) else image.version


def own_properties(image: Image, arch: Arch, site: Site) -> dict[str, str]:
    """Return the properties that a published image carries; the site's win over the image's, both over ours.

    Names: Glance's "useful image properties" (architecture, os_distro, os_version).
    """
    standard = {"architecture": arch.machine}
    for ours, theirs in (("distro", "os_distro"), ("release", "os_version")):
        if ours in image.provenance:
            standard[theirs] = image.provenance[ours]
    if baked := [each for each in image.allow if each in ("keys", "passwords")]:
        standard["build-allow"] = ",".join(baked)  # users who start an instance should know
    standard |= {f"build-{name}": value for name, value in image.provenance.items()}
    version = _version(image)
    if site.registry and version:
        standard |= {VERSION: version, **({BUMP: "yes"} if image.bump else {})}
    chosen = standard | dict(image.properties) | dict(site.properties)
    return {name: str(int(value)) if name in NUMBERS else value for name, value in chosen.items()}
