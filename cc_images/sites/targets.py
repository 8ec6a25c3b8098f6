"""Targets: the formats that a site takes of an image, and the properties that an image has there."""

from __future__ import annotations

from cc_images.model.catalog import Arch, Format, Image, Site
from cc_images.model.properties import NUMBERS


def arches_of(site: Site) -> tuple[Arch, ...]:
    """Return the architectures that a site takes: a site for virtual machines amd64 alone, unless it says otherwise."""
    return site.arches or (tuple(Arch) if site.is_baremetal or site.catalogue else (Arch.AMD64,))


def formats_of(site: Site) -> tuple[Format, ...]:
    """Return the formats that a site takes: unless it says, a cloud for virtual machines raw, and others qcow2."""
    return site.formats or ((Format.RAW,) if site.cloud and not site.is_baremetal else (Format.QCOW2,))


def formats_for(site: Site, image: Image, arch: Arch) -> tuple[Format, ...]:
    """Return the formats in which a site takes an image; none for a bare-metal-only image and a site that is not.

    A catalogue takes every image.
    """
    if arch not in arches_of(site) or (image.baremetal_only and not (site.is_baremetal or site.catalogue)):
        return ()
    return formats_of(site)


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
    chosen = standard | dict(image.properties) | dict(site.properties)
    return {name: str(int(value)) if name in NUMBERS else value for name, value in chosen.items()}
