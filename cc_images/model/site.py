"""Sites: where images are published to, as sites.yaml says. Plain frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from cc_images.model.catalog import Arch, Format, Image, Retirement


class OnBad(StrEnum):
    """What happens to a version that is bad on a site: it goes no further, or it is rolled back as well."""

    STOP = "stop"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One entry of sites.yaml. One of `cloud` (of clouds.yaml), `directory`, `catalogue` and `registry` is set."""

    name: str
    cloud: str = ""
    directory: str = ""
    catalogue: str = ""
    """A folder with versions from which others pull, or swift://CLOUD/CONTAINER; `scope` is the site's part of it."""
    scope: str = ""
    registry: str = ""
    """HOST/PREFIX of repositories for containers; `insecure`: by HTTP."""
    insecure: bool = False
    families: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The family and variant of images that are variants, by published names: they have the family's repository."""
    contract: tuple[str, ...] = ()
    """Names of rules that its images must keep; see `model.contracts`."""
    is_baremetal: bool = False
    arches: tuple[Arch, ...] = ()
    """Architectures that it takes; empty: bare metal all, others amd64."""
    formats: tuple[Format, ...] = ()
    takes: Mapping[str, str] = field(default_factory=dict)
    """Patterns by name: properties that an image must have to be taken, and `tag`; empty: every image."""
    amazon: bool = False
    """Whether a ramdisk's files are `aki` and `ari` there, and not `raw`."""
    visibility: str = ""
    """Of published images; empty: that of the image which is replaced."""
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    """Ids of projects with which published images are shared."""
    owners: tuple[str, ...] = ()
    """Ids of other projects whose images an administrator's account publishes, too."""
    carry: bool = True
    """Whether a new version gets what others have put on the image that it replaces."""
    certificate: tuple[str, str] = ("", "")
    """Images are signed for Glance: the id of a certificate in the cloud's key store, and its private key's file."""
    stores: tuple[str, ...] = ()
    chunks: bool = False
    """Whether a folder keeps images as chunks, so that the next version costs what changed."""
    keep: int | None = None
    wave: int = 1
    """Sites of a later wave get what all of the wave before have had for `bake` seconds."""
    bake: int = 0
    health: str = ""
    """A command, or an address, that says whether a version is well on this site."""
    on_bad: OnBad = OnBad.STOP
    retire: Retirement | None = None
    refuses_unsigned: bool = False
    """Whether nothing is pulled that is not signed by a trusted key."""
    refuses_insecure: bool = False
    """Whether a version that lacks security updates is not published."""

    def selects(self, image: Image) -> bool:
        """Say whether an image has the tag and properties that the site asks for."""
        known = {**image.properties, "tag": image.tag}
        return all(name in known and fnmatchcase(known[name], wanted) for name, wanted in self.takes.items())

    @property
    def folder(self) -> str:
        """The folder in which its images are; empty for a cloud and for a container."""
        return self.directory or (self.catalogue if "://" not in self.catalogue else "")
