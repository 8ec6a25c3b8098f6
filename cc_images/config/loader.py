"""The configuration: three YAML files and the environment, read once, checked in full, frozen.

Owns the schema. Every mistake is found before anything runs, and all are reported at once. Values keep the text that
the user wrote: a release 22.10 stays 22.10.

Where a file comes from: its environment variable, else the current folder when that has an `images.yaml`, else the
files that come with cc-images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cc_images.config import contexts
from cc_images.config.build_caches import BUILD_CACHES, build_caches_of
from cc_images.config.builders import builder_hosts, builders_file
from cc_images.config.image_parts import NAME
from cc_images.config.images import OURS, content, images
from cc_images.config.machines import machines, machines_file, machines_places
from cc_images.config.settings import NETWORK, Settings, places, read
from cc_images.config.site_places import at_one_place, placed, with_families
from cc_images.config.sites import SITE_NAME, idle, site_of
from cc_images.config.sources import source_of
from cc_images.config.variables import expanded
from cc_images.config.yaml_file import Document
from cc_images.config.yaml_text import choice
from cc_images.errors import ConfigError
from cc_images.model.attempt import BuilderHost
from cc_images.model.build_cache import BuildCache
from cc_images.model.catalog import Arch, Image
from cc_images.model.element_source import ElementSource
from cc_images.model.machine import Machine
from cc_images.model.redaction import secret_values
from cc_images.model.site import Site
from cc_images.model.workflow import NO_WORKFLOWS, Workflows

FILES: Mapping[str, str] = {
    "images.yaml": "CC_IMAGES_CONFIG",
    "sites.yaml": "CC_SITES_CONFIG",
    "third-party.yaml": "CC_THIRD_PARTY_ELEMENTS_CONFIG",
}
"""The files and the variables that override them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The user's configuration. `images` is keyed by tag, in an order in which parents come first."""

    images: Mapping[str, Image]
    sites: tuple[Site, ...]
    sources: tuple[ElementSource, ...]
    files: Mapping[str, Path]
    elements: tuple[Path, ...]
    store: Path
    beside: tuple[Path, ...] = ()
    """Files besides `files` that were read, or would be if they were there."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The user's `DIB_*` variables; they win over the catalogue's."""
    network: Mapping[str, str] = field(default_factory=dict)
    """Proxies; handed to builds, and no part of a key."""
    arches: tuple[Arch, ...] = ()
    """The `ARCH` of the environment."""
    home: Path = Path("/root")
    """The user's home, to which values that begin with ~/ refer."""
    notes: tuple[str, ...] = ()
    sign: str = ""
    """The key that signs what is published: an ssh key's file, or `gpg:FINGERPRINT`."""
    trusted: Path | None = None
    """The file of keys whose signatures count."""
    scheduled: tuple[str, ...] = ()
    """The tags that `scheduled` stands for."""
    builders: tuple[BuilderHost, ...] = ()
    machines: Mapping[str, Machine] = field(default_factory=dict)
    workflows: Workflows = NO_WORKFLOWS
    """Where the workflows of requests are from."""
    build_caches: tuple[BuildCache, ...] = ()
    """Caches of Spack packages besides the store's own."""
    relock: bool = False
    """Whether Spack images get new locks."""

    def lineage(self, image: Image) -> tuple[Image, ...]:
        """Return the images that this one builds on, oldest first, itself last: its first parent's, and so on."""
        found = [image]
        while found[-1].depends:
            found.append(self.images[found[-1].depends[0]])
        return tuple(reversed(found))

    def content(self, image: Image) -> tuple[str, ...]:
        """Return the content elements that an image and its ancestors name."""
        return content(self.lineage(image))

    def variables(self, image: Image) -> dict[str, str]:
        """Return the `DIB_*` of an image's builds: its ancestors' first, its own over theirs, the user's over all."""
        together: dict[str, str] = {}
        for each in self.lineage(image):
            together |= each.environment
        return expanded(together | dict(self.environment), self.home, self.files["images.yaml"].parent)

    def declared(self, image: Image) -> tuple[str, ...]:
        """Return the variables that an image and its ancestors say are secrets."""
        return tuple(dict.fromkeys(name for each in self.lineage(image) for name in each.secrets))

    def secrets(self, tag: str) -> tuple[str, ...]:
        """Return what no file of an image may contain: the secret values of its build's variables."""
        image = self.images[tag]
        return secret_values(self.variables(image) | dict(self.network), self.declared(image))


def load(environ: Mapping[str, str], cwd: Path) -> Config:
    """Read and check the configuration that is in force in `cwd`.

    Raises ConfigError with every mistake that was found.
    """
    settings = read(environ)
    files = {name: _locate(name, variable, environ, cwd) for name, variable in FILES.items()}
    problems: list[str] = []
    home = Path(environ.get("HOME", "/root"))
    images_document = Document(files["images.yaml"], problems)
    found = images(images_document, problems)
    sites_document = Document(files["sites.yaml"], problems)
    sections = {section.name: section for section in sites_document.sections(SITE_NAME)}
    build_caches = build_caches_of(sections.pop(BUILD_CACHES, None), home, files["sites.yaml"])
    sites = tuple(map(site_of, sections.values()))
    problems += at_one_place(sites, home, files["sites.yaml"])
    folders = {site.name for site in sites if site.folder}
    problems += [
        f"images.yaml: {image.name}.artifacts.{name}.site: {artifact.site} is a folder; objects are in a cloud's store"
        for image in found.values()
        for name, artifact in image.artifacts.items()
        if artifact.site in folders
    ]
    sources = tuple(source_of(section) for section in Document(files["third-party.yaml"], problems).sections(NAME))
    arches = _arches(environ.get("ARCH", ""), problems)
    builders = builder_hosts(builders_file(environ, files["images.yaml"], cwd), problems)
    known = machines(machines_file(environ, files["images.yaml"], cwd), problems)
    _refuse(problems)
    chosen = contexts.variables(environ, settings.contexts)
    return Config(
        images=contexts.placed(found, chosen, files["images.yaml"].parent, home, cwd),
        sites=tuple(placed(with_families(site, found.values()), home, files["sites.yaml"]) for site in sites),
        sources=sources,
        files=files,
        beside=(*machines_places(environ, files["images.yaml"], cwd), *places(environ)),
        elements=tuple(dict.fromkeys((*_elements_path(environ), *_beside(files["images.yaml"]), packaged("elements")))),
        store=_store(environ, settings, home),
        environment={
            name: value
            for name, value in sorted({**settings.environment, **environ}.items())
            if name.startswith("DIB_") and name not in OURS
        },
        network={name: value for name, value in {**settings.environment, **environ}.items() if name in NETWORK},
        arches=arches,
        home=home,
        notes=(
            *images_document.notes,
            *sites_document.notes,
            *idle(sites, found.values()),
            *_instead(files, environ, cwd),
            *_decided(settings, environ),
        ),
        sign=_in_home(settings.sign, home),
        trusted=Path(_in_home(settings.trusted, home)) if settings.trusted else None,
        scheduled=settings.scheduled,
        builders=builders,
        machines=known,
        workflows=settings.workflows,
        build_caches=build_caches,
    )


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


def _store(environ: Mapping[str, str], settings: Settings, home: Path) -> Path:
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    said = environ.get("CC_IMAGES_STORE") or settings.store
    if said == "~" or said.startswith("~/"):
        return home / said[2:]
    return Path(said or cache / "cc-images").absolute()


def _in_home(path: str, home: Path) -> str:
    return str(home / path[2:]) if path.startswith("~/") else path


def _decided(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Say which settings decide something that no variable of the environment does."""
    variables = {"store": "CC_IMAGES_STORE"}
    decided: dict[Path, list[str]] = {}
    for name, file in settings.sources.items():
        if name != "scheduled" and not name.startswith("--") and not environ.get(variables.get(name, name)):
            decided.setdefault(file, []).append(name)
    return [f"{file} sets {', '.join(names)}" for file, names in decided.items()]


def packaged(name: str) -> Path:
    """Return a file or folder that comes with cc-images: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "data" / name
    return installed if installed.exists() else package.parent / name


def _locate(name: str, variable: str, environ: Mapping[str, str], cwd: Path) -> Path:
    if environ.get(variable):
        return (cwd / environ[variable]).absolute()
    catalogue = environ.get(FILES["images.yaml"])
    if catalogue and os.path.lexists(beside := (cwd / catalogue).parent / name):
        return beside.absolute()
    local = cwd / name
    # what is there but is no file is a mistake, not a reason to take another one: reading it says so
    ours = os.path.lexists(cwd / "images.yaml") and os.path.lexists(local)
    return local.absolute() if ours else packaged(name)


def _instead(files: Mapping[str, Path], environ: Mapping[str, str], cwd: Path) -> list[str]:
    """Say which files come with cc-images, in a folder that seems to have some of its own."""
    if files["images.yaml"] != packaged("images.yaml"):
        return [
            f"there is no {name} here: the one that comes with cc-images is used"
            for name, file in files.items()
            if name == "sites.yaml" and file == packaged(name)
        ]
    alike = [each for each in ("image.yaml", "images.yml", "config/images.yaml") if (cwd / each).is_file()]
    return [f"{each} is not read: the catalogue that comes with cc-images is used; CC_IMAGES_CONFIG={each} reads it"
            for each in alike]  # fmt: skip


def _beside(images_file: Path) -> tuple[Path, ...]:
    """Return the folders of elements of a catalogue: beside it, and where it is in `config`, beside that."""
    places = [images_file.parent, *([images_file.parent.parent] if images_file.parent.name == "config" else [])]
    return tuple(place / "elements" for place in places if (place / "elements").is_dir())


def _elements_path(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the folders of ELEMENTS_PATH, which win as they do with dib."""
    found = tuple(Path(each).absolute() for each in environ.get("ELEMENTS_PATH", "").split(":") if each)
    for each in found:
        if not each.is_dir():
            raise ConfigError([f"environment: ELEMENTS_PATH: {each} is not a folder; correct it, or unset it"])
    return found


def _arches(text: str, problems: list[str]) -> tuple[Arch, ...]:
    if not text:
        return ()
    unknown = [word for word in text.split(",") if word not in {arch.value for arch in Arch}]
    if unknown:
        problems.append(f"environment: ARCH: {choice(unknown[0], [arch.value for arch in Arch])}")
        return ()
    return tuple(Arch(word) for word in text.split(","))
