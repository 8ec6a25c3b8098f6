"""Verdicts on containers from the facts of a start, the test keys of trials, and passwords behind hashes."""

from __future__ import annotations

import hashlib
import subprocess
from typing import Any

import pytest

from cc_images.boottest import passwords
from cc_images.boottest.container_test import script
from cc_images.boottest.container_verdict import judged, subject
from cc_images.boottest.policy import boot_job, boot_test_key
from cc_images.model.catalog import Arch, Format, Image, Level
from cc_images.model.container import Trial, configured
from cc_images.model.contracts import Passwords

START = {
    "argv": ["/run it"],
    "code": 0,
    "listens": False,
    "late": False,
    "silent": [],
    "seconds": 1.5,
    "output": "a\nb\n",
}


def said(*starts: dict[str, Any]) -> dict[str, Any]:
    return {"starts": [START | each for each in starts]}


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"code": 3}, "`'/run it'` ended with code 3"),
        ({"code": -9}, "was ended by signal 9"),
        ({"code": None, "late": True, "silent": ["80/tcp"]}, "nothing listens on port 80/tcp after 2 s"),
        ({"code": None, "late": True}, "has not ended after 2 s"),
        ({"trouble": "/x does not start: No such file or directory"}, "/x does not start"),
    ],
)
def test_a_start_that_fails(start: dict[str, Any], words: str) -> None:
    found, tail = judged(said(start), {}, {}, "m")
    assert found.failed is Level.STARTS
    assert words in found.problems[0]
    assert tail == ("a", "b")
    found, _ = judged(said({}, start), {}, {}, "m")
    assert found.problems[0].startswith("at its second start ")


def test_a_start_that_succeeds_has_its_levels() -> None:
    assert judged(said({}), {}, {}, "m")[0].levels == {Level.STARTS: 1.5, Level.CHECKS: 1.5}
    assert judged(said({"argv": []}), {}, {}, "m")[0].levels == {}, "it says nothing to start"


def test_answers_are_judged_and_a_user_without_a_shell_is_said() -> None:
    checks = {"commands": {"a": {}, "b": {"output": "x"}}}
    found, _ = judged(said({"answers": "fine\nm 0\ny\nm 0\n"}), checks, {}, "m")
    assert found.problems == ["`b` did not say 'x': y"]
    found, _ = judged(said({"answers": "", "unasked": "/bin/sh does not start"}), checks, {}, "m")
    assert found.problems == ["its user cannot be asked: /bin/sh does not start"]
    assert script("m", checks).count("cc_as_user") >= 2


def test_ports_of_checks_need_a_container_that_stays() -> None:
    wanted: dict[str, dict[str, str]] = {"22/tcp": {}}
    assert judged(said({}), {}, wanted, "m")[0].problems == ["nothing listens on port 22/tcp"]
    assert judged(said({"listens": True, "heard": {"22/tcp": ""}}), {}, wanted, "m")[0].problems == []
    wanted = {"22/tcp": {"banner": "^SSH-2"}}
    assert judged(said({"listens": True, "heard": {"22/tcp": "SSH-2.0-x\r\n"}}), {}, wanted, "m")[0].problems == []
    found = judged(said({"listens": True, "heard": {"22/tcp": "220 mail"}}), {}, wanted, "m")[0].problems
    assert found == ["port 22/tcp says '220 mail', not '^SSH-2'"]


TINY = Image(name="X", formats=(Format.OCI,), container={"user": "u"})


def test_a_trial_is_part_of_the_tests_key_and_not_of_the_configuration() -> None:
    tried = Image(name="X", formats=(Format.OCI,), container={"user": "u", "try": ["--help"], "try-network": True})
    assert boot_test_key(TINY, Arch.AMD64) != boot_test_key(tried, Arch.AMD64)
    assert boot_test_key(TINY, Arch.AMD64) != boot_test_key(TINY, Arch.AMD64, ["workstation"])
    assert configured(TINY, "X") == configured(tried, "X"), "which is what the recipe key has"
    job = boot_job(tried, Arch.AMD64, "1", (Format.OCI,), ["b", "a", "b"])
    assert job.trial == Trial(words=("--help",), network=True, user="u", contracts=("a", "b"))


def test_disks_keep_their_keys() -> None:
    disk = Image(name="X")
    assert boot_test_key(disk, Arch.AMD64, ["workstation"]) == boot_test_key(disk, Arch.AMD64)
    assert boot_job(disk, Arch.AMD64, "1", (Format.QCOW2,)).trial is None


def sha256(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


def hashed(password: str) -> str:
    words = ["openssl", "passwd", "-5", "-salt", "salt", "-stdin"]
    return subprocess.run(words, input=password, check=True, capture_output=True, text=True).stdout.strip()


def test_passwords_are_known_by_their_hashes() -> None:
    assert passwords.is_password("user", hashed("user"))
    assert not passwords.is_password("user", hashed("other"))
    assert not passwords.is_password("user", "")
    assert passwords.printed("log in with password=Zx81.\n", hashed("Zx81"))
    assert not passwords.printed("nothing of it\n", hashed("Zx81"))
    assert passwords.shows("the token is ?token=Zx81!\n", sha256("Zx81!"))
    assert passwords.shows("password: longer-than-eight\n", sha256("longer-t")), "VNC has eight letters"
    assert not passwords.shows("nothing of it\n", sha256("Zx81"))


def test_contracts_are_judged_by_both_starts() -> None:
    user = {"uid": 1000, "gid": 1000, "home": "/home/user", "name": "user"}
    first = {"user": user, "sudo": [], "home_is": "/home/user", "folder_is": "/home/user", "before": hashed("user")}
    starts = [
        first
        | {"after": hashed("one"), "folders": {"datasets": [1000, 1000]}, "output": "hello", "mounted": []}
        | {"credentials": {"before": {"vnc": "1"}, "after": {"vnc": "2", "token": sha256("abc"), "own": "3"}}}
        | {"open": ["the VNC server on port 5900"]},
        first
        | {"after": hashed("two"), "folders": {"datasets": None}, "output": "now it is two", "mounted": ["/home"]}
        | {"credentials": {"before": {"vnc": "1"}, "after": {"vnc": "1", "token": sha256("two"), "own": "3"}}},
    ]
    shown = {"user": "user", "entrypoint": ["/entry"], "labels": {}}
    found = subject({"starts": starts, "configuration": shown}, Format.OCI)
    assert found.passwords == {
        "the user's password": Passwords(printed=True),
        "the VNC server on port 5900": Passwords(missing=True),
        "vnc": Passwords(built_in=True),
        "token": Passwords(printed=True),
        "own": Passwords(same=True),
    }
    assert (found.folders, found.mounted) == ({"datasets": (1000, 1000)}, {"datasets": None})
