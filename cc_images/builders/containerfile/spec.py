"""Specs of builds by a Containerfile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cc_images.model.catalog import Json
from cc_images.model.redaction import redacted
from cc_images.model.spec import BuildSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """An image that a stage starts from or takes files of: an image of the catalogue, or one of a registry."""

    layer: str = ""
    """The recipe key of the layer that a parent has left."""
    said: Json = field(default_factory=dict)
    """How a parent without a configuration of its own is run, see `container.Configuration`; empty for others."""
    download: str = ""
    """The variable of `artifacts` by which an image of a registry is fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """The version of the image as it was built last, and the digest of its content; empty: there is none."""

    version: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedContext:
    """A folder besides the build's context: one of the host that made the spec, or of a commit of a repository."""

    folder: str = ""
    """Of a repository: below its top."""
    digest: str = ""
    """The digest that the folder's files have; empty for a repository."""
    repo: str = ""
    commit: str = ""
    ignore: tuple[str, ...] = ()
    """Patterns, as in ignore files."""

    @property
    def identity(self) -> str:
        """What identifies it in a key."""
        parts = ("git", self.commit, self.folder, *self.ignore)
        is_plain = not any(" " in each for each in parts)  # with blanks, two of them could be one
        return self.digest or (" ".join(parts) if is_plain else json.dumps(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayeredSpec(BuildSpec):
    """One build upon other images, from the files of a folder."""

    folder: str
    """The folder on the host that made the spec."""
    context: str
    """The digest that its files have, as far as they count; a build of others fails."""
    said: Json = field(default_factory=dict)
    """What the catalogue says of how the image is run, over what a file says."""
    images: Mapping[str, From] = field(default_factory=dict)
    """The images of the stages that it needs, by the names that they have in the file once arguments are filled in."""
    own: str = ""
    """The recipe key of the image's own layer, from which others start, too: the image's build takes what is there."""
    before: Numbered | None = None
    """What it was when it was built last, if its version is raised by what changes; no part of a key."""

    def shown(self) -> Json:
        """Return the spec as plain data without secrets, with the names that plans have for every build."""
        plain = BuildSpec.shown(self)
        del plain["folder"]
        plain["images"] = {name: each.layer[:12] or name for name, each in self.images.items()}
        nothing: Json = {"content": (), "disk": (), "packages": (), "base": None, "programs": (), "twins": ""}
        return plain | nothing | {"environment": {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerfileSpec(LayeredSpec):
    """One build of one stage of a Containerfile; `folder` is its context."""

    builder: str = "containerfile"
    file: str = ""
    """The sha256 of the Containerfile's text, which need not be part of the context."""
    arguments: Mapping[str, str]
    target: str = ""
    contexts: Mapping[str, NamedContext] = field(default_factory=dict)
    """Folders of which it takes files, by the names that they have in the file."""
    apart: str = ""
    """A pattern of folders that become layers of their own, see `host.containers.layer.write_parts`; empty: none."""

    @property
    def relies_on(self) -> tuple[str, ...]:
        """Its own layer, or the layers of its parents."""
        if self.own:
            return (self.own,)
        return tuple(dict.fromkeys(each.layer for each in self.images.values() if each.layer))

    @property
    def host_programs(self) -> tuple[str, ...]:
        """What builds, and what fetches images of registries."""
        if self.own:
            return ()
        fetches = any(each.download for each in self.images.values())
        clones = any(each.repo for each in self.contexts.values())
        return ("buildah", *(("skopeo",) if fetches else ()), *(("git",) if clones else ()))

    def shown(self) -> Json:
        """Return the spec as plain data without secrets, with the names that plans have for every build."""
        plain = LayeredSpec.shown(self)
        if named := plain.pop("contexts"):
            plain["contexts"] = {name: self.contexts[name].identity for name in named}
        return plain | {"arguments": redacted(self.arguments)}
