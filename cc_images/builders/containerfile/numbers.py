"""The number behind a version: an image whose version may be raised gets the next one when its content is another.

Content is layers and configuration without the label of the version, so children of an image that has changed get new
versions, and the same files built again keep theirs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cc_images.builders.containerfile.spec import Numbered
from cc_images.host.containers import archive

VERSION = "version"
"""The label."""


def called(image: archive.Image) -> Numbered:
    """Return what an image is called."""
    version = image.configuration.labels.get(VERSION, "")
    return Numbered(version=version, content=content_of(image.layers, image.config))


def content_of(layers: Sequence[archive.Layer], config: Mapping[str, Any]) -> str:
    """Return the digest of an image's content."""
    said = dict(config.get("config") or {})
    said["Labels"] = {name: value for name, value in (said.get("Labels") or {}).items() if name != VERSION}
    parts = [[each.digest for each in layers], said]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def numbered(config: Mapping[str, Any], layers: Sequence[archive.Layer], before: Numbered) -> dict[str, Any]:
    """Return a configuration with the version that the content has, where a label says one."""
    said = dict(config["config"])
    labels = dict(said.get("Labels") or {})
    if labels.get(VERSION):
        labels[VERSION] = following(labels[VERSION], before, content_of(layers, config))
        said["Labels"] = labels
    return {**config, "config": said}


def following(version: str, before: Numbered, content: str) -> str:
    """Return a version itself if it is a new one, that of before for the same content, else the next number of it."""
    found = re.fullmatch(rf"{re.escape(version)}(?:\.(\d+))?", before.version)
    if found is None:
        return version
    return before.version if content == before.content else f"{version}.{int(found[1] or 0) + 1}"
