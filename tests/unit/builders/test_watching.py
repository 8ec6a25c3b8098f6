"""What watches a build, and what it has left: said by a sandbox, so nothing in it is believed that cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cc_images.builders.dib import watching
from cc_images.builders.dib.build_log import Phases
from cc_images.builders.dib.watching import NOTHING, Watch
from cc_images.errors import CCImagesError, Reason
from cc_images.host.process import CommandFailed, TimedOut
from cc_images.host.sandbox import Sandbox

SAID = {"phase": "install", "hook": "50-x", "code": 7}


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """Return a sandbox that has run."""
    made = Sandbox(workspace=tmp_path / "w", guards=tmp_path / "guards")
    made.out.mkdir(parents=True)
    return made


def leave(sandbox: Sandbox, *, packed: bool = True, **said: Any) -> None:
    (sandbox.out / "kept.json").write_text(json.dumps(SAID | said))
    if packed:
        (sandbox.out / "kept.tar.zst").write_bytes(b"tree")


def test_nobody_watches_unless_something_is_wanted(sandbox: Sandbox) -> None:
    words = ["disk-image-create", "x"]
    assert NOTHING.command(words, sandbox, 60) == words
    assert NOTHING.timeout(60) == 60


@pytest.mark.parametrize(
    ("watch", "options", "timeout"),
    [
        (Watch(shell=True), ["--shell", "SOCKET"], math.inf),
        (Watch(keep=True), ["--seconds", "60", "--keep", "OUT"], 60 + watching.PACKING),
        (Watch(until="install"), ["--keep", "OUT", "--only-until"], 60),
        (Watch(keep=True, until="install"), ["--seconds", "60", "--keep", "OUT"], 60 + watching.PACKING),
        (Watch(shell=True, keep=True), ["--shell", "SOCKET", "--keep", "OUT"], math.inf),
    ],
)
def test_what_watches_has_what_is_wanted(sandbox: Sandbox, watch: Watch, options: list[str], timeout: float) -> None:
    _, program, *words = watch.command(["disk-image-create", "x"], sandbox, 60)
    places = {"SOCKET": str(sandbox.out / "shell.sock"), "OUT": str(sandbox.out)}
    assert program.endswith("toolbox/hooks.py")
    assert words == [*(places.get(each, each) for each in options), "disk-image-create", "x", "cc-debug"]
    assert watch.timeout(60) == timeout


def test_a_tree_that_was_left_is_found(sandbox: Sandbox) -> None:
    assert watching.left(sandbox) is None
    leave(sandbox)
    found = watching.left(sandbox)
    assert found is not None
    assert (found.phase, found.hook, found.code, found.trouble) == ("install", "50-x", 7, "")
    assert found.file.read_bytes() == b"tree"


@pytest.mark.parametrize(
    "said", [{"phase": "\x1b[2J"}, {"hook": "../x"}, {"hook": "a\nb"}, {"code": "7"}, {"phase": 1}]
)
def test_nonsense_is_not_believed(sandbox: Sandbox, said: dict[str, Any]) -> None:
    leave(sandbox, **said)
    assert watching.left(sandbox) is None


def test_a_tree_that_is_none_is_trouble(sandbox: Sandbox) -> None:
    leave(sandbox, packed=False)
    (sandbox.out / "kept.tar.zst").symlink_to("/etc/passwd")
    found = watching.left(sandbox)
    assert found is not None
    assert found.trouble == "the build has removed it"
    leave(sandbox, packed=False, trouble="zstd: \x1b[2Jfull")
    found = watching.left(sandbox)
    assert found is not None
    assert found.trouble == "zstd: ?[2Jfull"


def test_a_time_out_is_told_from_a_hook_with_its_code(sandbox: Sandbox) -> None:
    error = CommandFailed("dib", watching.TOOK_TOO_LONG, [])
    assert not watching.is_timeout(error, sandbox)
    leave(sandbox, code=124)
    assert not watching.is_timeout(error, sandbox), "a hook may end with 124"
    leave(sandbox, code=None)
    assert watching.is_timeout(error, sandbox)
    assert not watching.is_timeout(CommandFailed("dib", 1, []), sandbox)
    assert watching.is_timeout(TimedOut("dib", 60, []), sandbox)


def test_a_build_that_was_to_stop_has_its_tree(sandbox: Sandbox) -> None:
    cases: dict[str, dict[str, Any]] = {"dib ended in": {}, "full": {"trouble": "full"}, "dib ended": {"phase": "root"}}
    for why, leaves in cases.items():
        if leaves:
            leave(sandbox, **leaves)
        with pytest.raises(CCImagesError, match=why) as caught:
            watching.stopped("install", sandbox, Phases())
        assert caught.value.reason is Reason.NO_RESULT
    leave(sandbox, code=None)
    assert watching.stopped("install", sandbox, Phases()).read_bytes() == b"tree"
