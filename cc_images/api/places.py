"""Places: the images of a request on each site that takes them."""

from __future__ import annotations

from dataclasses import dataclass

from cc_images import clock
from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Arch, Format, Image
from cc_images.model.plan import Request
from cc_images.model.site import Site
from cc_images.planner.selection import select, sites_of
from cc_images.sites.targets import formats_for, name_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One image on one site, in one format."""

    site: Site
    image: Image
    arch: Arch
    format: Format

    @property
    def name(self) -> str:
        """The image's name there."""
        return name_for(self.site, self.image, self.arch, self.format)


def places(request: Request, config: Config) -> list[Place]:
    """Return each image on each site. Raises UserError when no site takes any, and for unknown names."""
    chosen, _ = select(request, config, clock.now().date())
    found = [
        Place(site=site, image=image, arch=arch, format=out)
        for site in sites_of(request, config)
        for image, arch in chosen
        for out in formats_for(site, image, arch)
    ]
    if not found:
        raise UserError("no site takes any of the images", hint="name others with -s", reason=Reason.UNKNOWN_SITE)
    return found
