"""Build specs: all that a builder needs to make one disk or one tree.

A spec is complete when it is made, and the same wherever it is built: as JSON it may be sent elsewhere. Each builder
owns a kind of its own (`builders.base`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from cc_images.model.catalog import Arch, Download, Json, Material


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The layer that a build starts from: its image, its recipe key, and the elements that made it."""

    tag: str
    recipe_key: str
    content: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSpec:
    """Inputs that every builder gets. `timeout` is in minutes, `scratch` in GiB."""

    builder: str
    """The builder's name; see `builders.base.builder`."""
    makes: Material
    name: str
    tag: str
    arch: Arch
    recipe_key: str
    """The key of the recipe without the upstream state."""
    artifacts: Mapping[str, Download] = field(default_factory=dict)
    """Downloads by the variable that names them in the build."""
    timeout: int = 240
    scratch: int = 6
    families: tuple[str, ...] = ()
    """Download caches that the build reads: its own, to which it adds, then those of its ancestors, nearest first."""
    network: str = ""
    """The image's setting of the network: `host`, `private`, or nothing."""
    secrets: tuple[str, ...] = ()
    """Variables that are declared secrets."""

    @property
    def noun(self) -> str:
        """The word for what is made in the ids of tasks."""
        return "build" if self.makes is Material.DISK else "layer"

    @property
    def relies_on(self) -> tuple[str, ...]:
        """Recipe keys of the layers that must be stored before the build."""
        return ()

    @property
    def host_programs(self) -> tuple[str, ...]:
        """Programs of the host that the build runs."""
        return ()

    @property
    def needs_loop_devices(self) -> bool:
        """Whether the build makes its disk on a loop device of the host."""
        return False

    @property
    def needs_hosts_root(self) -> bool:
        """Whether an ordinary user's namespace does not do for it."""
        return self.needs_loop_devices

    @property
    def why_hosts_root(self) -> str:
        """Why it takes the host's own root."""
        return "dib makes its disk" if self.needs_loop_devices else "the host has to run its programs"

    @property
    def mirrors(self) -> tuple[str, ...]:
        """Addresses of package mirrors that the build will ask."""
        return ()

    def shown(self) -> Json:
        """Return the spec as plain data for people and journals: no secret is in it."""
        plain = asdict(self)
        del plain["builder"], plain["makes"]
        plain["asked"] = plain.pop("recipe_key")
        plain["artifacts"] = {name: each.shown for name, each in self.artifacts.items()}
        return plain
