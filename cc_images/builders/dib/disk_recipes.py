"""Recipes of disks: who makes an image's disk, cc-images or dib, and by which programs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from cc_images.builders.dib import assembly, command, disk_tools
from cc_images.builders.dib.disk_layout import LAYOUT_VARIABLES, programs
from cc_images.builders.dib.elements import Elements
from cc_images.builders.dib.spec import DibSpec
from cc_images.builders.resolved import Resolved
from cc_images.config.loader import Config
from cc_images.host.facts import HostFacts
from cc_images.model.catalog import Image, Material


class DiskRecipes:
    """The disks of a configuration's images; the layer of programs that write them goes into `made`."""

    def __init__(self, *, config: Config, elements: Elements, host: HostFacts, made: dict[str, Resolved]) -> None:
        self._config = config
        self._elements = elements
        self._host = host
        self._made = made
        self._tools = functools.cache(self._found_tools)
        self._programs = functools.cache(functools.partial(programs, elements))
        self._obstacle = functools.cache(functools.partial(assembly.obstacle, elements))

    def decided(self, spec: DibSpec, image: Image, used: tuple[str, ...]) -> tuple[DibSpec, str]:
        """Return the spec of a disk with who makes it, and why dib does, if so; `used` are all elements of it."""
        variables = tuple(spec.environment.get(name) for name in (*LAYOUT_VARIABLES, assembly.BLOCK_SIZE))
        why = self._host.no_disk_tools if image.assemble else "assemble: false"
        if why := why or self._obstacle(used, *variables):
            return replace(spec, programs=self._programs(used, *variables[:2])), why
        machine = self._host.machine_for(spec.arch)
        return replace(spec, assembled=True, disk_tools=self._tools(machine).spec.recipe_key), ""

    def programs(self, spec: DibSpec) -> Mapping[str, str]:
        """Return the programs that change what a build results in, by what stands for them in keys."""
        by_dib = spec.makes is Material.DISK and not spec.assembled
        found = command.tools(self._host, spec.arch, tree=not by_dib)
        return {**found, **disk_tools.identity()} if spec.assembled else found

    def _found_tools(self, machine: str) -> Resolved:
        """Return the programs that write disks on a machine, from the mirror of Debian that builds use."""
        environment = {**self._config.environment, "DIB_RELEASE": disk_tools.SUITE}
        environment.pop("DIB_DISTRIBUTION_MIRROR", None)  # which may be Ubuntu's
        names = self._elements.closure(("debian-minimal",))
        mirror = self._elements.default(names, "DIB_DISTRIBUTION_MIRROR", environment, "amd64")
        found = disk_tools.resolved(mirror, machine)
        return self._made.setdefault(found.spec.recipe_key, found)
