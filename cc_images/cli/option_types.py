"""Types and actions of options: words of the command line as values."""

from __future__ import annotations

import argparse
import re
from pathlib import Path


class _Sites(argparse.Action):
    """Take one more site; the first takes the place of those that are set by default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is parser.get_default(self.dest) else before), str(values)])


class _Version(argparse.Action):
    """Take a version to push; without one print what this cc-images is."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        if values is None:
            from importlib.metadata import version  # costs more than the rest of --help

            print(f"cc-images {version('cc-images')}{_commit()}")
            parser.exit()
        if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z(\.[0-9]+)?", str(values)):
            parser.error(f"argument --version: {values} is not a version such as 20261121T120000Z")
        setattr(namespace, self.dest, values)


def _commit() -> str:
    """Return the commit of a checkout that this is, for --version; empty for an installed package."""
    root = Path(__file__).parent.parent.parent
    if not (root / ".git").exists():
        return ""
    import subprocess

    words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f" ({said.stdout.strip()})" if said.returncode == 0 and said.stdout.strip() else ""


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
    from cc_images.model.catalog import Arch  # not for --help

    known = tuple(Arch)
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return words
