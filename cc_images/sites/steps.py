"""Decisions of rules besides acts of a site, and limits on retries."""

from __future__ import annotations

from dataclasses import dataclass

from cc_images.errors import Reason
from cc_images.sites.entry import Entry

UPLOADS = 2
"""How often a file is sent."""


FAILURES = 4
"""How many steps in a row may fail before a push gives up; not while the name is vacant."""


WAITS = 12
"""How often a push looks again whether a site has stored what was sent, when the answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Observe again who has the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Let the site finish storing, then observe again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Ask which projects an image is shared with."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Ask how many servers use an image."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Nothing is left to do: `note` is what a person did that stands; with a `reason` it is an error."""

    note: str = ""
    same: bool = True
    """Whether the image that has the name is the wanted one."""
    message: str = ""
    hint: str = ""
    reason: Reason | None = None
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A step whose answer was not seen, or that the site refuses for good."""

    temporary: bool
    broken: bool = False
    """Whether it is an upload of which not all bytes have left."""
