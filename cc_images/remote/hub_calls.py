"""The calls that a hub answers: who may make which, what it reads and writes, and its status.

A call is looked at whole before its body is read: a refused caller sends nothing, or is cut off after a moment.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.model import attempt_shapes
from cc_images.model.catalog import Json
from cc_images.model.record_shapes import Shape
from cc_images.remote.attempt_files import AttemptFiles, StreamFull
from cc_images.remote.outputs import Busy, Elsewhere, Partial
from cc_images.remote.protocol import BLOCK, MESSAGE, STREAM_OFFSET, UPLOAD_OFFSET, Fenced, Limits
from cc_images.store.records import Store

_log = logging.getLogger(__name__)

HEARTBEAT = 5.0
"""Seconds after which a builder host that waits for an answer gets an interim one (RFC 9110, 15.2)."""

SETTLE = 2.0
"""Seconds after which a silent connection that was to be cut is gone."""

RESERVE = 64 << 20
"""Bytes of the store's file system that outputs leave free."""

_PATH = re.compile(
    r"/v1/(?:blobs/(?P<blob>[0-9a-f]{64})"
    r"|attempts/(?P<attempt>a[0-9a-f]{32})(?:/(?P<part>stream|lease|secrets|result)|/outputs/(?P<output>[0-9a-f]{64}))?)"
    r"(?:\?(?P<query>(?:(?:at|size)=[0-9]{1,18}&?)*))?"
)

_BEARER = re.compile(r"Bearer (a[0-9a-f]{32})\.([0-9A-Za-z_-]{1,128})")


class Refused(Exception):
    """A call that is refused: its status, why, and headers."""

    def __init__(self, status: HTTPStatus, why: str, **headers: object) -> None:
        super().__init__(why)
        self.status = status
        self.headers = {name.replace("_", "-"): str(value) for name, value in headers.items()}


class Wire(Protocol):
    """The connection of a call: what it brings, and where the answer goes."""

    def header(self, name: str) -> str: ...

    @property
    def length(self) -> int:
        """Bytes of the body."""

    def read(self, into: memoryview) -> int:
        """Read the body until this is full or no more comes; return how many bytes, at least one. Raises OSError."""

    def interim(self) -> None:
        """Tell the other side that its answer takes a while."""

    def answer(self, status: HTTPStatus, body: bytes = b"", **headers: object) -> None: ...

    def send_file(self, path: Path) -> None:
        """Answer with a file, or the range of it that is wanted. Raises Refused, OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a builder host."""

    store: Store
    limits: Limits
    files: AttemptFiles
    wire: Wire
    digest: str = ""
    at: int = 0
    size: int = -1


def admitted(store: Store, authorization: str) -> AttemptFiles:
    """Return the attempt whose token a call has. Raises Refused."""
    said = _BEARER.fullmatch(authorization)
    if not said or not (files := AttemptFiles(store, said[1])).admits(said[2]):
        raise Refused(HTTPStatus.UNAUTHORIZED, "no such attempt, or not its token", WWW_Authenticate="Bearer")
    if why := files.fenced():
        raise Refused(HTTPStatus.GONE, why)
    return files


def answer(store: Store, limits: Limits, method: str, target: str, wire: Wire, files: AttemptFiles) -> None:
    """Answer one call of an attempt that was admitted. Raises Refused, and ConnectionError when the link breaks."""
    found = _PATH.fullmatch(target)
    if not found:
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such thing")
    if found["attempt"] not in (None, files.attempt):
        raise Refused(HTTPStatus.FORBIDDEN, "this is another attempt")
    kind = "blob" if found["blob"] else "output" if found["output"] else found["part"] or "bundle"
    does = CALLS.get((method, kind))
    if does is None:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not for this")
    query = dict(each.split("=") for each in (found["query"] or "").split("&") if each)
    call = Call(
        store=store, limits=limits, files=files, wire=wire, digest=found["blob"] or found["output"] or "",
        at=int(query.get("at", 0)), size=int(query.get("size", -1)),
    )  # fmt: skip
    try:
        does(call)
    except Fenced as error:
        raise Refused(HTTPStatus.GONE, error.message) from error
    except CCImagesError as error:
        _log.warning("%s %s: %s", method, kind, error.message)
        full = error.reason is Reason.DISK_FULL
        status = HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.INTERNAL_SERVER_ERROR
        raise Refused(status, "the store of the head is full" if full else "the store of the head fails") from error


def _bundle(call: Call) -> None:
    call.wire.send_file(call.files.folder / "bundle.json")


def _blob(call: Call) -> None:
    if call.digest not in call.files.inputs() and not call.files.outputs.was_put(call.digest):
        raise Refused(HTTPStatus.NOT_FOUND, "this attempt reads no such blob")
    try:
        call.wire.send_file(call.store.blobs.path(call.digest))
    except FileNotFoundError:
        raise Refused(HTTPStatus.NOT_FOUND, "the blob is not in the store") from None


def _output(call: Call) -> None:
    outputs = call.files.outputs
    if not outputs.has(call.digest):
        outputs.settle(call.digest, call.limits.block_seconds + SETTLE, _ticking(call.wire))
    if not outputs.has(call.digest):
        raise Refused(HTTPStatus.NOT_FOUND, "not yet", **_offset(UPLOAD_OFFSET, outputs.end(call.digest)))
    call.wire.answer(HTTPStatus.OK)


def _put(call: Call) -> None:
    size = call.size if call.size >= 0 else call.at + call.wire.length
    if size > call.limits.output_bytes or call.at + call.wire.length > size:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the output is larger than it may be")
    outputs = call.files.outputs
    if outputs.has(call.digest):
        outputs.discard(call.digest)
        call.wire.answer(HTTPStatus.CREATED)
        return
    if call.store.free_bytes() < size - call.at + RESERVE:
        raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, "the store of the head is full")
    try:
        with outputs.receiving(call.digest, call.at) as partial:
            _receive(call, partial)
            if partial.end < size:
                call.wire.answer(HTTPStatus.ACCEPTED, b"", **_offset(UPLOAD_OFFSET, partial.end))
            elif (why := call.files.fenced()) or not outputs.finish(partial, _ticking(call.wire)):
                raise Refused(
                    HTTPStatus.GONE if why else HTTPStatus.UNPROCESSABLE_ENTITY, why or "the digest is another"
                )
            else:
                call.wire.answer(HTTPStatus.CREATED)
    except Busy:
        end = outputs.end(call.digest)
        raise Refused(
            HTTPStatus.CONFLICT, "another connection sends it", **_offset(UPLOAD_OFFSET, end), Retry_After=1
        ) from None
    except Elsewhere as error:
        raise Refused(HTTPStatus.CONFLICT, str(error), **_offset(UPLOAD_OFFSET, error.end)) from None
    except ConnectionError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        _log.warning("an output of %s cannot be written: %s", call.files.attempt, error.strerror)
        status = HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.INTERNAL_SERVER_ERROR
        raise Refused(status, "the store of the head is full" if full else "the store of the head fails") from error


def _receive(call: Call, partial: Partial) -> None:
    left, block = call.wire.length, memoryview(bytearray(min(BLOCK, max(call.wire.length, 1))))
    while left:
        count = call.wire.read(block[: min(left, len(block))])
        partial.write(block[:count])
        left -= count


def _ticking(wire: Wire) -> Callable[[], None]:
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if time.monotonic() - last > HEARTBEAT:
            last = time.monotonic()
            wire.interim()

    return tick


def _stream(call: Call) -> None:
    data = _body(call, MESSAGE)
    try:
        end = call.files.append(call.at, data, call.limits.stream_bytes)
    except StreamFull:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the stream is longer than it may be") from None
    if end != call.at + len(data):
        raise Refused(HTTPStatus.CONFLICT, f"the stream ends at {end}", **_offset(STREAM_OFFSET, end))
    call.wire.answer(HTTPStatus.OK, json.dumps({"at": end}).encode())


def _lease(call: Call) -> None:
    asked = _json(call, 1024, attempt_shapes.AskedShape)
    if call.limits.require_run and not call.store.is_at_work(call.files.claim().run):
        call.files.fence("its run is dead")
    lease = call.files.grant(time.time(), asked["nonce"], call.limits.lease_seconds)
    said = record_files.encoded(attempt_shapes.LeaseShape, {"seconds": lease.seconds, "stop": lease.stop})
    call.wire.answer(HTTPStatus.OK, json.dumps(said).encode())


def _secrets(call: Call) -> None:
    _body(call, 0)
    found = call.files.take_secrets() if call.files.claim().trusted else None
    if found is None:
        raise Refused(HTTPStatus.NOT_FOUND, "there are no secrets, or they were given out already")
    call.wire.answer(HTTPStatus.OK, json.dumps(found).encode())


def _result(call: Call) -> None:
    plain = _json(call, call.limits.result_bytes, attempt_shapes.AttemptResultShape)
    if plain["attempt"] != call.files.attempt:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "this is the result of another attempt")
    if lacking := call.files.outputs.lacking(plain["blobs"]):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"not in the store of the head: {', '.join(lacking[:3])}")
    try:
        call.files.put_result(plain)
    except FileExistsError:
        raise Refused(HTTPStatus.CONFLICT, "there is a result already") from None
    call.wire.answer(HTTPStatus.CREATED)


def _body(call: Call, most: int) -> bytes:
    if call.wire.length > most:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {most} bytes")
    content = bytearray(call.wire.length)
    left = memoryview(content)
    while left:
        left = left[call.wire.read(left) :]
    return bytes(content)


def _json(call: Call, most: int, shape: type[Shape]) -> Json:
    try:
        return record_files.parsed(_body(call, most), shape, "the body")
    except (record_files.Damaged, record_files.Newer) as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)[:200]) from error


def _offset(name: str, end: int) -> dict[str, object]:
    return {name.replace("-", "_"): end}


CALLS: dict[tuple[str, str], Callable[[Call], None]] = {
    ("GET", "bundle"): _bundle,
    ("GET", "blob"): _blob,
    ("HEAD", "blob"): _blob,
    ("HEAD", "output"): _output,
    ("PUT", "output"): _put,
    ("POST", "stream"): _stream,
    ("POST", "lease"): _lease,
    ("POST", "secrets"): _secrets,
    ("PUT", "result"): _result,
}
"""What answers each call, by its method and the kind of its path."""
