"""The command line: words in, exit code out. The only place that ends the process.

Exit codes: 0 all well, also when nothing needed doing; 1 a bug; 2 the user's input; 3 some tasks failed; 130
interrupted.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_INPUT, EXIT_FAILED, EXIT_INTERRUPTED = 2, 3, 130

VERBS = ("list", "plan", "explain", "status", "inspect", "boot", "prune", "doctor")

DESCRIPTIONS = {
    "": "Build operating-system images with diskimage-builder and publish them, redoing only what changed.",
    "list": "Show the catalogue and what is in the store.",
    "plan": "Show what a run would do and why; nothing is built or published.",
    "explain": "Show which inputs of images differ from their newest builds.",
    "status": "Show what the store holds and what is on the sites.",
    "inspect": "Show what is inside an image, without booting it; exit code 3 when something must not be there.",
    "boot": "Boot the newest build of an image, on a network that reaches out; what the machine writes is lost.",
    "prune": "Remove from the store what is beyond the newest builds, or above a size.",
    "doctor": "Check this host, and clear up after killed runs; exit code 3 when this host lacks something.",
}
"""What each verb does, in a sentence."""

EPILOG = """\
verbs: `cc-images list` shows the catalogue, `cc-images plan [options] TAG…` what a run would do and why,
`cc-images explain TAG…` what differs from the newest builds, `cc-images status [-s SITE] [TAG…]` what the store holds
and what is on the sites, `cc-images inspect TAG|FILE` what is inside an image; `cc-images boot TAG` boots the newest
build for you, `cc-images prune` makes room in the store, `cc-images doctor` checks this host and clears up after killed
runs.
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
        parser("").error(_nothing_to_do(options.tags))
    from cc_images.errors import CCImagesError

    try:
        from cc_images import verbs

        does: dict[str, Callable[[argparse.Namespace], int]] = {
            "list": verbs.catalogue,
            "plan": verbs.plan,
            "explain": verbs.explain,
            "status": verbs.status,
            "inspect": verbs.inspect,
            "boot": verbs.boot,
            "prune": verbs.prune,
            "doctor": verbs.doctor,
        }
        return does.get(verb, verbs.plan if not verb and options.dry_run else verbs.run)(options)
    except CCImagesError as error:
        _complain(error)
        return error.exit_code


def _nothing_to_do(tags: list[str]) -> str:
    """Return what is wrong with words that ask for nothing; the first may be meant as a verb."""
    import difflib

    if meant := [each for each in VERBS if each in tags]:
        return f"the verb comes first: cc-images {meant[0]} …"
    if close := difflib.get_close_matches(tags[0], VERBS, n=1):
        return f"there is no verb {tags[0]} (did you mean {close[0]}?)"
    return "nothing to do: give -b to build, -p to push, or both"


def parser(verb: str) -> Parser:
    """Return the parser for a verb, or for the command without one."""
    made = Parser(
        prog=f"cc-images {verb}".strip(),
        description=DESCRIPTIONS.get(verb, DESCRIPTIONS[""]),
        epilog=None if verb else EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    if verb == "list":
        return made
    if verb == "doctor":
        made.add_argument("--dry-run", action="store_true", help="show what dead runs have left, and leave it")
        return made
    if verb in ("inspect", "boot"):
        return _for_one_image(made, verb)
    if verb == "prune":
        made.add_argument(
            "--keep", type=_at_least_one, default=3, metavar="N", help="builds to keep of each image (default 3)"
        )
        made.add_argument("--max-size", type=_size, metavar="SIZE", help="what the store may hold, such as 50G")
        made.add_argument("--dry-run", action="store_true", help="show what would go")
        return made
    made.add_argument(
        "tags",
        nargs="*" if verb == "status" else "+",
        metavar="TAG",
        type=str.lower,
        help="an image of the catalogue, or `all`",
    )
    if verb != "explain":
        made.add_argument("-s", "--site", action="append", default=[], metavar="SITE", help="this site only")
    if verb == "status":
        return made
    made.add_argument(
        "-a", "--architecture", type=_arches, default=(), metavar="ARCH", help="amd64, arm64 or both with a comma"
    )
    made.add_argument("--offline", action="store_true", help="use element sources and upstream as they were seen last")
    made.add_argument(
        "--max-age", type=_at_least_zero, default=7, metavar="DAYS",
        help="rebuild what is older when upstream cannot be asked (default 7)",
    )  # fmt: skip
    if verb == "explain":
        return made
    made.add_argument("-b", "--build", action="store_true", help="build new versions of the images")
    made.add_argument("-p", "--push", action="store_true", help="push the newest version; with -b the one just built")
    made.add_argument(
        "-f", "--force", action="store_true", help="rebuild completely and drop what is cached of the named images"
    )
    made.add_argument(
        "-t", "--tasks", type=_at_least_one, default=1, metavar="N", help="builds in parallel (default 1)"
    )
    made.add_argument("-k", "--keep-going", action="store_true", help="after a failure do all that it allows (default)")
    made.add_argument("--fail-fast", action="store_true", help="after a failure start nothing new")
    made.add_argument(
        "--no-boot-test", action="store_true", help="push without the boot test, and let the image's properties say so"
    )
    made.add_argument("--dry-run", action="store_true", help="show the plan, and what pushes would replace and delete")
    made.add_argument("-q", "--quiet", action="store_true", help="print failures and the final table only")
    made.add_argument("-v", "--verbose", action="store_true", help="print a line for every hook that dib runs")
    if not verb:
        made.add_argument("--version", action="version", version=_version())
    return made


def _for_one_image(made: Parser, verb: str) -> Parser:
    """Add what the verbs take that look at one image."""
    made.add_argument("-a", "--architecture", type=_arches, default=(), metavar="ARCH", help="amd64 or arm64")
    if verb == "inspect":
        made.add_argument("what", metavar="TAG|FILE", help="an image of the catalogue, or a qcow2 or raw file")
        made.add_argument(
            "--against", default="", metavar="VERSION", help="show what differs from this version, or from another file"
        )
        return made
    made.add_argument("tag", metavar="TAG", type=str.lower, help="an image of the catalogue")
    made.add_argument("--firmware", choices=("bios", "uefi"), help="default: uefi where the image has it")
    made.add_argument("--ssh", action="store_true", help="open a shell; the default at a terminal")
    made.add_argument("--keep", action="store_true", help="leave the machine on until Ctrl-C")
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


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMGT]?)(I?B)?", text.upper())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 50G")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[found[2]]


def _arches(text: str) -> tuple[str, ...]:
    from cc_images.model import Arch  # not for --help

    known = tuple(Arch)
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return words


def _complain(error: Exception) -> None:
    message = getattr(error, "message", str(error))
    hint = getattr(error, "hint", "")
    lines = message.splitlines()
    for line in lines:
        print(f"cc-images: {line}", file=sys.stderr)
    if hint:
        print(f"cc-images: what to do: {hint}", file=sys.stderr)
