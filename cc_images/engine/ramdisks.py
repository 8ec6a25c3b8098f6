"""Ramdisks on clouds: two images, each of which names the other one's id in a property, as Nova and Ironic read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cc_images.model.catalog import RAMDISK, Format
from cc_images.model.plan import PushJob
from cc_images.model.site import Site
from cc_images.sites.base import ImageSite
from cc_images.sites.targets import LINKS
from cc_images.sites.view import version_of


def partner(job: PushJob, at: Site) -> PushJob | None:
    """Return the push of the other half of a ramdisk, if the site keeps halves that name each other."""
    if job.format not in RAMDISK or not at.cloud:
        return None
    (other,) = (each for each in RAMDISK if each is not job.format)
    return replace(job, format=other, name=f"{job.name.removesuffix(job.format)}{other}")


def image_name(job: PushJob) -> str:
    """Return the image's own name, of which a half's name on a cloud is made."""
    return job.name.removesuffix(f".{job.format}") if job.format in RAMDISK else job.name


def links(job: PushJob, at: Site, version: str, opened: Callable[[Site, Format], ImageSite]) -> dict[str, str]:
    """Return the property that names the other half, once the site has it in the same version."""
    other = partner(job, at)
    if other is None:
        return {}
    found = [each for each in opened(at, other.format).find(other.name) if version_of(each.properties) == version]
    return {LINKS[other.format]: found[0].id} if len(found) == 1 else {}
