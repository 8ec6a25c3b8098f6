"""Lock files of Spack: the packages that an environment's specs have become. Pure: text in, values out.

Rules: the lock files of Spack 0.22 and later (`lockfile-version` 5 and later), whose keys are the hashes of packages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from cc_images.errors import Reason, UserError

OLDEST = 5
"""The first version of the format whose keys are what packages are called by in build caches."""

NEWEST = 6
"""The last version that is known. A later one is read, too, if it has the same shape."""

BUILD = "build"
"""The kind of a dependency that is needed while a package is compiled."""

LONGEST = 200
"""Letters of a package's name and version together, which are parts of a file's name."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9._+=~-]{1,200}\Z")
_HASH = re.compile(r"[a-z2-7]{32}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of a lock: `dependencies` are the hashes of others, `runs_with` those that it needs to run."""

    name: str
    version: str
    hash: str
    external: bool = False
    dependencies: tuple[str, ...] = ()
    target: str = ""
    runs_with: tuple[str, ...] = ()
    provides: Mapping[str, str] = field(default_factory=dict)
    """The hashes of the packages that it takes for virtual ones, by these names."""

    @property
    def label(self) -> str:
        """How people name it."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """The packages of a lock by their hashes, and the roots: specs as they were written, with their hashes."""

    roots: tuple[tuple[str, str], ...]
    packages: Mapping[str, Package]
    first: str = ""
    """The first spec as it is written in spack.yaml; the lock has them in an order of its own."""

    @property
    def version(self) -> str:
        """The version of the package that the first spec has become, whatever that spec says itself."""
        return self.packages[self._first].version

    @property
    def tag(self) -> str:
        """The version as an image's: registries take no other signs."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.version).strip("-.")[:60] or "0"

    @property
    def to_build(self) -> tuple[Package, ...]:
        """The packages that are compiled where no build cache has them, each after those that it needs."""
        graph = {key: each.dependencies for key, each in sorted(self.packages.items())}
        return tuple(
            self.packages[key] for key in TopologicalSorter(graph).static_order() if not self.packages[key].external
        )

    @property
    def installed(self) -> frozenset[str]:
        """The hashes of what the finished image has: the roots, and what they need to run; no external package."""
        found: set[str] = set()
        stack = [key for _, key in self.roots]
        while stack:
            key = stack.pop()
            if key not in found:
                found.add(key)
                stack += self.packages[key].runs_with
        return frozenset(key for key in found if not self.packages[key].external)

    @property
    def to_install(self) -> tuple[Package, ...]:
        """Of the packages to build those that the finished image has."""
        there = self.installed
        return tuple(each for each in self.to_build if each.hash in there)

    def providers(self, virtual: str) -> frozenset[str]:
        """Return the names of the packages that stand for a virtual one."""
        return frozenset(
            self.packages[each.provides[virtual]].name for each in self.packages.values() if virtual in each.provides
        )

    @property
    def _first(self) -> str:
        wanted = _bare(self.first)
        for spec, key in self.roots:
            if _bare(spec) == wanted:
                return key
        for spec, key in self.roots:  # Spack writes variants and compilers in another order
            if _name(spec) == _name(self.first):
                return key
        return self.roots[0][1]


def read(text: str, first: str = "") -> Locked:
    """Return the packages of a lock; `first` is the first spec of its spack.yaml. Raises UserError for what is none."""
    version = OLDEST
    try:
        plain = json.loads(text)
        version = int(plain["_meta"]["lockfile-version"])
        specs, roots = plain["concrete_specs"], plain["roots"]
        packages = {str(key): _package(str(key), said) for key, said in specs.items()} if version >= OLDEST else {}
        found = tuple((str(each["spec"]), str(each["hash"])) for each in roots)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if version > NEWEST:
            raise _mistake(f"its format is version {version}; {NEWEST} is the newest that is known") from error
        raise _mistake(f"it is no lock of Spack: {type(error).__name__} {error}"[:200]) from error
    if version < OLDEST:
        raise _mistake(f"its format is version {version}; {OLDEST} is the oldest that is read")
    if not found:
        raise _mistake("it has no specs")
    known = {*packages}
    for where in (*(key for _, key in found), *(each for one in packages.values() for each in one.dependencies)):
        if where not in known:
            raise _mistake(f"it names {where[:40]}, which it does not have")
    try:
        TopologicalSorter({key: each.dependencies for key, each in packages.items()}).prepare()
    except CycleError as error:
        raise _mistake("its packages need each other in a circle") from error
    return Locked(roots=found, packages=packages, first=first)


def _package(key: str, said: Mapping[str, Any]) -> Package:
    name, version, target = str(said["name"]), str(said["version"]), said["arch"]["target"]
    is_right = _HASH.match(key) and _NAME.fullmatch(name) and _VERSION.match(version)
    if not is_right or len(name) + len(version) > LONGEST:
        raise ValueError(f"{name[:40]!r} {version[:40]!r} {key[:40]!r}")
    needs: Sequence[Mapping[str, Any]] = said.get("dependencies", ())
    kinds = {str(each["hash"]): each.get("parameters", {}) for each in needs}
    return Package(
        name=name,
        version=version,
        hash=key,
        external=bool(said.get("external")),
        dependencies=tuple(sorted(kinds)),
        target=str(target["name"] if isinstance(target, dict) else target),
        runs_with=tuple(sorted(each for each, told in kinds.items() if {*told.get("deptypes", ())} - {BUILD, "test"})),
        provides={str(one): each for each, told in kinds.items() for one in told.get("virtuals", ())},
    )


def _bare(spec: str) -> str:
    return re.sub(r"\s+", "", spec)


def _name(spec: str) -> str:
    found = _NAME.match(spec.strip().rpartition("::")[2])
    return found[0] if found else ""


def _mistake(message: str) -> UserError:
    return UserError(
        f"spack.lock: {message}",
        hint="remove it, and the next build makes one; or make one with `spack concretize`",
        reason=Reason.VALUE,
    )
