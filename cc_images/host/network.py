"""The network of builds: one of their own with a way out, where this host offers that, or the host's."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from enum import StrEnum

from cc_images.errors import CCImagesError, Reason
from cc_images.host.root import SYSTEM_PATH

_LOOPBACK = re.compile(
    r"(?:^|[/@\s=,\[])(?:localhost(?:\.localdomain)?\.?|ip6-localhost|ip6-loopback|127(?:\.\d+){1,3}|0\.0\.0\.0|::1"
    r"|::ffff:127(?:\.\d+){3})(?:[\]:/,\s?#]|\Z)",
    re.IGNORECASE,
)


class Network(StrEnum):
    """The network of a sandbox."""

    HOST = "host"
    PRIVATE = "private"
    NONE = "none"


def program() -> str:
    """Return the program that gives a namespace a way out; empty where there is none."""
    found = shutil.which("slirp4netns", path=":".join(SYSTEM_PATH))
    return found if found and os.path.exists("/dev/net/tun") else ""


def chosen(said: str, variables: Mapping[str, str]) -> Network:
    """Return the network of a build: what its image says, else one of its own where it can have that.

    A build whose variables name a service on loopback has the host's, in which that service is. Raises CCImagesError
    for an image that wants what this host does not offer.
    """
    if said == Network.PRIVATE and not program():
        raise CCImagesError(
            "the image wants a private network, which this host does not offer",
            hint="install the package slirp4netns and check that /dev/net/tun is there, or set network: host",
            reason=Reason.MISSING_TOOL,
        )
    if said:
        return Network(said)
    asked = (value for name, value in variables.items() if name.lower() != "no_proxy")
    return Network.PRIVATE if program() and not any(map(_LOOPBACK.search, asked)) else Network.HOST
