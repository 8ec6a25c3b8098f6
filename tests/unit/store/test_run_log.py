"""The log of a run: its own lines, with the task's name, and no secret."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from cc_images.store.run_log import kept, working_for

LOG = logging.getLogger("cc_images.tests")


def test_a_run_has_its_own_lines_with_the_tasks_name(tmp_path: Path) -> None:
    def work(run: str) -> None:
        with kept(run, tmp_path / run):
            LOG.info("begins")
            with working_for(run, "build cc-one amd64"):
                LOG.info("fetched from https://u:geheim@a.invalid/x?token=abcdefgh")
            LOG.debug("not kept")

    threads = [threading.Thread(target=work, args=(run,)) for run in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in ("first", "second"):
        begins, fetched = (tmp_path / run).read_text().splitlines()
        assert begins.endswith("INFO    [run] test_run_log: begins")
        assert "[build cc-one amd64] test_run_log: fetched from https://a.invalid/x" in fetched
        assert "geheim" not in fetched
        assert "abcdefgh" not in fetched


def test_a_log_that_cannot_be_written_keeps_nobody_from_working(tmp_path: Path) -> None:
    with kept("run", tmp_path / "gone" / "run.log"):
        LOG.info("begins")
    with kept("run", Path("/dev/full")):
        LOG.info("begins")
