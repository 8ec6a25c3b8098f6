"""A run on the command line: its progress, its summary, and its follow-up."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cc_images.api import followup
from cc_images.api.followup import FollowUp
from cc_images.api.outcome import Outcome
from cc_images.api.page import page_path
from cc_images.api.run import run as carry_out
from cc_images.api.run_file import RunFile
from cc_images.cli.exit_codes import exit_code
from cc_images.cli.outcomes import ending
from cc_images.cli.signals import stopped_by_signals
from cc_images.config.loader import Config, load
from cc_images.errors import CCImagesError, UserError
from cc_images.model.catalog import Json
from cc_images.model.plan import Request, Status
from cc_images.model.run import IfBusy, State
from cc_images.model.words import UNTESTED
from cc_images.report import progress, text


def run(options: argparse.Namespace, request: Request) -> int:
    """Build and push, and do what follows; return the exit code. Raises CCImagesError for what let nothing start."""
    if request.debug and not (sys.stdin.isatty() and sys.stdout.isatty() and request.jobs <= 1):
        raise UserError("--debug-shell needs a terminal, and one build at a time", hint="leave out -t and pipes")
    config: Config | None = None
    outcome: Outcome | None = None
    refused: CCImagesError | None = None
    told: Json = {"state": State.FAILED, "error": "the run ended unexpectedly"}
    if request.push and not request.boot_test and (options.quiet or options.json):
        text.say(f"cc-images: {UNTESTED}", to=sys.stderr)
    shown = progress.display(
        sys.stderr, quiet=options.quiet, verbose=options.verbose, events=options.json, told=sys.stdout,
        term="dumb" if request.debug else os.environ.get("TERM", "dumb"), colours=not os.environ.get("NO_COLOR"),
    )  # fmt: skip
    stop = threading.Event()
    with stopped_by_signals(stop):
        kept = RunFile(Path(options.run_file), shown) if options.run_file else None
        try:
            config = replace(load(os.environ, Path.cwd()), relock=getattr(options, "relock", False))
            outcome = carry_out(
                request, config, kept or shown, offline=options.offline, stop=stop, if_busy=IfBusy(options.if_busy),
                words=_shown(sys.argv[1:]),
            )  # fmt: skip
            refused, told = outcome.refused, outcome.told
        except CCImagesError as error:
            refused, told = error, told | {"error": error.message}
        finally:
            shown.close()
            summary = text.summary(told)
            complaints = [*(outcome.complaints if outcome else ()), *_follow_up(options, config, told, outcome, stop)]
    code = refused.exit_code if refused else exit_code(outcome)
    if kept is not None:
        kept.note(**ending(told, outcome, refused), exit_code=code)
    with suppress(OSError, ValueError):  # nobody may be reading any more
        if outcome and not refused and not options.json:
            _show(outcome, gap="" if options.quiet else "\n")
        for complaint in complaints:
            text.say(f"cc-images: {complaint}", to=sys.stderr)
        if isinstance(shown, progress.Events):
            _tell(shown, told, summary, code, config, refused)
        elif told.get("run"):  # a run without a name has raised an error, and that is enough
            text.say(summary)
    if refused:
        raise refused
    return code


def _shown(words: list[str]) -> list[str]:
    """Return the words of the command line without the command to be run, which may hold the secret of a chat room."""
    shown: list[str] = []
    for word in words:
        if shown[-1:] == ["--notify"]:
            shown.append("…")
        else:
            shown.append("--notify=…" if word.startswith("--notify=") else word)
    return shown


def _follow_up(
    options: argparse.Namespace, config: Config | None, told: Json, outcome: Outcome | None, stop: threading.Event
) -> list[str]:
    failures = (
        [text.failure(each) for each in outcome.results.values() if each.status is Status.FAILED] if outcome else []
    )
    wishes = FollowUp(
        metrics=Path(options.metrics) if options.metrics else None,
        notify=options.notify,
        max_size=options.max_size,
        keep=options.keep,
    )
    # a stopped run notifies, too; a second signal ends the program at once
    until = None if stop.is_set() else stop
    return followup.follow_up(config, told, "\n\n".join([text.summary(told), *failures]) + "\n", wishes, until)


def _tell(
    events: progress.Events,
    told: Json,
    summary: str,
    code: int,
    config: Config | None,
    refused: CCImagesError | None,
) -> None:
    """Write the last events."""
    if refused is not None:
        events.tell("failed", message=refused.message, hint=refused.hint, reason=refused.reason, exit_code=code)
    run = told.get("run", "")
    root = config.store if config and run else None
    events.tell(
        "finished",
        run=run,
        state=told["state"],
        exit_code=code,
        summary=summary,
        seconds=told.get("seconds"),
        counts=told.get("counts", {}),
        journal=str(root / "runs" / f"{run}.json") if root else "",
        report=str(page_path(root, run)) if root else "",
    )


def _show(outcome: Outcome, gap: str) -> None:
    """Print what became of a run, after a gap to what was printed before."""
    results = list(outcome.results.values())
    for result in results:
        if result.status is Status.FAILED:
            text.say("\n" + text.failure(result), to=sys.stderr)
    text.say(gap + text.result_table(outcome.plan, outcome.results, outcome.seconds))
    if not all(result.status.good for result in results):
        text.say(f"journal of the run: {outcome.journal}", to=sys.stderr)
