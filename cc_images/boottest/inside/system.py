"""What the files of an image say of its system: packages, accounts, units, kernel, cloud-init.

Read once the image's root is this process's; texts are the image's, so no more than a bounded part of any is read.
Runs beside `look.py` with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

UNITS = ("etc/systemd/system/*.wants/*", "etc/systemd/system/*.requires/*")
MOST_TEXT = 1 << 25


def users() -> list[dict[str, str]]:
    """Return the accounts: name, uid, shell, and whether the password is locked, set or empty."""
    shadow = dict(line.split(":")[:2] for line in text("/etc/shadow").splitlines() if ":" in line)
    found = []
    for line in text("/etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdecimal():
            word = fields[1] if fields[1] != "x" else shadow.get(fields[0], "*")
            state = "empty" if word == "" else "locked" if word[0] in "!*" else "set"
            found.append({"name": fields[0], "uid": fields[2], "shell": fields[6], "password": state})
    return found


def key_files() -> list[str]:
    """Return where accounts may have keys that let people in, as glob patterns."""
    homes = {line.split(":")[5].strip("/") for line in text("/etc/passwd").splitlines() if line.count(":") == 6}
    return [f"{home}/.ssh/authorized_keys*" for home in sorted({"root", "home/*", *homes}) if home]


def units() -> list[str]:
    """Return the units that something enabled wants."""
    return sorted({Path(name).name for pattern in UNITS for name in names(pattern)})


def dpkg() -> dict[str, str]:
    """Return the installed packages by name (`name:arch` for a second architecture) with their versions."""
    found: dict[str, str] = {}
    for paragraph in text("/var/lib/dpkg/status").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version|Architecture): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed") and fields.keys() >= {"Package", "Version", "Architecture"}:
            name = fields["Package"]
            found[f"{name}:{fields['Architecture']}" if name in found else name] = fields["Version"]
    return found


def manifest() -> dict[str, str] | None:
    """Return what dib's manifest in the image lists, or None when there is none."""
    for name in names("etc/dib-manifests/dib-manifest-dpkg-*"):
        listed = [each for each in as_json("/" + name).get("packages", []) if isinstance(each, dict)]
        listed = [each for each in listed if str(each.get("status")).startswith("ii")]
        return {str(each.get("package")): str(each.get("version")) for each in listed}
    for name in names("etc/dib-manifests/dib-manifest-rpm-*"):
        lines = text("/" + name).splitlines()
        return dict(found.groups() for line in lines if (found := re.match(r"(.+?)-([^-]+-[^-]+)\Z", line)))  # type: ignore[misc]
    return None


def cmdline() -> str:
    """Return the arguments of the kernel that the boot loader starts by default."""
    for name in ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"):
        if found := re.search(r"^\s*linux(?:16|efi)?\s+\S+\s+(.*)$", text(name), re.MULTILINE):
            return found[1].strip()
    for name in names("boot/loader/entries/*.conf"):
        if found := re.search(r"^options\s+(.*)$", text("/" + name), re.MULTILINE):
            return found[1].strip()
    return ""


def cloud_init() -> Facts:
    """Return whom cloud-init lets in, and from which sources it takes its metadata; the last file that says it wins.

    Its files are YAML, for which the standard library has no reader: the forms that people write are looked for. No
    pattern looks further than a bounded way ahead, because the text is the image's.
    """
    found: Facts = {"user": "", "sources": []}
    for name in ("etc/cloud/cloud.cfg", *names("etc/cloud/cloud.cfg.d/*.cfg")):
        plain = (re.sub(r"(^|[ \t])#.*", "", line).rstrip() for line in text("/" + name).splitlines())
        said = "".join(f"{line}\n" for line in plain if line)
        found["user"] = default_user(said) or found["user"]
        if sources := re.search(r"(?m)^datasource_list:\s*(\[[^\]]{0,1000}\]|(?:[ \t]*-.*\n)+)", said):
            found["sources"] = [each for each in re.findall(r"\w+", sources[1]) if each != "None"]
    return found


def default_user(said: str) -> str:
    """Return the name of a cloud-init file's default user, from a block or from a mapping in braces."""
    if flow := re.search(r"(?m)^[ \t]+default_user:\s*\{([^}]{0,1000})\}", said):
        named = re.search(r"(?:^|[,\s])name:\s*[\"']?([\w-]+)", flow[1])
        return named[1] if named else ""
    block = re.search(r"(?m)^([ \t]+)default_user:\n((?:\1[ \t]+.*\n)*)", said)
    named = re.search(r"(?m)^[ \t]*name:[ \t]*[\"']?([\w-]+)", block[2]) if block else None
    return named[1] if named else ""


def variables(path: str) -> dict[str, str]:
    """Return the assignments of a file such as os-release."""
    return {name: value.strip("\"'") for name, value in re.findall(r"^(\w+)=(.*)$", text(path), re.MULTILINE)}


def names(*patterns: str) -> list[str]:
    """Return what matches the patterns, relative to the root."""
    return sorted(str(path)[1:] for pattern in patterns for path in Path("/").glob(pattern))


def as_json(path: str) -> Facts:
    """Return a JSON file's object; empty when there is none."""
    try:
        found = json.loads(text(path))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def own_text(path: str) -> str:
    """Return the text of a file that is no link; empty for a link."""
    return "" if os.path.islink(path) else text(path)


def text(path: str) -> str:
    """Return a file's text, of a huge one the beginning; empty when it cannot be read or is no file."""
    try:
        if not os.path.isfile(path):
            return ""
        with open(path, "rb") as file:
            return file.read(MOST_TEXT).decode(errors="replace")
    except OSError:
        return ""
