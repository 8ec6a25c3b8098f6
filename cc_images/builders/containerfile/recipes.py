"""Recipes: the spec and recipe of an image from its entry of the catalogue, its context and this host."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cc_images.builders.containerfile import context, definition_file, named
from cc_images.builders.containerfile.containerfile import Containerfile, Stage, images, parsed, require_kept
from cc_images.builders.containerfile.generated import generated
from cc_images.builders.containerfile.instructions import instructions
from cc_images.builders.containerfile.layered import LayeredRecipes, recipe_of, said_of
from cc_images.builders.containerfile.remote import require_pinned
from cc_images.builders.containerfile.sections import OWN, labelled, readme_said
from cc_images.builders.containerfile.spec import ContainerfileSpec, From, Numbered
from cc_images.builders.resolved import Resolved
from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Arch, Download, Image, Json, Material
from cc_images.model.container import configured
from cc_images.model.contracts import README
from cc_images.model.recipe import Recipe

_TAGGED = re.compile(r"[:@].*")

WRITER = "1"
"""Part of every key: raised when layers come out differently, by `toolbox/containerfile.py` or by what writes them."""

MOST_OTHERS = 3
"""Images whose downloads are shown to the build of another one: they are read whole before."""

BASE = "BASE"
"""The build argument that names the first parent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A context as it was read once."""

    entries: tuple[context.Entry, ...]
    digest: str
    text: str


@dataclass(slots=True, kw_only=True)
class Recipes(LayeredRecipes):
    """Specs and recipes of images with a Containerfile.

    `parent_layer` resolves the layer of a parent, whoever makes it; `digest_of` finds what an image of a registry is
    now; `builder` identifies the program that builds;
    `newest` knows what an image was when it was built last.
    """

    config: Config
    builder: str
    parent_layer: Callable[[Image, Arch], Resolved]
    digest_of: Callable[[str, Arch], str]
    newest: Callable[[str, Arch], Numbered] = lambda tag, arch: Numbered()
    _contexts: dict[Path, Found] = field(default_factory=dict)
    _sharing: dict[Arch, dict[Path, list[str]]] = field(default_factory=dict)
    """The tags of images by their contexts."""

    def layers(self, resolved: Resolved) -> list[Resolved]:
        """Return the layers that a build or layer relies on itself."""
        return [self.made[key] for key in resolved.spec.relies_on]

    def files(self, image: Image) -> Json:
        """Return the digests of the files of an image's context."""
        found = [each for arch in image.arches for each in self._context(self._folder(image, arch)).entries]
        return {each.name: each.digest for each in found}

    def bases(self, image: Image, arch: Arch, names: Sequence[str]) -> dict[str, From]:
        """Return where the images are from that stages name; a tag of the catalogue is never asked at a registry."""
        bases: dict[str, From] = {}
        for number, name in enumerate(names):
            parent = self.config.images.get(name.lower())
            if parent is None and (bare := self.config.images.get(_TAGGED.sub("", name.lower()))):
                raise UserError(
                    f"FROM {name}: {bare.tag} is an image of the catalogue, which has no tags",
                    hint=f"say FROM {bare.tag}",
                    reason=Reason.VALUE,
                )
            if parent is None:
                bases[name] = From(download=f"FROM_{number}")
                continue
            if parent is image:
                raise UserError(f"FROM {name}: it starts from itself", hint="name another image", reason=Reason.VALUE)
            if parent.tag not in image.depends:
                raise UserError(
                    f"FROM {name}: that is an image of the catalogue, and no parent of {image.name}",
                    hint=f"add {parent.tag} to its depends",
                    reason=Reason.VALUE,
                )
            layer = self._parent_layer(parent, arch)
            self.made[layer.spec.recipe_key] = layer
            own = parent.builder != "dib"
            told = {} if own else configured(parent, parent.published_name(arch)).as_json()
            bases[name] = From(layer=layer.spec.recipe_key, said=told)
        return bases

    def _parent_layer(self, parent: Image, arch: Arch) -> Resolved:
        try:
            return self.parent_layer(parent, arch)
        except UserError as error:
            message = f"its parent {parent.name}: {error.message}"
            raise UserError(message, hint=error.hint, reason=error.reason) from error

    def needed(self, file: Containerfile, target: Stage) -> tuple[Stage, ...]:
        """Return the stages that a target needs. Raises UserError for what images would lose, or nobody could check."""
        found = file.needed(target)
        require_kept(found)
        require_pinned((each for stage in found for each in stage.remotes), self.builder)
        return found

    def fetched(self, bases: Mapping[str, From], arch: Arch) -> tuple[dict[str, str], dict[str, Download]]:
        """Return the digests of images of registries by name, and their downloads by the variables of these."""
        named = {each.download: name for name, each in bases.items() if each.download}
        digests = {name: self.digest_of(name, arch) for name in named.values()}
        return digests, {variable: download(name, digests[name], arch) for variable, name in named.items()}

    def said(self, image: Image, arch: Arch, folder: Path, stages: Sequence[Stage], bases: Mapping[str, From]) -> Json:
        """Return what the catalogue and the README say of an image, without what they say of those it starts from."""
        theirs = {*README} if any(each.download for each in bases.values()) else set()
        for parent in self.config.lineage(image)[:-1]:
            theirs |= self._tells(parent, arch)
        own = labelled(each for stage in stages for each in stage.instructions)
        return readme_said(image, arch, folder, cleared=theirs - own)

    def _tells(self, image: Image, arch: Arch) -> set[str]:
        """Return which labels of one image alone an image has."""
        usual = "spack" if image.builder == "spack" else "containers"
        folder = placed(image, arch, self.config.files["images.yaml"].parent, usual)
        found = {name for name, text in readme_said(image, arch, folder)["labels"].items() if text and name in OWN}
        if image.builder != "containerfile":
            return found
        return found | labelled(instructions(self._context(self._folder(image, arch)).text))

    def before(self, image: Image, arch: Arch) -> Numbered | None:
        """Return what an image was when it was built last, if its version is raised when it changes."""
        return self.newest(image.tag, arch) if image.bump else None

    def resolved(self, image: Image, arch: Arch) -> Resolved:
        """Return the layer of an image, which is resolved now; see `LayeredRecipes`."""
        folder = self._folder(image, arch)
        found = self._context(folder)
        said: Json = dict(image.containerfile)
        arguments = {**({BASE: image.depends[0]} if image.depends else {}), **said.get("build-args", {})}
        file = parsed(found.text, arguments, arch)
        target = file.target(said.get("target", ""))
        generated(file, target, dict.fromkeys(images(file.stages), "image"))  # which says what buildah cannot
        needed = self.needed(file, target)
        contexts = named.found(image, named.taken(image, file, needed, self.config.images))
        bases = self.bases(image, arch, [name for name in images(needed) if name not in contexts])
        digests, downloads = self.fetched(bases, arch)
        spec = ContainerfileSpec(
            makes=Material.TREE,
            name=image.name,
            tag=image.tag,
            arch=arch,
            recipe_key="",
            artifacts=downloads,
            timeout=image.timeout,
            scratch=image.scratch,
            families=tuple(f"{tag}-{arch}" for tag in self._like(image, arch)),
            network=image.network,
            secrets=image.secrets,
            folder=str(folder),
            context=found.digest,
            file=context.digest_of_text(found.text),
            arguments=arguments,
            target=said.get("target", ""),
            said=self.said(image, arch, folder, needed, bases),
            images=bases,
            contexts=contexts,
            before=self.before(image, arch),
        )
        recipe = self._recipe(spec, digests, file, target)
        spec = replace(spec, recipe_key=recipe.recipe_key)
        return Resolved(spec=spec, recipe=recipe, on_parent=any(each.layer for each in bases.values()))

    def _recipe(
        self, spec: ContainerfileSpec, digests: Mapping[str, str], file: Containerfile, target: Stage
    ) -> Recipe:
        others = {name: each.layer for name, each in spec.images.items() if each.layer}
        first = next(iter(others.values()), "")
        return recipe_of(
            spec,
            {"buildah": self.builder, "cc-images": WRITER},
            parent=first,
            artifacts={**digests, **dict(list(others.items())[1:])},
            files={
                "context": spec.context,
                "Containerfile": spec.file,
                "target": str(target.number),
                **{f"context {name}": each.identity for name, each in spec.contexts.items()},
            },
            container=said_of(spec),
            environment=spec.arguments,
        )

    def _like(self, image: Image, arch: Arch) -> list[str]:
        """Return an image's tag, and those of some others of the same context, which download much of the same."""
        beside = self.config.files["images.yaml"].parent
        if arch not in self._sharing:
            self._sharing[arch] = {}
            for each in self.config.images.values():
                if each.builder == image.builder and arch in each.arches:
                    self._sharing[arch].setdefault(placed(each, arch, beside, "containers"), []).append(each.tag)
        found = self._sharing[arch].get(placed(image, arch, beside, "containers"), [])
        return [image.tag, *(tag for tag in found if tag != image.tag)][: 1 + MOST_OTHERS]

    def _folder(self, image: Image, arch: Arch) -> Path:
        place = placed(image, arch, self.config.files["images.yaml"].parent, "containers")
        if place.suffix != definition_file.SUFFIX:
            return place
        return definition_file.context_of(place, self.config.images, self.config.store)

    def _context(self, folder: Path) -> Found:
        if folder not in self._contexts:
            text = context.text_of(folder)
            found = context.entries(folder)
            self._contexts[folder] = Found(entries=tuple(found), digest=context.digest(found), text=text)
        return self._contexts[folder]


def placed(image: Image, arch: Arch, beside: Path, usual: str) -> Path:
    """Return the context of an image; `{arch}` in it is the architecture by Debian's name, or by the kernel's."""
    said: str = image.containerfile.get("context", f"{usual}/{image.entry_name.lower()}")
    found = beside / said.replace("{arch}", arch)
    return found if "{arch}" not in said or found.exists() else beside / said.replace("{arch}", arch.machine)


def download(name: str, digest: str, arch: Arch) -> Download:
    """Return the download of an image of a registry by its digest; the file is an archive of an OCI layout."""
    bare = name.partition("@")[0]
    return Download(url=f"docker://{pinned(bare, digest)}", filename=f"{arch}.oci.tar")


def pinned(name: str, digest: str) -> str:
    """Return the reference of an image by its digest alone: transports do not take a tag besides."""
    place, slash, last = name.rpartition("/")
    return f"{place}{slash}{last.partition(':')[0]}@{digest}"
