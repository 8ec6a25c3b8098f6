"""Recipes of native twins: which release's programs stand in for those of an image, and what these are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cc_images.builders.dib import twins
from cc_images.builders.dib.elements import Elements
from cc_images.builders.dib.spec import TwinsSpec
from cc_images.builders.resolved import Resolved
from cc_images.host.facts import HostFacts
from cc_images.host.user_emulation import TWINS_ON
from cc_images.model.catalog import Arch, Download, Material
from cc_images.model.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinsRecipes:
    """The twins of a configuration's images. `made` has every layer's by recipe key, those of twins included."""

    elements: Elements
    host: HostFacts
    made: dict[str, Resolved] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """The recipe key of the layer, of an image or of twins, that has a tag first."""

    def of_image(
        self,
        tag: str,
        arch: Arch,
        content: tuple[str, ...],
        environment: Mapping[str, str],
        artifacts: Mapping[str, Download],
    ) -> Resolved | str:
        """Return the twins of the programs in an image, or why it has none; empty where its programs are native."""
        if not self.host.is_foreign(arch):
            return ""
        if not twins.wanted():
            return f"{twins.SWITCH}=no"
        if why := self.host.no_twins[arch]:
            return why
        names = self.elements.closure(content)
        variables = dict(environment)
        if "ubuntu-minimal" in names:  # whose mirrors of other architectures have those only
            variables.pop("DIB_DISTRIBUTION_MIRROR", None)
        variables |= {name: artifact.basename for name, artifact in artifacts.items()}
        known = self.elements.defaults(names, twins.VARIABLES, variables, TWINS_ON)
        release = twins.release(known)
        if release is None:
            return f"twins are made for Debian and Ubuntu, and {tag} is {known['DISTRO_NAME'] or 'neither'}"
        return self._of_release(release, arch, artifacts)

    def _of_release(self, release: twins.Release, arch: Arch, artifacts: Mapping[str, Download]) -> Resolved:
        """Return the twins of a release; of the artifacts, packages with keyrings go into them."""
        keyrings = {name: each for name, each in artifacts.items() if twins.is_keyring(each.basename)}
        spec = TwinsSpec(
            makes=Material.TREE,
            name=release.tag,
            tag=release.tag,
            arch=arch,
            recipe_key="",
            environment=release.as_environment(),
            artifacts=keyrings,
            timeout=twins.TIMEOUT,
            scratch=twins.SCRATCH,
        )
        recipe = Recipe(
            name=spec.name,
            arch=arch,
            content=(),
            disk=(),
            elements={},
            environment=spec.environment,
            packages=(),
            artifacts={name: each.sha256 or each.identity for name, each in keyrings.items()},
            files={},
            tools={"twins": self.host.tools["twins"], "emulator": self.host.emulators[arch]},
        )
        # a release may have several twins, by options and keys, and each has its place in plans and in the store
        key = recipe.recipe_key
        special = release.options or keyrings or self.tags.setdefault(release.tag, key) != key
        tag = f"{release.tag}-{key[:6]}" if special else release.tag
        return self.made.setdefault(key, Resolved(spec=replace(spec, tag=tag, recipe_key=key), recipe=recipe))
