"""A cloud: its entry in clouds.yaml as an openstacksdk connection, and its failures as errors of ours.

Repeatable calls are retried after temporary failures. The calls themselves belong to the modules that use a cloud:
`sites.glance` for images, `artifacts` for objects.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cc_images.errors import CCImagesError, Reason, UserError

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT, ANSWER_TIMEOUT = 20.0, 60.0
"""Seconds for a connection, and for an answer."""

STORE_TIMEOUT = 900.0
"""Seconds for Glance to store what was sent."""

TRIES, PAUSE = 4, 1.0
"""How often a repeatable call is made, and the seconds before the second try; each further pause is twice as long."""

SETTLE = 1.0
"""Seconds after which a new object is looked at again, at least; a call that took longer has that long."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a cloud may take, in seconds, and how often a call is made."""

    connect: float = CONNECT_TIMEOUT
    answer: float = ANSWER_TIMEOUT
    store: float = STORE_TIMEOUT
    tries: int = TRIES
    pause: float = PAUSE
    settle: float = SETTLE


ENOUGH = Patience()
LOOK = Patience(connect=5.0, answer=10.0, tries=1)
"""For those who only look: a cloud that is away is said so in seconds."""


class Cloud:
    """One cloud, for the site of this name, or for another `subject`; `entry` is its name in clouds.yaml."""

    def __init__(self, site: str, entry: str, patience: Patience = ENOUGH, subject: str = "") -> None:
        self.site = site
        self.subject = subject or f"site {site}"
        self.patience = patience
        self._entry = entry
        self._known: Any = None
        for each in ("keystoneauth", "openstack", "os_client_config", "urllib3"):
            # what they have to say comes as exceptions; their own lines are for who sets up logging for them
            logging.getLogger(each).addHandler(logging.NullHandler())

    def connection(self) -> Any:
        """Return the connection. Raises UserError when clouds.yaml has no such entry."""
        if self._known is None:
            import openstack  # half a second; only for runs that need a cloud
            from openstack import exceptions

            try:
                self._known = openstack.connect(cloud=self._entry, api_timeout=self.patience.answer)
            except exceptions.ConfigException as error:
                raise UserError(
                    f"{self.subject}: clouds.yaml has no usable entry {self._entry}: {error}",
                    hint="add it to clouds.yaml (OS_CLIENT_CONFIG_FILE, ., ~/.config/openstack, /etc/openstack)",
                    reason=Reason.CLOUD,
                ) from error
        return self._known

    def repeated(self, call: Callable[[], Any], tries: int = 0) -> Any:
        """Call up to `tries` (0: as its patience says) times while the failure is temporary; raises CCImagesError."""
        pause = self.patience.pause
        for left in reversed(range(tries or self.patience.tries)):
            try:
                with self.translated():
                    return call()
            except CCImagesError as error:
                if not (error.temporary and left):
                    raise
                _log.info("%s; retry in %g s", error.message, pause)
                time.sleep(pause)
                pause *= 2
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what keystoneauth and requests raise into our error."""
        from keystoneauth1 import exceptions as keystone
        from openstack import exceptions as sdk
        from requests import exceptions as requests

        try:
            yield
        except (keystone.ConnectFailure, keystone.RetriableConnectionFailure, requests.RequestException) as error:
            raise CCImagesError(
                f"{self.subject} does not answer: {first_line(error)}",
                hint="check the network and the cloud, then try again",
                reason=Reason.UNREACHABLE,
                temporary=True,
            ) from error
        except (keystone.Unauthorized, keystone.MissingAuthPlugin) as error:
            raise CCImagesError(
                f"{self.subject} refuses the credentials: {first_line(error)}",
                hint="check the cloud's entry in clouds.yaml",
                reason=Reason.CREDENTIALS,
            ) from error
        except (keystone.ClientException, sdk.SDKException) as error:
            # Keystone's own trouble, such as a locked database, or somebody who answers in its place
            passes = isinstance(error, keystone.DiscoveryFailure | keystone.InvalidResponse)
            passes = passes or getattr(error, "http_status", 0) in (408, 409, 429, 500, 502, 503, 504)
            raise CCImagesError(
                f"{self.subject}: {first_line(error)}",
                hint="see the cloud's own log, then try again" if passes else "check the cloud's entry in clouds.yaml",
                reason=Reason.SITE,
                temporary=passes,
            ) from error
        except (OSError, ValueError) as error:  # a certificate that is not there, an answer that is no JSON
            raise CCImagesError(
                f"{self.subject}: {first_line(error)}", hint="check the cloud's entry in clouds.yaml",
                reason=Reason.SITE,
            ) from error  # fmt: skip


def first_line(error: Exception) -> str:
    """Return what an error says, in one line of at most 300 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
