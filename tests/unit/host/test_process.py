"""Outside commands: ended whole, by time, by request and with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import process


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_output_goes_to_the_log_to_the_listener_and_back(tmp_path: Path) -> None:
    lines: list[str] = []
    with (tmp_path / "log").open("wb") as log:
        tail = process.run(["sh", "-c", "echo one; echo two >&2"], output=process.Output(log=log, on_line=lines.append))
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    assert tail == "one\ntwo"
    assert lines == ["one", "two"]


def test_a_failure_carries_code_and_last_lines() -> None:
    with pytest.raises(process.CommandFailed, match="sh ended with code 3: why") as caught:
        process.run(["sh", "-c", "echo first; echo why; exit 3"])
    assert caught.value.code == 3
    assert caught.value.tail == ("first", "why")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CCImagesError, match="no-such-program is missing") as caught:
        process.run(["no-such-program"])
    assert caught.value.reason == "missing-tool"


def test_a_command_is_fed_all_that_it_gets_and_then_the_end() -> None:
    much = b"x" * (1 << 20)
    assert process.run(["wc", "-c"], fed=much, timeout=20) == str(1 << 20)
    assert process.run(["true"], fed=much, timeout=20) == "", "a command need not read it"
    assert process.run(["cat"], fed=b"", timeout=20) == ""


def test_a_command_that_is_fed_is_ended_when_its_time_is_over() -> None:
    with pytest.raises(process.TimedOut):
        process.run(["sleep", "60"], fed=b"x", timeout=0.3)


TREE = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; sleep 60 & wait; sleep 60'; sleep 60"


@pytest.mark.parametrize("how", ["timeout", "stop"])
def test_the_whole_tree_is_ended(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    stop = threading.Event()
    pids: list[int] = []

    def heard(line: str) -> None:
        pids.append(int(line))
        if how == "stop":
            stop.set()

    expected = Interrupted if how == "stop" else process.TimedOut
    with pytest.raises(expected):
        process.run(
            ["sh", "-c", TREE], stop=stop, timeout=None if how == "stop" else 1.0, output=process.Output(on_line=heard)
        )
    assert pids
    assert all(gone(pid) for pid in pids)


def test_commands_die_with_us() -> None:
    program = (
        "from cc_images.host import process; output = process.Output(on_line=print);"
        "process.run(['sh', '-c', 'echo $$ >&2; exec sleep 60'], output=output)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-uc", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert gone(child)


def test_a_full_disk_under_the_log_ends_the_command_at_once() -> None:
    with Path("/dev/full").open("wb", buffering=0) as log, pytest.raises(OSError, match="No space left"):
        process.run(["sh", "-c", "yes x | head -c 3000000; sleep 60"], timeout=30, output=process.Output(log=log))


def test_commands_see_only_the_environment_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert "SECRET" not in process.run(["env"], env={"PATH": os.environ["PATH"]})


def test_the_end_of_the_output_is_never_lost_and_no_line_is_long(tmp_path: Path) -> None:
    lines: list[str] = []
    program = "import os; os.write(1, b'y' * 20_000_000 + b'\\nE: the real cause\\n'); raise SystemExit(7)"
    with (tmp_path / "log").open("wb") as log, pytest.raises(process.CommandFailed, match="the real cause") as caught:
        process.run([sys.executable, "-c", program], output=process.Output(log=log, on_line=lines.append))
    assert max(map(len, lines)) <= process.LINE + 1
    assert caught.value.tail[-1] == "E: the real cause"
    assert (tmp_path / "log").stat().st_size > 20_000_000


def test_a_log_has_a_limit_and_the_last_lines(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process.run(["sh", "-c", "seq 1 100000; echo the end"], output=process.Output(log=log, limit=100_000))
    text = (tmp_path / "log").read_text()
    assert len(text) < 200_000
    assert "left out but for the last lines" in text
    assert text.rstrip().endswith("the end")


def test_a_line_may_be_spread_over_reads(tmp_path: Path) -> None:
    lines: list[str] = []
    program = "import os, time\nfor part in (b'on', b'e\\ntw', b'o\\n\\nlast'): os.write(1, part); time.sleep(0.05)"
    process.run([sys.executable, "-c", program], output=process.Output(on_line=lines.append))
    assert lines == ["one", "two", "", "last"]


def test_secrets_are_masked_before_anybody_sees_them(tmp_path: Path) -> None:
    lines: list[str] = []
    program = (
        "import os, time\nfor part in (b'a gehe', b'im-secret b\\n', b'geheim', b'nis\\nend gehe'): os.write(1, part); "
        "time.sleep(0.05)"
    )
    with (tmp_path / "log").open("wb") as log:
        said = process.run(
            [sys.executable, "-c", program],
            output=process.Output(log=log, on_line=lines.append, secrets=["geheim-secret"]),
        )
    assert lines == ["a *** b", "geheimnis", "end gehe"]
    assert (tmp_path / "log").read_text() == "a *** b\ngeheimnis\nend gehe"
    assert "geheim-secret" not in said
