"""The tests of the service once more, with PostgreSQL as its database."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

INITDB = shutil.which("initdb") or next(iter(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))), "")

pytestmark = [
    pytest.mark.skipif(not INITDB, reason="needs postgresql"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="needs psycopg"),
]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Yield the address of an empty database of a server of this test alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path("/tmp") / f"cc-images-postgres-{os.getpid()}"
    folder.mkdir()
    shutil.chown(folder, "nobody")
    as_nobody = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    programs = Path(INITDB).resolve().parent
    subprocess.run([*as_nobody, programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "cc"], cwd=folder,
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    words: list[str | Path] = ["-D", folder / "data", "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
    with subprocess.Popen([*as_nobody, programs / "postgres", *words], cwd=folder, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 60
        while subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"postgresql+psycopg://cc@127.0.0.1:{port}/postgres"
        server.terminate()
    shutil.rmtree(folder)


def test_the_service_works_with_postgresql(address: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "tests/unit/web", "-k",
               "queue or accounts or interface or database or administration or sign_up or sweeper"]  # fmt: skip
    environment = os.environ | {"CC_IMAGES_TEST_DATABASE": address}
    said = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout
