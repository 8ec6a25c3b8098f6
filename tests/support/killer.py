"""cc-images that dies at one of its HTTP calls, as `kill -9` would.

Its words are N, `before` or `after`, and those of cc-images. N counts every call, those to Keystone included; 0 never
dies. The calls that were made are written to $KILLER_COUNT.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from requests.adapters import HTTPAdapter

from cc_images.cli.main import run


def main(argv: list[str]) -> NoReturn:
    """Install the counter in this process, and hand over to the command line."""
    at, when, words = int(argv[0]), argv[1], argv[2:]
    made: list[str] = []
    real = HTTPAdapter.send

    def send(self: HTTPAdapter, request: Any, **keywords: Any) -> Any:
        made.append(f"{request.method} {request.path_url.partition('?')[0]}")
        Path(os.environ["KILLER_COUNT"]).write_text("\n".join(made))
        if len(made) == at and when == "before":
            os._exit(137)
        answer = real(self, request, **keywords)
        if len(made) == at and when == "after":
            os._exit(137)
        return answer

    HTTPAdapter.send = send  # type: ignore[method-assign, assignment]
    sys.exit(run(words))
