"""Specs of builds by dib, and of native twins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cc_images.host import user_emulation
from cc_images.model.catalog import Json, Material
from cc_images.model.redaction import redacted
from cc_images.model.spec import Base, BuildSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DibSpec(BuildSpec):
    """One run of dib. `content` and `packages` are what comes on top of `base`, or all when there is none."""

    builder: str = "dib"
    content: tuple[str, ...]
    disk: tuple[str, ...]
    environment: Mapping[str, str]
    packages: tuple[str, ...]
    base: Base | None = None
    twins: str = ""
    """The recipe key of the twins of its programs, if its architecture is not this host's and they have any."""
    assembled: bool = False
    """Whether its disk is put together here, and not by dib on a loop device; see `assembly`."""
    disk_tools: str = ""
    """The recipe key of the programs that do that."""
    programs: tuple[str, ...] = ()
    """Programs of the host that the layout of its disk takes."""
    folders: tuple[str, ...] = ()
    """Where elements are; the first one wins."""

    @property
    def relies_on(self) -> tuple[str, ...]:
        """Its twins, the disk's tools, and the tree that it starts from."""
        return tuple(key for key in (self.twins, self.disk_tools, self.base.recipe_key if self.base else "") if key)

    @property
    def host_programs(self) -> tuple[str, ...]:
        """Programs of the host that the layout of its disk takes."""
        return self.programs

    @property
    def needs_loop_devices(self) -> bool:
        """Whether dib makes its disk."""
        return self.makes is Material.DISK and not self.assembled

    @property
    def needs_hosts_root(self) -> bool:
        """Whether it makes loop devices, or registers an interpreter for the whole host."""
        shared = user_emulation.is_foreign(self.arch) and not (self.twins and user_emulation.has_private_registries())
        return self.needs_loop_devices or shared

    @property
    def mirrors(self) -> tuple[str, ...]:
        """Addresses in variables whose names say that they are mirrors."""
        return _mirrors(self.environment)

    def shown(self) -> Json:
        """Return the spec as plain data without secrets, with the names that plans and journals have."""
        plain = BuildSpec.shown(self)
        del plain["folders"]
        if self.base is not None:
            plain["base"] = {"tag": self.base.tag, "asked": self.base.recipe_key, "content": self.base.content}
        return plain | {"environment": redacted(self.environment, declared=self.secrets)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramsSpec(BuildSpec):
    """Programs of a distribution's release, unpacked for this host; `environment` says of which, and from where."""

    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def mirrors(self) -> tuple[str, ...]:
        """The mirror that packages come from."""
        return _mirrors(self.environment)

    def shown(self) -> Json:
        """Return the spec as plain data without secrets, with the names that plans have for every build."""
        nothing: Json = {"content": (), "disk": (), "packages": (), "base": None, "programs": (), "twins": ""}
        return BuildSpec.shown(self) | nothing | {"environment": redacted(self.environment)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinsSpec(ProgramsSpec):
    """Twins of the programs in images of `arch`; see `twins.Release`."""

    builder: str = "twins"

    @property
    def noun(self) -> str:
        """The word for what is made in the ids of tasks."""
        return "twins"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskToolsSpec(ProgramsSpec):
    """The programs that write disks."""

    builder: str = "disk-tools"

    @property
    def noun(self) -> str:
        """The word for what is made in the ids of tasks."""
        return "tools"


def _mirrors(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        value for name, value in environment.items() if "MIRROR" in name and value.startswith(("http://", "https://"))
    )
