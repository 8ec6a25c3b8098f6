"""A service, as its clients use it: requests, builds, logs, files."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.plain_text import printable
from cc_images.web.client import answers
from cc_images.web.client.attempts import Attempts
from cc_images.web.client.connection import Answer, Cut, Link
from cc_images.web.client.decisions import is_file_name, sha256_of

_ID = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A file as the service has it now: its size, its sha256, and the tag by which the rest of it is asked for."""

    size: int
    sha256: str
    tag: str


class Service:
    """A service at the end of a link."""

    def __init__(self, link: Link, attempts: Attempts) -> None:
        self.link = link
        self.attempts = attempts

    def request(self, content: object) -> answers.Requested:
        """Request a build. Raises UserError for what the service refuses."""
        return self._requested("/build/", content)

    def push(self, file: str) -> answers.Requested:
        """Request that the version of a file is published."""
        return self._requested(f"/images/{quote(file, safe='')}/push", {})

    def _requested(self, path: str, content: object) -> answers.Requested:
        found = answers.read(self._call("POST", path, content), answers.Requested)
        if not is_id(found.id):
            raise CCImagesError(f"the service gives a build a name that is none: {found.id[:64]!r}")
        return found

    def build(self, id: str) -> answers.Build:
        """Return how a build stands."""
        return answers.read(self.told(f"/build/{checked(id)}"), answers.Build)

    def told(self, path: str) -> Any:
        """Return what the service says below a path, as plain data without control characters."""
        return self._call("GET", path)

    def builds(self, *, everyone: bool = False) -> list[answers.Build]:
        """Return one's own builds, newest first; those of all for administrators."""
        return answers.read(self.told(builds_path(everyone)), list[answers.Build])

    def catalogue(self) -> list[answers.Entry]:
        """Return the images that can be requested."""
        return answers.read(self.told("/catalogue"), list[answers.Entry])

    def files(self) -> list[answers.File]:
        """Return the files of images that one may see."""
        return answers.read(self.told("/images"), list[answers.File])

    def cancel(self, id: str) -> str:
        """Cancel a build, or remove one that is over from the list; return which it was."""
        return answers.read(self._call("DELETE", f"/build/{checked(id)}"), answers.Done).done

    def described(self, name: str) -> Described:
        """Return what the service says of a file. Raises UserError for a name that is none."""
        if not is_file_name(name):
            raise UserError(f"{printable(name)[:200]!r} is no name of a file")
        while True:
            try:
                with self.link.open("HEAD", file_path(name)) as answer:
                    self.attempts.answered()
                    self.attempts.moved()
                    return described_by(answer, name)
            except Cut as error:
                self.attempts.failed(error)
            except UserError as error:
                raise UserError(f"{name}: {error.message}", hint=error.hint, reason=error.reason) from None

    def log(self, id: str, task: str = "") -> Iterator[str]:
        """Yield what the log of a build has by now, in pieces without control characters."""
        offset, decoder = 0, codecs.getincrementaldecoder("utf-8")(errors="replace")
        while True:
            try:
                headers = {"range": f"bytes={offset}-"} if offset else {}
                with self.link.open("GET", log_path(id, task), headers=headers) as answer:
                    self.attempts.answered()
                    while chunk := answer.read(1 << 16):
                        self.attempts.moved()
                        offset += len(chunk)
                        yield printable(decoder.decode(chunk), "\n\t")
                yield printable(decoder.decode(b"", final=True), "\n\t")
                return
            except Cut as error:
                self.attempts.failed(error)

    def _call(self, method: str, path: str, content: object = None) -> Any:
        """Return the answer to a request; one that changes something is not sent twice."""
        while True:
            try:
                with self.link.open(method, path, content=content) as answer:
                    self.attempts.answered()
                    said = answer.json()
                    self.attempts.moved()
                    return said
            except Cut as error:
                if method != "GET" and error.sent:
                    raise CCImagesError(
                        f"{error.message}; it may have got the request",
                        hint="see what became of it: cc-images status", reason=error.reason,
                    ) from None  # fmt: skip
                self.attempts.failed(error)


def described_by(answer: Answer, name: str) -> Described:
    """Return what an answer says of a whole file. Raises CCImagesError for one that cannot be verified."""
    digest, size = sha256_of(answer.header("repr-digest")), answer.length
    if not digest or size is None:
        raise CCImagesError(f"{name} cannot be verified: the service gives no digest or size", reason=Reason.DIGEST)
    return Described(size=size, sha256=digest, tag=answer.header("etag"))


def is_id(text: str) -> bool:
    """Say whether a text is the id of a build."""
    return bool(_ID.match(text))


def checked(id: str) -> str:
    """Return the id of a build. Raises UserError for what is none."""
    if not is_id(id):
        raise UserError(f"{printable(id)[:64]!r} is no id of a build", hint="cc-images status lists builds with theirs")
    return id


def builds_path(everyone: bool) -> str:
    """Return the path of the list of builds."""
    return f"/builds?{urlencode({'everyone': str(everyone).lower()})}"


def log_path(id: str, task: str = "", **more: str) -> str:
    """Return the path of a log."""
    return f"/build/{checked(id)}/log?{urlencode({'task': task} | more)}"


def file_path(name: str) -> str:
    """Return the path of a file."""
    return f"/images/download/{quote(name, safe='')}"
