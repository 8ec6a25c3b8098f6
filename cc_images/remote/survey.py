"""What builder hosts say of themselves: machine, tools, layers, jobs; and what that means for their use."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msgspec import convert, to_builtins

from cc_images.errors import CCImagesError
from cc_images.host.facts import MISSING
from cc_images.model.attempt import BuilderHost
from cc_images.model.catalog import Arch, Json
from cc_images.remote.equality import facts_of, programs_here, unequal
from cc_images.remote.launchers.base import Launcher
from cc_images.remote.lines import plain_text
from cc_images.remote.placement import Host
from cc_images.store.records import Store

FORMAT = 1

AT_ONCE = 256
"""Hosts that are asked at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a host says of itself."""

    machine: str
    """The processor architecture, as uname has it."""
    version: str
    """Of cc-images."""
    tools: dict[str, str]
    """Digests or versions of what enters keys; see `equality.unequal`."""
    programs: dict[str, str] = field(default_factory=dict)
    """Versions of programs that enter the keys of those builds alone that run them."""
    cores: int = 0
    layers: tuple[str, ...] = ()
    """Recipe keys of the layers in its store."""
    attempts: tuple[str, ...] = ()
    """Attempts at work there."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """A builder host with what it has said; `facts` is None for one that cannot be asked, or does not answer."""

    host: Host
    facts: Facts | None = None


def facts_here(store: Store, attempts: Collection[str] = ()) -> Json:
    """Return what this host says of itself."""
    made = Facts(
        machine=os.uname().machine,
        version=version("cc-images"),
        tools=facts_of(set()),
        programs=programs_here(),
        cores=len(os.sched_getaffinity(0)),
        layers=tuple(sorted(recipe_keys(store))),
        attempts=tuple(sorted(attempts)),
    )
    found: Json = to_builtins(made)
    return found


def recipe_keys(store: Store) -> set[str]:
    """Return the recipe keys of the layers in a store."""
    folder = store.root / "layers"
    tags = sorted(os.listdir(folder)) if folder.is_dir() else []
    return {each.recipe_key for tag in tags for arch in Arch for each in store.layers(tag, arch)}


def survey(entries: Sequence[tuple[BuilderHost, Launcher]]) -> list[Surveyed]:
    """Ask builder hosts, all at a time, and compare them with this one."""
    if not entries:
        return []
    here, programs = facts_of(set()), programs_here()
    with ThreadPoolExecutor(min(len(entries), AT_ONCE), thread_name_prefix="survey") as asking:
        return [*asking.map(lambda each: _asked(each[0], each[1], here, programs), entries)]


def _asked(entry: BuilderHost, launcher: Launcher, here: dict[str, str], programs: dict[str, str]) -> Surveyed:
    try:
        if entry.ca:
            Path(entry.ca).read_bytes()
        plain: Any = launcher.facts()
        facts = convert(plain, Facts) if plain is not None else None
    except CCImagesError as error:
        return Surveyed(host=Host(entry=entry, arch=None, unfit=f"does not answer: {error.message}"))
    except OSError as error:
        return Surveyed(host=Host(entry=entry, arch=None, unfit=f"hub-ca: {entry.ca}: {error.strerror}"))
    except ValueError as error:
        return Surveyed(host=Host(entry=entry, arch=None, unfit=plain_text(f"says what cannot be read: {error}")))
    if facts is None:
        named = [Arch(each) for each in entry.architectures]
        return Surveyed(host=Host(entry=entry, arch=named[0] if len(named) == 1 else None))
    there = {name: facts.programs.get(name, MISSING) for name in programs}
    differ = {name: plain_text(w) for name in programs for w in unequal({name: programs[name]}, {name: there[name]})}
    host = Host(entry=entry, arch=arch_of(facts.machine), unfit=plain_text(unfit(facts, here)), unfit_for=differ)
    return Surveyed(host=host, facts=facts)


def unfit(facts: Facts, here: dict[str, str]) -> str:
    """Return why nothing can be built there; empty when it can."""
    if facts.version != (own := version("cc-images")):
        return f"has cc-images {facts.version}, and this host has {own}"
    return "; ".join(unequal(here, facts.tools))


def arch_of(machine: str) -> Arch | None:
    """Return the architecture of a machine."""
    return next((each for each in Arch if each.machine == machine), None)
