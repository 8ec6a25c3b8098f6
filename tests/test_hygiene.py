"""Hygiene: each thing that no image may have is found, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from cc_images.hygiene import problems

CLEAN: dict[str, Any] = {
    "leaking": [],
    "host_keys": [],
    "machine_id": "uninitialized",
    "dbus_machine_id": "",
    "resolv_conf": "nameserver 127.0.0.53\nnameserver \nnameserver 8.8.8.8\n",
    "leftovers": [],
    "authorized_keys": [],
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
        ({"authorized_keys": ["root/.ssh/authorized_keys"]}, "lets in keys that come with the image"),
        ({"users": [{"name": "cc", "uid": "1", "shell": "/bin/sh", "password": "set"}]}, "cc has a password"),
        ({"users": [{"name": "cc", "uid": "1", "shell": "/bin/sh", "password": "empty"}]}, "cc has no password"),
    ],
)
def test_each_problem_is_named(change: dict[str, Any], words: str) -> None:
    (found,) = problems(CLEAN | change, ["10.0.0.1"])
    assert words in found
