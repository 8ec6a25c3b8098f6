"""A folder that is shown to a sandbox twice: what arrives in it meanwhile is found under the name not looked at yet."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from cc_images.host.sandbox import Sandbox

SCRIPT = """\
set -eu
! test -e "$1/below/new"
touch "$3/asked"
while ! test -e "$3/made"; do sleep 0.1; done
cat "$2/below/new"
! touch "$2/below/other"
"""


def test_what_arrives_is_found_under_the_other_name(tmp_path: Path) -> None:
    cache, again = tmp_path / "cache", tmp_path / "again"
    cache.mkdir()
    again.symlink_to("cache")
    sandbox = Sandbox(workspace=tmp_path / "work", guards=tmp_path / "guards", visible=(cache, again))
    sandbox.out.mkdir(parents=True)
    lines: list[str] = []

    def arrive() -> None:
        deadline = time.monotonic() + 120
        while not (sandbox.out / "asked").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        (cache / "below").mkdir()
        (cache / "below" / "new").write_text("it is there\n")
        (sandbox.out / "made").touch()

    host = threading.Thread(target=arrive)
    host.start()
    with (tmp_path / "log").open("wb") as log:
        places = [str(sandbox.place(each)) for each in (cache, again, sandbox.out)]
        sandbox.run(
            ["sh", "-c", SCRIPT, "look", *places],
            {},
            log=log,
            timeout=120,
            stop=threading.Event(),
            on_line=lines.append,
        )
    host.join()
    assert "it is there" in lines
    assert not (cache / "below" / "other").exists()
