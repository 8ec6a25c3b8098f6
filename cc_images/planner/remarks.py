"""Remarks for the user before a plan is carried out, a sentence each."""

from __future__ import annotations

from collections.abc import Iterable

from cc_images.model.catalog import Format
from cc_images.model.plan import Request
from cc_images.model.words import KEPT, UNTESTED
from cc_images.planner.image_state import ImageState, is_held
from cc_images.store.records import Store


def of_request(request: Request) -> list[str]:
    """Warn that images are pushed without a boot test; say that the trees of failed builds are kept."""
    untested = [UNTESTED] if request.push and not request.boot_test else []
    return [*untested, *([KEPT] if request.keep_failed else [])]


def held(image_states: Iterable[ImageState], request: Request) -> list[str]:
    """Say which versions are not pushed because people hold them."""
    told: list[str] = []
    for each in image_states if request.push else ():
        serves = each.match if request.build else each.newest
        if serves is not None and is_held(each, serves, request):
            hold = each.holds[serves.version]
            release = f"`cc-images release {each.image.tag} {serves.version}`"
            told.append(f"version {serves.version} of {each.label} is held ({hold.why}), and not pushed; {release}")
    return told


def hard_to_read(image_states: Iterable[ImageState]) -> list[str]:
    """Say which hosts alone can run a SIF file that is compressed by zstd; all others call it a bad superblock."""
    return [
        f"the SIF file of {each.label} is compressed by zstd: only hosts with Linux 4.14 or later that knows zstd in"
        " squashfs, or a squashfuse that does, can run it; gzip is read everywhere"
        for each in image_states
        if Format.SIF in each.image.formats and each.image.container.get("compression") == "zstd"
    ]


def damaged(image_states: Iterable[ImageState], store: Store) -> list[str]:
    """Say which newest builds are passed over because their files are missing or damaged."""
    told: list[str] = []
    for each in image_states:
        newest = store.recorded(each.image.tag, each.arch)
        if each.newest is not None and each.newest.version == newest:
            continue
        if newest and store.build(each.image.tag, each.arch, newest) is None:  # else it is only not in force
            whole = f"{each.newest.version} is the newest intact version" if each.newest else "there is no other"
            path = store.root / "builds" / each.image.tag / each.arch / f"{newest}.json"
            if store.is_newer(path):
                told.append(f"version {newest} of {each.label} was recorded by a newer cc-images; {whole}")
            else:
                told.append(f"version {newest} of {each.label} is damaged, -b builds it again; {whole}")
    return told
