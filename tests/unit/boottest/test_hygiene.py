"""Hygiene: each thing that no image may have is found, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cc_images.boottest.hygiene import problems
from cc_images.boottest.inspector import admitted_keys

CLEAN: dict[str, Any] = {
    "leaking": [],
    "host_keys": [],
    "machine_id": "uninitialized",
    "dbus_machine_id": "",
    "resolv_conf": "nameserver 127.0.0.53\nnameserver \nnameserver 8.8.8.8\n",
    "leftovers": [],
    "authorized_keys": {},
    "users": [
        {"name": "root", "uid": "0", "shell": "/bin/bash", "password": "locked"},
        {"name": "games", "uid": "5", "shell": "/usr/sbin/nologin", "password": "set"},
    ],
}


def test_a_clean_image_has_no_problem() -> None:
    assert problems(CLEAN, ["10.0.0.1"]) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"leaking": ["/etc/apt/auth"]}, "/etc/apt/auth holds a secret"),
        ({"host_keys": ["etc/ssh/ssh_host_rsa_key"]}, "/etc/ssh/ssh_host_rsa_key is a host key"),
        ({"machine_id": "0" * 32}, "/etc/machine-id is set"),
        ({"dbus_machine_id": "0" * 32}, "/etc/machine-id is set"),
        ({"resolv_conf": "search x\nnameserver 10.0.0.1\n"}, "names 10.0.0.1, a name server of the build host"),
        ({"leftovers": ["etc/dib-manifests/dib_environment"]}, "/etc/dib-manifests/dib_environment is a leftover"),
        ({"authorized_keys": {"root/.ssh/authorized_keys": ["ssh-rsa AAAA"]}}, "lets in keys that come with the image"),
        ({"authorized_keys": {"home/ccadmin/.ssh/authorized_keys": ["ssh-rsa A"]}}, "lets in keys that come with"),
        ({"users": [{"name": "cc", "uid": "1", "shell": "/bin/sh", "password": "set"}]}, "cc has a password"),
        ({"users": [{"name": "cc", "uid": "1", "shell": "/bin/sh", "password": "empty"}]}, "cc has no password"),
    ],
)
def test_each_problem_is_named(change: dict[str, Any], words: str) -> None:
    (found,) = problems(CLEAN | change, ["10.0.0.1"])
    assert words in found


def test_the_keys_that_the_configuration_gives_to_ccadmin_are_let_in() -> None:
    keys = {"home/ccadmin/.ssh/authorized_keys": ["ssh-ed25519 A one", "", "ssh-ed25519 B two"]}
    assert problems(CLEAN | {"authorized_keys": keys}, (), ["ssh-ed25519 B two", "ssh-ed25519 A one "]) == []
    assert problems(CLEAN | {"authorized_keys": keys}, (), ["ssh-ed25519 A one"])
    others = {"home/cc/.ssh/authorized_keys": ["ssh-ed25519 A one"]}
    assert problems(CLEAN | {"authorized_keys": others}, (), ["ssh-ed25519 A one"]), "of nobody else"


def test_admitted_keys_come_from_a_file_or_from_the_variable_itself(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("ssh-ed25519 A one\n\n")
    for said in (str(tmp_path / "keys"), "ssh-ed25519 A one\n"):
        assert admitted_keys({"DIB_CC_ADMIN_KEYS": said}) == ("ssh-ed25519 A one",)
    assert admitted_keys({"DIB_CC_ADMIN_KEYS": str(tmp_path / "none")}) == (str(tmp_path / "none"),)
    assert admitted_keys({}) == ()
