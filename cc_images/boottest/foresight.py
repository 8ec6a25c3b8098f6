"""Early checks: those checks of a running image whose answers stand on its disk, judged before a boot.

Pure; the facts are `inside/look.py`'s. Only what no boot can change is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cc_images.model.catalog import Checks, Contract, Json
from cc_images.model.check_kinds import KINDS, Answer, Wanted
from cc_images.model.checks import every

ON_DISK = re.compile(
    r"/(bin|boot|lib|opt|sbin|usr)/|/etc/(?!(machine-id|hostname|hosts|resolv\.conf|mtab|adjtime|localtime|timezone|passwd"
    r"|shadow|group|gshadow|fstab)\Z|(ssh|netplan|network|NetworkManager|cloud|sudoers\.d|udev|apt|yum\.repos\.d|default"
    r"|systemd/network)/|\.|ld\.so\.cache)"
)
"""Files that no first boot makes or changes."""


def sought(checks: Checks) -> Json:
    """Return what a look inside should say of files and programs for these checks."""
    files = [name for name, wanted in checks.get("files", {}).items() if _is_on_disk(name, wanted)]
    return {"files": files, "executables": list(checks.get("executables", {}))}


def problems(checks: Checks, contract: Contract, facts: Json) -> list[str]:
    """Return the checks that will fail after any boot, a phrase each."""
    found: list[str] = []
    for kind, name, wanted in every(checks):
        for answer, why in _answer(kind, name, wanted, contract, facts):
            if wrong := KINDS[kind].judge(name, wanted, answer):
                found.append(f"{wrong}{why}")
    return found


def _answer(kind: str, name: str, wanted: Wanted, contract: Contract, facts: Json) -> Iterator[tuple[Answer, str]]:
    """Yield what a guest would answer to a check, if the disk tells, and what to say besides when that will not do."""
    seen = facts.get("sought", {})
    if kind == "files" and name in seen.get("files", {}):
        said = seen["files"][name]
        yield Answer(code=0 if said else 1, output=said), ""
    elif kind == "executables" and name in seen.get("executables", {}):
        if not seen["executables"][name]:
            yield Answer(code=1, output=""), ""
    elif kind == "packages" and facts.get("packages"):
        if not any(each.partition(":")[0] == name.partition(":")[0] for each in facts["packages"]):
            yield Answer(code=1, output=""), ""
    elif (
        facts.get("cmdline")
        and "$" not in facts["cmdline"]
        and (kind == "kernel" or (kind, name) == ("commands", "cat /proc/cmdline"))
    ):
        yield (
            Answer(code=0, output=f"BOOT_IMAGE=/boot/vmlinuz {facts['cmdline']}"),
            "; if that is meant, boot: {console: …} says so" * (kind != "kernel"),
        )
    elif (kind, name) == ("commands", "id -un"):
        yield (
            Answer(code=0, output=f"{contract.user}\n"),
            f"; it is cloud-init's default user: boot: {{user: {contract.user}}} says that it is meant",
        )


def _is_on_disk(name: str, wanted: Wanted) -> bool:
    return "made" not in wanted and ON_DISK.match(name) is not None
