"""What is told of an image's inside, and of how two images differ."""

from __future__ import annotations

from typing import Any

from cc_images.boottest.contents import compared as told
from cc_images.boottest.contents import contents, differences, rows
from cc_images.report.inspected import compared, shown
from cc_images.report.release_notes import Edition, compare, sections

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


def test_of_a_container_nothing_is_told_that_only_machines_have() -> None:
    tree = FACTS | {"root": FACTS["root"] | {"kind": "tree"}, "kernels": [], "cmdline": "", "units": [], "mounted": []}
    assert {"kernel", "arguments", "cloud-init", "units"} <= dict(rows(tree, [], 1)).keys(), "a machine may start it"
    said = dict(rows(tree | {"layers": [{}]}, [], 1))
    assert not {"kernel", "arguments", "cloud-init", "units", "partitions", "root"} & said.keys()
    assert {"file", "system", "packages", "users", "set-uid", "largest", "hygiene"} <= said.keys()
    assert dict(rows(tree | {"layers": [{}], "units": ["ssh.service"]}, [], 1))["units"] == "1 enabled: ssh.service"


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


def package(kind: str, name: str, version: str, **more: str) -> dict[str, str]:
    return {"type": kind, "name": name, "version": version} | {
        key.replace("_", "-"): told for key, told in more.items()
    }


OLD = FACTS | {"installed": [
    package("deb", "libc6", "2.36-9", source="glibc", source_version="2.36-9"),
    package("pypi", "hammers", "0.3", path="/usr/local/lib/python3.11/dist-packages/hammers-0.3.dist-info"),
    package("pypi", "gone", "1"),
]}  # fmt: skip
NEW = FACTS | {"installed": [
    package("deb", "libc6", "2.36-10", source="glibc", source_version="2.36-10"),
    package("deb", "vim", "9.0", source="vim", source_version="9.0"),
    package("pypi", "hammers", "0.4"),
    package("pypi", "agent", "2"),
]}  # fmt: skip


def test_how_a_container_is_run_differs() -> None:
    old = contents(OLD) | {"container": {"entrypoint": ["a"], "labels": {"version": "1.0"}, "user": "u"}}
    new = contents(OLD) | {"container": {"entrypoint": ["a", "b c"], "labels": {"version": "1.1"}, "user": "u"}}
    assert differences(old, new) == {"container": ["entrypoint a → a 'b c'", "labels version 1.0 → 1.1"]}
    assert "how it is run" in told(old, new)
    assert differences(contents(OLD), new) == {}, "older records do not say it"


def test_python_and_source_packages_differ_where_both_were_listed() -> None:
    found = differences(contents(OLD), contents(NEW))
    assert found == {"python": ["+agent 2", "-gone 1", "hammers 0.3 → 0.4"],
                     "sources": ["glibc 2.36-9 → 2.36-10", "+vim 9.0"]}  # fmt: skip
    assert "Python packages" in told(contents(OLD), contents(NEW))
    notes = compare(edition(OLD, "1"), edition(NEW, "2"))
    headings = [heading for heading, _ in sections(notes)]
    assert headings[:3] == ["Python packages added", "Python packages removed", "Python packages changed"]
    assert headings[3:] == ["Source packages added", "Source packages changed"]


def edition(facts: dict[str, Any], version: str) -> Edition:
    return Edition(name="CC-X", arch="amd64", version=version, size=1, contents=contents(facts))


def test_a_record_without_the_list_is_compared_by_names_and_versions() -> None:
    old = contents(FACTS | {"packages": {"vim": "8", "bash": "5"}})
    for pair in ((old, contents(NEW)), (contents(NEW), old)):
        assert [*differences(*pair)] == ["packages"]
        assert "Python packages" not in told(*pair)


def test_rpm_packages_come_from_its_database() -> None:
    none: dict[str, Any] = {"packages": {}, "manifest": {"bash": "5-1.x86_64"}}
    old = FACTS | none | {"installed": [package("rpm", "kernel", "5.14-1"), package("rpm", "bash", "5-1")]}
    new = FACTS | none | {"installed": [package("rpm", "kernel", "5.14-1"), package("rpm", "kernel", "5.14-2")]}
    assert differences(contents(old), contents(new)) == {"packages": ["-bash 5-1", "kernel 5.14-1 → 5.14-1, 5.14-2"]}
    assert dict(rows(old, [], 1))["packages"] == "1 by dib's manifest; RPM's database has 2"
    assert dict(rows(old | {"manifest": None}, [], 1))["packages"].startswith("2; there is no manifest")


def test_python_distributions_are_told() -> None:
    assert dict(rows(OLD, [], 1))["python"] == "hammers 0.3, gone 1"
    assert dict(rows(FACTS, [], 1))["python"] == "nothing besides packages"
