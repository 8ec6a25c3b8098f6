"""The verb `cluster`: a cluster from nothing."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from cc_images.cli.signals import stopped_by_signals
from cc_images.config.builders import BUILDERS
from cc_images.config.loader import load
from cc_images.errors import Reason, UserError
from cc_images.report import text

EXIT_FAILED = 3


def cluster(options: argparse.Namespace) -> int:
    """Do what the action says; return the exit code."""
    if options.file and options.action != "join":
        raise UserError(f"{options.action} takes no file", hint="the file with a token is for join")
    for name, takes in {"dry_run": ["up"], "address": ["up"], "with_jobs": ["down", "leave"]}.items():
        if getattr(options, name) and options.action not in takes:
            raise UserError(f"--{name.replace('_', '-')} is for {' and '.join(takes)}", hint="leave it out")
    folder = Path(options.folder).absolute()
    return ACTIONS[options.action](options, folder)


def _up(options: argparse.Namespace, folder: Path) -> int:
    from cc_images.api.cluster import up

    config = load(os.environ, Path.cwd())
    said = os.environ.get(BUILDERS)
    builders = (Path.cwd() / said).absolute() if said else config.files["images.yaml"].parent / "builders.yaml"
    taken = up(config, folder, options.address, builders, options.dry_run, _say(options))
    return _rest(options, folder, taken)


def _down(options: argparse.Namespace, folder: Path) -> int:
    from cc_images.api.cluster import down

    ended = down(folder, options.with_jobs, _say(options))
    if options.json:
        text.say(text.as_json({"ended": ended}))
    elif not ended:
        text.say("nothing of the cluster runs on this host")
    return 0


def _token(options: argparse.Namespace, folder: Path) -> int:
    from cc_images.api.cluster import token

    made = token(folder, options.minutes)
    text.say(text.as_json({"token": made}) if options.json else made)
    if not options.json:
        print(f"a secret; it joins one host within {options.minutes} minutes", file=sys.stderr)
    return 0


def _join(options: argparse.Namespace, folder: Path) -> int:
    from cc_images.api.cluster import join

    if not options.file:
        raise UserError("join needs a token", hint="name the file that has it, or - for standard input")
    return _rest(options, folder, join(load(os.environ, Path.cwd()), folder, _content(options.file), _say(options)))


def _leave(options: argparse.Namespace, folder: Path) -> int:
    from cc_images.api.cluster import leave

    leave(folder, options.with_jobs, _say(options))
    if options.json:
        text.say(text.as_json({"left": True}))
    return 0


def _admit(options: argparse.Namespace, folder: Path) -> int:
    from cc_images.api.cluster import admit

    stop = threading.Event()
    with stopped_by_signals(stop):
        admit(folder, stop)
    return 0


def _status(options: argparse.Namespace, folder: Path) -> int:
    from cc_images.api.cluster import status

    found, running, nodes = status(folder)
    if options.json:
        plain = {"cluster": found.name, "head": found.head, "address": found.address, "services": running}
        text.say(text.as_json({**plain, "nodes": [_plain(each) for each in nodes]}))
    else:
        text.say(f"cluster {found.name}, head {found.head} ({found.address})")
        text.say("services here: " + ", ".join(f"{name} {'runs' if on else 'is off'}" for name, on in running.items()))
        for each in nodes:
            memory = f"{each.memory / 1024:.1f} GiB"
            text.say(f"{each.name:20} {each.state:16} {each.arch:6} {each.cores:4} cores {memory:>12}  {each.address}")
    return 0 if all(running.values()) and nodes else EXIT_FAILED


def _rest(options: argparse.Namespace, folder: Path, taken: int) -> int:
    """Say how things are in the end."""
    if options.json:
        text.say(text.as_json({"steps": taken, "configuration": str(folder / "slurm.conf")}))
    elif not taken:
        text.say("nothing to do: all of it is there, and answers")
    elif not options.dry_run:
        text.say(f"the cluster is up on this host; SLURM_CONF={folder}/slurm.conf, log files in {folder}/log")
    return 0


def _say(options: argparse.Namespace) -> Callable[[str], None]:
    return (lambda line: print(line, file=sys.stderr, flush=True)) if options.json else text.say


def _plain(node: object) -> dict[str, object]:
    return {name: getattr(node, name) for name in ("name", "address", "state", "cores", "memory", "arch")}


def _content(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    if name.startswith("cc-join."):
        raise UserError(
            "a token is no word of a command line, which others can read",
            hint="make a new one at the head, and give it on standard input (join -) or as a file's name",
        )
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UserError(f"the token {name} cannot be read: {error.strerror}", reason=Reason.MISSING_FILE) from error


ACTIONS = {
    "up": _up,
    "token": _token,
    "join": _join,
    "leave": _leave,
    "status": _status,
    "down": _down,
    "admit": _admit,
}
