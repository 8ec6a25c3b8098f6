"""Messages on standard error: what is wrong, and what modules log. Both may have words of other hosts."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # see `cli.parser`
if TYPE_CHECKING:
    from cc_images.errors import CCImagesError


def listen(level: str) -> None:
    """Print what modules log, from a level on, without what steers a terminal: names in it may be of others."""
    import logging

    from cc_images.model.plain_text import printable

    class Plain(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record), "\n\t")

    printed = logging.StreamHandler(sys.stderr)
    printed.setLevel(level.upper())
    printed.setFormatter(Plain("cc-images: %(message)s"))
    log = logging.getLogger("cc_images")
    log.addHandler(printed)
    log.propagate = False
    if printed.level < logging.WARNING:
        log.setLevel(printed.level)


def complain(error: CCImagesError) -> None:
    """Print what is wrong, and what to do, without what steers a terminal."""
    from cc_images.model.plain_text import printable

    for line in error.message.splitlines():
        print(f"cc-images: {printable(line)}", file=sys.stderr)
    if error.hint:
        print(f"cc-images: what to do: {printable(error.hint)}", file=sys.stderr)
