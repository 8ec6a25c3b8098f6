"""The command line: words in, exit code out. The only place that ends the process.

Exit codes: 0 all well, also when nothing needed doing; 1 a bug; 2 the user's input; 3 some tasks failed; 4 left,
because another run is at work; 5 updates are pending; 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from cc_images.cli.help_texts import ALIASES, DESCRIPTIONS, EXAMPLES, VERBS
from cc_images.cli.messages import complain, listen
from cc_images.cli.parser import EXIT_INPUT, parser
from cc_images.cli.server_arguments import HERE, ONLY_HERE, THERE, VARIABLES, impossible, only_there, taken

TYPE_CHECKING = False  # see `cli.parser`
if TYPE_CHECKING:
    from typing import NoReturn

EXIT_FAILED, EXIT_INTERRUPTED = 3, 130

PLAIN = {"├": "|", "└": "`", "─": "-", "│": "|", "→": ">", "…": ".", "·": "."}
"""Substitutes for characters that an output does not have."""

COMPLETE = "complete"
"""The word by which shells ask for completions; no verb for people."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process."""
    argv = sys.argv[1:] if argv is None else argv
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by our parent process; it stays open as long as we live
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # nothing is at stake before a run takes over; an exception amid an import could leave its lock held for ever
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(EXIT_INTERRUPTED))
    for stream in (sys.stdout, sys.stderr):
        _print_plainly(stream)
    try:
        code = run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        code = EXIT_FAILED
        sys.stderr.close()
    except OSError as error:
        if not _is_of_output(error):
            raise
        code = EXIT_FAILED
        _leave_output(error)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _print_plainly(stream: object) -> None:
    """Let a terminal or pipe that has no such characters get others in their place, instead of a traceback."""
    import codecs

    def plain(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        letters = error.object[error.start : error.end]
        return "".join(PLAIN.get(each, "?") for each in letters), error.end

    codecs.register_error("cc-images", plain)
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="cc-images")


def _is_of_output(error: OSError) -> bool:
    """Say whether an error is of standard output: what is printed has no file's name."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.ENXIO)


def _leave_output(error: OSError) -> None:
    """Say that standard output takes nothing, and keep Python from trying again when it ends."""
    print(f"cc-images: standard output: {error.strerror}", file=sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def run(argv: list[str]) -> int:
    """Do what the words say and return the exit code."""
    if argv[:1] == [COMPLETE]:
        return _complete(argv[1:])
    from cc_images.errors import CCImagesError

    if not argv:
        print(f"{EXAMPLES}\nall verbs and options: cc-images --help", file=sys.stderr)
        return EXIT_INPUT
    try:
        verb, options, there = _understood(argv)
    except CCImagesError as error:
        complain(error)
        return EXIT_INPUT

    listen(options.log_level if verb != "completion" else "warning")
    try:
        if there:
            return _found(CARRIED_OUT_THERE[verb])(options)
        if verb and verb != "promote":
            return _carry_out(verb)(options)
        from cc_images.cli import commands

        if options.dry_run:
            return commands.plan(options)
        from cc_images.cli import run

        return run.run(options, commands.request_of(options))
    except CCImagesError as error:
        complain(error)
        return error.exit_code


def _carry_out(verb: str) -> Callable[[argparse.Namespace], int]:
    """Return what carries out a verb; runs, and `promote`, which is one, are apart."""
    if verb == "completion":
        return _completion
    return _found(CARRIED_OUT[verb])


def _found(place: str) -> Callable[[argparse.Namespace], int]:
    """Return a function of a module of this wing. Raises UserError where a library of an extra is missing."""
    from cc_images.errors import UserError

    module, _, name = place.partition(".")
    try:
        found: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"cc_images.cli.{module}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cc_images"):
            raise
        raise UserError(
            f"the service needs {error.name}, which is not installed",
            hint="pip install 'cc-images[service]', in a checkout pip install '.[service]'; make serve does it",
        ) from None
    return found


def _understood(argv: list[str]) -> tuple[str, argparse.Namespace, bool]:
    """Return the verb (empty: a run), its options, and whether a service carries it out. Raises CCImagesError."""
    argv, said = taken(argv, os.environ)
    if argv[:1] and argv[0] in ALIASES:
        argv = [ALIASES[argv[0]], *argv[1:]]
    verb = argv[0] if argv and argv[0] in VERBS else ""
    made, helps = parser(verb), bool({"-h", "--help"} & set(argv))
    if not said["server"]:
        os.environ.pop(VARIABLES["server"], None)  # what this process starts is for this host, too
    elif verb not in (*THERE, *ONLY_HERE) and not helps:
        made.error(f"a service does not carry out {verb}; on this host: cc-images --server {HERE} {verb}")
    if verb != "completion" and not helps:
        _settle(made, verb, said["server"])
    options = made.parse_args(argv[1:] if verb else argv)
    vars(options).update(said)
    there = bool(said["server"]) and verb in THERE
    if not verb and not (options.build or options.push):
        made.error(_nothing_to_do(options.tags))
    if beyond := impossible(made, options, verb) if there else only_there(options, verb):
        made.error(f"a service does not carry out {beyond}" if there else f"{beyond} is about a service: name --server")
    return verb, options, there


CARRIED_OUT: Mapping[str, str] = {
    "list": "views.catalogue",
    "bases": "views.bases",
    "show": "views.show",
    "new": "commands.new",
    "plan": "commands.plan",
    "explain": "commands.explain",
    "status": "views.status",
    "report": "views.run_report",
    "diff": "views.diff",
    "inspect": "commands.inspect",
    "check": "proof.check",
    "verify": "proof.verify",
    "delta": "proof.delta",
    "fetch": "proof.fetch",
    "sbom": "proof.sbom",
    "boot": "commands.boot",
    "shell": "commands.shell",
    "rollback": "operations.rollback",
    "retire": "operations.retire",
    "hold": "operations.hold",
    "release": "operations.release",
    "pull": "operations.pull",
    "check-updates": "operations.check_updates",
    "catalogue-page": "operations.catalogue_page",
    "builders": "remote.builders",
    "cluster": "cluster.cluster",
    "remote": "remote_build.remote",
    "build-request": "requests.build_request",
    "perform": "remote.perform",
    "prune": "commands.prune",
    "doctor": "commands.doctor",
    "store": "service.store",
    "builder-node": "machines.builder_node",
    "log": "server.log",
    "download": "server.download",
    "cancel": "server.cancel",
    "serve": "web.serve",
    "account": "accounts.account",
}
"""The function for each verb, in the modules of this wing: each is loaded for its own verbs alone."""

CARRIED_OUT_THERE: Mapping[str, str] = {
    "": "server.run",
    "list": "server.catalogue",
    "status": "server.status",
    "build-request": "server.build_request",
    "log": "server.log",
    "download": "server.download",
    "cancel": "server.cancel",
}
"""The function for each verb that a service carries out; `server_arguments.THERE` has their arguments."""

_OF_ALL = ("rollback", "hold", "release", "retire", "pull", "check-updates")
"""Verbs about what is published wherever it is, unless a person narrows that."""

_NARROW = ("site", "arch")


def _settle(made: argparse.ArgumentParser, verb: str, server: str) -> None:
    """Make what `settings.yaml` says the defaults of a parser and of what this process asks of the network.

    Where a service does it, only the architectures are asked for: the rest it decides by its own settings.
    """
    from cc_images.config import settings

    found = settings.read(os.environ)
    for name, value in found.environment.items():
        if name in settings.NETWORK:
            os.environ.setdefault(name, value)
    if server:
        found = replace(found, options={"architecture": found.options.get("architecture", ())}, serve={})
    if not (any(found.options.values()) or found.serve):
        return
    settings.apply(found, parser(""), os.environ)  # all of them are looked at, whichever verb was given
    if verb in _OF_ALL:  # a run's usual sites are no reason to leave others as they are
        found = replace(found, options={name: words for name, words in found.options.items() if name not in _NARROW})
    if verb not in ("status", "list"):  # which ask no site by default
        settings.apply(found, made, os.environ, verb)


def _nothing_to_do(tags: list[str]) -> str:
    """Return what is wrong with words that ask for nothing; the first may be meant as a verb."""
    import difflib

    if meant := [each for each in VERBS if each in tags]:
        return f"the verb comes first: cc-images {meant[0]} …"
    if close := difflib.get_close_matches(tags[0], VERBS, n=1, cutoff=0.65):
        return f"there is no verb {tags[0]} (did you mean {close[0]}?)"
    return "nothing to do: give -b to build, -p to push, or both"


def _complete(words: list[str]) -> int:
    from cc_images.cli import completion

    found = completion.candidates(words, DESCRIPTIONS, parser)
    sys.stdout.write("".join(f"{each}\n" for each in found))
    return 0


def _completion(options: argparse.Namespace) -> int:
    from cc_images.cli import completion

    if options.shell == "install":
        print("\n".join(map(str, completion.install(os.environ))))
    else:
        sys.stdout.write(completion.shared()[completion.PLACES[options.shell]])
    return 0
