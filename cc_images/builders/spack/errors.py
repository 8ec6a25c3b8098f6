"""Errors of Spack: which of the lines that it prints says what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cc_images.errors import CCImagesError, Reason
from cc_images.host.process import CommandFailed, TimedOut

LINES = 6
"""Lines of a message that are shown."""

_ERROR = re.compile(r"==> (?:\S+: )?Error: (.*)")
_LATER = re.compile(r"Terminating after first install failure: |.* failed to install|The following packages failed")
_ENDS = re.compile(r"==> |\[|subprocess exited|Error: building at STEP|error: |STEP ")


def said(tail: Sequence[str]) -> str:
    """Return the first error that Spack has printed, with the lines that belong to it; empty if there is none."""
    for number, line in enumerate(tail):
        found = _ERROR.match(line)
        if found is None or _LATER.match(found[1]):
            continue
        more: list[str] = []
        for each in tail[number + 1 : number + LINES]:
            if _ENDS.match(each):
                break
            more += [each.strip()] if each.strip() else []
        return "; ".join([found[1].strip().rstrip(":"), *more])
    return ""


@contextmanager
def clear_errors() -> Iterator[None]:
    """Raise an error with what Spack has said in place of that of the program around it."""
    try:
        yield
    except CCImagesError as error:
        cause = error.__cause__
        if not isinstance(cause, CommandFailed) or isinstance(cause, TimedOut) or not (text := said(cause.tail)):
            raise
        raise CCImagesError(
            f"Spack: {text}",
            hint="the log has all that it has printed",
            reason=Reason.COMMAND,
            tail=cause.tail,
        ) from error
