"""The verbs of the command line, each from its options to its exit code."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from cc_images.cli.signals import bench
from cc_images.config.loader import Config, load
from cc_images.errors import CCImagesError, UserError
from cc_images.model.catalog import Arch, Firmware
from cc_images.model.plan import Request
from cc_images.report import text
from cc_images.report.plan_tree import plan_tree
from cc_images.report.units import size

EXIT_FAILED = 3


def _config() -> Config:
    return load(os.environ, Path.cwd())


def _arches(options: argparse.Namespace) -> tuple[Arch, ...]:
    return tuple(Arch(word) for word in options.architecture)


def request_of(options: argparse.Namespace) -> Request:
    """Return what the options ask for."""
    neither = not (options.build or options.push)  # only `plan` comes here so: it shows both
    until = getattr(options, "until", "")
    return Request(
        tags=tuple(options.tags),
        arches=_arches(options),
        build=options.build or (options.force and not options.push) or neither,
        push=options.push or (neither and not until),
        force=options.force,
        jobs=options.tasks or 0,
        on=getattr(options, "on", ""),
        sites=tuple(options.site),
        fail_fast=options.fail_fast,
        boot_test=not options.no_boot_test,
        max_age=options.max_age,
        version=options.version,
        promote=getattr(options, "promote", False),
        debug=getattr(options, "debug_shell", False),
        keep_failed=getattr(options, "keep_failed", False),
        until=until,
    )


def plan(options: argparse.Namespace) -> int:
    """Show what a run would do and why."""
    from cc_images.api.plan import plan

    seen = plan(
        request_of(options),
        replace(_config(), relock=options.relock),
        offline=options.offline,
        ask_sites=options.dry_run,
    )
    if options.json:
        text.say(text.as_json(seen.plan.as_json() | ({"pushes": seen.pushes} if options.dry_run else {})))
    else:
        text.say("\n".join([plan_tree(seen.plan), *seen.pushes]))
    return EXIT_FAILED if seen.plan.left_out or not seen.answered else 0


def new(options: argparse.Namespace) -> int:
    """Write a new image."""
    from cc_images.api import authoring

    written = authoring.new(os.environ, Path.cwd(), options.name, options.parent, options.package)
    if options.json:
        text.say(text.as_json({"written": [str(each) for each in written]}))
    else:
        text.say("\n".join([*map(str, written), f"next: cc-images plan -b {options.name.lower()}"]))
    return 0


def explain(options: argparse.Namespace) -> int:
    """Show in which inputs images differ from their newest builds."""
    from cc_images.api.plan import explain

    request = Request(tags=tuple(options.tags), arches=_arches(options), build=True, max_age=options.max_age)
    found = explain(request, _config(), offline=options.offline)
    if options.json:
        text.say(text.as_json(found.reasons))
    else:
        text.say(text.reasons(found.reasons, found.notes))
    return 0


def prune(options: argparse.Namespace) -> int:
    """Remove from the store what is beyond the newest builds, and above the size cap."""
    from cc_images.api.prune import prune, prune_build_cache

    if options.build_cache:
        dropped = prune_build_cache(_config(), dry_run=options.dry_run)
        if options.json:
            text.say(text.as_json([{"name": each.name, "why": each.why, "freed": each.size} for each in dropped]))
        else:
            text.say(text.dropped([(each.name, each.why, each.size) for each in dropped], options.dry_run))
        return 0
    found = prune(_config(), keep=options.keep, max_size=options.max_size, dry_run=options.dry_run)
    if options.json:
        rows = [text.holding(each) | {"why": why, "freed": freed} for each, why, freed in found.gone]
        text.say(text.as_json(rows))
    else:
        text.say(text.pruned(found.gone, options.dry_run))
        if options.max_size is not None and found.left > options.max_size:
            text.say(f"{size(found.left)} stay: the newest builds, and what is in use")
    return 0


def inspect(options: argparse.Namespace) -> int:
    """Show what is inside an image without booting it."""
    from cc_images.api import inspect
    from cc_images.report import inspected

    with bench() as mine:
        one, other = inspect.inspect(_config(), options.what, _arches(options), options.against, bench=mine)
    differences = inspected.differences(other.facts, one.facts) if other else {}
    if options.json:
        said = {"image": one.title, "facts": one.facts, "problems": one.problems}
        text.say(text.as_json(said | ({"against": other.title, "differences": differences} if other else {})))
    elif other:
        text.say(inspected.compared(one.title, other.title, differences))
    else:
        text.say(inspected.shown(one.title, one.facts, one.problems, one.size))
    return EXIT_FAILED if one.problems and not other else 0


def boot(options: argparse.Namespace) -> int:
    """Boot the newest build for a person."""
    from cc_images.api import inspect

    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with bench() as mine:
        found = inspect.boot(
            _config(),
            options.tag,
            _arches(options),
            inspect.Visit(
                firmware=Firmware(options.firmware) if options.firmware else None,
                shell=options.ssh or (at_terminal and not (options.keep or options.json)),
                keep=options.keep,
            ),
            tell=lambda said: text.say(said, to=sys.stderr if options.json else sys.stdout),
            bench=mine,
        )
    if options.json:
        said = {"levels": found.levels, "failed": found.failed, "problems": found.problems}
        text.say(text.as_json(said))
    return 0 if found.failed is None else EXIT_FAILED


def shell(options: argparse.Namespace) -> int:
    """Open a shell in a copy of an image's layer, or of its kept tree."""
    from cc_images.api.shell import Visit, shell

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("a shell needs a terminal", hint="leave out pipes")
    with bench() as mine:
        visit = Visit(kept=options.kept, read_only=options.read_only)
        shell(_config(), options.tag, _arches(options), visit, bench=mine)
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Check the host, show what dead runs have left, and read every blob; with --mend, clear up."""
    from cc_images.api import site_status
    from cc_images.api.doctor import checkup
    from cc_images.api.finding import Finding, State

    config = _config()
    findings: list[Finding] = []
    for each in checkup(config):  # as they come: a site may take its time
        findings.append(each)
        if not options.json:
            text.say(text.finding(each.subject, each.state, each.text, each.remedy))
    try:
        left, failed = site_status.mend(config) if options.mend else site_status.leftovers(config), False
    except CCImagesError as error:  # what was found of the host explains it
        left, failed = [error.message], True
    if options.json:
        text.say(text.as_json({"host": [each.as_json() for each in findings], "left": left}))
    else:
        text.say("\n".join(["", *left]) if left else "\nnothing was left behind")
        if left and not (options.mend or failed):
            text.say("what to do: cc-images doctor --mend")
    return EXIT_FAILED if failed or any(each.state is State.LACK for each in findings) else 0
