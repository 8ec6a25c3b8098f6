"""The words about a service elsewhere: its address, how to log in, and the arguments of verbs that it carries out."""

from __future__ import annotations

import argparse

from cc_images.errors import UserError

TYPE_CHECKING = False  # see `cli.parser`
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Parser = argparse.ArgumentParser

VARIABLES = {"server": "CC_IMAGES_SERVER", "token_file": "CC_IMAGES_TOKEN_FILE", "ca_file": ""}
"""Options that may stand anywhere, also before the verb, and the variables that count without them."""

HERE = "here"
"""The service that is none: this host does it, whatever the variable says."""

ONLY_HERE = ("completion", "perform")
"""Verbs that mean this host also where the variable names a service."""

_FOLLOWED = frozenset({"detach", "on_interrupt", "quiet"})

THERE: Mapping[str, frozenset[str]] = {
    "": _FOLLOWED | {"tags", "architecture", "build", "push", "force", "version", "keep_going", "verbose"},
    "list": frozenset({"tags"}),
    "status": frozenset({"tags", "everyone"}),
    "build-request": _FOLLOWED | {"request", "push", "output"},
    "log": frozenset({"id", "follow", "task", "on_interrupt"}),
    "download": frozenset({"what", "output"}),
    "cancel": frozenset({"id", "remove"}),
}
"""What a service carries out, and which arguments of it."""

_EVERYWHERE = frozenset({"help", "json", "log_level", *VARIABLES})


def taken(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the words without those about a service, and these; `server` is empty where this host is meant.

    Raises UserError.
    """
    said = {name: environ.get(variable, "") if variable else "" for name, variable in VARIABLES.items()}
    left: list[str] = []
    given: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            left += [word, *words]
            break
        option, equals, value = word.partition("=")
        name = option[2:].replace("-", "_") if option.startswith("--") else ""
        if name not in VARIABLES:
            left.append(word)
            continue
        found = value if equals else next(words, "")
        if not found:
            raise UserError(f"{option} needs a value")
        said[name] = found
        given.append(option)
    if said["server"] == HERE:
        said["server"] = ""
    elif given and not said["server"]:
        raise UserError(f"{given[0]} is about a service", hint="name it: --server URL, or CC_IMAGES_SERVER")
    return left, said


def impossible(made: Parser, options: argparse.Namespace, verb: str) -> str:
    """Return the first given argument of a verb that no service carries out; empty: there is none."""
    possible = THERE[verb] | _EVERYWHERE
    for action in made._actions:
        if action.dest not in possible and getattr(options, action.dest, action.default) != action.default:
            return action.option_strings[-1] if action.option_strings else str(action.metavar)
    return ""


def only_there(options: argparse.Namespace, verb: str) -> str:
    """Return the first given argument that only a service carries out; empty: there is none.

    Verbs that no service knows, such as `perform`, may have options of the same name.
    """
    if verb not in THERE:
        return ""
    given = (name for name in ("detach", "on_interrupt", "everyone") if getattr(options, name, None))
    return next((f"--{name.replace('_', '-')}" for name in given), "")


def server_options(made: Parser) -> None:
    """Add the words about a service; `taken` has taken them away before a parser reads them."""
    made.add_argument(
        "--server", default="", metavar="URL",
        help="let this service do it (default: CC_IMAGES_SERVER); here: this host; docs/service.md",
    )  # fmt: skip
    made.add_argument(
        "--token-file", default="", metavar="FILE",
        help="file whose first line is a token of the service, or NAME:PASSWORD (default: CC_IMAGES_TOKEN_FILE)",
    )  # fmt: skip
    made.add_argument(
        "--ca-file", default="", metavar="FILE",
        help="certificates, as PEM, that a service's may be signed by (default: those of the host, or SSL_CERT_FILE)",
    )  # fmt: skip


def followed_options(made: Parser) -> None:
    """Add the words about a service that begins something."""
    server_options(made)
    made.add_argument("--detach", action="store_true", help="with --server: request it, and do not wait for the end")
    interrupt_options(made)


def interrupt_options(made: Parser) -> None:
    """Add what Ctrl-C means for a build elsewhere."""
    made.add_argument(
        "--on-interrupt", choices=("cancel", "detach"), default="",
        help="with --server: what Ctrl-C does (default: a terminal is asked; without one detach)",
    )  # fmt: skip


def log_options(made: Parser) -> None:
    """Add the arguments of `log`."""
    server_options(made)
    interrupt_options(made)
    made.add_argument("id", metavar="ID", type=str.lower, help="a build's id, as `status` shows it")
    made.add_argument("-f", "--follow", action="store_true", help="go on until the build is over; exit code of its run")
    made.add_argument("--task", default="", metavar="TASK", help="the log of this task of the build")


def download_options(made: Parser) -> None:
    """Add the arguments of `download`."""
    server_options(made)
    made.add_argument("what", metavar="FILE|ID", help="a file of an image, or a build's id: all files that it made")
    made.add_argument("-o", "--output", default="", metavar="FOLDER", help="folder to write to (default: this one)")


def cancel_options(made: Parser) -> None:
    """Add the arguments of `cancel`."""
    server_options(made)
    made.add_argument("id", metavar="ID", type=str.lower, help="a build's id, as `status` shows it")
    made.add_argument(
        "--remove", action="store_true",
        help="take a build that is over from the list; its files are no longer yours; one that is not is cancelled",
    )  # fmt: skip
