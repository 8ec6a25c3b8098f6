"""The grammar of the command line: its verbs, their arguments, and their help."""

from __future__ import annotations

import argparse

from cc_images.cli.arguments import TAKES
from cc_images.cli.formatter import Formatter
from cc_images.cli.help_texts import DESCRIPTIONS, EPILOG, VERBS

TYPE_CHECKING = False  # `typing`, like `pathlib`, would cost --help a tenth
if TYPE_CHECKING:
    from typing import NoReturn

EXIT_INPUT = 2


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave with the code of a usage error."""
        self.exit(EXIT_INPUT, f"cc-images: error: {message} (see cc-images --help)\n")


def parser(verb: str) -> Parser:
    """Return the parser for a verb, or for the command without one."""
    listed = "\n".join(f"  {name:10}  {DESCRIPTIONS[name]}" for name in VERBS)
    made = Parser(
        prog=f"cc-images {verb}".strip(),
        description=DESCRIPTIONS[verb],
        epilog=None if verb else EPILOG.format(verbs=listed),
        formatter_class=Formatter,
        allow_abbrev=False,  # a word that is no option yet must not change its meaning later
    )
    if verb == "completion":
        made.add_argument(
            "shell", choices=("bash", "zsh", "fish", "man", "install"), metavar="SHELL",
            help="bash, zsh or fish: print its completion script; man: print the man page; install: put all of them "
            "below ~/.local/share (root: /usr/local/share)",
        )  # fmt: skip
        return made
    what = "print one JSON document instead of text" if verb else "print one JSON event a line (docs/events.md)"
    made.add_argument("--json", action="store_true", help=what)
    made.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="warning",
        help="lowest level of log lines to print (default warning); a run's own is logs/RUN/run.log in the store",
    )  # fmt: skip
    TAKES[verb](made)
    return made
