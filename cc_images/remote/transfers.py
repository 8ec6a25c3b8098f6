"""One file on its way between a builder host and its hub, over all the links that it takes."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import CHUNK, clear_errors
from cc_images.remote.links import BROKEN, Answer, Later, Links, Progress, read
from cc_images.remote.protocol import BLOCK, UPLOAD_OFFSET

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")

Report = Callable[[int, int], None]
"""Called with the bytes that were moved, and their total."""


class Upload:
    """A file on its way to the hub, over all the links that it takes."""

    def __init__(self, links: Links, path: str, descriptor: int, source: Path, report: Report | None) -> None:
        self._links, self._path, self._file, self._source = links, path, descriptor, source
        self._digest = path.rpartition("/")[2]
        self._report = report or (lambda done, total: None)
        self._size = os.fstat(descriptor).st_size
        self._hashed, self._known = hashlib.sha256(), 0
        """The digest of the first bytes, and how many of them."""
        self._progress = Progress()
        self._refused = False

    def send(self) -> None:
        """Send what the hub lacks."""
        self._links.patiently(self._try, self._progress)

    def _try(self, link: http.client.HTTPConnection) -> None:
        good = frozenset({HTTPStatus.NOT_FOUND})
        asked = self._links.judged(self._links.once(link, "HEAD", self._path), good)
        if asked.status != HTTPStatus.NOT_FOUND:
            return
        if (at := asked.offset(UPLOAD_OFFSET)) > self._size:
            raise CCImagesError("the hub has more of an output than there is", reason=Reason.HUB)
        self._progress.note(at)  # what was sent may have got nowhere
        answer = self._sent(link, at)
        if answer.status == HTTPStatus.CONFLICT:  # another connection was faster, or is dying
            raise Later("the output is being sent by another connection")
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            self._judge_own()
            if self._refused:
                raise CCImagesError("the hub finds another digest than the file has", reason=Reason.DIGEST)
            self._refused = True  # its first bytes were of another time, or were lost
            raise Later("the hub has thrown the output away")
        self._links.judged(answer)
        if answer.status == HTTPStatus.ACCEPTED:
            raise Later("the hub has not got all of the output")

    def _sent(self, link: http.client.HTTPConnection, at: int) -> Answer:
        link.putrequest("PUT", f"{self._path}?at={at}&size={self._size}")
        for name, value in (self._links.headers() | {"Content-Length": str(self._size - at)}).items():
            link.putheader(name, value)
        try:
            link.endheaders()
            block = memoryview(bytearray(BLOCK))
            while at < self._size:
                count = self._read(block, at)
                link.send(block[:count])
                at += count
                self._report(at, self._size)
        except OSError:
            with suppress(*BROKEN):  # it may have refused, and said why
                return read(link.getresponse())
            raise
        if self._known == self._size:
            self._judge_own()
        return read(link.getresponse())

    def _read(self, block: memoryview, at: int) -> int:
        """Read the file from a byte on, and hash what was not hashed yet."""
        with clear_errors(self._source.parent):  # not to be taken for the link's
            count = os.preadv(self._file, [block], at)
        if not count:
            raise CCImagesError("an output became shorter while it was sent", reason=Reason.DAMAGED)
        if at <= self._known < at + count:
            self._hashed.update(block[self._known - at : count])
            self._known = at + count
        return count

    def _judge_own(self) -> None:
        """Hash what is left of the file, and raise CCImagesError if it is not what its digest says."""
        block = memoryview(bytearray(CHUNK))
        while self._known < self._size:
            self._read(block, self._known)
        if self._hashed.hexdigest() != self._digest:
            raise CCImagesError(f"an output is not what its digest {self._digest} says", reason=Reason.DAMAGED)


class Download:
    """A blob on its way from the hub, over all the links that it takes."""

    def __init__(self, links: Links, path: str, descriptor: int, report: Report | None, staged: Path) -> None:
        self._links, self._path, self._file, self._staged = links, path, descriptor, staged
        self._report = report or (lambda done, total: None)
        self._hashed, self._at = hashlib.sha256(), 0
        self._progress = Progress()

    def receive(self) -> str:
        """Receive what the file lacks, and return the digest of all of it."""
        block = memoryview(bytearray(CHUNK))
        while count := os.preadv(self._file, [block], self._at):
            self._hashed.update(block[:count])
            self._at += count
        self._links.patiently(self._try, self._progress)
        return self._hashed.hexdigest()

    def _try(self, link: http.client.HTTPConnection) -> None:
        headers = self._links.headers() | ({"Range": f"bytes={self._at}-"} if self._at else {})
        link.request("GET", self._path, headers=headers)
        response = link.getresponse()
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._at:
            size = response.getheader("Content-Range", "").removeprefix("bytes */")
            read(response)
            if size != str(self._at):  # it has fewer bytes than this file
                self._restart()
                raise Later("the hub has other bytes")
            return
        if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            self._links.judged(read(response))
            raise CCImagesError(f"the hub answers with status {response.status}", reason=Reason.HUB)
        left, total = self._promised(response)
        block, body = memoryview(bytearray(BLOCK)), _Body(link, response)
        while left:
            if not (count := body.fill(block[:left])):
                raise http.client.IncompleteRead(b"", left)
            self._keep(block[:count])
            left -= count
            self._report(self._at, total)
        response.close()

    def _promised(self, response: http.client.HTTPResponse) -> tuple[int, int]:
        """Return how many bytes come, and the size of the whole. Raises CCImagesError for a range nobody asked for."""
        length = response.length
        if response.status == HTTPStatus.OK:
            self._restart()
            if length is not None:
                return length, length
        said = _CONTENT_RANGE.fullmatch(response.getheader("Content-Range", ""))
        if length is None or not said or int(said[1]) != self._at or int(said[2]) + 1 - int(said[1]) != length:
            raise CCImagesError("the hub answers with another range than was asked for", reason=Reason.HUB)
        return length, int(said[3])

    def _restart(self) -> None:
        os.ftruncate(self._file, 0)
        self._hashed, self._at = hashlib.sha256(), 0

    def _keep(self, data: memoryview) -> None:
        self._hashed.update(data)
        with clear_errors(self._staged.parent):  # not to be taken for the link's
            while data:
                written = os.write(self._file, data)
                data, self._at = data[written:], self._at + written
        self._progress.note(self._at)


class _Body:
    """The body of an answer: first what came with its headers, then straight from the socket."""

    def __init__(self, link: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._receive: Callable[[memoryview], int] = response.fp.readinto1
        self._next: Callable[[memoryview], int] = link.sock.recv_into if link.sock else self._receive

    def fill(self, block: memoryview) -> int:
        """Fill a block and return how many bytes came; what came before a link broke is kept."""
        count = 0
        try:
            while count < len(block) and (part := self._receive(block[count:])):
                count += part
                self._receive = self._next
        except BROKEN:
            if not count:
                raise
        return count
