"""cc-images on another day: `python -m tests.support.dated 2027-03-05T03:00:00 WORD…`; its clock goes on from there."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

from cc_images import clock
from cc_images.cli.main import main as cc_images_main


def main(moment: str, *words: str) -> None:
    """Run the command line with a clock that shows `moment` (UTC) now."""
    began, shown = time.monotonic(), datetime.fromisoformat(moment).replace(tzinfo=UTC)

    def now() -> datetime:
        return (shown + timedelta(seconds=time.monotonic() - began)).replace(microsecond=0)

    clock.now = now
    sys.argv[1:] = words
    cc_images_main(list(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
