"""The contents of an image in words, and how two images differ. Pure; the facts are `inside/look.py`'s."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from cc_images.model.catalog import Json

LARGEST = 8
"""Folders that are shown with their sizes."""

FIRST_USER = 1000
"""The lowest uid of people's accounts; see login.defs(5)."""


def rows(facts: Json, problems: Sequence[str], size: int) -> list[tuple[str, str]]:
    """Return what is inside, a heading and a text each; `size` is the file's, in bytes."""
    partitions = [
        " ".join(filter(None, (str(each["number"]), each["kind"] or "-", _size(each["size"]), each["label"])))
        for each in facts["partitions"]
    ]
    is_tree = facts.get("root", {}).get("kind") == "tree"
    found = [
        ("file", f"{_size(size)}, a {'tree' if is_tree else 'disk'} of {_size(facts['disk']['size'])}"),
        *([] if is_tree else [("partitions", f"{facts['disk']['table']}: {', '.join(partitions)}")]),
    ]
    if "trouble" in facts:
        return [*found, ("system", facts["trouble"])]
    root = facts["root"]
    largest = sorted(facts["sizes"].items(), key=lambda item: -item[1])[:LARGEST]
    provenance, units = facts["provenance"], facts["units"]
    return [
        *found,
        *(
            []
            if is_tree
            else [
                ("root", f"{root['kind']} on {root['partition']}, {_size(root['used'])} of {_size(root['size'])} used")
            ]
        ),
        *([("mounted", ", ".join(facts["mounted"]))] if facts.get("mounted") else []),
        *([("not read", "; ".join(facts["unread"]))] if facts.get("unread") else []),
        ("system", facts["os"].get("PRETTY_NAME", "unknown")),
        *([] if is_container(facts) else _machine(facts)),
        ("provenance", ", ".join(f"{name} {value[:20]}" for name, value in provenance.items()) or "none"),
        ("packages", _packages(facts)),
        ("python", _python(facts)),
        ("users", ", ".join(f"{each['name']} (password {each['password']})" for each in _people(facts)) or "none"),
        *([("units", f"{len(units)} enabled: {', '.join(units)}")] if units or not is_container(facts) else []),
        ("set-uid", f"{len(facts['setuid'])}: {', '.join(each['path'] for each in facts['setuid'])}"),
        ("largest", ", ".join(f"{name} {_size(used)}" for name, used in largest)),
        ("hygiene", "; ".join(problems) or "nothing is wrong"),
    ]


def is_container(facts: Json) -> bool:
    """Say whether the facts are of an OCI archive or a SIF file: they alone have layers."""
    return bool(facts.get("layers"))


def _machine(facts: Json) -> list[tuple[str, str]]:
    """Return what counts for a machine alone."""
    return [
        ("kernel", ", ".join(facts["kernels"]) or "none"),
        ("arguments", facts["cmdline"] or "unknown"),
        ("cloud-init", _cloud(facts.get("cloud", {}))),
    ]


def contents(facts: Json) -> Json:
    """Return what a build's record keeps of the facts: what `differences` compares."""
    kept = ("os", "kernels", "cmdline", "users", "units", "setuid", "sizes")
    more = {name: facts[name] for name in ("cloud", "files", "installed") if facts.get(name) is not None}
    return {name: facts[name] for name in kept} | more | {"packages": versions(facts), "manifest": None}


def _run(facts: Json) -> dict[str, str]:
    """Return how a container is run, a phrase by its name."""
    found: dict[str, str] = {}
    for name, each in facts.get("container", {}).items():
        if isinstance(each, dict):
            found |= {f"{name} {key}": str(value) for key, value in each.items()}
        else:
            found[name] = each if isinstance(each, str) else shlex.join(each)
    return found


def differences(old: Json, new: Json) -> dict[str, list[str]]:
    """Return what differs between two images, by subject, a phrase each; subjects without a difference are left out.

    Of what was not looked into only the packages are known, and are all that is compared.
    """
    if not (known(old) and known(new)):
        packages = _changed(versions(old), versions(new))
        return {"packages": packages} if packages else {}
    return {
        subject: found
        for subject, found in {
            "system": _changed(_release(old), _release(new)),
            "container": _changed(_run(old), _run(new)) if "container" in old and "container" in new else [],
            **_of_databases(old, new),
            "users": _changed(_by(old["users"], "name"), _by(new["users"], "name")),
            "units": _changed(dict.fromkeys(old["units"], ""), dict.fromkeys(new["units"], "")),
            "set-uid": _changed(_by(old["setuid"], "path"), _by(new["setuid"], "path")),
            "files": _altered(old, new),
            "size": _grown(old["sizes"], new["sizes"]),
        }.items()
        if found
    }


def compared(old: Json, new: Json) -> list[str]:
    """Return what `differences` has compared."""
    if not (known(old) and known(new)):
        return ["packages"]
    files = ["files of /etc, /opt and /usr/local that are no package's, or not as it brought them"]
    return [
        *(["how it is run"] if "container" in old and "container" in new else []),
        *("system", "packages", "accounts", "enabled units", "files with special rights", "sizes of folders"),
        *(["Python packages", "source packages"] if _listed(old, new) else []),
        *(files if old.get("files") is not None and new.get("files") is not None else []),
    ]


def _of_databases(old: Json, new: Json) -> dict[str, list[str]]:
    """Return how packages differ, by subject; Python's and sources only where both images' databases were read."""
    if not _listed(old, new):
        return {"packages": _changed(versions(old), versions(new))}
    rpm = any(each["type"] == "rpm" for facts in (old, new) for each in facts["installed"])
    told = {"packages": partial(_versions_of, kind="rpm") if rpm else versions,
            "python": partial(_versions_of, kind="pypi"), "sources": _sources}  # fmt: skip
    return {subject: _changed(of(old), of(new)) for subject, of in told.items()}


def _listed(old: Json, new: Json) -> bool:
    """Say whether the databases of both images were read; older records have names and versions alone."""
    return old.get("installed") is not None and new.get("installed") is not None


def _versions_of(facts: Json, kind: str) -> dict[str, str]:
    """Return the packages of a kind by name; of several of a name, such as kernels, all versions."""
    return _joined((each["name"], each["version"]) for each in facts["installed"] if each["type"] == kind)


def _sources(facts: Json) -> dict[str, str]:
    """Return the source packages of which there are packages."""
    return _joined((each["source"], each.get("source-version", "")) for each in facts["installed"] if "source" in each)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for name, version in pairs:
        found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(several)) for name, several in found.items()}


def _altered(old: Json, new: Json) -> list[str]:
    """Return which files came, went and changed, where both say it."""
    if old.get("files") is None or new.get("files") is None:
        return []
    before, after = old["files"], new["files"]
    both = sorted(before.keys() & after.keys())
    return [
        *(f"+{path}" for path in sorted(after.keys() - before.keys())),
        *(f"-{path}" for path in sorted(before.keys() - after.keys())),
        *(f"{path} changed" for path in both if before[path] != after[path]),
    ]


def known(facts: Json) -> bool:
    """Say whether an image was looked into: else only its packages are known."""
    return facts.keys() >= {"os", "units"}


def versions(facts: Json) -> dict[str, str]:
    """Return the packages of an image: its package database, or where that cannot be read, dib's manifest."""
    found: dict[str, str] = facts["packages"] or facts.get("manifest") or {}
    return found


def _cloud(said: Json) -> str:
    sources = f"sources {', '.join(said['sources'])}" if said.get("sources") else ""
    user = f"user {said['user']}" if said.get("user") else ""
    return ", ".join(filter(None, (user, sources))) or "names no user and no source"


def _packages(facts: Json) -> str:
    """Return how many packages there are, and whether dib's manifest says the same."""
    installed, listed = facts["packages"], facts["manifest"]
    by_rpm = sum(each["type"] == "rpm" for each in facts.get("installed", []))
    if listed is None:
        return f"{len(installed) or by_rpm}; there is no manifest of dib's"
    if not installed:
        why = f"RPM's database has {by_rpm}" if by_rpm else "the package database is not read"
        return f"{len(listed)} by dib's manifest; {why}"
    differ = _changed(_bare(listed), _bare(installed))
    verdict = f"and dib's manifest differs: {', '.join(differ)}" if differ else "as dib's manifest"
    return f"{len(installed)}, {verdict}"


def _python(facts: Json) -> str:
    """Return the Python distributions that no package brings."""
    found = [f"{each['name']} {each['version']}" for each in facts.get("installed", []) if each["type"] == "pypi"]
    return ", ".join(found) or "nothing besides packages"


def _bare(packages: Mapping[str, str]) -> dict[str, str]:
    """Return packages by name without their architecture, which the manifest has for some and the database for none."""
    return {name.partition(":")[0]: version for name, version in packages.items()}


def _people(facts: Json) -> list[Json]:
    """Return root, the accounts of people, and all that may log in with a password."""
    return [
        each
        for each in facts["users"]
        if each["name"] == "root" or FIRST_USER <= int(each["uid"]) < 60000 or each["password"] != "locked"
    ]


def _release(facts: Json) -> dict[str, str]:
    release = {name: facts["os"].get(name, "") for name in ("PRETTY_NAME", "VERSION_ID")}
    return release | {"kernel": ", ".join(facts["kernels"]), "arguments": facts["cmdline"]}


def _by(listed: Sequence[Mapping[str, str]], key: str) -> dict[str, str]:
    told = ({**each, "owner": ""} if each.get("owner") == "0:0" else each for each in listed)
    return {each[key]: " ".join(value for name, value in each.items() if name != key and value) for each in told}


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    found = []
    for name in sorted({*old, *new}):
        if name not in old:
            found.append(f"+{name} {new[name]}".strip())
        elif name not in new:
            found.append(f"-{name} {old[name]}".strip())
        elif old[name] != new[name]:
            found.append(f"{name} {old[name]} → {new[name]}")
    return found


def _grown(old: Mapping[str, int], new: Mapping[str, int]) -> list[str]:
    """Return the folders that have grown or shrunk by a MiB and more, the largest change first."""
    changes = {name: new.get(name, 0) - old.get(name, 0) for name in {*old, *new}}
    told = sorted((each for each in changes.items() if abs(each[1]) >= 1 << 20), key=lambda each: -abs(each[1]))
    return [f"{name} {'+' if change > 0 else '-'}{_size(abs(change))}" for name, change in told]


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
