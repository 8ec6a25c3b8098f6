"""Types and actions of options: words of the command line as values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable


class SitesAction(argparse.Action):
    """Take one more site; the first takes the place of those that are set by default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is parser.get_default(self.dest) else before), str(values)])


class VersionAction(argparse.Action):
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
    from pathlib import Path

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


def at_least_one(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def at_least_zero(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def up_to(most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from 1 to `most`."""

    def found(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text[:20]) <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to {most}")
        return int(text)

    return found


def ip_address(text: str) -> str:
    """Read an address of a host, as numbers; empty: none is given."""
    import ipaddress  # not for --help

    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address such as 192.0.2.1") from None


def size(text: str) -> int:
    """Read a size such as 50G; return it in bytes, with powers of 1024."""
    found = re.fullmatch(r"(\d+)([KMGT]?)(I?B)?", text.upper())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 50G")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[found[2]]


def or_default(read: Callable[[str], int]) -> Callable[[str], int | str]:
    """Return a reader that also takes the word `default`."""

    def found(text: str) -> int | str:
        return text if text == "default" else read(text)

    return found


def arches(text: str) -> tuple[str, ...]:
    """Read architectures with commas between them."""
    from cc_images.model.catalog import Arch  # not for --help

    known = tuple(Arch)
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return words
