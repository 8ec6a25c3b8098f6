"""The end of a run: its failures and complaints as text, its exit code, and what its run file says."""

from __future__ import annotations

import sys

from cc_images.api.outcome import Outcome
from cc_images.cli.exit_codes import exit_code
from cc_images.errors import CCImagesError
from cc_images.model.catalog import Json
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


def ending(told: Json, outcome: Outcome | None, refused: CCImagesError | None) -> Json:
    """Return how a run ended: its state, and the first failure in words."""
    said: Json = {"state": told["state"], "run": told.get("run", "")}
    if refused is not None:
        return said | {"message": refused.message, "hint": refused.hint, "reason": refused.reason}
    failures = (each for each in (outcome.results.values() if outcome else ()) if each.status is Status.FAILED)
    first = next(failures, None)
    return said | (
        {"message": f"{first.task}: {first.error}", "hint": first.hint, "reason": first.reason} if first else {}
    )
