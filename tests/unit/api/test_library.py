"""The examples of docs/library.md: each is run as it stands, in a thread, in a project with one stored build."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from pathlib import Path

import pytest

from tests.conftest import GOLDEN, REPOSITORY
from tests.support.kept import kept_project

EXAMPLES = re.findall(r"^## ([^\n]+)\n.*?^```python\n(.*?)^```", (REPOSITORY / "docs/library.md").read_text(),
                      re.MULTILINE | re.DOTALL)  # fmt: skip

SAID = {
    "Plan": "build kept-parent amd64 cached",
    "Run, with an observer and a stop": "push kept-parent amd64 to local done",
    "Status": "Kept-Parent amd64 fresh 20261128T030000Z",
    "Runs that have been": "20261129",
    "Prune": "build kept-parent amd64 20261127T030000Z",
}


@pytest.mark.parametrize(("title", "program"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_an_example_of_the_library_works_in_any_thread(
    title: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = kept_project(GOLDEN / "kept", tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    output, failures = io.StringIO(), list[BaseException]()

    def work() -> None:
        try:
            exec(compile(program, f"docs/library.md: {title}", "exec"), {"__name__": "example"})
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    thread = threading.Thread(target=work)
    with contextlib.redirect_stdout(output):
        thread.start()
        thread.join()
    assert failures == []
    assert SAID[title] in output.getvalue()


def test_there_are_five() -> None:
    assert {title for title, _ in EXAMPLES} == {*SAID}
