"""The commands that make an environment: its lock, its packages, its view."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from shutil import rmtree

from tests.support.standin_spack.cache import extract, fetched, push
from tests.support.standin_spack.faults import FAULT, Refused, die
from tests.support.standin_spack.packages import RECIPES, Node, dashed, label_of, name_of, node_of, prefix_of
from tests.support.standin_spack.session import FORMAT, VERSION, Session, nothing_else


def concretize(now: Session, words: Sequence[str]) -> None:
    """Write the lock of an environment."""
    nothing_else(words)
    specs, before = now.settings["specs"], now.locked()
    if before is not None and {each["spec"] for each in before["roots"]} == {*specs}:
        print("==> No new specs to concretize.")
        return
    nodes: dict[str, Node] = {}
    roots = [{"hash": node_of(name_of(spec), now.target, nodes)["hash"], "spec": spec} for spec in specs]
    lock = {
        "_meta": {"file-type": "spack-lockfile", "lockfile-version": 7 if FAULT.hits("newer") else FORMAT,
                  "specfile-version": 5},
        "spack": {"version": VERSION, "type": "release"},
        "roots": roots,
        "concrete_specs": {each["hash"]: each for each in nodes.values()},
    }  # fmt: skip
    text = "\0 no JSON" if FAULT.hits("garbage") else json.dumps(lock)
    (now.environment / "spack.lock").write_text(text)
    print(f"==> Concretized {len(roots)} spec{'s' * (len(roots) > 1)}:", *map(label_of, nodes.values()), sep="\n -   ")


def install(now: Session, words: Sequence[str]) -> None:
    """Install an environment: from mirrors, and what they lack is compiled, and pushed where that is set."""
    options = argparse.ArgumentParser("spack install", allow_abbrev=False)
    options.add_argument("--fail-fast", action="store_true")
    options.add_argument("--jobs", type=int)
    options.add_argument("--use-buildcache", choices=("auto", "only", "never"), default="auto")
    chosen, rest = options.parse_known_args(words)
    nothing_else(rest)
    if now.locked() is None:
        concretize(now, ())
    lock = now.locked()
    assert lock is not None
    nodes, only = lock["concrete_specs"], chosen.use_buildcache == "only"
    packed = {} if chosen.use_buildcache == "never" else {
        key: found for key, each in nodes.items() if "external" not in each and (found := fetched(now, each))
    }  # fmt: skip
    there = {key for key, each in nodes.items() if prefix_of(now.tree, each).exists()}
    wanted = closure(lock, {*nodes} if only else {*packed} | there)
    pushed = 0
    try:
        for key in [each for each in TopologicalSorter(needs(nodes)).static_order() if each in wanted]:
            pushed += _install(now, nodes[key], packed.get(key), only=only)
            if FAULT.hits("die-after", pushed):
                die()
    finally:
        print(f"==> Updating view at {now.settings['view']}", flush=True)
    _view(now, [nodes[key] for key in sorted(closure(lock, {*nodes}))])


def _install(now: Session, node: Node, packed: bytes | None, *, only: bool) -> bool:
    """Install one package; return whether it was pushed."""
    named, prefix = dashed(node), prefix_of(now.tree, node)
    if "external" in node or prefix.exists():
        print(f"[+] /usr (external {named})" if "external" in node else f"[+] {prefix}")
        return False
    if packed is not None:
        print(f"==> Extracting {named} from binary cache")
        extract(packed, now.tree)
    elif only:
        why = "No binary found when cache-only was specified"
        print(f"==> Error: Failed to install {node['name']} due to InstallError: {why}")
        raise Refused(f"Terminating after first install failure: {why}")
    else:
        print(f"==> No binary for {named} found: installing from source", flush=True)
        _compile(node, prefix)
        for mirror in now.mirrors:
            if mirror.get("autopush"):
                push(now, node, mirror["folder"])
                print(f"==> {node['name']}: Pushed to build cache: '{mirror['name']}'")
    print(f"==> {node['name']}: Successfully installed {named}", f"[+] {prefix}", sep="\n", flush=True)
    return packed is None


def _compile(node: Node, prefix: Path) -> None:
    """Write the files of a package: one, which says where it is, and what Spack notes."""
    name = node["name"]
    print(f"==> {name}: Executing phase: 'install'", flush=True)
    while FAULT.hits("hang", name):
        time.sleep(1)
    file = prefix / ("bin" if RECIPES[name].has_program else "lib") / name
    for each, text in {
        file: f'#!/bin/sh\necho "{name} {node["version"]} in {prefix}"\n',
        prefix / ".spack/spec.json": json.dumps({"spec": {"_meta": {"version": 5}, "nodes": [node]}}),
        prefix / ".spack/install_times.json": json.dumps({"total": time.process_time()}),
    }.items():
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text(text)
    file.chmod(0o755)


def _view(now: Session, nodes: Sequence[Node]) -> None:
    view = Path(now.settings["view"])
    content = view.with_name(f"._{view.name}") / hashlib.sha256(json.dumps(nodes).encode()).hexdigest()[:32]
    (content / "bin").mkdir(parents=True, exist_ok=True)
    for program in [file for node in nodes for file in (prefix_of(now.tree, node) / "bin").glob("*")]:
        (content / "bin" / program.name).unlink(missing_ok=True)
        (content / "bin" / program.name).symlink_to(program)
    view.unlink(missing_ok=True)
    view.symlink_to(content)


def gc(now: Session, words: Sequence[str]) -> None:
    """Remove packages that the environment does not need to run."""
    nothing_else([each for each in words if each != "--yes-to-all"])
    lock = now.locked()
    assert lock is not None
    print(f"==> Restricting garbage collection to environment '{now.environment}'")
    needed = {dashed(lock["concrete_specs"][key]) for key in closure(lock, {*lock["concrete_specs"]})}
    for prefix in now.tree.glob("*-*/*-*"):
        if prefix.name not in needed:
            rmtree(prefix)
            print(f"==> Successfully uninstalled {prefix.name}")


def needs(nodes: Mapping[str, Node], *, to_run: bool = False) -> dict[str, list[str]]:
    """Return what each package needs, by hashes; `to_run`: without what only its compilation needs."""
    return {
        key: [each["hash"] for each in node.get("dependencies", ())
              if not to_run or {*each["parameters"]["deptypes"]} - {"build"}]
        for key, node in nodes.items()
    }  # fmt: skip


def closure(lock: Node, made: Collection[str]) -> set[str]:
    """Return what the roots need: to run, and what is not among `made` also to be compiled."""
    to_run, to_build = needs(lock["concrete_specs"], to_run=True), needs(lock["concrete_specs"])
    found: set[str] = set()
    stack = [each["hash"] for each in lock["roots"]]
    while stack:
        if (key := stack.pop()) not in found:
            found.add(key)
            stack += to_run[key] if key in made else to_build[key]
    return found
