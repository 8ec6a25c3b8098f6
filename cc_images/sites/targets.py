"""Targets: the formats that a site takes of an image, and the properties that an image has there."""

from __future__ import annotations

from cc_images.model.catalog import Arch, Format, Image, Site
from cc_images.model.properties import NUMBERS


def formats_for(site: Site, image: Image, arch: Arch) -> tuple[Format, ...]:
    """Return the formats in which a site takes an image; none for a bare-metal-only image and a site that is not.

    Unless it says otherwise, a cloud takes qcow2 for bare metal and raw for KVM, and a folder qcow2; a site for
    virtual machines takes amd64 alone. A catalogue takes everything, as qcow2.
    """
    takes = site.arches or (tuple(Arch) if site.is_baremetal or site.catalogue else (Arch.AMD64,))
    if arch not in takes or (image.baremetal_only and not (site.is_baremetal or site.catalogue)):
        return ()
    return site.formats or ((Format.RAW,) if site.cloud and not site.is_baremetal else (Format.QCOW2,))


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
