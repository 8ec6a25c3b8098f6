"""Build caches of Spack packages, as sites.yaml names them. Plain frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildCache:
    """One entry of `build-caches`: a place with packages that were compiled once, in Spack's own layout."""

    name: str
    url: str
    """`file:///FOLDER` or `s3://BUCKET/PREFIX`."""
    push: bool = False
    """Whether each package goes there right after its build."""
    key: str = ""
    """The key that signs there: the fingerprint of one of the user's, or a GnuPG home; empty: that of this host."""
    trust: tuple[str, ...] = ()
    """Files with public keys of others whose signatures count there."""
    endpoint: str = ""
    """The address of the S3 service; empty: that of the user's own settings for it."""
    access: tuple[str, str] = ("", "")
    """The names of the variables that have the access key and its secret."""

    @property
    def folder(self) -> str:
        """Its folder; empty for one that is none."""
        return self.url.removeprefix("file://") if self.url.startswith("file://") else ""
