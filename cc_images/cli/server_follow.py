"""A build of a service, followed at a terminal or in a script: its log, its end, and what Ctrl-C means amid it."""

from __future__ import annotations

import json
import signal
import sys
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from types import FrameType

import msgspec

from cc_images.cli.signals import handled
from cc_images.errors import CCImagesError
from cc_images.report import text
from cc_images.web.client import decisions, shown
from cc_images.web.client.answers import Build
from cc_images.web.client.decisions import Interruption
from cc_images.web.client.following import Lines, followed
from cc_images.web.client.service import Service

AHEAD = 64
"""Pieces of a log that are read before they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a build is followed."""

    json: bool = False
    quiet: bool = False
    on_interrupt: str = ""
    task: str = ""


class Interrupts:
    """Signals that came, as `happened` gets them; while a question is asked, the next one ends it."""

    def __init__(self, happened: SimpleQueue[object]) -> None:
        self._happened = happened
        self.count = 0
        self.by_person = False
        self._asks = False

    def came(self, number: int, frame: FrameType | None) -> None:
        """Take a signal. Runs amid anything, so it takes no lock."""
        self.count += 1
        self.by_person = number == signal.SIGINT
        if self._asks:
            raise KeyboardInterrupt
        self._happened.put(self)

    def asked(self) -> Interruption:
        """Ask the person at the terminal."""
        self._asks = True
        try:
            while self.count < 2:
                print(f"\n{decisions.QUESTION}", end="", file=sys.stderr, flush=True)
                if (found := decisions.meaning(sys.stdin.readline())) is not None:
                    return found
        except KeyboardInterrupt:
            print(file=sys.stderr)
        finally:
            self._asks = False
        return Interruption.DETACH


def follow(service: Service, id: str, how: How) -> int:
    """Follow a build until it is over, and return the exit code of its run. Raises CCImagesError."""
    happened: SimpleQueue[object] = SimpleQueue()
    room = threading.BoundedSemaphore(AHEAD)

    def read() -> None:
        try:
            for each in followed(service, id, how.task):
                room.acquire()
                happened.put(each)
        except CCImagesError as error:
            happened.put(error)

    threading.Thread(target=read, name="log", daemon=True).start()
    with handled(Interrupts(happened).came):
        while True:
            match happened.get():
                case Lines() as piece:
                    room.release()
                    _show(piece, how)
                case Build() as build:
                    return _ended(build, how)
                case CCImagesError() as error:
                    text.say(f"cc-images: what becomes of the build: {way(service, 'status', id)}", to=sys.stderr)
                    raise error
                case Interrupts() as signals:
                    if (code := _interrupted(service, id, how, signals)) is not None:
                        return code


def way(service: Service, *words: str) -> str:
    """Return the command line by which somebody goes on."""
    return " ".join(("cc-images --server", str(service.link.address), *words))


def tell(how: How, event: str, **said: object) -> None:
    """Print an event as a line of JSON, if that is wanted."""
    if how.json:
        text.say(json.dumps({"event": event, **said}))


def _show(piece: Lines, how: How) -> None:
    tell(how, "log", lines=piece.lines, offset=piece.offset)
    if not (how.json or how.quiet):
        text.say("\n".join(piece.lines))


def _ended(build: Build, how: How) -> int:
    code = decisions.exit_code(build.status, build.exit_code)
    tell(how, "over", exit_code=code, build=msgspec.to_builtins(build))
    if not how.json:
        text.say(shown.ended(build) if not how.quiet else shown.build(build))
    return code


def _interrupted(service: Service, id: str, how: How, signals: Interrupts) -> int | None:
    """Do what an interrupt means; return the exit code with which to leave, if it means that."""
    askable = signals.by_person and sys.stdin.isatty() and sys.stderr.isatty()
    meant = decisions.at_interrupt(signals.count, how.on_interrupt, askable=askable)
    if meant is Interruption.ASK:
        meant = signals.asked()
    if meant is Interruption.GO_ON:
        signals.count = 0
        return None
    if meant is Interruption.CANCEL:
        said = cancelled(service, id)
        tell(how, "cancelled", build=id, said=said)
        text.say(f"cc-images: {said}", to=sys.stderr)
        return decisions.EXIT_INTERRUPTED
    tell(how, "detached", build=id)
    on, cancel = way(service, "log -f", id), way(service, "cancel", id)
    text.say(f"cc-images: the build goes on; to follow it: {on}; to end it: {cancel}", to=sys.stderr)
    return decisions.EXIT_INTERRUPTED


def cancelled(service: Service, id: str, *, remove: bool = False) -> str:
    """Cancel a build that is not over, or with `remove` take one that is from the list; return what became of it.

    Raises CCImagesError.
    """
    found = service.build(id)
    if found.status in decisions.OVER and not remove:
        how = way(service, "cancel", "--remove", id)
        return f"{id} is over already: {found.status}; to take it from the list, and what it made: {how}"
    return f"{id} is {service.cancel(id)}"
