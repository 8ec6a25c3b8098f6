"""Blueprints: from an entry of the catalogue, the elements and the host to the job of a build and its recipe.

Decides where a build starts: from nothing, from its parent's layer, or from its own layer when other images of the
catalogue start from that one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cc_images.builders import provenance
from cc_images.builders.dib import command, twins
from cc_images.builders.dib.disk_layout import programs
from cc_images.builders.dib.elements import Elements, with_layout
from cc_images.builders.dib.layers import Inheritance, inherit, obstacle
from cc_images.builders.provenance import PROVENANCE
from cc_images.config.loader import Config
from cc_images.errors import UserError
from cc_images.host import user_emulation
from cc_images.host.named_files import named_files, stamp
from cc_images.model.catalog import Arch, Download, Image, Json
from cc_images.model.plan import Base, BuildJob, LayerJob, TwinsJob
from cc_images.model.recipe import Recipe

BASE = "base"
"""The element that dib adds to what is named."""

_MIRROR = re.compile(r"\A\{(DIB_[A-Z0-9_]+)\}")
"""How an artifact's address begins that lies on a mirror which builds use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A job, and the recipe of what it makes.

    `obstacle` says why it does not start from its parent's tree, `slow` why all its programs are emulated.
    """

    job: BuildJob
    recipe: Recipe
    on_parent: bool = False
    obstacle: str = ""
    slow: str = ""


class Blueprints:
    """The blueprints of a configuration's images and layers, each made when it is first asked for."""

    def __init__(self, config: Config, elements: Elements) -> None:
        self._config = config
        self._elements = elements
        self._tools = functools.cache(command.tools)
        self._children: dict[str, list[Image]] = {}
        for image in config.images.values():
            if image.depends and image.layer:
                self._children.setdefault(image.depends[0], []).append(image)
        self._layers: dict[tuple[str, Arch], Blueprint] = {}
        self._made: dict[str, Blueprint] = {}
        """Every layer's blueprint so far, by what is asked of it."""
        self._tags: dict[str, str] = {}
        """What is asked of the layer, of an image or of twins, that has a tag first."""
        self._starts: dict[tuple[str, Arch], Blueprint | str] = {}
        self._variables: dict[str, dict[str, str]] = {}
        self._inherited = functools.cache(lambda content: inherit(elements, content))
        self._stamps = functools.cache(stamp)

    def build(self, image: Image, arch: Arch) -> Blueprint:
        """Return the blueprint of a build. Raises UserError for an element that is missing."""
        for each in self._config.lineage(image)[:-1]:  # the oldest first: chains of parents may be long
            with suppress(UserError):
                self._below(each, arch)
        below = self._below(image, arch)
        job = BuildJob(disk=image.disk, **self._common(image, arch))
        used = self._closure(job.content, job.disk, arch)
        self._require_left_out(image, used)
        job = replace(job, programs=programs(self._elements, used, job.environment))
        recipe = self._recipe(job, below)
        start = self.layer(image, arch) if self._is_foundation(image, arch) else below
        twin = self._twins(image, arch)
        return Blueprint(
            job=replace(self._started(job, start), asked=recipe.asked, twins=_asked(twin)),
            recipe=recipe,
            on_parent=isinstance(below, Blueprint),
            obstacle=below if isinstance(below, str) else "",
            slow=twin if isinstance(twin, str) else "",
        )

    def layer(self, image: Image, arch: Arch) -> Blueprint:
        """Return the blueprint of an image's own layer. Raises UserError for an element that is missing."""
        if (image.tag, arch) not in self._layers:
            below = self._below(image, arch)
            job = LayerJob(disk=(), **self._common(image, arch))
            recipe = self._recipe(job, below)
            started = replace(self._started(job, below), asked=recipe.asked, twins=_asked(self._twins(image, arch)))
            self._tags.setdefault(image.tag, started.asked)
            self._layers[image.tag, arch] = self._made[started.asked] = Blueprint(job=started, recipe=recipe)
        return self._layers[image.tag, arch]

    def _twins(self, image: Image, arch: Arch) -> Blueprint | str:
        """Return the twins of the programs in an image, or why it has none; empty where its programs are native."""
        if not user_emulation.is_foreign(arch):
            return ""
        if not twins.wanted():
            return f"{twins.SWITCH}=no"
        if why := user_emulation.why_no_twins(arch):
            return why
        names = self._elements.closure(self._content(image))
        artifacts = {name: artifact.basename for name, artifact in self._artifacts(image, arch).items()}
        environment = self._environment(image)
        if "ubuntu-minimal" in names:  # whose mirrors of other architectures have those only
            environment.pop("DIB_DISTRIBUTION_MIRROR", None)
        known = self._elements.defaults(names, twins.VARIABLES, environment | artifacts, user_emulation.TWINS_ON)
        release = twins.release(known)
        if release is None:
            return f"twins are made for Debian and Ubuntu, and {image.tag} is {known['DISTRO_NAME'] or 'neither'}"
        return self._twins_of(release, arch, self._artifacts(image, arch))

    def _twins_of(self, release: twins.Release, arch: Arch, artifacts: Mapping[str, Download]) -> Blueprint:
        """Return the blueprint of a release's twins; of the artifacts, packages with keyrings go into it."""
        keyrings = {name: each for name, each in artifacts.items() if twins.is_keyring(each.basename)}
        job = TwinsJob(
            name=release.tag,
            tag=release.tag,
            arch=arch,
            version="",
            asked="",
            content=(),
            disk=(),
            environment=release.as_environment(),
            packages=(),
            artifacts=keyrings,
            timeout=twins.TIMEOUT,
            scratch=twins.SCRATCH,
        )
        recipe = Recipe(
            name=job.name,
            arch=arch,
            content=(),
            disk=(),
            elements={},
            environment=job.environment,
            packages=(),
            artifacts={name: each.sha256 or each.identity for name, each in keyrings.items()},
            files={},
            tools={"twins": twins.digest(), "emulator": user_emulation.emulator_digest(arch)},
        )
        # a release may have several twins, by options and keys, and each has its place in plans and in the store
        asked = recipe.asked
        special = release.options or keyrings or self._tags.setdefault(release.tag, asked) != asked
        tag = f"{release.tag}-{asked[:6]}" if special else release.tag
        made = Blueprint(job=replace(job, tag=tag, asked=asked), recipe=recipe)
        return self._made.setdefault(asked, made)

    def foundations(self, blueprint: Blueprint) -> list[Blueprint]:
        """Return the layers that a build or layer relies on: those it starts from, the nearest first, and twins."""
        found = self._twins_for(blueprint)
        while blueprint.job.base is not None:
            blueprint = self._made[blueprint.job.base.asked]
            found += [blueprint, *self._twins_for(blueprint)]
        return found

    def _twins_for(self, blueprint: Blueprint) -> list[Blueprint]:
        return [self._made[blueprint.job.twins]] if blueprint.job.twins else []

    def files(self, recipe: Recipe) -> Json:
        """Return the files of a recipe's elements, for people who ask why its key has moved."""
        return {name: self._elements.files(name) for name in recipe.elements}

    def _closure(self, content: tuple[str, ...], disk: tuple[str, ...], arch: Arch) -> tuple[str, ...]:
        names = self._elements.closure(with_layout((*content, *disk), arch))
        if "no-final-image" in names:
            raise UserError(
                "its elements have no-final-image among them, so dib makes no disk; cc-images publishes disks only",
                hint="leave out the element that needs it, such as deploy-ramdisk or ironic-agent",
                reason="no-disk",
            )
        return names

    def _require_left_out(self, image: Image, names: Sequence[str]) -> None:
        """Raise UserError for an element that an image leaves out, and that another one of its elements needs."""
        for name in set(image.without) & {*names}:
            users = [each for each in names if self._elements.needs(each, name)]
            raise UserError(
                f"without: {name} cannot be left out: element {users[0] if users else '?'} depends on it",
                hint="leave that element out as well, or take the name out of without",
                reason="without",
            )

    def _is_foundation(self, image: Image, arch: Arch) -> bool:
        """Say whether any image of the catalogue starts from this one's tree."""
        for child in self._children.get(image.tag, []):
            with suppress(UserError):  # a child that cannot be built is no reason to fail here
                if arch in child.arches and isinstance(self._below(child, arch), Blueprint):
                    return True
        return False

    def _common(self, image: Image, arch: Arch) -> dict[str, Any]:
        """Return what the jobs of an image's build and of its layer have in common."""
        return {
            "name": image.name,
            "tag": image.tag,
            "arch": arch,
            "version": "",
            "asked": "",
            "content": self._content(image),
            "environment": self._environment(image) | self._provenance(image, arch),
            "packages": self._packages(image),
            "secrets": self._config.declared(image),
            "network": image.network,
            "artifacts": self._artifacts(image, arch),
            "timeout": image.timeout,
            "scratch": image.scratch,
            "families": tuple(f"{each.tag}-{arch}" for each in reversed(self._config.lineage(image))),
        }

    def _below(self, image: Image, arch: Arch) -> Blueprint | str:
        """Return the layer of its parent that an image starts from, or why it starts from nothing."""
        if (image.tag, arch) not in self._starts:
            self._starts[image.tag, arch] = self._start(image, arch)
        return self._starts[image.tag, arch]

    def _start(self, image: Image, arch: Arch) -> Blueprint | str:
        if not image.depends:
            return ""
        if not image.layer:
            return "layer: false"
        parent = self._config.images[image.depends[0]]
        if name := self._elements.disk_part(self._content(parent)):
            return f"element {name} of the parent belongs to the disk, not to the tree"
        if left_out := [name for name in image.without if name in self._content(parent)]:
            return f"it leaves out element {left_out[0]}, which is in the parent's tree"
        inherited = self._inherited(self._content(parent))
        if told := [name for name in inherited.provided if self._elements.hooks_mention(name, PROVENANCE)]:
            return f"element {told[0]} of the parent reads {PROVENANCE}, which says what is built"
        mine, theirs = (
            {**self._environment(each), **self._identities(each, arch), **self._provenance(each, arch)}
            for each in (image, parent)
        )
        beyond = set(self._closure(self._content(image), image.disk, arch)) - {*inherited.provides}
        exported = {name for element in beyond for name in self._elements.exports(element)}
        there = {name for element in inherited.again for name in self._elements.exports(element)}
        mine |= dict.fromkeys(exported - there - theirs.keys(), "(an element sets it)")
        return obstacle(self._elements, inherited, theirs, mine) or self.layer(parent, arch)

    def _started(self, job: BuildJob, start: Blueprint | str) -> BuildJob:
        """Return a job with what is left to do when it starts from a layer."""
        if isinstance(start, str):
            return job
        parent = self._config.images[start.job.tag]
        content = self._content(parent)
        inherited: Inheritance = self._inherited(content)
        done = set(self._packages(parent))
        return replace(
            job,
            base=Base(tag=start.job.tag, asked=start.job.asked, content=content),
            content=inherited.beyond(job.content),
            packages=tuple(package for package in job.packages if package not in done),
        )

    # -- what an image has from its ancestors: theirs first, its own settings over theirs, the user's over all -------

    def _content(self, image: Image) -> tuple[str, ...]:
        return self._config.content(image)

    def _packages(self, image: Image) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for each in self._config.lineage(image) for name in each.packages))

    def _environment(self, image: Image) -> dict[str, str]:
        if image.tag not in self._variables:
            self._variables[image.tag] = self._config.variables(image)
        return self._variables[image.tag]

    def _artifacts(self, image: Image, arch: Arch) -> dict[str, Download]:
        together: dict[str, Download] = {}
        for each in self._config.lineage(image):
            together |= each.artifacts
        return {
            name: replace(artifact, url=_MIRROR.sub(lambda found: self._mirror(found[1], image, arch), artifact.url))
            for name, artifact in together.items()
            if name not in self._config.environment
        }

    def _provenance(self, image: Image, arch: Arch) -> dict[str, str]:
        """Return the variable that says what an image is, where an element reads it; see `provenance`."""
        if PROVENANCE in self._environment(image):
            return {}
        used = self._closure(self._content(image), image.disk, arch)
        is_read = any(self._elements.hooks_mention(name, PROVENANCE) for name in used)
        return {PROVENANCE: provenance.stated(image)} if is_read else {}

    def _mirror(self, variable: str, image: Image, arch: Arch) -> str:
        """Return the mirror that a variable will name in a build: the user's, the catalogue's, or an element's."""
        environment = self._environment(image)
        elements = self._elements.closure(self._content(image))
        if not (found := environment.get(variable) or self._elements.default(elements, variable, environment, arch)):
            raise UserError(
                f"an artifact's url begins with {{{variable}}}, which nothing sets",
                hint=f"export {variable}, or set it in the image's environment",
                reason="unknown-mirror",
            )
        return found.rstrip("/")

    def _identities(self, image: Image, arch: Arch) -> dict[str, str]:
        found: dict[str, str] = {}
        for variable, artifact in self._artifacts(image, arch).items():
            form = " as url" if artifact.as_url else ""
            found[variable] = f"{artifact.basename} {artifact.sha256 or artifact.identity}{form}"
        return found

    def _recipe(self, job: BuildJob, below: Blueprint | str) -> Recipe:
        image = self._config.images[job.tag]
        named = named_files(job.environment) | {
            variable: Path(urlsplit(artifact.url).path)
            for variable, artifact in job.artifacts.items()
            if artifact.url.startswith("file:") and not artifact.sha256
        }
        return Recipe(
            name=job.name,
            arch=job.arch,
            content=job.content,
            disk=job.disk,
            elements={name: self._elements.digest(name) for name in self._closure(job.content, job.disk, job.arch)},
            environment=job.environment,
            packages=job.packages,
            artifacts=self._identities(image, job.arch),
            files={variable: self._stamps(path) for variable, path in named.items()},
            tools=self._tools(job.arch, isinstance(job, LayerJob)),
            parent=below.job.asked if isinstance(below, Blueprint) else "",
            secrets=job.secrets,
        )


def _asked(made: Blueprint | str) -> str:
    return made.job.asked if isinstance(made, Blueprint) else ""


def nothing_to_build(image: Image, arch: Arch) -> BuildJob:
    """Return a job that is not carried out: it stands for an image of which only what is stored matters."""
    return BuildJob(
        name=image.name,
        tag=image.tag,
        arch=arch,
        version="",
        asked="",
        content=(),
        disk=(),
        environment={},
        packages=(),
        artifacts={},
        timeout=image.timeout,
    )
