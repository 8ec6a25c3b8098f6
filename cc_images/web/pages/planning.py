"""Plans for requests that are not made yet: what they would do, within a time, and without doing anything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from cc_images.api.plan import plan
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.model.catalog import Arch, Json
from cc_images.model.plan import Plan, Request
from cc_images.web.value import Value

SECONDS = 20.0
"""Time that a plan gets."""

AT_ONCE = 2
"""Plans that are made at a time: each may ask repositories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, or why there is none."""

    plan: Plan | None = None
    trouble: str = ""


class Planner:
    """Makes plans, a few at a time."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="plan")

    def planned(self, value: Value, config: Config) -> Planned:
        """Return what a request would do. What nobody expected is raised here."""
        stop = threading.Event()
        future = self._threads.submit(_plan, value, config, stop)
        try:
            return future.result(self._seconds)
        except TimeoutError:
            stop.set()
            if future.cancel():
                return Planned(trouble="others are looking at plans; try again soon")
            late = f"it takes more than {self._seconds:.0f} s to look at all sources"
            return Planned(trouble=f"{late}; the request can be made all the same")


def _plan(value: Value, config: Config, stop: threading.Event) -> Planned:
    try:
        with REQUESTS[value.kind](value.content, config) as (request, own):
            return Planned(plan=plan(request, own, stop=stop).plan)
    except CCImagesError as error:
        return Planned(trouble=error.message)


@contextmanager
def _images(content: Json, config: Config) -> Iterator[tuple[Request, Config]]:
    arches = tuple(Arch(each) for each in content["architectures"])
    tags = tuple(content["images"])
    yield Request(tags=tags, arches=arches, build=True, push=content["push"], force=content["force"]), config


REQUESTS: Mapping[str, Callable[[Json, Config], AbstractContextManager[tuple[Request, Config]]]] = {"images": _images}
"""By the kind of a request: what a run of it would be asked, and the configuration that it would have."""
