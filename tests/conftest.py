"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import logging
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

import cc_images
from cc_images.cli.main import main
from cc_images.store.records import Store
from cc_images.store.workspace import Run

REPOSITORY = Path(__file__).parent.parent
GOLDEN = Path(__file__).with_name("golden")

DEEP = bool(os.environ.get("CC_IMAGES_TEST_DEEP"))
"""Whether `make deep` runs the tests."""

LONG = DEEP or bool(os.environ.get("CC_IMAGES_TEST_LONG"))
"""Whether `make test` runs the tests: the long ones too, and all of what others take a sample from."""


def samples(few: int, many: int) -> int:
    """Return how many samples a test takes: few in `make check`, many in `make test`."""
    return many if LONG else few


def moments(end: int, few: int = 8) -> range:
    """Return the moments from 1 to `end` at which something happens to a run: every one in `make test`, else a few."""
    return range(1, end, 1 if LONG else end // few)


T = TypeVar("T")


def spread(points: Sequence[T], few: int = 5) -> Sequence[T]:
    """Return all points at which a real run is killed in `make deep`, else a few from the first to the last."""
    if DEEP or len(points) <= few:
        return points
    return [points[number * (len(points) - 1) // (few - 1)] for number in range(few)]


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure(config: pytest.Config) -> None:
    """Let tests that are ended by SIGTERM clear up as after Ctrl-C: some have mounted something.

    The garbage collector comes rarely: with Python's own thresholds it takes a third of the tests' time.
    """
    gc.set_threshold(100_000, 20, 20)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of the developer's own configuration is in force."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CC_", "DIB_", "ARCH", "XDG_"))}
    return kept | {"HOME": str(home), "CC_IMAGES_STORE": str(home / "store"), "CC_IMAGES_SETTINGS": ""}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests out, unless `make test` runs them, and deep ones, unless `make deep` does."""
    if not LONG and (long := [item for item in items if item.get_closest_marker("long")]):
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in {*long}]
    if not DEEP:
        for item in items:
            if item.get_closest_marker("deep"):
                item.add_marker(pytest.mark.skip(reason="deep: `make deep` runs it"))


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the modules and tests: they stay, and each full collection looked at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def any_architecture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let plans not depend on whether the machine of the tests can run foreign programs."""
    if not request.node.get_closest_marker("real"):
        monkeypatch.setattr("cc_images.host.user_emulation.runs_programs", lambda arch: True)
        if "emulator" not in request.fixturenames and request.path.stem != "test_acceleration":
            monkeypatch.setattr("cc_images.boottest.acceleration.probe", lambda arch, **how: "no guest was started")


@pytest.fixture(autouse=True)
def same_log() -> Iterator[None]:
    """Take away the listeners that a command line in the tests' own process leaves: their output has ended."""
    log = logging.getLogger("cc_images")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return a function that runs `cc-images` in `tmp_path` with a store of its own."""

    def run(*words: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return forked(main, words, cwd, clean_environment(tmp_path) | environment)

    return run


NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store, where `cli` has its own."""
    return Store(tmp_path / "store")


@pytest.fixture
def run(store: Store) -> Iterator[Run]:
    """Return a run of the store that began at NOW; it ends with the test."""
    made = store.start_run(NOW)
    yield made
    store.finish_run(made, shutil.rmtree)


Main = Callable[[list[str]], NoReturn]


def forked(
    program: Main, words: Sequence[str], cwd: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, a fork of the tests': importing everything anew takes most of the time.

    What a test has patched is patched there, too.
    """
    _import_everything()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if child == 0:
            _become(program, words, cwd, environment, (output.fileno(), errors.fileno()))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), output.read(), errors.read())


@cache
def _import_everything() -> None:
    """Import the modules of the package once, so that no fork does it again."""
    programs = ("cc_images.__main__", "cc_images.toolbox", "cc_images.boottest.inside", "cc_images.web")
    for each in pkgutil.walk_packages(cc_images.__path__, "cc_images."):
        if not each.name.startswith(programs):
            import_module(each.name)


def _become(
    program: Main, words: Sequence[str], cwd: Path, environment: dict[str, str], files: tuple[int, int]
) -> NoReturn:
    """Make this process, a fork, what the program would be at a prompt, and end it."""
    code = 1
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), *files)):
            os.dup2(file, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", errors="backslashreplace")  # noqa: SIM115
        program(list(words))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - shown, as Python would
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def write_files(folder: Path, **texts: str) -> None:
    """Write `images`, `sites` and `third_party` as the YAML files of a project in `folder`."""
    names = {"images": "images.yaml", "sites": "sites.yaml", "third_party": "third-party.yaml"}
    for key, name in names.items():
        (folder / name).write_text(texts.get(key, ""))


def lacking(tools: Sequence[str]) -> str:
    """Return why a real test cannot run here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else ""
