"""The command line: words in, exit code out. The only place that ends the process.

Exit codes: 0 all well, also when nothing needed doing; 1 a bug; 2 the user's input; 3 some tasks failed; 130
interrupted.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cc_images.config import Config
    from cc_images.plan import Plan, Request

EXIT_BUG, EXIT_INPUT, EXIT_FAILED, EXIT_INTERRUPTED = 1, 2, 3, 130

VERBS = ("list", "plan", "status", "doctor")

EPILOG = """\
verbs: `cc-images list` shows the catalogue, `cc-images plan [options] TAG…` what a run would do and why,
`cc-images status [-s SITE] [TAG…]` what is on the sites; `cc-images doctor` clears up after killed runs.
files: CC_IMAGES_CONFIG, CC_SITES_CONFIG and CC_THIRD_PARTY_ELEMENTS_CONFIG override images.yaml, sites.yaml and
third-party.yaml; CC_IMAGES_STORE the store's folder. ARCH means -a. DIB_* variables are handed to the builds.
"""


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave with the code of a usage error."""
        self.exit(EXIT_INPUT, f"cc-images: error: {message} (see cc-images --help)\n")


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        code = run(argv)
    except BrokenPipeError:
        code = EXIT_FAILED
        sys.stderr.close()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)


def run(argv: list[str]) -> int:
    """Do what the words say and return the exit code."""
    verb = argv[0] if argv and argv[0] in VERBS else ""
    options = parser(verb).parse_args(argv[1:] if verb else argv)
    if not verb and not (options.build or options.push):
        parser("").error("nothing to do: give -b to build, -p to push, or both")
    from cc_images.errors import CCImagesError

    try:
        if verb == "list":
            return _list(options)
        if verb == "plan" or (not verb and options.dry_run):
            return _plan(options)
        if verb == "status":
            return _status(options)
        if verb == "doctor":
            return _doctor(options)
        return _run(options)
    except CCImagesError as error:
        _complain(error)
        return error.exit_code


def parser(verb: str) -> Parser:
    """Return the parser for a verb, or for the command without one."""
    made = Parser(
        prog=f"cc-images {verb}".strip(),
        description="Build operating-system images with diskimage-builder and publish them, redoing only what changed.",
        epilog=None if verb else EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    if verb in ("list", "doctor"):
        return made
    made.add_argument(
        "tags",
        nargs="*" if verb == "status" else "+",
        metavar="TAG",
        type=str.lower,
        help="an image of the catalogue, or `all`",
    )
    made.add_argument("-s", "--site", action="append", default=[], metavar="SITE", help="this site only")
    if verb == "status":
        return made
    made.add_argument("-b", "--build", action="store_true", help="build new versions of the images")
    made.add_argument("-p", "--push", action="store_true", help="push the newest version; with -b the one just built")
    made.add_argument(
        "-f", "--force", action="store_true", help="rebuild completely and drop what is cached of the named images"
    )
    made.add_argument(
        "-t", "--tasks", type=_at_least_one, default=1, metavar="N", help="builds in parallel (default 1)"
    )
    made.add_argument(
        "-a", "--architecture", type=_arches, default=(), metavar="ARCH", help="amd64, arm64 or both with a comma"
    )
    made.add_argument("-k", "--keep-going", action="store_true", help="after a failure do all that it allows (default)")
    made.add_argument("--fail-fast", action="store_true", help="after a failure start nothing new")
    made.add_argument("--offline", action="store_true", help="use element sources as they were fetched last")
    made.add_argument("--max-age", type=_at_least_zero, default=7, metavar="DAYS", help="rebuild what is older (7)")
    made.add_argument("--dry-run", action="store_true", help="show the plan, and what pushes would replace and delete")
    made.add_argument("-q", "--quiet", action="store_true", help="print failures and the final table only")
    made.add_argument("-v", "--verbose", action="store_true", help="print a line for every hook that dib runs")
    if not verb:
        made.add_argument("--version", action="version", version=_version())
    return made


def _version() -> str:
    # argparse wants the text when the parser is made; the import costs more than the rest of --help
    class Late(str):
        def __mod__(self, values: object) -> str:
            from importlib.metadata import version

            return f"cc-images {version('cc-images')}"

    return Late("%(prog)s")


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _at_least_zero(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _arches(text: str) -> tuple[str, ...]:
    known = ("amd64", "arm64")
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return words


def _config() -> Config:
    import os
    from pathlib import Path

    from cc_images.config import load

    return load(os.environ, Path.cwd())


def _request(options: argparse.Namespace) -> Request:
    from cc_images.model import Arch
    from cc_images.plan import Request

    neither = not (options.build or options.push)  # only `plan` comes here so: it shows both
    return Request(
        tags=tuple(options.tags),
        arches=tuple(Arch(word) for word in options.architecture),
        build=options.build or options.force or neither,
        push=options.push or neither,
        force=options.force,
        jobs=options.tasks,
        sites=tuple(options.site),
        fail_fast=options.fail_fast,
        max_age=options.max_age,
    )


def _list(options: argparse.Namespace) -> int:
    from cc_images import report
    from cc_images.store import Store

    config = _config()
    store = Store(config.store)
    rows = [
        (image, {arch: next(store.builds(tag, arch), None) for arch in image.arches})
        for tag, image in sorted(config.images.items())
    ]
    if options.json:
        report.say(
            report.as_json(
                [
                    {
                        "tag": image.tag,
                        "name": image.name,
                        "eol": image.eol,
                        "baremetal_only": image.baremetal_only,
                        "newest": {arch: build.version if build else None for arch, build in builds.items()},
                    }
                    for image, builds in rows
                ]
            )
        )
    else:
        report.say(report.catalogue(rows) if rows else f"{config.files['images.yaml']} has no images")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from cc_images import outlook, report, survey
    from cc_images.model import VERSION_FORMAT
    from cc_images.store import Store

    config = _config()
    now = datetime.now(UTC).replace(microsecond=0)
    seen = outlook.look(_request(options), config, Store(config.store), now=now, offline=options.offline)
    plan = seen.plan(f"{now:{VERSION_FORMAT}}")
    pushes = survey.preview(seen) if options.dry_run else []
    if options.json:
        report.say(report.as_json(plan.as_json() | ({"pushes": pushes} if options.dry_run else {})))
    else:
        report.say("\n".join([report.plan_tree(plan), *pushes]))
    return 0


def _status(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from cc_images import report, survey
    from cc_images.plan import Request

    request = Request(tags=tuple(options.tags) or ("all",), sites=tuple(options.site))
    found = survey.standings(request, _config(), datetime.now(UTC).date())
    rows = []
    for each in found:
        version, created, remark = "-", "-", each.error
        if each.current is not None:
            version = each.current.properties.get("build-version", "?")
            created = f"{each.current.created:%Y-%m-%d %H:%M}"
            remark = f"{each.archived} archived" if each.archived else ""
        rows.append((each.site, each.name, version, created, remark))
    if options.json:
        keys = ("site", "image", "version", "created", "remark")
        report.say(report.as_json([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        report.say(report.standings(rows))
    return EXIT_FAILED if any(each.error for each in found) else 0


def _doctor(options: argparse.Namespace) -> int:
    from cc_images import report, survey

    found = survey.mend(_config())
    report.say(report.as_json(found) if options.json else "\n".join(found) or "nothing was left behind")
    return 0


def _run(options: argparse.Namespace) -> int:
    from cc_images import report, session
    from cc_images.plan import Status

    config = _config()
    display = report.display(sys.stderr, quiet=options.quiet or options.json, verbose=options.verbose)

    def announce(plan: Plan) -> None:
        if not (options.quiet or options.json):
            report.say(report.plan_tree(plan) + "\n")

    outcome = session.run(
        _request(options), config, display, announce=announce, observe=display.over, offline=options.offline
    )
    display.close()
    results = list(outcome.results.values())
    if options.json:
        report.say(report.as_json({"run": outcome.plan.version, "results": [result.as_json() for result in results]}))
    else:
        for result in results:
            if result.status is Status.FAILED:
                report.say("\n" + report.failure(result), to=sys.stderr)
        report.say("\n" + report.result_table(outcome.plan, outcome.results, outcome.seconds))
        if not all(result.status.good for result in results):
            report.say(f"journal of the run: {outcome.journal}", to=sys.stderr)
    for complaint in outcome.complaints:
        report.say(f"cc-images: {complaint}", to=sys.stderr)
    if outcome.stopped:
        return EXIT_INTERRUPTED
    if any(result.reason == "bug" for result in results):
        return EXIT_BUG
    return 0 if all(result.status.good for result in results) else EXIT_FAILED


def _complain(error: Exception) -> None:
    message = getattr(error, "message", str(error))
    hint = getattr(error, "hint", "")
    lines = message.splitlines()
    for line in lines:
        print(f"cc-images: {line}", file=sys.stderr)
    if hint:
        print(f"cc-images: what to do: {hint}", file=sys.stderr)
