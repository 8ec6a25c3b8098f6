"""Signals: the first one asks a run to stop, the second one ends the program."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc_images.api.inspect import Bench


@contextmanager
def handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Hand the signals that end programs to a function. One that is ignored stays so: that is what nohup is for."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT, SIGTERM or SIGHUP, and leave at once at the second.

    Leaving at once is safe: sandboxes die when their standard input closes, and the next run clears up. The handler
    itself takes no lock, as `Event.set` would: a second signal may come while it runs.
    """
    heard, tell = os.pipe()
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            os._exit(130)
        os.write(tell, b"!")

    def wait() -> None:
        if os.read(heard, 1) == b"!":
            stop.set()

    listener = threading.Thread(target=wait, name="signals", daemon=True)
    listener.start()
    try:
        with handled(handle):
            yield
    finally:
        os.close(tell)
        listener.join()
        os.close(heard)


@contextmanager
def bench() -> Iterator[Bench]:
    """Give what a look at an image needs of a command line: Ctrl-C ends it."""
    from cc_images.api.inspect import Bench

    made = Bench(words=tuple(sys.argv[1:]))
    with stopped_by_signals(made.stop):
        yield made
