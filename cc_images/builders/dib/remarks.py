"""Remarks of dib's resolver on images before they are built, for the user, a sentence each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence

from cc_images.builders.dib.disk_layout import lacking
from cc_images.builders.dib.spec import DibSpec
from cc_images.builders.resolved import Known, Resolved
from cc_images.config.loader import Config, packaged
from cc_images.host import user_emulation
from cc_images.host.facts import HostFacts
from cc_images.host.named_files import missing_files
from cc_images.model.catalog import Arch, Image

BASE = "base"
"""The element that dib adds to the named ones."""

Images = Sequence[tuple[Image, Arch, Resolved]]


def remarks(images: Images, config: Config, known: Known, host: HostFacts) -> Iterator[str]:
    """Yield all remarks on images."""
    yield from _files_that_are_not_here(images, config)
    yield from _in_one_go(images)
    yield from _without_base(images, known, config)
    yield from _called_addresses(images)
    yield from _not_offered(images, known)
    yield from _slowly(images, host)
    yield from _lacking_programs(images)
    yield from _by_dib(images)


def _files_that_are_not_here(images: Images, config: Config) -> Iterable[str]:
    """Say which files variables name that this host does not have."""
    return dict.fromkeys(each for image, _, _ in images for each in missing_files(config.variables(image)))


def _in_one_go(images: Images) -> list[str]:
    """Say which images cannot start from their parent's tree, and why; not those whose entry forbids it."""
    found = {image.tag: each.obstacle for image, _, each in images if image.layer and each.obstacle}
    return [f"{tag} is built in one go, not from its parent's tree: {why}" for tag, why in found.items()]


def _without_base(images: Images, known: Known, config: Config) -> list[str]:
    """Say of images that were never built that dib alone would have added an element, unless the catalog decides it."""
    if config.files["images.yaml"] == packaged("images.yaml"):
        return []
    found = {
        config.lineage(image)[0].name: None
        for image, _, each in images
        if image.base is None and BASE not in each.recipe.elements and known.newest(each.spec.recipe_key) is None
    }
    if not found:
        return []
    return [
        f"disk-image-create would add its element {BASE} to {', '.join(found)}; `base: true` there does, `base: false` "
        "ends this note"
    ]


def _called_addresses(images: Images) -> list[str]:
    """Say which artifacts have the name of an address and hold a path, unless the catalog says which is meant."""
    unsaid = {
        variable: None
        for _, _, each in images
        for variable, artifact in each.spec.artifacts.items()
        if variable.endswith(("_URL", "_URI")) and artifact.as_url is None
    }
    return [
        f"{variable} holds the path of the fetched file: `as: url` makes it an address, `as: path` ends this note"
        for variable in unsaid
    ]


def _not_offered(images: Images, known: Known) -> Iterable[str]:
    """Say which packages of images' entries are in none of the repositories that builds before them have read."""
    told: dict[str, None] = {}
    for image, arch, each in images:
        spec = each.spec
        if not isinstance(spec, DibSpec) or not spec.packages:
            continue
        names = known.offered(spec.recipe_key) or (known.offered(spec.base.recipe_key) if spec.base else None)
        for package in spec.packages if names else ():
            if package.partition("=")[0].partition(":")[0] not in (names or ()):
                close = difflib.get_close_matches(package, names or (), n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                told[f"{image.name}: no repository that builds for {arch} have read offers {package}{hint}"] = None
    return told


def _lacking_programs(images: Images) -> list[str]:
    """Say which disks cannot be made here: this host lacks programs of their layout."""
    return [
        f"{image.tag}: its disk's layout takes {', '.join(missing)}, which this host lacks: a build will be refused"
        for image, _, each in images
        if (missing := lacking(each.spec.host_programs))
    ]


def _by_dib(images: Images) -> list[str]:
    """Say which disks are not put together here, and why; not those whose entry forbids it."""
    found: dict[str, dict[str, None]] = {}
    for image, _, each in images:
        if image.assemble and each.by_dib:
            found.setdefault(each.by_dib, {})[image.tag] = None
    return [f"dib makes the disk of {', '.join(tags)}, different in each build: {why}" for why, tags in found.items()]


def _slowly(images: Images, host: HostFacts) -> Iterable[str]:
    """Say for which architectures no program can run here, or every single one will be emulated, and why."""
    told: dict[str, None] = {}
    for _, arch, each in images:
        if arch not in host.runs:
            remedy = user_emulation.remedy(arch)
            told[f"this host cannot run programs for {arch}, so a build will be refused: {remedy}"] = None
        elif each.slow:
            told[f"{arch} is built by plain emulation, many times slower: {each.slow}"] = None
    return told
