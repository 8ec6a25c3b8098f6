"""Spack environments: the checked section of a spack.yaml, and what a machine adds. Pure: values in, values out.

Rules: Spack's "Environments" and "Package Settings". Requirements of a package replace those of `all`, so what must
hold for every package is added to each that has its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Arch, Json

VIEW = "/opt/views/view"
SOFTWARE = "/opt/software"

USUAL: Mapping[Arch, str] = {Arch.AMD64: "x86_64_v3", Arch.ARM64: "aarch64"}
"""The target of packages where neither the environment nor a machine says one: never that of the host that builds."""

MPIS = (
    *("openmpi", "mpich", "mvapich", "mvapich2", "mvapich-plus", "intel-mpi", "intel-oneapi-mpi"),
    *("cray-mpich", "spectrum-mpi", "hpcx-mpi", "nvhpc", "msmpi", "mpt", "fujitsu-mpi"),
)
"""Packages that bring a libmpi."""

_TARGET = re.compile(r"[a-z0-9_][a-z0-9_.]{0,39}\Z")
_NAMED = re.compile(r"\s*(?:[a-z_]+::)?([A-Za-z0-9_][A-Za-z0-9_-]*)")
_SAYS_TARGET = re.compile(r"(?:^|[\s+~@%])(?:target|arch)==?\S")
_SPEC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(@[A-Za-z0-9._:,=+~-]+)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What a machine adds to an environment: the target of all packages, its MPI and its GPU's runtime, as specs."""

    target: str = ""
    mpi: str = ""
    gpu: str = ""

    def __post_init__(self) -> None:
        for name, text, form in (("target", self.target, _TARGET), ("mpi", self.mpi, _SPEC), ("gpu", self.gpu, _SPEC)):
            if text and not form.match(text):
                raise _mistake(f"{name}: {text[:60]!r} is not understood", f"write it as Spack does: {_LIKE[name]}")


_LIKE = {"target": "x86_64_v3", "mpi": "openmpi@4", "gpu": "cuda@12"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment as it is built: its section `spack`, and the target that every package must have, if one must."""

    plain: Json
    target: str = ""
    mpi: str = ""
    """The name of the package that is the one MPI; empty: whatever Spack takes."""

    @property
    def first(self) -> str:
        """The first spec as it is written; empty where that is a matrix or a definition."""
        return next((each for each in self.plain["specs"] if isinstance(each, str) and not each.startswith("$")), "")

    @property
    def text(self) -> str:
        """Its spack.yaml: JSON, which is YAML."""
        return json.dumps({"spack": self.plain}, indent=1) + "\n"


def environment(plain: Mapping[str, Any], arch: Arch, added: Additions | None = None) -> Environment:
    """Return the environment of a spack.yaml's section. Raises UserError for what cannot be with a machine."""
    added = added or Additions()
    said: Json = json.loads(json.dumps(plain))
    said["specs"] = [*said.get("specs", ())]
    packages: Json = {name: each for name, each in (said.get("packages") or {}).items() if each is not None}
    said["packages"] = packages
    for wanted in (added.mpi, added.gpu):
        if wanted and not any(_is_of(each, wanted) for each in said["specs"]):
            said["specs"].append(wanted)
    if added.mpi:
        _with_mpi(said, added.mpi)
    if added.target:
        _with_target(said, added.target)
    elif not any(_SAYS_TARGET.search(each) for each in _texts(said)) and not _targets(packages):
        packages.setdefault("all", {})["target"] = [USUAL[arch]]
    said["view"] = VIEW
    said["config"] = {**(said.get("config") or {}), "install_tree": {"root": SOFTWARE, "padded_length": 0}}
    return Environment(plain=said, target=added.target, mpi=_name(added.mpi))


def _with_target(said: Json, target: str) -> None:
    """Require a target of every package. Spack takes a package's own requirements instead of those of `all`."""
    for spec in said["specs"]:
        if isinstance(spec, str) and _SAYS_TARGET.search(spec):
            raise _mistake(f"specs: {spec[:60]!r} says a target, and the machine says {target}", "remove it there")
    packages = said["packages"]
    wanted = f"target={target}"
    own = [*_requirements(packages.get("all") or {}), wanted]
    packages["all"] = {**_without(packages.get("all") or {}), "require:": own}
    for name, settings in packages.items():
        if name.rstrip(":") == "all" or not isinstance(settings, dict):
            continue
        settings.pop("target", None)
        required = _requirements(settings)
        if required and not _is_virtual(name.rstrip(":"), required):
            packages[name] = {**_without(settings), "require": [*required, wanted]}
    for where in packages.values():
        for each in _requirements(where) if isinstance(where, dict) else ():
            for text in _texts(each):
                if _SAYS_TARGET.search(text) and wanted not in text:
                    raise _mistake(f"packages: {text[:60]!r} says a target, and the machine says {target}", "remove it")


def _with_mpi(said: Json, mpi: str) -> None:
    """Make one package the provider of `mpi`, and refuse a second one."""
    name = _name(mpi)
    for spec in said["specs"]:
        found = _name(spec) if isinstance(spec, str) else ""
        if found in MPIS and found != name:
            raise _mistake(f"specs: {spec[:60]} and the machine's {mpi} are two MPIs", "leave MPI to the machine")
    packages = said["packages"]
    settings = packages.get("mpi") or {}
    packages["mpi"] = {**_without(settings), "buildable": True, "require:": [mpi]}
    everything = packages.get("all") or {}
    providers = {key: value for key, value in (everything.get("providers") or {}).items() if key != "mpi"}
    packages["all"] = {**everything, "providers": {**providers, "mpi": [name]}}


def _requirements(settings: Mapping[str, Any]) -> list[Any]:
    found = settings.get("require", settings.get("require:")) or []
    return [found] if isinstance(found, str) else [*found]


def _without(settings: Mapping[str, Any]) -> Json:
    return {key: value for key, value in settings.items() if key.rstrip(":") not in ("require", "target")}


def _is_virtual(name: str, required: list[Any]) -> bool:
    """Say whether a name stands for several packages: all that is required of it begins with another one's name."""
    named = [_name(text) for each in required for text in _specs(each)]
    return bool(named) and all(named) and name not in named


def _specs(required: Any) -> Iterator[str]:
    """Yield the specs of one requirement: a text, or a mapping of `spec`, `one_of` or `any_of`."""
    if isinstance(required, str):
        yield required
    elif isinstance(required, dict):
        for key in ("spec", "one_of", "any_of"):
            yield from _texts(required.get(key) or ())


def _targets(packages: Mapping[str, Any]) -> bool:
    return any(isinstance(each, dict) and each.get("target") for each in packages.values())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _is_of(spec: Any, wanted: str) -> bool:
    return isinstance(spec, str) and _name(spec) == _name(wanted)


def _name(spec: str) -> str:
    """Return the package that a spec names; empty for one that says only what a package shall be like."""
    found = _NAMED.match(spec)
    return found[1] if found and not re.match(r"\s*[A-Za-z_]+==?", spec) else ""


def _mistake(message: str, hint: str) -> UserError:
    return UserError(f"spack.yaml: {message}", hint=hint, reason=Reason.VALUE)
