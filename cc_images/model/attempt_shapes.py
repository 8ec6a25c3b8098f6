"""Shapes of the records of attempts, and of what a builder host and the head tell each other; see `record_shapes`."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from cc_images.model.record_shapes import Amount, Count, Digest, Shape

AttemptId = Annotated[str, Meta(pattern=r"\Aa[0-9a-f]{32}\Z")]
Token = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z_-]{32,128}\Z")]
Nonce = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z_-]{1,128}\Z")]


class ClaimShape(Shape):
    """`attempts/<attempt>/claim.json`."""

    attempt: AttemptId
    run: str
    tasks: list[str]
    builder: str
    made: Amount
    trusted: bool = False
    before: str = ""
    owner: str = ""


class WaitingShape(Shape):
    """`work/<run>/queue/<chain>.json`: a chain that waits for a place on a builder host."""

    chain: str
    run: str
    since: Amount
    why: str
    hosts: list[str] = field(default_factory=list)
    owner: str = ""


class InputsShape(Shape):
    """`attempts/<attempt>/inputs.json`: the blobs of the head that the attempt may read."""

    digests: list[Digest]


class GrantShape(Shape):
    """`attempts/<attempt>/lease.json`."""

    at: Amount
    seconds: Amount
    nonce: Nonce
    first: Amount


class AttemptResultShape(Shape):
    """`attempts/<attempt>/result.json`; the run at the head looks at `made`, see `settle.Brought`.

    Without it, `unfit` has why nothing can be done there, or `lost` why nothing came of it.
    """

    attempt: AttemptId
    tasks: list[dict[str, Any]]
    blobs: dict[Digest, Count]
    made: dict[str, Any] | None = None
    unfit: list[str] = field(default_factory=list)
    lost: str = ""


class TicketShape(Shape):
    """The ticket that a launcher hands to a builder host on standard input."""

    attempt: AttemptId
    token: Token
    address: str
    ca: str = ""


class AskedShape(Shape):
    """A request for a lease."""

    nonce: Nonce


class LeaseShape(Shape):
    """The answer to a request for a lease."""

    seconds: Amount
    stop: bool = False
