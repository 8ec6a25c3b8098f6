"""The exit codes of runs; `main` has those of the whole command line."""

from __future__ import annotations

from cc_images.api.outcome import Outcome

EXIT_BUG, EXIT_FAILED, EXIT_INTERRUPTED = 1, 3, 130


def exit_code(outcome: Outcome | None) -> int:
    """Return the exit code of a run that was carried out."""
    assert outcome is not None
    results = outcome.results.values()
    if outcome.stopped:
        return EXIT_INTERRUPTED
    if any(result.reason == "bug" for result in results):
        return EXIT_BUG
    good = all(result.status.good for result in results) and not outcome.plan.left_out
    return 0 if good else EXIT_FAILED
