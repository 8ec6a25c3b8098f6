"""Jobs and specs with all but what a test is about filled in."""

from __future__ import annotations

from typing import Any

from cc_images.builders.dib.spec import DibSpec, TwinsSpec
from cc_images.model.catalog import Arch, Material
from cc_images.model.plan import BuildJob, LayerJob

OF_JOBS = ("version", "force", "known", "serves", "until")


def dib_spec(**more: Any) -> DibSpec:
    """Return the spec of a build of CC-One for amd64, with changes."""
    usual: dict[str, Any] = {
        "makes": Material.DISK, "name": "CC-One", "tag": "cc-one", "arch": Arch.AMD64, "recipe_key": "a", "content": (),
        "disk": (), "environment": {}, "packages": (), "timeout": 1,
    }  # fmt: skip
    return DibSpec(**usual | more)


def build_job(**more: Any) -> BuildJob:
    """Return the job of a build; what no job has belongs to its spec."""
    own = {name: more.pop(name) for name in OF_JOBS if name in more}
    return BuildJob(spec=dib_spec(**more), **own)


def layer_job(**more: Any) -> LayerJob:
    """Return the job of a layer."""
    own = {name: more.pop(name) for name in OF_JOBS if name in more}
    return LayerJob(spec=dib_spec(**{"makes": Material.TREE} | more), **own)


def twins_job(**more: Any) -> LayerJob:
    """Return the job of native twins for arm64."""
    own = {name: more.pop(name) for name in OF_JOBS if name in more}
    usual: dict[str, Any] = {
        "makes": Material.TREE, "name": "debian-bookworm", "tag": "debian-bookworm", "arch": Arch.ARM64,
        "recipe_key": "t",
    }  # fmt: skip
    return LayerJob(spec=TwinsSpec(**usual | more), **own)
