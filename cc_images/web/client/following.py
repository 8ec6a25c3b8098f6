"""A build, followed until it is over: its log as it grows, across cuts and restarts of the service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cc_images.web.client.answers import Build
from cc_images.web.client.connection import Cut
from cc_images.web.client.decisions import OVER, REMOVED
from cc_images.web.client.events import events
from cc_images.web.client.service import Service, log_path

ENDS = (*OVER, REMOVED)
"""Words of an end after which nothing comes; others are those of a service that is about to end itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines that the log got, and the offset behind them."""

    lines: tuple[str, ...]
    offset: int


def followed(service: Service, id: str, task: str = "") -> Iterator[Lines | Build]:
    """Yield what the log of a build gets, each line once, and at last the build as it ended. Raises CCImagesError."""
    offset = 0
    while True:
        ended = ""
        try:
            headers = {"accept": "text/event-stream", "last-event-id": str(offset)}
            with service.link.open("GET", log_path(id, task, follow="true"), headers=headers) as answer:
                service.attempts.answered()
                for event in events(answer.lines()):
                    if event.kind == "end":
                        ended = event.lines[0]
                        break
                    if not event.kind and event.number is not None and event.number > offset:
                        service.attempts.moved()
                        offset = event.number
                        yield Lines(lines=event.lines, offset=offset)
            if not ended:
                raise Cut(f"the connection to {service.link.address} was cut")
            if ended not in ENDS or (build := service.build(id)).status not in OVER:
                raise Cut("the service has ended the log before the build is over")
        except Cut as error:
            service.attempts.failed(error)
        else:
            yield build
            return
