"""The parts of a running service, put together."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from cc_images.api.launch import Launcher
from cc_images.web.access import Gatekeeper
from cc_images.web.catalogue import Catalogue
from cc_images.web.database import Database
from cc_images.web.progress import Watcher
from cc_images.web.queue import Limits, Queue
from cc_images.web.supervisor import Supervisor
from cc_images.web.throttle import Places, Throttle
from cc_images.web.views import Viewer

FOLDER = "service"
"""The folder of the service in the store."""

STREAMS = 20
"""Downloads and live logs of an account at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What routes work with."""

    database: Database
    catalogue: Catalogue
    gatekeeper: Gatekeeper
    queue: Queue
    supervisor: Supervisor
    viewer: Viewer
    requests: Throttle
    """How often an account may request or cancel something."""
    streams: Places
    """How many downloads and live logs an account may have at a time."""
    secure: bool = False
    """Whether clients come by TLS, so that cookies are for that alone."""
    draining: threading.Event = field(default_factory=threading.Event)
    """Set when the service ends: nothing new is taken."""
    began: float = field(default_factory=time.monotonic)


def made(
    database: Database,
    catalogue: Catalogue,
    gatekeeper: Gatekeeper,
    launcher: Launcher,
    limits: Limits | None = None,
    *,
    secure: bool = False,
) -> Service:
    """Return a service whose supervisor has not begun."""
    queue = Queue(database, limits)
    folder = catalogue.config.store / FOLDER
    supervisor = Supervisor(database, catalogue.config.store, launcher, folder, queue.limits)
    return Service(
        database=database,
        catalogue=catalogue,
        gatekeeper=gatekeeper,
        queue=queue,
        supervisor=supervisor,
        viewer=Viewer(catalogue=catalogue, watcher=Watcher(catalogue.config.store), folder=folder),
        requests=Throttle(120, 60.0),
        streams=Places(STREAMS),
        secure=secure,
    )
