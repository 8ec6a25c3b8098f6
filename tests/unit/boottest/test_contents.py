"""What is told of an image's inside, and of how two images differ."""

from __future__ import annotations

from typing import Any

from cc_images.boottest.contents import differences, rows
from cc_images.report.inspected import compared, shown

FACTS: dict[str, Any] = {
    "disk": {"size": 2 << 30, "table": "gpt"},
    "partitions": [{"number": 1, "type": "", "size": 1 << 30, "kind": "ext4", "label": "root"}],
    "root": {"partition": 1, "kind": "ext4", "size": 1 << 30, "used": 1 << 29},
    "os": {"PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)", "VERSION_ID": "12"},
    "kernels": ["6.1.0-1"],
    "cmdline": "root=LABEL=root ro",
    "packages": {"vim": "9.0", "bash": "5"},
    "manifest": {"vim": "9.0", "bash": "5"},
    "users": [
        {"name": "root", "uid": "0", "shell": "/bin/bash", "password": "locked"},
        {"name": "daemon", "uid": "1", "shell": "/usr/sbin/nologin", "password": "locked"},
        {"name": "eve", "uid": "3", "shell": "/bin/sh", "password": "set"},
    ],
    "units": ["ssh.service"],
    "setuid": [{"path": "/usr/bin/su", "mode": "4755", "owner": "0:0", "capable": ""}],
    "provenance": {"name": "CC-X", "key": "k" * 64},
    "sizes": {"/usr/lib": 100 << 20, "/etc": 1 << 20},
}


def test_everything_that_matters_is_told() -> None:
    said = dict(rows(FACTS, ["something is wrong"], 1 << 28))
    assert said["file"] == "256 MiB, a disk of 2.0 GiB"
    assert said["partitions"] == "gpt: 1 ext4 1.0 GiB root"
    assert said["packages"] == "2, as dib's manifest"
    assert said["users"] == "root (password locked), eve (password set)"
    assert said["largest"].startswith("/usr/lib 100 MiB, ")
    assert said["hygiene"] == "something is wrong"
    assert all(len(line) <= 120 for line in shown("x", FACTS, (), 1).splitlines())


def test_the_manifest_is_compared_with_what_is_installed() -> None:
    said = dict(rows(FACTS | {"manifest": {"vim": "8.0", "nano": "7", "bash:amd64": "5"}}, [], 1))
    assert said["packages"] == "2, and dib's manifest differs: -nano 7, vim 8.0 → 9.0"
    assert "no manifest" in dict(rows(FACTS | {"manifest": None}, [], 1))["packages"]
    assert "not read" in dict(rows(FACTS | {"packages": {}}, [], 1))["packages"]


def test_a_disk_without_a_system_is_told() -> None:
    facts = {key: FACTS[key] for key in ("disk", "partitions")} | {"trouble": "no system"}
    assert dict(rows(facts, ["no system"], 1))["system"] == "no system"


def test_differences_by_subject() -> None:
    new = FACTS | {
        "packages": {"vim": "9.1", "zsh": "5.9"},
        "units": ["ssh.service", "chrony.service"],
        "setuid": [{"path": "/usr/bin/su", "mode": "0755", "owner": "0:0", "capable": ""}],
        "sizes": {"/usr/lib": 150 << 20, "/etc": 1 << 20},
        "kernels": ["6.1.0-2"],
    }
    found = differences(FACTS, new)
    assert found["packages"] == ["-bash 5", "vim 9.0 → 9.1", "+zsh 5.9"]
    assert found["units"] == ["+chrony.service"]
    assert found["system"] == ["kernel 6.1.0-1 → 6.1.0-2"]
    assert found["set-uid"] == ["/usr/bin/su 4755 → 0755"]
    assert found["size"] == ["/usr/lib +50 MiB"]
    assert "users" not in found
    assert "packages: 3\n  -bash 5" in compared("new", "old", found)
    assert compared("new", "old", differences(FACTS, FACTS)).endswith("no difference")
