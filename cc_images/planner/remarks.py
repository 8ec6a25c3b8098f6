"""Remarks: what the user should know of images before a plan is carried out, a sentence each. Decides nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from cc_images.builders.dib.disk_layout import lacking
from cc_images.builders.dib.recipes import BASE, Blueprint
from cc_images.config.loader import Config, packaged
from cc_images.host import user_emulation
from cc_images.host.named_files import missing_files
from cc_images.model.catalog import Arch, Image
from cc_images.model.plan import Request
from cc_images.planner.freshness import World
from cc_images.planner.planner import ImageState
from cc_images.store.records import Store

UNTESTED = "--no-boot-test: images are pushed that may not boot; their property build-boot says so"


def untested(request: Request) -> list[str]:
    """Say loudly that nobody will have seen the images boot."""
    return [UNTESTED] if request.push and not request.boot_test else []


def damaged(candidates: Iterable[ImageState], store: Store) -> list[str]:
    """Say which newest builds are passed over because their files are missing or damaged."""
    told: list[str] = []
    for each in candidates:
        newest = store.recorded(each.image.tag, each.arch)
        if newest and store.build(each.image.tag, each.arch, newest) is None:  # else it is only not in force
            whole = f"{each.newest.version} is the newest whole one" if each.newest else "there is no other"
            path = store.root / "builds" / each.image.tag / each.arch / f"{newest}.json"
            if store.is_newer(path):
                told.append(f"version {newest} of {each.label} was recorded by a newer cc-images; {whole}")
            else:
                told.append(f"version {newest} of {each.label} is damaged, -b makes it anew; {whole}")
    return told


def files_that_are_not_here(chosen: Iterable[tuple[Image, Arch]], config: Config) -> list[str]:
    """Say which files variables name that this host does not have."""
    return list(dict.fromkeys(each for image, _ in chosen for each in missing_files(config.variables(image))))


def in_one_go(drawn: Iterable[tuple[Image, Arch, Blueprint]]) -> list[str]:
    """Say which images cannot start from their parent's tree, and why; not those whose entry forbids it."""
    found = {image.tag: blueprint.obstacle for image, _, blueprint in drawn if image.layer and blueprint.obstacle}
    return [f"{tag} is built in one go, not from its parent's tree: {why}" for tag, why in found.items()]


def without_base(drawn: Iterable[tuple[Image, Arch, Blueprint]], world: World, config: Config) -> list[str]:
    """Say of what was never built that dib alone would have added an element, unless the catalogue decides it."""
    if config.files["images.yaml"] == packaged("images.yaml"):
        return []
    found = {
        config.lineage(image)[0].name: None
        for image, _, blueprint in drawn
        if image.base is None and BASE not in blueprint.recipe.elements and world.newest(blueprint.job.asked) is None
    }
    if not found:
        return []
    return [
        f"disk-image-create would add its element {BASE} to {', '.join(found)}; `base: true` there does, `base: false` "
        "ends this note"
    ]


def called_addresses(drawn: Iterable[tuple[Image, Arch, Blueprint]]) -> list[str]:
    """Say which artifacts have the name of an address and hold a path, unless the catalogue says which is meant."""
    unsaid = {
        variable: None
        for _, _, blueprint in drawn
        for variable, artifact in blueprint.job.artifacts.items()
        if variable.endswith(("_URL", "_URI")) and artifact.as_url is None
    }
    return [
        f"{variable} holds the path of the fetched file: `as: url` makes it an address, `as: path` ends this note"
        for variable in unsaid
    ]


def not_offered(drawn: Iterable[tuple[Image, Arch, Blueprint]], world: World) -> list[str]:
    """Say which packages of images' entries are in none of the repositories that builds before them have read."""
    told: dict[str, None] = {}
    for image, arch, blueprint in drawn:
        job = blueprint.job
        if not job.packages:
            continue
        names = world.offered(job.asked) or (world.offered(job.base.asked) if job.base else None)
        for package in job.packages if names else ():
            if package.partition("=")[0].partition(":")[0] not in (names or ()):
                close = difflib.get_close_matches(package, names or (), n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                told[f"{image.name}: no repository that builds for {arch} have read offers {package}{hint}"] = None
    return [*told]


def lacking_programs(drawn: Iterable[tuple[Image, Arch, Blueprint]]) -> list[str]:
    """Say which disks cannot be made here: this host lacks what their layout takes."""
    return [
        f"{image.tag}: its disk's layout takes {', '.join(missing)}, which this host lacks, so a build will be refused"
        for image, _, blueprint in drawn
        if (missing := lacking(blueprint.job.programs))
    ]


def slowly(drawn: Iterable[tuple[Image, Arch, Blueprint]]) -> list[str]:
    """Say for which architectures no program can run here, or every single one will be emulated, and why."""
    notes: dict[str, None] = {}
    for _, arch, blueprint in drawn:
        if not user_emulation.runs_programs(arch):
            note = (
                f"this host cannot run programs for {arch}, so a build will be refused: {user_emulation.remedy(arch)}"
            )
        elif blueprint.slow:
            note = f"{arch} is built by plain emulation, many times slower: {blueprint.slow}"
        else:
            continue
        notes[note] = None
    return [*notes]
