"""The look for leaks, while processes come and go."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support import leaks


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that has the test's folder in its environment."""
    with subprocess.Popen(["sleep", "600"], env={"PATH": "/bin:/usr/bin", "MARK": str(tmp_path)}) as process:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # its program has just begun
            time.sleep(0.01)
        yield process
        process.kill()


def test_a_process_is_found_by_a_mark_in_its_environment(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    assert leaks.processes(str(tmp_path)) == {str(child.pid): "sleep 600 "}
    child.kill()
    child.wait()
    assert leaks.processes(str(tmp_path)) == {}


@pytest.mark.parametrize("reads", [1, 2])
def test_a_process_may_end_while_it_is_looked_at(
    tmp_path: Path, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    seen, read_bytes = [], Path.read_bytes

    def read(path: Path) -> bytes:
        content = read_bytes(path)
        if path.parent == Path(f"/proc/{child.pid}"):
            seen.append(path)
            if len(seen) == reads:
                child.kill()
                child.wait()
        return content

    monkeypatch.setattr(Path, "read_bytes", read)
    assert set(leaks.processes(str(tmp_path))) <= {str(child.pid)}
    assert len(seen) == reads, "it ended meanwhile"


def test_a_folder_in_which_something_is_mounted_stays(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.support.leaks import remove_unmounted;"
        "remove_unmounted(Path(sys.argv[1]))"
    )
    (tmp_path / "store" / "dev").mkdir(parents=True)
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "null").touch()
    remove = [sys.executable, "-c", program, str(tmp_path / "store")]
    mounted = 'mount --bind "$1/host" "$1/store/dev"; shift; exec "$@"'
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-ec", mounted, "sh", str(tmp_path)]
    subprocess.run([*inside, *remove], check=True, cwd=REPOSITORY)
    assert (tmp_path / "host" / "null").exists()
    subprocess.run(remove, check=True, cwd=REPOSITORY)
    assert not (tmp_path / "store").exists()
