"""What must be equal at the head and at its builder hosts: that which enters keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cc_images.builders.base import BUILDERS, Versioned, builder, decoded, loaded
from cc_images.host.facts import MISSING
from cc_images.model.catalog import Arch
from cc_images.model.spec import BuildSpec
from cc_images.remote.bundle import Bundle
from cc_images.remote.tool_versions import is_same, shown, with_versions


def facts(bundle: Bundle) -> dict[str, str]:
    """Return what this host has, as far as a bundle's builds are concerned."""
    specs = [decoded(each["job"]["spec"]) for each in bundle.envelopes if "spec" in each["job"]]
    return facts_of({each.arch for each in specs}) | programs_of(specs)


def facts_of(arches: set[Arch]) -> dict[str, str]:
    """Return what this host has that every build depends on, for these architectures: versions, and digests."""
    found = loaded("catalogue").host_facts(arches)
    emulators = {f"emulator of {arch}": digest for arch, digest in found.emulators.items()}
    return {"machine": found.machine, **with_versions({**found.tools, **emulators})}


def programs_of(specs: Iterable[BuildSpec]) -> dict[str, str]:
    """Return the versions of this host's programs that the builds of these specs depend on besides."""
    found: dict[str, str] = {}
    for spec in specs:
        maker = builder(spec.builder)
        if isinstance(maker, Versioned):
            found |= {name: each for name, each in maker.versions().items() if name in spec.host_programs}
    return found


def programs_here() -> dict[str, str]:
    """Return the versions of all programs of this host that only some builds depend on."""
    made = [loaded(name) for name in BUILDERS]
    return {name: each for maker in made if isinstance(maker, Versioned) for name, each in maker.versions().items()}


def unequal(head: Mapping[str, str], here: Mapping[str, str]) -> Iterator[str]:
    """Yield a phrase for each tool that differs between the head and a builder host.

    A program of another machine has other bytes, so between machines only what is the same everywhere is compared. A
    head need not have the programs that only some builds use.
    """
    alike = head.get("machine") == here.get("machine")
    of_machine = (
        set() if alike else {name for name in (*head, *here) if name == "mke2fs" or name.startswith("emulator ")}
    )
    for name in sorted({*head, *here} - {"machine"} - of_machine):
        one, other = head.get(name, MISSING), here.get(name, MISSING)
        if not is_same(one, other) and not (one == MISSING and name in programs_here()):
            yield f"{name} is {shown(other)}, and the head has {shown(one)}"
