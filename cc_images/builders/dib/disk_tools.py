"""Disk tools: the programs that write disks, of one release of Debian, for this host.

A disk's bytes must not depend on the host, so its own programs do not serve: e2fsprogs before 1.47.2, Debian 12's,
writes other bytes each time. They are unpacked, not installed, and kept in the store as a layer; apt has verified the
packages, and the layer is verified by its digest before each use. See `toolbox/disk`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cc_images.builders.dib import toolbox_parts
from cc_images.builders.dib.spec import DiskToolsSpec
from cc_images.builders.resolved import Resolved
from cc_images.host import environment
from cc_images.host.root import SYSTEM_PATH
from cc_images.host.user_emulation import HERE
from cc_images.model.catalog import Arch, Material
from cc_images.model.recipe import Recipe

TAG = "disk-tools"
"""How they are called in plans and in the store."""

SUITE = "trixie"
"""The release of Debian that they are of: with e2fsprogs 1.47.2 and mtools that know SOURCE_DATE_EPOCH."""

PACKAGES = ("dosfstools", "e2fsprogs", "fdisk", "mtools", "util-linux")

PROGRAMS = "2"
"""The version of what is kept of them, in their own key alone: since 2 debugfs, too."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

TIMEOUT = 30
"""Minutes that fetching them may take."""

SCRATCH = 1
"""GiB that it takes."""


SWITCH = "CC_IMAGES_ASSEMBLE"
"""The variable of the user's that leaves all disks to dib, by `no`: for hosts that reach no mirror of Debian."""


def why_not(keyring: Path = KEYRING, machine: str = HERE) -> str:
    """Return why this host cannot have them; empty when it can."""
    if environment.variable(SWITCH).lower() in ("no", "0", "false", "off"):
        return f"{SWITCH}=no"
    if not any(arch.machine == machine for arch in Arch):
        return f"there are no disk tools for {machine}"
    if shutil.which("mmdebstrap", path=":".join(SYSTEM_PATH)) is None:
        return "this host lacks mmdebstrap"
    return "" if keyring.exists() else f"this host lacks {keyring} (package debian-archive-keyring)"


def resolved(mirror: str, machine: str) -> Resolved:
    """Return them as a layer, fetched from a mirror of Debian, for hosts of a machine."""
    spec = DiskToolsSpec(
        makes=Material.TREE,
        name=TAG,
        tag=TAG,
        arch=next(arch for arch in Arch if arch.machine == machine),
        recipe_key="",
        environment={"SUITE": SUITE, "DIB_DISTRIBUTION_MIRROR": mirror},
        timeout=TIMEOUT,
        scratch=SCRATCH,
    )
    recipe = Recipe(
        name=spec.name,
        arch=spec.arch,
        content=(),
        disk=(),
        elements={},
        environment=spec.environment,
        packages=PACKAGES,
        artifacts={},
        files={},
        tools={**identity(), "programs": PROGRAMS},
    )
    return Resolved(spec=replace(spec, recipe_key=recipe.recipe_key), recipe=recipe)


def identity() -> Mapping[str, str]:
    """Return what stands in the keys of disks for all that writes them."""
    return {"disk-tools": f"{SUITE}: {' '.join(PACKAGES)}", "assembler": toolbox_parts.identity_of_disks()}
