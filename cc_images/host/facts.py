"""Host facts: everything that plans and keys take from a machine, as one value.

Two machines with equal facts make equal keys, so a worker elsewhere is asked for its own and they are compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from cc_images.host import user_emulation
from cc_images.model.catalog import Arch

MISSING = "missing"
"""The digest of a tool that a host does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What plans and keys take from one machine, for the architectures that were asked about."""

    machine: str
    """The machine's own architecture, by the kernel's name."""
    runs: frozenset[Arch]
    """Architectures whose programs run here, emulated or not."""
    emulators: Mapping[Arch, str] = field(default_factory=dict)
    """The sha256 of the program that runs an architecture's programs, or MISSING; empty for the machine's own."""
    no_twins: Mapping[Arch, str] = field(default_factory=dict)
    """Why programs of an architecture have no native twins here; empty when they may have."""
    no_disk_tools: str = ""
    """Why disks cannot be put together here; empty when they can."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """The sha256 or version of each tool that changes what builds result in, or MISSING."""

    why_not: str = "this host cannot run its programs; `cc-images doctor` says what it lacks"
    """Why images of other architectures than `runs` cannot be built."""
    natives: frozenset[Arch] = frozenset()
    """Other architectures that are built on machines of their own, so that nothing is emulated."""

    def is_foreign(self, arch: Arch) -> bool:
        """Say whether an architecture is another one than that of the machine that builds for it."""
        return arch.machine != self.machine_for(arch)

    def machine_for(self, arch: Arch) -> str:
        """Return the machine that builds for an architecture."""
        return arch.machine if arch in self.natives else self.machine

    def with_builders(self, builds: Collection[Arch], natives: Collection[Arch]) -> HostFacts:
        """Return these facts for a plan that other hosts, too, carry out: what they build for, and which are native.

        Of what only others build for this host needs to run nothing.
        """
        why = "no builder of builders.yaml builds for it"
        return replace(self, natives=frozenset(natives), runs=frozenset(builds), why_not=why)


def observe(arches: Collection[Arch], tools: Mapping[str, str]) -> HostFacts:
    """Return the facts of this host, as far as these architectures are concerned."""
    foreign = [arch for arch in arches if user_emulation.is_foreign(arch)]
    return HostFacts(
        machine=user_emulation.HERE,
        runs=frozenset(arch for arch in arches if user_emulation.runs_programs(arch)),
        emulators={arch: user_emulation.emulator_digest(arch) for arch in foreign},
        no_twins={arch: user_emulation.why_no_twins(arch) for arch in foreign},
        tools=tools,
    )
