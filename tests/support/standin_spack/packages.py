"""The packages of the stand-in: what each needs, and what it is as a node of a lock file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.standin_spack.faults import Refused

Node = dict[str, Any]
"""A package as lock files and spec files have it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a package needs: by name, `KINDS` or `KINDS:VIRTUALS`, each with commas."""

    version: str
    needs: Mapping[str, str] = field(default_factory=dict)
    external: bool = False
    has_program: bool = False


_COMPILED = {
    "compiler-wrapper": "build",
    "gcc": "build:c",
    "gcc-runtime": "link",
    "glibc": "link:libc",
    "gmake": "build",
}

RECIPES = {
    "zip": Recipe(version="3.0", needs={"bzip2": "build,link", **_COMPILED}, has_program=True),
    "bzip2": Recipe(version="1.0.8", needs={"diffutils": "build", **_COMPILED}, has_program=True),
    "lz4": Recipe(version="1.9.4", needs={**_COMPILED, "gcc": "build:c,cxx"}, has_program=True),
    "compiler-wrapper": Recipe(version="1.1.0"),
    "gcc-runtime": Recipe(version="12.2.0", needs={"gcc": "build", "glibc": "link:libc"}),
    "gcc": Recipe(version="12.2.0", external=True),
    "glibc": Recipe(version="2.36", external=True),
    "gmake": Recipe(version="4.3", external=True),
    "diffutils": Recipe(version="3.8", external=True),
}


def name_of(spec: str) -> str:
    """Return the package of a spec, which may name its version. Raises Refused."""
    name, _, version = spec.partition("@")
    if name not in RECIPES:
        raise Refused(f"cannot concretize '{spec}', since '{name}' does not exist")
    if version not in ("", RECIPES[name].version):
        raise Refused(f"No version exists that satisfies these input specs:\n    {spec}")
    return name


def node_of(name: str, target: str, nodes: dict[str, Node]) -> Node:
    """Return a package as a node, after those that it needs, which are added to `nodes` with it."""
    if name not in nodes:
        recipe = RECIPES[name]
        node: Node = {"name": name, "version": recipe.version, "namespace": "builtin", "parameters": {},
                      "arch": {"platform": "linux", "platform_os": "debian12", "target": target}}  # fmt: skip
        if recipe.external:
            node["external"] = {"path": "/usr", "module": None, "extra_attributes": {}}
        if recipe.needs:
            node["dependencies"] = [
                {"name": each, "hash": node_of(each, target, nodes)["hash"],
                 "parameters": {"deptypes": kinds.split(","), "virtuals": virtuals.split(",") if virtuals else []}}
                for each, said in recipe.needs.items() for kinds, _, virtuals in [said.partition(":")]
            ]  # fmt: skip
        digest = hashlib.sha1(json.dumps(node).encode(), usedforsecurity=False).digest()
        nodes[name] = {**node, "hash": base64.b32encode(digest).decode().lower()}
    return nodes[name]


def dashed(node: Node) -> str:
    """Return a package's name in names of files."""
    return f"{node['name']}-{node['version']}-{node['hash']}"


def label_of(node: Node) -> str:
    """Return a package's name in messages."""
    return f"{node['name']}@{node['version']}/{node['hash'][:7]}"


def prefix_of(tree: Path, node: Node) -> Path:
    """Return the folder of a package in a tree."""
    return tree / f"linux-{node['arch']['target']}" / dashed(node)


def manifest_of(node: Node) -> str:
    """Return the place of a package's manifest in a build cache."""
    return f"v3/manifests/spec/{node['name']}/{dashed(node)}.spec.manifest.json"


def blob_path(digest: str) -> str:
    """Return the place of a blob in a build cache."""
    return f"blobs/sha256/{digest[:2]}/{digest}"
