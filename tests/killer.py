"""Run cc-images and die at one of its HTTP calls, as `kill -9` would: `python -m tests.killer N before|after WORD…`.

N counts every call, those to Keystone included; 0 never dies. The number of calls made is written to $KILLER_COUNT.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter

from cc_images.cli import run


def main() -> None:
    """Install the counter and hand over to the command line."""
    at, when, words = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
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


if __name__ == "__main__":
    main()
