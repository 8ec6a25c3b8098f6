"""The pages of images: the versions that an account may see, what is in them, where they are, how to get them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.api import editions
from cc_images.api.stored_images import StoredFile, stored_files
from cc_images.model.catalog import Format
from cc_images.report import release_notes
from cc_images.web import image_routes
from cc_images.web.access import Caller, Problem
from cc_images.web.pages.frame import Member, Posted, page, redirect
from cc_images.web.routing import the

router = APIRouter()

USED: Mapping[Format, tuple[str, ...]] = {
    Format.OCI: ("podman load -i {}",),
    Format.SIF: ("apptainer run {}",),
}
"""What a container is used with once it is there."""

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+\Z")


@router.get("/available")
def get_images(request: Request, caller: Member) -> Response:
    """Show the images, each with its versions."""
    places = editions.publications(the(request).catalogue.config)
    images = [
        {"tag": tag, "arch": arch, "name": versions[0][0].name, "versions": versions,
         "places": [each for each in places.get((tag, arch), []) if each.version in {v[0].version for v in versions}]}
        for (tag, arch), versions in _by_image(request, caller)
    ]  # fmt: skip
    return page(request, "images.html", images=images)


@router.get("/available/{tag}/{arch}/{version}")
def get_image(request: Request, caller: Member, tag: str, arch: str, version: str) -> Response:
    """Show one version."""
    config = the(request).catalogue.config
    versions = next((found for key, found in _by_image(request, caller) if key == (tag, arch)), [])
    names = [each[0].version for each in versions]
    if version not in names:
        raise Problem(404, "there is no such version")
    files, older = versions[names.index(version)], names[names.index(version) + 1 :]
    edition = editions.stored_edition(config, tag, arch, version)
    before = editions.stored_edition(config, tag, arch, older[0]) if older else None
    notes = release_notes.compare(before, edition) if before is not None and edition is not None else None
    places = [each for each in editions.publications(config).get((tag, arch), []) if each.version == version]
    return page(
        request,
        "image.html",
        files=files,
        first=files[0],
        versions=names,
        places=places,
        publishable=tag in config.images,
        before=older[0] if older else "",
        packages=_packages(edition.contents.get("packages")) if edition is not None else [],
        facts=release_notes.facts(notes) if notes is not None else [],
        sections=release_notes.sections(notes) if notes is not None else [],
        lines=_lines(request, caller, files),
    )


@router.post("/available/{name}/push")
def push(request: Request, caller: Member, name: str, form: Posted) -> Response:
    """Request that the version of a file be published."""
    taken = image_routes.push_image(request, caller, name)
    return redirect(f"/requests/{taken.id}", "joined" if taken.joined else "requested")


Versions = list[list[StoredFile]]


def _by_image(request: Request, caller: Caller) -> list[tuple[tuple[str, str], Versions]]:
    """Return the versions that an account may see, the newest first, each with its files."""
    service = the(request)
    found = stored_files(service.catalogue.config, service.queue.versions(caller.account))
    return [
        (key, [list(files) for _, files in groupby(of_image, key=lambda each: each.version)])
        for key, of_image in groupby(found, key=lambda each: (each.tag, str(each.arch)))
    ]


def _packages(known: Any) -> list[tuple[str, str]]:
    return sorted((str(name), str(version)) for name, version in known.items()) if isinstance(known, dict) else []


def _lines(request: Request, caller: Caller, files: Sequence[StoredFile]) -> list[str]:
    """Return lines for a shell: of each file the download, which goes on where it was cut off, and its use."""
    said = f"{request.url.scheme}://{request.url.netloc}"
    origin = said if _ORIGIN.match(said) else "https://SERVICE"
    found: list[str] = []
    for each in files:
        found.append(f"curl -f -u {caller.account.name} -C - -O {origin}/images/download/{quote(each.file_name)}")
        found += [line.format(shlex.quote(each.file_name)) for line in USED.get(each.format, ())]
    return found
