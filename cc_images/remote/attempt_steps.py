"""Steps that a run takes with one chain on builder hosts, as values."""

from __future__ import annotations

from dataclasses import dataclass

from cc_images.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Look again at this moment at the latest."""

    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Make a claim and start its job: on a builder host that is not to be avoided, if there is another one."""

    before: str = ""
    """The lost attempt that it follows."""
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchAgain:
    """Start the job of an attempt once more, because nobody knows of the first one.

    Harmless, though both jobs may exist: the first lease binds the attempt to one of them.
    """

    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskToStop:
    """Ask the builder to end: its next lease says so."""

    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Let the launcher cancel the job. It proves nothing."""

    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Close the attempt: from now on each call with its token gets 410."""

    attempt: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """Take the result of an attempt, whether its tasks succeeded or failed."""

    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Close the attempt because of its result."""

    attempt: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """End without a result."""

    why: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """End with the result of this attempt."""

    attempt: str


Step = Wait | Start | LaunchAgain | AskToStop | Cancel | Fence | Accept | Refuse | Fail | Done
