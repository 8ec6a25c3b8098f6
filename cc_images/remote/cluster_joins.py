"""The endpoint at which hosts join a cluster: over TLS, open while a token is valid, one answer for each token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.remote.cluster_texts import Cluster, Node, Place
from cc_images.remote.cluster_tokens import Invalid, JoinToken, Tokens
from cc_images.remote.lines import object_of, plain_text
from cc_images.remote.protocol import host_and_port, is_loopback
from cc_images.remote.survey import Facts, facts_here, unfit
from cc_images.store.records import Store

_log = logging.getLogger(__name__)

SECONDS = 20.0
"""For each read of the endpoint, the handshake included."""

PATIENCE = 180.0
"""Seconds that the joining host waits: the head starts its controller again before it answers."""

LARGEST = 1 << 20
"""Bytes of a request."""

AT_ONCE = 64
"""Connections that are served at a time."""

CALL = "/v1/join"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_BEARER = re.compile(r"Bearer ([0-9a-f]{16})\.([0-9A-Za-z_-]{1,128})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A host that wants to join; the head sees its address by itself."""

    name: str
    cores: int
    memory: int
    arch: str
    slurm: str
    """The version of Slurm."""
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All that a host needs to join: the key of munge is a secret."""

    cluster: str
    head: str
    address: str
    """The head's address."""
    node: Node
    """The host itself, as the head sees it."""
    munge_key: str
    certificate: str


class Refused(Exception):
    """A host that may not join, with the status of the answer."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head for those who join: what it compares with, and how it adds a node."""

    place: Place
    here: dict[str, str]
    """Tools of the head; see `equality.unequal`."""
    slurm: str
    node_of: Callable[[str], Node | None]
    """The node that has a name."""
    add: Callable[[Node], Answer]
    """Add a node, and return the answer for it. Raises CCImagesError."""

    def answer(self, authorization: str, body: bytes, peer: str) -> bytes:
        """Return the answer for a host that joins. Raises Refused."""
        said = _BEARER.fullmatch(authorization)
        tokens = Tokens(self.place)
        try:
            if not said:
                raise Invalid("there is no token")
            tokens.check(said[1], said[2])
        except Invalid as error:
            raise Refused(HTTPStatus.UNAUTHORIZED, str(error)) from None
        node = self._node(body, peer)
        try:
            tokens.use(said[1], node.name)
        except Invalid as error:
            raise Refused(HTTPStatus.UNAUTHORIZED, str(error)) from None
        try:
            return msgspec.json.encode(self.add(node))
        except CCImagesError as error:
            tokens.give_back(said[1])
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, error.message) from None

    def _node(self, body: bytes, peer: str) -> Node:
        """Return the node that a request describes, if it may join. Raises Refused."""
        try:
            asked = msgspec.json.decode(body, type=Request)
        except msgspec.MsgspecError:
            raise Refused(HTTPStatus.BAD_REQUEST, "the request cannot be read") from None
        sane = 0 < asked.cores < 1 << 16 and 0 < asked.memory < 1 << 32 and re.fullmatch(r"[a-z0-9]{1,16}", asked.arch)
        if not _NAME.fullmatch(asked.name) or not sane:
            raise Refused(HTTPStatus.BAD_REQUEST, "the request names no host that can be a node")
        if asked.slurm.split(".")[:2] != self.slurm.split(".")[:2]:
            why = f"it has Slurm {asked.slurm[:40]}, and the head has {self.slurm}"
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, why)
        if why := unfit(asked.facts, self.here):
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"it {why}")
        known = self.node_of(asked.name)
        if known is not None and known.address != peer:
            raise Refused(HTTPStatus.CONFLICT, f"the node {asked.name} is at {known.address} already")
        return Node(name=asked.name, address=peer, cores=asked.cores, memory=asked.memory, arch=asked.arch)


class Endpoint(ThreadingHTTPServer):
    """Serves a head's answers over TLS; each connection has one call."""

    request_queue_size = 16

    def __init__(self, listen: str, head: Head) -> None:
        """Listen at HOST:PORT. Raises UserError."""
        host, port = host_and_port(listen)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.head = head
        self._calls: list[threading.Thread] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.load_cert_chain(head.place.certificate, head.place.key)
        try:
            super().__init__((host, port), _Call)
        except OSError as error:
            raise UserError(f"the head cannot listen on {listen}: {error.strerror}", reason=Reason.HUB) from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, unless there are too many."""
        self._calls = [each for each in self._calls if each.is_alive()]
        if len(self._calls) >= AT_ONCE:
            self.shutdown_request(request)
            return
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._calls.append(thread)
        thread.start()

    def settle(self) -> None:
        """Wait until the connections that there are have their answers, but no longer than one may take."""
        deadline = time.monotonic() + PATIENCE
        for each in self._calls:
            each.join(max(0.0, deadline - time.monotonic()))

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the handshake in the connection's own thread, so that a silent client holds nobody up."""
        request.settimeout(SECONDS)
        try:
            with self._context.wrap_socket(request, server_side=True) as link:
                super().finish_request(link, client_address)
        except OSError as error:
            _log.info("a connection of %s: %s", client_address[0], error)


class _Call(BaseHTTPRequestHandler):
    """One call."""

    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    server: Endpoint

    def do_POST(self) -> None:
        """Answer a host that joins."""
        self.close_connection = True
        peer = str(self.client_address[0])
        try:
            length = self.headers.get("Content-Length", "")
            if self.path != CALL or not length.isdecimal() or int(length) > LARGEST:
                raise Refused(HTTPStatus.BAD_REQUEST, "no such call")
            body = self.rfile.read(int(length))
            said = self.server.head.answer(self.headers.get("Authorization", ""), body, peer)
            print(f"{peer} has joined", flush=True)
            self._say(HTTPStatus.OK, said)
        except Refused as error:
            print(f"{peer} is refused: {error}", flush=True)
            self._say(error.status, json.dumps({"why": str(error)}).encode())

    def _say(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing but what this module says itself."""


def ask(token: JoinToken, request: Request) -> Answer:
    """Return the head's answer; nothing is sent before its certificate is known to be the token's. Raises UserError."""
    host, port = host_and_port(token.address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # known by the fingerprint below
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=PATIENCE)
    try:
        connection.connect()
        certificate = connection.sock.getpeercert(binary_form=True) or b""
        if not hmac.compare_digest(hashlib.sha256(certificate).hexdigest(), token.fingerprint):
            raise UserError(
                f"{token.address} is not the head that made the token: it has another certificate",
                hint="make a new token at the head, or find out who answers there",
                reason=Reason.HUB,
            )
        headers = {"Authorization": f"Bearer {token.id}.{token.secret}", "Content-Type": "application/json"}
        connection.request("POST", CALL, msgspec.json.encode(request), headers)
        answer = connection.getresponse()
        body = answer.read(LARGEST)
    except (OSError, http.client.HTTPException) as error:
        raise CCImagesError(
            f"the head does not answer at {token.address}: {error}",
            hint="it answers there only while a token is valid: make a new one; look at firewalls in between",
            reason=Reason.UNREACHABLE,
        ) from error
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise UserError(f"the head refuses this host: {_why(body)}", reason=Reason.UNFIT)
    try:
        return msgspec.json.decode(body, type=Answer)
    except msgspec.MsgspecError:
        raise UserError("the head's answer cannot be read", hint="use its version of cc-images") from None


def _why(body: bytes) -> str:
    return plain_text(str(object_of(body).get("why", ""))) or "it does not say why"


def facts_of_store(store: Path) -> Facts:
    """Return what this host says of itself."""
    return msgspec.convert(facts_here(Store(store)), type=Facts)


def request_of(node: Node, slurm: str, store: Path) -> Request:
    """Return what this host says when it wants to join."""
    return Request(
        name=node.name, cores=node.cores, memory=node.memory, arch=node.arch, slurm=slurm, facts=facts_of_store(store)
    )


def require_reachable(cluster: Cluster) -> None:
    """Raise UserError for a head that no other host can reach."""
    if is_loopback(cluster.address):
        raise UserError(
            f"the head is at {cluster.address}, which no other host can reach",
            hint="make the cluster again with --address",
        )


def packed(key: bytes) -> str:
    """Return a key as text."""
    return base64.b64encode(key).decode()


def unpacked(key: str) -> bytes:
    """Return a key that came as text."""
    return base64.b64decode(key)
