"""The parts of a running service, put together."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from cc_images.api.launch import Launcher
from cc_images.model.service_terms import Limits, SignUp
from cc_images.web.access import Gatekeeper
from cc_images.web.catalogue import Catalogue
from cc_images.web.database import Database
from cc_images.web.invitations import Invitations
from cc_images.web.progress import Watcher
from cc_images.web.queue import Queue
from cc_images.web.quotas import Quotas
from cc_images.web.sign_up import Entrance
from cc_images.web.supervisor import Supervisor
from cc_images.web.sweeper import Sweeper
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
    quotas: Quotas
    entrance: Entrance
    supervisor: Supervisor
    sweeper: Sweeper
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
    sign_up: SignUp = SignUp.OFF,
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
        quotas=Quotas(queue=queue, catalogue=catalogue),
        entrance=Entrance(gatekeeper.accounts, Invitations(database), sign_up),
        supervisor=supervisor,
        sweeper=Sweeper(database, folder, queue.limits.days),
        viewer=Viewer(catalogue=catalogue, watcher=Watcher(catalogue.config.store), folder=folder),
        requests=Throttle(120, 60.0),
        streams=Places(STREAMS),
        secure=secure,
    )
