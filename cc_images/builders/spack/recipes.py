"""Recipes: the specs and recipes of a Spack image and of its lock, from the entry, its folder and the builder image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cc_images.builders.containerfile import context
from cc_images.builders.containerfile.containerfile import images, parsed
from cc_images.builders.containerfile.layered import LayeredRecipes, recipe_of, said_of
from cc_images.builders.containerfile.recipes import WRITER, placed
from cc_images.builders.containerfile.recipes import Recipes as ContainerfileRecipes
from cc_images.builders.containerfile.spec import From
from cc_images.builders.resolved import Resolved
from cc_images.builders.spack import generated
from cc_images.builders.spack.environment import Additions, Environment, environment
from cc_images.builders.spack.folder import Folder, read
from cc_images.builders.spack.locks import SUFFIX
from cc_images.builders.spack.spec import SpackSpec
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Arch, Image, Json, Material
from cc_images.model.recipe import Recipe

SCRIPTS = "1"
"""Part of every key: raised when the same lock or package comes out differently by what `generated` writes."""


@dataclass(slots=True, kw_only=True)
class Recipes(LayeredRecipes):
    """Specs and recipes of Spack images and their locks.

    `containerfiles` knows where images of stages are from. `generation` names the lock that `--relock` has given an
    image and architecture, and says whether that is still to be made; it gets whether there is one in the folder.
    """

    containerfiles: ContainerfileRecipes
    generation: Callable[[Image, Arch, bool], tuple[str, bool]]
    _folders: dict[Path, Folder] = field(default_factory=dict)

    def lock(self, image: Image, arch: Arch) -> Resolved:
        """Return the lock of an image."""
        spec = self.layer(image, arch).spec
        assert isinstance(spec, SpackSpec)
        return self.made[spec.lock]

    def layers(self, resolved: Resolved) -> list[Resolved]:
        """Return the layers that a build or layer relies on itself."""
        return [self._known(key) for key in resolved.spec.relies_on]

    def files(self, image: Image) -> Json:
        """Return the digests of the files of an image's folders."""
        found: Json = {}
        for arch in image.arches:
            found |= {each.name: each.digest for each in self._folder(image, arch).entries}
        return found

    def _known(self, key: str) -> Resolved:
        return self.made[key] if key in self.made else self.containerfiles.made[key]

    def resolved(self, image: Image, arch: Arch) -> Resolved:
        """Return the layer of an image, which is resolved now; see `LayeredRecipes`."""
        folder = self._folder(image, arch)
        wanted = environment(folder.plain, arch, _additions(image))
        runtime, tool = image.depends[0], image.depends[1]
        text = generated.image_file(tool, runtime, folder.epilogue)
        file = parsed(text, {}, arch)
        stages = self.containerfiles.needed(file, file.target(""))
        bases = self.containerfiles.bases(image, arch, images(stages))
        bases = {tool: bases[tool]} | {name: bases[name] for name in images(stages)}  # the one with Spack comes first
        lock = self._lock(image, arch, folder, wanted, bases[tool])
        digests, downloads = self.containerfiles.fetched(bases, arch)
        spec = replace(
            _spec(image, arch, folder, wanted),
            artifacts=downloads,
            timeout=image.timeout,
            scratch=image.scratch,
            families=(f"{image.tag}-{arch}",),
            secrets=image.secrets,
            context=context.digest(list(folder.entries)),
            images=bases,
            runtime=runtime,
            epilogue=folder.epilogue,
            caches=self.containerfiles.config.build_caches,
            lock=lock.spec.recipe_key,
            said=self.containerfiles.said(image, arch, folder.path, stages, bases),
            before=self.containerfiles.before(image, arch),
        )
        others = {name: each.layer for name, each in bases.items() if each.layer and name != runtime}
        recipe = self._recipe(
            spec,
            parent=bases[runtime].layer,
            artifacts={**digests, **others, "lock": lock.spec.recipe_key},
            files={"context": spec.context, "Containerfile": context.digest_of_text(text)},
            container=said_of(spec),
        )
        spec = replace(spec, recipe_key=recipe.recipe_key)
        return Resolved(spec=spec, recipe=recipe, on_parent=True)

    def _lock(self, image: Image, arch: Arch, folder: Folder, wanted: Environment, tool: From) -> Resolved:
        """Return the lock: its key has what a concretization reads, and no more of the folder."""
        if (taken := self.containerfiles.config.images.get(f"{image.tag}{SUFFIX}")) is not None:
            raise UserError(
                f"its lock would be called as the image {taken.name}", hint="rename one of them", reason=Reason.VALUE
            )
        name, fresh = self.generation(image, arch, folder.has_lock)
        entries = folder.reached(without_lock=bool(name))
        spec = replace(
            _spec(image, arch, folder, wanted),
            name=f"{image.name}{SUFFIX}",
            tag=f"{image.tag}{SUFFIX}",
            timeout=image.timeout,
            scratch=image.scratch,
            context=context.digest(entries),
            images={image.depends[1]: tool},
            fresh=fresh,
            without_lock=bool(name),
        )
        recipe = self._recipe(
            spec,
            parent=tool.layer,
            artifacts={},
            files={"context": spec.context, **({"relocked": name} if name else {})},
            container={},
        )
        made = Resolved(spec=replace(spec, recipe_key=recipe.recipe_key), recipe=recipe)
        self.made[made.spec.recipe_key] = made
        return made

    def _recipe(
        self, spec: SpackSpec, *, parent: str, artifacts: Mapping[str, str], files: Mapping[str, str], container: Json
    ) -> Recipe:
        return recipe_of(
            spec,
            {"buildah": self.containerfiles.builder, "cc-images": f"{WRITER} {SCRIPTS}"},
            parent=parent,
            artifacts=artifacts,
            files={**files, "spack.yaml": hashlib.sha256(spec.manifest.encode()).hexdigest()},
            container=container,
            environment={},
        )

    def _folder(self, image: Image, arch: Arch) -> Folder:
        beside = self.containerfiles.config.files["images.yaml"].parent
        path = placed(image, arch, beside, "spack")
        if path not in self._folders:
            self._folders[path] = read(path, beside)
        return self._folders[path]


def _spec(image: Image, arch: Arch, folder: Folder, wanted: Environment) -> SpackSpec:
    return SpackSpec(
        makes=Material.TREE,
        name=image.name,
        tag=image.tag,
        arch=arch,
        recipe_key="",
        network=image.network,
        folder=str(folder.path),
        context="",
        manifest=wanted.text,
        first=wanted.first,
        target=wanted.target,
        mpi=wanted.mpi,
    )


def _additions(image: Image) -> Additions:
    said: Json = image.containerfile.get("machine", {})
    return Additions(**said)
