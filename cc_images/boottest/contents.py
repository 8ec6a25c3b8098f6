"""The contents of an image in words, and how two images differ. Pure; the facts are `inside/look.py`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    found = [
        ("file", f"{_size(size)}, a disk of {_size(facts['disk']['size'])}"),
        ("partitions", f"{facts['disk']['table']}: {', '.join(partitions)}"),
    ]
    if "trouble" in facts:
        return [*found, ("system", facts["trouble"])]
    root = facts["root"]
    largest = sorted(facts["sizes"].items(), key=lambda item: -item[1])[:LARGEST]
    provenance = facts["provenance"]
    return [
        *found,
        ("root", f"{root['kind']} on {root['partition']}, {_size(root['used'])} of {_size(root['size'])} used"),
        *([("mounted", ", ".join(facts["mounted"]))] if facts.get("mounted") else []),
        *([("not read", "; ".join(facts["unread"]))] if facts.get("unread") else []),
        ("system", facts["os"].get("PRETTY_NAME", "unknown")),
        ("kernel", ", ".join(facts["kernels"]) or "none"),
        ("arguments", facts["cmdline"] or "unknown"),
        ("cloud-init", _cloud(facts.get("cloud", {}))),
        ("provenance", ", ".join(f"{name} {value[:20]}" for name, value in provenance.items()) or "none"),
        ("packages", _packages(facts)),
        ("users", ", ".join(f"{each['name']} (password {each['password']})" for each in _people(facts)) or "none"),
        ("units", f"{len(facts['units'])} enabled: {', '.join(facts['units'])}"),
        ("set-uid", f"{len(facts['setuid'])}: {', '.join(each['path'] for each in facts['setuid'])}"),
        ("largest", ", ".join(f"{name} {_size(used)}" for name, used in largest)),
        ("hygiene", "; ".join(problems) or "nothing is wrong"),
    ]


def contents(facts: Json) -> Json:
    """Return what a build's record keeps of the facts: what `differences` compares."""
    kept = ("os", "kernels", "cmdline", "users", "units", "setuid", "sizes")
    more = {name: facts[name] for name in ("cloud", "files") if facts.get(name) is not None}
    return {name: facts[name] for name in kept} | more | {"packages": versions(facts), "manifest": None}


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
            "packages": _changed(versions(old), versions(new)),
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
        *("system", "packages", "accounts", "enabled units", "files with special rights", "sizes of folders"),
        *(files if old.get("files") is not None and new.get("files") is not None else []),
    ]


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
    if listed is None:
        return f"{len(installed)}; there is no manifest of dib's"
    if not installed:
        return f"{len(listed)} by dib's manifest; the package database is not read"
    differ = _changed(_bare(listed), _bare(installed))
    verdict = f"and dib's manifest differs: {', '.join(differ)}" if differ else "as dib's manifest"
    return f"{len(installed)}, {verdict}"


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
