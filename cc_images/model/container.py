"""Containers: how a tree is run, as the OCI image specification (image-spec, config.md) names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cc_images.model.catalog import Image, Json

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are, unless a configuration says otherwise."""

TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The user, folder, words, variables and labels with which a tree is run."""

    user: str = ""
    folder: str = ""
    """The working folder; empty: the root."""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """Words that the entry point gets, unless others are given; without an entry point the command itself."""
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    """Ports that it listens on: `8888/tcp`."""
    volumes: tuple[str, ...] = ()
    """Folders that are meant to be mounted."""


NOTHING_SAID = Configuration()


def configured(image: Image, name: str) -> Configuration:
    """Return how an image is run that is published under a name: as it says, with its name and provenance as labels."""
    said: Json = dict(image.container)
    named = {"name": image.tag, **({"version": image.version} if image.version else {})}
    labels = (
        {TITLE: name}
        | (named if image.builder != "dib" else {})
        | {f"build-{key}": value for key, value in sorted(image.provenance.items())}
    )
    words = {key: tuple(said.get(key, ())) for key in ("entrypoint", "command", "ports", "volumes")}
    return Configuration(
        user=said.get("user", ""),
        folder=said.get("folder", ""),
        environment=dict(said.get("environment", {})),
        labels=labels | dict(said.get("labels", {})),
        **words,
    )
