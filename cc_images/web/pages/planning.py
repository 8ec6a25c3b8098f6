"""Plans for requests that are not made yet: what they would do, within a time, and without doing anything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from cc_images.api import requests
from cc_images.api.plan import plan
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.model.catalog import Arch, Json
from cc_images.model.plan import Plan, Request
from cc_images.web.commands import OWN
from cc_images.web.value import Value

SECONDS = 20.0
"""Time that a plan gets."""

AT_ONCE = 2
"""Plans that are made at a time: each may ask repositories."""


class Planner:
    """Makes plans, a few at a time."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="plan")

    def planned(self, value: Value, config: Config) -> Plan | str:
        """Return what a request would do, or why nobody can say that. What nobody expected is raised here."""
        stop = threading.Event()
        future = self._threads.submit(_plan, value, config, stop)
        try:
            return future.result(self._seconds)
        except TimeoutError:
            stop.set()
            if future.cancel():
                return "others are looking at plans; try again soon"
            late = f"it takes more than {self._seconds:.0f} s to look at all sources"
            return f"{late}; the request can be made all the same"


def _plan(value: Value, config: Config, stop: threading.Event) -> Plan | str:
    try:
        with REQUESTS[value.kind](value.content, config, stop) as (request, own):
            return plan(request, own, stop=stop).plan
    except CCImagesError as error:
        return error.message


Prepared = Iterator[tuple[Request, Config]]


@contextmanager
def _images(content: Json, config: Config, stop: threading.Event) -> Prepared:
    arches = tuple(Arch(each) for each in content["architectures"])
    tags = tuple(content["images"])
    yield Request(tags=tags, arches=arches, build=True, push=content["push"], force=content["force"]), config


@contextmanager
def _machine(content: Json, config: Config, stop: threading.Event) -> Prepared:
    said = {key: each for key, each in content.items() if key not in OWN}
    asked = requests.request_of(said, config.machines, Path("/"))
    with requests.prepared(asked, config, stop=stop) as ready:
        yield ready.request, ready.config


Prepare = Callable[[Json, Config, threading.Event], AbstractContextManager[tuple[Request, Config]]]

REQUESTS: Mapping[str, Prepare] = {"images": _images, "machine": _machine}
"""By the kind of a request: what a run of it would be asked, and the configuration that it would have."""
