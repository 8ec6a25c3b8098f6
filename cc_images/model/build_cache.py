"""Build caches of Spack packages, as sites.yaml names them. Plain frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildCache:
    """One entry of `build-caches`: a place with packages that were compiled once, in Spack's own layout."""

    name: str
    url: str
    """`file:///FOLDER`, `s3://BUCKET/PREFIX` or `oci://HOST/REPOSITORY`."""
    push: bool = False
    """Whether each package goes there right after its build."""
    key: str = ""
    """The key that signs there: the fingerprint of one of the user's, or a GnuPG home; empty: that of this host."""
    trust: tuple[str, ...] = ()
    """Files with public keys of others whose signatures count there."""
    endpoint: str = ""
    """The address of the S3 service; empty: that of the user's own settings for it."""
    access: tuple[str, str] = ("", "")
    """The names of the variables that have the access key and its secret, or a registry's user and password."""
    insecure: bool = False
    """Whether a registry on loopback is spoken to by HTTP."""
    ca: str = ""
    """The file of certificates, as PEM, by which a registry's may be signed too, besides those that the host trusts."""

    @property
    def folder(self) -> str:
        """Its folder; empty for one that is none."""
        return self.url.removeprefix("file://") if self.url.startswith("file://") else ""

    @property
    def repository(self) -> str:
        """Its host and repository; empty for one that is in no registry."""
        return self.url.removeprefix("oci://") if self.url.startswith("oci://") else ""
