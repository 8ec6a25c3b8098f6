"""The end of a run for one image: its failures and complaints as text, and its exit code."""

from __future__ import annotations

import sys

from cc_images.api.outcome import Outcome
from cc_images.cli.exit_codes import exit_code
from cc_images.model.plan import Status
from cc_images.report import text


def settled(outcome: Outcome) -> int:
    """Print what went wrong; return the exit code. Raises CCImagesError for what kept the run from being done."""
    if outcome.refused:
        raise outcome.refused
    for result in outcome.results.values():
        if result.status is Status.FAILED:
            text.say(text.failure(result), to=sys.stderr)
    for complaint in outcome.complaints:
        text.say(f"cc-images: {complaint}", to=sys.stderr)
    return exit_code(outcome)
