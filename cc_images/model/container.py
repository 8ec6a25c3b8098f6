"""Containers: how a tree is run, as the OCI image specification (image-spec, config.md) names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from cc_images.model.catalog import CONTAINERS, Image, Json

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
    compression: str = ""
    """Of layers and SIF files: `zstd`; empty: gzip, which every host reads."""

    def as_json(self) -> Json:
        """Return it as plain data for recipes and specs: what is as it was before there was a choice is not in it."""
        plain = asdict(self)
        return plain if self.compression else {name: each for name, each in plain.items() if name != "compression"}


NOTHING_SAID = Configuration()

PATIENCE = 120
"""Seconds in which a container must end, or listen, unless its image says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How a container is started before it is pushed. `user` and `ports` are for SIF files, which say neither.

    `words` are those for the entry point, None: the image's own. `contracts` are those of sites that take the image.
    """

    words: tuple[str, ...] | None = None
    network: bool = False
    limit: int = PATIENCE
    user: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()


def trial(image: Image, contracts: Iterable[str] = ()) -> Trial | None:
    """Return how an image's containers are tried; None for an image that is none."""
    if not {*CONTAINERS} & {*image.formats}:
        return None
    said = image.container
    return Trial(
        words=tuple(said["try"]) if "try" in said else None,
        network=bool(said.get("try-network", False)),
        limit=int(said.get("try-timeout", PATIENCE)),
        user=str(said.get("user", "")),
        ports=tuple(said.get("ports", ())),
        volumes=tuple(said.get("volumes", ())),
        contracts=tuple(sorted({*contracts})),
    )


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
        compression=said.get("compression", ""),
        labels=labels | dict(said.get("labels", {})),
        **words,
    )
