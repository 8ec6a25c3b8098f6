"""The command line: words, exit codes, signals."""

from cc_images.cli.main import main

__all__ = ["main"]
