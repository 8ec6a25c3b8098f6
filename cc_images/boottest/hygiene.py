"""Hygiene: what no image may have, whatever the catalogue says. Pure; the facts are `inside/look.py`'s."""

from __future__ import annotations

from collections.abc import Sequence

from cc_images.model.catalog import Json

BLANK_MACHINE_IDS = ("", "uninitialized")
"""The contents that /etc/machine-id may have in an image; see machine-id(5)."""


OF_CONTAINERS = ("usr/sbin/policy-rc.d",)
"""Leftovers that base images of containers have on purpose: no package starts a daemon there."""

ADMIN_KEYS = "home/ccadmin/.ssh/authorized_keys"
"""The one file that may let in keys which come with the image: those that the configuration names."""


def problems(
    facts: Json, nameservers: Sequence[str] = (), admitted: Sequence[str] = (), allowed: Sequence[str] = ()
) -> list[str]:
    """Return what is wrong inside an image, a phrase each.

    `nameservers` are those of the host that built it, `admitted` the public keys that its administrator shall have,
    `allowed` what the catalogue lets pass by name (`model.catalog.ALLOWED`).
    """
    unread = [] if "unread-partitions" in allowed else facts.get("unread", [])
    found = [f"{path} holds a secret of the build's environment" for path in facts["leaking"]]
    found += [f"not looked into: {each}; allow: [unread-partitions] lets it pass" for each in unread]
    found += [
        f"{each} is a program that users cannot run; allow: [private-programs] lets it pass"
        for each in facts.get("private", [])
        if "private-programs" not in allowed
    ]
    found += [f"/{name} is a host key that all instances would share" for name in facts["host_keys"]]
    if facts["machine_id"] not in BLANK_MACHINE_IDS or facts["dbus_machine_id"]:
        found.append("/etc/machine-id is set: all instances would share it")
    words = [line.split() for line in facts["resolv_conf"].splitlines()]
    listed = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    hosts = [each for each in listed if each in nameservers]
    found += [f"/etc/resolv.conf names {each}, a name server of the build host" for each in hosts]
    meant = OF_CONTAINERS if facts.get("layers") else ()
    found += [f"/{name} is a leftover of the build" for name in facts["leftovers"] if name not in meant]
    for name, lines in facts["authorized_keys"].items():
        known = {key.strip() for key in admitted} if name == ADMIN_KEYS else set()
        if "keys" not in allowed and any(line.strip() not in known for line in lines if line.strip()):
            found.append(f"/{name} lets in keys that come with the image")
    found += [
        f"{user['name']} has {'no' if user['password'] == 'empty' else 'a'} password"
        for user in facts["users"]
        if "passwords" not in allowed
        and user["password"] != "locked"
        and not user["shell"].endswith(("/nologin", "/false"))
    ]
    return found
