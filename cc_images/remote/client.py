"""The builder host's side of the hub: inputs and outputs by digest, the stream, leases, secrets, the result.

Every call goes on where a broken link left it. Bytes are checked before they get a name, and while they are sent.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from http import HTTPStatus
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.host.files import clear_errors, file_digest, flush_folder
from cc_images.model import attempt_shapes
from cc_images.model.attempt import Lease, Ticket
from cc_images.model.catalog import Json
from cc_images.model.record_shapes import Shape
from cc_images.remote.links import LONGEST_PAUSE, Answer, Links
from cc_images.remote.protocol import MESSAGE, STREAM_OFFSET
from cc_images.remote.transfers import Download, Report, Upload

PATIENCE = 300.0
"""Seconds for which a call is tried again without a byte of progress."""

_STAGED = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Hub:
    """The hub of a ticket. Each thread that uses it has a connection of its own.

    Every method raises Fenced when the attempt must end at once, Interrupted when `stop` is set, and CCImagesError
    when the hub refuses, or does not answer for `patience` seconds.
    """

    def __init__(self, ticket: Ticket, *, patience: float = PATIENCE, stop: threading.Event | None = None,
                 longest_pause: float = LONGEST_PAUSE) -> None:  # fmt: skip
        self._links = Links(ticket, patience=patience, stop=stop, longest_pause=longest_pause)
        self._own = f"/v1/attempts/{ticket.attempt}"

    def bundle(self) -> Json:
        """Return what the attempt is to do."""
        return _record(self._links.call("GET", self._own), Shape, "the bundle")

    def lease(self, nonce: str) -> Lease:
        """Ask for a lease; it counts from `asked`, the moment at which the request that was granted was sent."""
        body = json.dumps(record_files.encoded(attempt_shapes.AskedShape, {"nonce": nonce})).encode()

        def ask(link: http.client.HTTPConnection) -> Lease:
            asked = time.clock_gettime(time.CLOCK_BOOTTIME)
            answer = self._links.judged(self._links.once(link, "POST", f"{self._own}/lease", body))
            said = _record(answer, attempt_shapes.LeaseShape, "the lease")
            return Lease(seconds=said["seconds"], stop=said.get("stop", False), asked=asked)

        return self._links.patiently(ask)

    def secrets(self) -> Json:
        """Return the secrets of the attempt; they are given out once. Ask for a lease first."""
        return _record(self._links.call("POST", f"{self._own}/secrets"), Shape, "the secrets")

    def put_result(self, plain: Json) -> None:
        """Hand in the result. The same one again changes nothing."""
        self._links.call("PUT", f"{self._own}/result", json.dumps(plain).encode())

    def stream(self, at: int, data: bytes) -> int:
        """Append to the stream what the builder host has from byte `at` on; return where the stream ends at the hub.

        That is less than `at` when the head has lost some: the caller goes on from there.
        """
        end = at
        while end < at + len(data):
            piece = data[end - at :][:MESSAGE]
            answer = self._links.call(
                "POST", f"{self._own}/stream?at={end}", piece, good=frozenset({HTTPStatus.CONFLICT})
            )
            if answer.status != HTTPStatus.CONFLICT:
                end += len(piece)
            elif (known := answer.offset(STREAM_OFFSET)) < at or known > at + len(data) or known == end:
                return known
            else:
                end = known
        return end

    def has(self, digest: str) -> bool:
        """Say whether the head has a blob: then it stays there for this attempt, and nothing needs to be sent."""
        good = frozenset({HTTPStatus.NOT_FOUND})
        return self._links.call("HEAD", f"{self._own}/outputs/{digest}", good=good).status != HTTPStatus.NOT_FOUND

    # -- outputs ------------------------------------------------------------------------------------------------

    def put(self, path: Path, digest: str, report: Report | None = None) -> None:
        """Send a file unless the head has it. Raises CCImagesError, also when the file is not what the digest says."""
        with path.open("rb", buffering=0) as file:
            Upload(self._links, f"{self._own}/outputs/{digest}", file.fileno(), path, report).send()

    # -- inputs -------------------------------------------------------------------------------------------------

    def fetch(self, digest: str, target: Path, report: Report | None = None) -> None:
        """Bring a blob of the head to `target`, which appears whole and right. What is there and right is kept.

        One caller at a time for one target: pieces lie beside it, for the next try.
        """
        if target.is_file() and file_digest(target) == digest:
            return
        staged = target.with_name(f".{target.name}.part")
        with clear_errors(target.parent):
            for left in (1, 0):
                with open(os.open(staged, _STAGED, 0o644), "r+b", buffering=0) as file:
                    found = Download(self._links, f"/v1/blobs/{digest}", file.fileno(), report, staged).receive()
                    if found == digest:
                        os.fsync(file.fileno())
                        break
                    file.truncate(0)  # a piece of an earlier time may have been wrong: once more from the beginning
                if not left:
                    staged.unlink()
                    raise CCImagesError(
                        f"the hub sends other bytes for {digest}: they have {found}",
                        hint="look for a damaged blob at the head (`cc-images doctor --mend`)",
                        reason=Reason.DIGEST,
                    )
            staged.rename(target)
            flush_folder(target.parent)


def _record(answer: Answer, shape: type[Shape], name: str) -> Json:
    try:
        return record_files.parsed(answer.body, shape, name)
    except (record_files.Damaged, record_files.Newer) as error:
        raise CCImagesError(f"the hub's answer is wrong: {error}", reason=Reason.HUB) from error
