"""The catalogue: images.yaml, read into images that have inherited everything from their parents.

Owns the schema of an image's entry, and what entries must not do to each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from cc_images.config import contexts, definitions, parents, variants
from cc_images.config.boot_parts import check_tests
from cc_images.config.container_parts import (
    OF_DIB,
    builder_of,
    container_of,
    containerfile_of,
    inherited,
    parents_of,
    tried,
    version_of,
    with_labels,
    without_dib,
)
from cc_images.config.durations import retirement
from cc_images.config.image_parts import (
    MACHINES,
    NAME,
    artifact_of,
    check_properties,
    checks_of,
    contract_of,
    firmware_of,
    formats_of,
    tags_of,
    waivers_of,
)
from cc_images.config.variants import Entry
from cc_images.config.yaml_file import Document, Section
from cc_images.config.yaml_text import choice
from cc_images.model.catalog import Arch, Contract, Firmware, Format, Image, Material
from cc_images.model.words import ALLOWED, RESERVED

OURS = frozenset({"DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_MANIFEST_SAVE_DIR", "DIB_NO_TMPFS", "DIB_QUIET"}) | {
    "DIB_PYTHON_EXEC"
}
"""`DIB_*` variables that the sandbox decides; they are not handed down from the user's environment."""

SANDBOXS = OURS | {"ARCH", "HOME", "LANG", "LOGNAME", "PATH", "TERM", "TMPDIR", "TMP_DIR", "USER"}
"""Variables that builds have from the sandbox; no artifact may take their place."""

SETTINGS = ("FS_TYPE", "MAX_ONLINE_RESIZE", "MKFS_OPTS", "ROOT_LABEL")
"""Other variables that disk-image-create reads, or takes as --root-label, --max-online-resize and --mkfs-options."""

ARCHIVED = re.compile(r"-\d{8}(\.\d+)?\Z")
"""The ending of archive names."""

_NETWORK = re.compile(r"(host|private)\Z")
PACKAGE = re.compile(r"[A-Za-z0-9_*@][^\s,\x00-\x1f]*\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def images(document: Document, problems: list[str]) -> dict[str, Image]:
    """Return the images by tag, parents first; empty when there was any problem."""
    written = definitions.with_found(variants.entries(document, NAME), document.file, problems)
    found = _images(written, problems)
    variants.once(problems, written)
    return found


def _images(written: Sequence[Entry], problems: list[str]) -> dict[str, Image]:
    found: dict[str, Image] = {}
    where: dict[str, Section] = {}
    for entry in written:
        section, image = entry.section, _image(entry)
        if image.tag in RESERVED:
            section.problem("", f"{image.tag} is a word of the command line; choose another name")
        elif image.tag in found:
            section.problem(
                "", f"its tag {image.tag} is also that of {found[image.tag].name}; names must differ by more than case"
            )
        found[image.tag], where[image.tag] = image, section
    parents.check(found, where, problems)
    _check_published_names(found, where)
    ordered = _parents_first(found, where)
    if not problems:
        _check_left_out(ordered, found, where)
    if problems:
        return {}
    complete: dict[str, Image] = {}
    for tag in ordered:  # parents come first
        complete[tag] = _inherit(found[tag], complete)
    check_tests(found, complete, where)
    return {} if problems else complete


def _check_left_out(ordered: Sequence[str], images: Mapping[str, Image], where: Mapping[str, Section]) -> None:
    """Report what is left out and was never there."""
    for tag in ordered:
        there = content([images[each] for each in _line(tag, images)][:-1]) if images[tag].without else ()
        for name in images[tag].without:
            if name not in there:
                where[tag].problem("without", f"{name} is in no parent's list: {', '.join(there) or 'there is none'}")


def content(lineage: Sequence[Image]) -> tuple[str, ...]:
    """Return the content elements of an image by its ancestors, the oldest first, and itself; `base` comes first."""
    named: list[str] = []
    for each in lineage:
        named = [name for name in named if name not in each.without]
        named += each.elements
    return tuple(dict.fromkeys((*(["base"] if lineage and lineage[0].base else []), *named)))


def _line(tag: str, images: Mapping[str, Image]) -> list[str]:
    """Return an image's ancestors by first parents, the oldest first, and itself."""
    found = [tag]
    while images[found[-1]].depends:
        found.append(images[found[-1]].depends[0])
    return found[::-1]


def _check_published_names(images: Mapping[str, Image], where: Mapping[str, Section]) -> None:
    """Report two images that would have one name on sites, such as X for arm64 and X-ARM64."""
    published: dict[str, Image] = {}
    for tag, image in images.items():
        if ARCHIVED.search(image.name):
            where[tag].problem("", "ends like the name of an archived version (-YYYYMMDD); choose another")
    for tag, image in images.items():
        for arch in image.arches:
            name = image.published_name(arch)
            other = published.setdefault(name, image)
            if other is not image:
                where[tag].problem("", f"would be published as {name}, and so would {other.name}")


def _parents_first(images: Mapping[str, Image], where: Mapping[str, Section]) -> list[str]:
    """Return the tags so that parents stand before children; report each cycle once."""
    ordered: list[str] = []
    done: set[str] = set()
    for start in images:
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            tag, left = stack.pop()
            if left:
                path.pop()
                done.add(tag)
                ordered.append(tag)
            elif tag in path:
                cycle = [*path[path.index(tag) :], tag]
                where[tag].problem(
                    "depends", "images depend on each other: " + " → ".join(images[t].name for t in cycle)
                )
                return ordered
            elif tag not in done and tag in images:
                path.append(tag)
                stack.append((tag, True))
                stack.extend((parent, False) for parent in reversed(images[tag].depends))
    return ordered


def _inherit(image: Image, images: Mapping[str, Image]) -> Image:
    """Fill in what an image has from its first parents; `builders.dib.element_checks` adds their checks."""
    if not image.depends or image.depends[0] not in images:
        return image
    parent = images[image.depends[0]]
    said = {each.name: value for each in fields(Contract) if (value := getattr(image.boot, each.name))}
    provenance = {**parent.provenance, **image.provenance}
    return replace(
        image,
        provenance=provenance,
        version=image.version or ("" if image.builder == "spack" else parent.version),
        bump=image.bump or parent.bump,
        base=parent.base,
        network=image.network or parent.network,
        boot=replace(parent.boot, **said),
        container=inherited(image, parent),
    )


def _image(entry: Entry) -> Image:
    section, name = entry.section, entry.section.name
    of_disks = [key for key in ("disk", "firmware", "assemble") if key in section]
    of_dib = [key for key in OF_DIB if key in section]
    base = section.flag("base") if "base" in section else None
    builder = builder_of(section)
    image = Image(
        name=name,
        family=entry.family,
        variant=entry.variant,
        arches=section.choices("arch", Arch, MACHINES) or (Arch.AMD64,),
        depends=parents_of(section, builder),
        elements=section.words("elements", default=((entry.family or name).lower(),)),
        disk=section.words("disk", default=("vm", "block-device-efi")),
        environment=section.mapping("environment", _VARIABLE, "a variable's name"),
        packages=section.words("packages"),
        baremetal_only=_is_for_metal(section),
        provenance=section.mapping("provenance", NAME, "a key"),
        artifacts={sub.name: artifact_of(sub) for sub in section.children("artifacts", _VARIABLE)},
        formats=formats_of(section) or ((Format.QCOW2,) if builder == "dib" else (Format.OCI,)),
        container=with_labels(container_of(section.child("container")), section) | tried(section),
        builder=builder,
        containerfile=containerfile_of(section) | contexts.contexts_of(section),
        version=version_of(section),
        bump=section.flag("bump"),
        properties=section.mapping("properties", NAME, "a property's name"),
        tags=tags_of(section),
        checks=checks_of(section.child("checks")),
        firmware=section.choices("firmware", Firmware),
        timeout=section.number("timeout", 240, least=1),
        scratch=section.number("scratch", 6, least=1),
        eol=section.day("eol"),
        layer=section.flag("layer", default=True),
        assemble=section.flag("assemble", default=True),
        abstract=section.flag("abstract"),
        in_all=section.flag("in-all", default=True),
        secrets=section.words("secrets"),
        network=section.text("network", _NETWORK, "host or private"),
        without=section.words("without"),
        boot=contract_of(section.child("boot")),
        base=base,
        allow=section.words("allow"),
        retire=retirement(section),
        waivers=waivers_of(section),
    )
    if builder != "dib":
        image = without_dib(section, image, of_dib)
    elif image.containerfile:
        section.problem(next(iter(image.containerfile)), "is for builder: containerfile, which the entry does not say")
    if image.depends and image.base is not None:
        section.problem("base", f"belongs to the tree, which is that of {image.depends[0]}; say it there")
    if image.makes is Material.TREE:
        image = replace(image, disk=())
        for key in of_disks:
            section.unused(key, f"it has no disk: its formats are {', '.join(image.formats)}")
    section.words(variants.KEY)  # is known; `variants` has taken it out
    _check_words(section, image)
    check_properties(section, image.properties)
    section.close()
    return replace(image, firmware=firmware_of(image))


def _is_for_metal(section: Section) -> bool:
    """Read the key by either of its names."""
    if "baremetal-only" in section and "baremetal_only" in section:
        section.problem("baremetal_only", "given twice, also as baremetal-only; remove one")
    return section.flag("baremetal-only") | section.flag("baremetal_only")


def _check_words(section: Section, image: Image) -> None:
    """Report names that are none, and variables that an image may not set."""
    for word in image.allow:
        if word not in ALLOWED:
            section.problem("allow", choice(word, ALLOWED))
    for variable in image.artifacts.keys() & SANDBOXS:
        section.problem(f"artifacts.{variable}", "is a variable that the sandbox decides; choose another name")
    for package in image.packages:
        if not PACKAGE.match(package):
            section.problem("packages", f"{package!r} is not a package's name")
    for element in (*image.elements, *image.disk, *image.without):
        if not NAME.match(element):
            section.problem("elements", f"{element!r} is not an element's name")
    _check_variables(section, image)


def _check_variables(section: Section, image: Image) -> None:
    """Report variables that an image may not set, and secrets that are no variables."""
    for name in image.secrets:
        if (image.builder == "dib" and not name.startswith("DIB_")) or not _VARIABLE.match(name):
            section.problem("secrets", f"{name!r} is not the name of a DIB_* variable")
    for variable in image.environment:
        if not (variable.startswith("DIB_") or variable in SETTINGS) or variable in OURS:
            if variable in OURS:
                section.problem(f"environment.{variable}", "is a variable that the sandbox decides")
                continue
            section.problem(
                f"environment.{variable}", f"is neither DIB_* nor one of {', '.join(SETTINGS)}, which an image may set"
            )
