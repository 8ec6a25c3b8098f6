"""The configuration: three YAML files and the environment, read once, checked in full, frozen.

Owns the schema. Every mistake is found before anything runs, and all are reported at once. Values keep the text that
the user wrote: a release 22.10 stays 22.10.

Where a file comes from: its environment variable, else the current folder when that has an `images.yaml`, else the
files that come with cc-images.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cc_images.checks import DROPPED, KINDS
from cc_images.checks import merged as merged_checks
from cc_images.checks import mistake as mistaken_check
from cc_images.document import Document, Section, choice
from cc_images.errors import ConfigError
from cc_images.model import RESERVED, Arch, Artifact, Checks, ElementSource, Firmware, Format, Image, Site
from cc_images.properties import mistake
from cc_images.recipe import secret_values

FILES: Mapping[str, str] = {
    "images.yaml": "CC_IMAGES_CONFIG",
    "sites.yaml": "CC_SITES_CONFIG",
    "third-party.yaml": "CC_THIRD_PARTY_ELEMENTS_CONFIG",
}
"""The files and the variables that override them."""

OURS = frozenset({"DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_MANIFEST_SAVE_DIR", "DIB_NO_TMPFS", "DIB_QUIET"}) | {
    "DIB_PYTHON_EXEC"
}
"""`DIB_*` variables that the sandbox decides; they are not handed down from the user's environment."""

NETWORK = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

ARCHIVED = re.compile(r"-\d{8}(\.\d+)?\Z")
"""What archive names end with."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\Z")
_SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_URL = re.compile(r"(https?|file)://\S+\Z")
_COMMIT = re.compile(r"[0-9a-f]{7,40}\Z")
_VISIBILITIES = ("private", "shared", "community", "public")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the user configured. `images` is in an order in which parents come first, and keyed by tag."""

    images: Mapping[str, Image]
    sites: tuple[Site, ...]
    sources: tuple[ElementSource, ...]
    files: Mapping[str, Path]
    elements: tuple[Path, ...]
    store: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """The user's `DIB_*` variables; they win over the catalogue's."""
    network: Mapping[str, str] = field(default_factory=dict)
    """Proxies; handed to builds, and no part of a key."""
    arches: tuple[Arch, ...] = ()
    """The `ARCH` of the environment."""
    notes: tuple[str, ...] = ()

    def lineage(self, image: Image) -> tuple[Image, ...]:
        """Return the images that this one builds on, oldest first, itself last: its first parent's, and so on."""
        parents = self.lineage(self.images[image.depends[0]]) if image.depends else ()
        return (*parents, image)

    def variables(self, image: Image) -> dict[str, str]:
        """Return the `DIB_*` of an image's builds: its ancestors' first, its own over theirs, the user's over all."""
        together: dict[str, str] = {}
        for each in self.lineage(image):
            together |= each.environment
        return together | dict(self.environment)

    def secrets(self, tag: str) -> tuple[str, ...]:
        """Return what no file of an image may contain: the secret values of its build's variables."""
        return secret_values(self.variables(self.images[tag]) | dict(self.network))


def load(environ: Mapping[str, str], cwd: Path) -> Config:
    """Read and check the configuration that is in force in `cwd`.

    Raises ConfigError with every mistake that was found.
    """
    files = {name: _locate(name, variable, environ, cwd) for name, variable in FILES.items()}
    problems: list[str] = []
    images = _images(Document(files["images.yaml"], problems), problems)
    sites_document = Document(files["sites.yaml"], problems)
    sites = tuple(_site(section) for section in sites_document.sections(_SITE_NAME))
    for which in ("cloud", "directory"):
        seen: dict[str, str] = {}
        for site in sites:
            place = getattr(site, which)
            if place and seen.setdefault(place, site.name) != site.name:
                problems.append(f"sites.yaml: {site.name}.{which}: {place} is also that of {seen[place]}")
    sources = tuple(_source(section) for section in Document(files["third-party.yaml"], problems).sections(_NAME))
    arches = _arches(environ.get("ARCH", ""), problems)
    if problems:
        raise ConfigError(problems)
    home = Path(environ.get("HOME", "/root"))
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return Config(
        images=images,
        sites=tuple(replace(site, directory=_absolute(site.directory, home, files["sites.yaml"])) for site in sites),
        sources=sources,
        files=files,
        elements=tuple(dict.fromkeys((*_beside(files["images.yaml"]), packaged("elements")))),
        store=Path(environ.get("CC_IMAGES_STORE") or cache / "cc-images").absolute(),
        environment={
            name: value for name, value in sorted(environ.items()) if name.startswith("DIB_") and name not in OURS
        },
        network={name: environ[name] for name in NETWORK if name in environ},
        arches=arches,
        notes=tuple(sites_document.notes),
    )


def packaged(name: str) -> Path:
    """Return a file or folder that comes with cc-images: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "data" / name
    return installed if installed.exists() else package.parent / name


def _locate(name: str, variable: str, environ: Mapping[str, str], cwd: Path) -> Path:
    if environ.get(variable):
        return (cwd / environ[variable]).absolute()
    local = cwd / name
    return local.absolute() if (cwd / "images.yaml").is_file() and local.is_file() else packaged(name)


def _beside(images_file: Path) -> tuple[Path, ...]:
    elements = images_file.parent / "elements"
    return (elements,) if elements.is_dir() else ()


def _absolute(directory: str, home: Path, file: Path) -> str:
    if not directory:
        return ""
    expanded = home / directory[2:] if directory == "~" or directory.startswith("~/") else Path(directory)
    return str((file.parent / expanded).absolute())


def _arches(text: str, problems: list[str]) -> tuple[Arch, ...]:
    if not text:
        return ()
    unknown = [word for word in text.split(",") if word not in {arch.value for arch in Arch}]
    if unknown:
        problems.append(f"environment: ARCH: {choice(unknown[0], [arch.value for arch in Arch])}")
        return ()
    return tuple(Arch(word) for word in text.split(","))


# -- the three files -----------------------------------------------------------------------------------------------


def _images(document: Document, problems: list[str]) -> dict[str, Image]:
    sections = list(document.sections(_NAME))
    images: dict[str, Image] = {}
    where: dict[str, Section] = {}
    for section in sections:
        image = _image(section)
        if image.tag in RESERVED:
            section.problem("", f"{image.tag} is a word of the command line; choose another name")
        elif image.tag in images:
            section.problem(
                "", f"its tag {image.tag} is also that of {images[image.tag].name}; names differ by more than case"
            )
        images[image.tag], where[image.tag] = image, section
    for tag, image in images.items():
        for parent in image.depends:
            if parent not in images:
                names = [other.name for other in images.values()]
                close = difflib.get_close_matches(parent, [name.lower() for name in names], n=1)
                hint = f" (did you mean {images[close[0]].name}?)" if close else ""
                where[tag].problem("depends", f"{parent!r} is not in the catalogue{hint}")
            elif lacking := [arch for arch in image.arches if arch not in images[parent].arches]:
                parent_name = images[parent].name
                where[tag].problem("arch", f"{', '.join(lacking)} is not among those of its parent {parent_name}")
    _check_published_names(images, where)
    ordered = _parents_first(images, where)
    return {} if problems else {tag: _inherit(images[tag], images) for tag in ordered}


def _check_published_names(images: Mapping[str, Image], where: Mapping[str, Section]) -> None:
    """Report two images that would have one name on sites, such as X for arm64 and X-ARM64."""
    published: dict[str, Image] = {}
    for tag, image in images.items():
        if ARCHIVED.search(image.name):
            where[tag].problem("", "ends as the names of archived versions do (-YYYYMMDD); choose another")
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
    """Fill in what an image has from its first parents: provenance and checks."""
    if not image.depends:
        return replace(image, checks=merged_checks({}, image.checks))
    parent = _inherit(images[image.depends[0]], images)
    return replace(
        image,
        provenance={**parent.provenance, **image.provenance},
        checks=merged_checks(parent.checks, image.checks),
    )


def _image(section: Section) -> Image:
    name = section.name
    baremetal = [key for key in ("baremetal-only", "baremetal_only") if key in section]
    if len(baremetal) == 2:
        section.problem("baremetal_only", "given twice, also as baremetal-only; remove one")
    image = Image(
        name=name,
        arches=section.choices("arch", Arch) or (Arch.AMD64,),
        depends=tuple(word.lower() for word in section.words("depends")),
        elements=section.words("elements", default=(name.lower(),)),
        disk=section.words("disk", default=("vm", "block-device-efi")),
        environment=section.mapping("environment", _VARIABLE, "a variable's name"),
        packages=section.words("packages"),
        baremetal_only=section.flag("baremetal-only") | section.flag("baremetal_only"),
        provenance=section.mapping("provenance", _NAME, "a key"),
        artifacts={sub.name: _artifact(sub) for sub in section.children("artifacts", _VARIABLE)},
        formats=section.choices("formats", Format) or (Format.QCOW2,),
        properties=section.mapping("properties", _NAME, "a property's name"),
        checks=_checks(section.child("checks")),
        firmware=section.choices("firmware", Firmware),
        timeout=section.number("timeout", 240, least=1),
        eol=section.day("eol"),
        layer=section.flag("layer", default=True),
    )
    for variable in image.environment:
        if not variable.startswith("DIB_") or variable in OURS:
            section.problem(f"environment.{variable}", "is not a DIB_* variable that an image may set")
    _check_properties(section, image.properties)
    section.close()
    return replace(image, firmware=_firmware(image))


def _firmware(image: Image) -> tuple[Firmware, ...]:
    """Return what an image's disk starts with.

    Unless the catalogue says it: dib's EFI layouts have a boot loader for BIOS too, its others for BIOS alone. What the
    property for clouds asks for is tested in any case.
    """
    usual = {Firmware.BIOS, Firmware.UEFI} if any("efi" in element for element in image.disk) else {Firmware.BIOS}
    claimed = set(image.firmware) or usual
    if image.properties.get("hw_firmware_type") in set(Firmware):
        claimed.add(Firmware(image.properties["hw_firmware_type"]))
    return tuple(each for each in Firmware if each in claimed)


def _checks(section: Section) -> Checks:
    """Return what the boot test shall look for; a name whose expectation is `no` is one that the parent's drops."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for kind, known in KINDS.items():
        for name, said in section.named(kind).items():
            if said in ("", "yes", "true"):
                wanted = {}
            elif isinstance(said, str):
                wanted = {DROPPED: ""} if said in ("no", "false") else {known.short or "": said}
            else:
                wanted = said.texts()
            wrong = "" if DROPPED in wanted else mistaken_check(kind, name, wanted)
            if wrong:
                section.problem(f"{kind}.{name}", wrong)
            found.setdefault(kind, {})[name] = wanted
    section.close()
    return found


def _check_properties(section: Section, properties: Mapping[str, str]) -> None:
    for name, value in properties.items():
        if wrong := mistake(name, value):
            section.problem(f"properties.{name}", wrong)


def _artifact(section: Section) -> Artifact:
    artifact = Artifact(
        url=section.text("url", _URL, "an address that begins with https://, http:// or file://"),
        object=section.text("object"),
        site=section.text("site"),
        sha256=section.text("sha256", _SHA256, "64 hexadecimal digits in lower case"),
        filename=section.text("filename", _NAME, "a file's name without folders"),
    )
    if bool(artifact.url) == bool(artifact.object):
        section.problem("", "needs either url, or object and site")
    elif artifact.object and not artifact.site:
        section.problem("site", "is missing; name the cloud whose object store has the object")
    section.close()
    return artifact


def _site(section: Section) -> Site:
    site = Site(
        name=section.name,
        cloud=section.text("cloud"),
        directory=section.text("directory"),
        is_baremetal=section.flag("is_baremetal"),
        formats=section.choices("formats", Format),
        visibility=section.text("visibility") or "private",
        properties=section.mapping("properties", _NAME, "a property's name"),
        stores=section.words("stores"),
        keep=section.number("keep", -1, least=0),
    )
    if bool(site.cloud) == bool(site.directory):
        section.problem("", "needs either cloud (an entry of clouds.yaml) or directory (a folder)")
    if site.visibility not in _VISIBILITIES:
        section.problem("visibility", choice(site.visibility, _VISIBILITIES))
    if site.cloud and len(site.formats) > 1:
        section.problem("formats", "a cloud takes each image in one format, because names are the same for all")
    suffixes = [disk_format.suffix for disk_format in site.formats]
    if len(set(suffixes)) < len(suffixes):
        section.problem("formats", "two of them have the same file ending")
    _check_properties(section, site.properties)
    section.ignore("image_container", "images are published to Glance or a folder")
    section.close()
    return replace(site, keep=None) if site.keep == -1 else site


def _source(section: Section) -> ElementSource:
    source = ElementSource(
        name=section.name,
        repo=section.text("repo"),
        branch=section.text("branch") or "main",
        elements_directory=section.text("elements_directory") or ".",
        commit=section.text("commit", _COMMIT, "7 to 40 hexadecimal digits"),
    )
    if not source.repo:
        section.problem("repo", "is missing; give the repository's address")
    section.close()
    return source
