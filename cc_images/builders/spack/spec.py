"""Specs of builds by Spack: of a lock, which is a layer, and of an image."""

from __future__ import annotations

from dataclasses import dataclass

from cc_images.builders.containerfile.spec import LayeredSpec
from cc_images.model.build_cache import BuildCache
from cc_images.model.catalog import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SpackSpec(LayeredSpec):
    """One concretization, whose result is a lock, or one image that is made by a lock.

    `folder` may be a spack.yaml alone. The first of `images` has Spack and compilers.
    """

    builder: str = "spack"
    manifest: str
    """The spack.yaml that is built: the user's, and what a machine adds."""
    epilogue: str = ""
    """Lines that end the Containerfile of an image, as they were when the spec was made."""
    first: str = ""
    """The first spec as the user wrote it."""
    target: str = ""
    """The target that every package must have; empty: any."""
    mpi: str = ""
    """The one package that may stand for `mpi`; empty: any."""
    runtime: str = ""
    """The image that the result starts from; empty: the result is a lock."""
    lock: str = ""
    """The recipe key of the lock."""
    fresh: bool = False
    """Whether a lock takes nothing from that of the last build."""
    without_lock: bool = False
    """Whether a lock in the folder is passed over."""
    caches: tuple[BuildCache, ...] = ()
    """The build caches besides the store's own."""

    @property
    def tool(self) -> str:
        """The image with Spack and compilers."""
        return next(iter(self.images), "")

    @property
    def relies_on(self) -> tuple[str, ...]:
        """Its own layer; or the layers of its images, and its lock."""
        if self.own:
            return (self.own,)
        layers = (*(each.layer for each in self.images.values()), self.lock)
        return tuple(dict.fromkeys(each for each in layers if each))

    @property
    def host_programs(self) -> tuple[str, ...]:
        """What builds, what fetches images of registries, and what signs the packages of an image."""
        if self.own:
            return ()
        fetches = any(each.download for each in self.images.values())
        return ("buildah", *(("skopeo",) if fetches else ()), *(("gpg",) if self.runtime else ()))

    def shown(self) -> Json:
        """Return the spec as plain data without secrets, with the names that plans have for every build."""
        plain = LayeredSpec.shown(self)
        del plain["manifest"], plain["epilogue"], plain["caches"]
        return plain
