"""The command line of the stand-in."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.support.standin_spack.cache import gpg
from tests.support.standin_spack.environments import concretize, gc, install
from tests.support.standin_spack.faults import FAULT, Refused
from tests.support.standin_spack.scripts import python
from tests.support.standin_spack.session import VERSION, Session, session


def trust(now: Session, words: Sequence[str]) -> None:
    """Trust the keys of a file."""
    if [*words[:1]] != ["trust"] or len(words) != 2:
        raise Refused(f"unrecognized arguments: {' '.join(words)}", 2)
    gpg("--import", words[1])


COMMANDS = {"concretize": concretize, "install": install, "gc": gc, "gpg": trust, "python": python}


def main(words: Sequence[str]) -> int:
    """Carry out a command; return its exit code."""
    if FAULT.name == "exit":
        return int(FAULT.value)
    options = argparse.ArgumentParser("spack", allow_abbrev=False)
    options.add_argument("-C", dest="scopes", action="append", default=[])
    options.add_argument("-c", dest="settings", action="append", default=[])
    options.add_argument("-e", dest="folder")
    options.add_argument("--version", action="version", version=VERSION)
    options.add_argument("command")
    options.add_argument("words", nargs=argparse.REMAINDER)
    said = options.parse_args(words)
    try:
        if said.command not in COMMANDS:
            raise Refused(f"{said.command} is not a recognized Spack command or extension command; "
                          "check with `spack commands`.")  # fmt: skip
        now = session(said.scopes, said.settings, said.folder)
        if said.folder:
            now.environment  # noqa: B018  it is looked for before anything else
        COMMANDS[said.command](now, said.words)
    except Refused as error:
        print(f"==> Error: {error}")
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
