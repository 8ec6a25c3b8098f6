"""Checks: how a guest is asked, and which answers will do. The commands run in a real shell here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import cc_images
from cc_images.model.check_kinds import KINDS, Answer
from cc_images.model.checks import DROPPED, merged, problems, questions

ASK = Path(cc_images.__file__).parent / "boottest/inside/ask.sh"


@pytest.mark.parametrize(
    ("kind", "name", "wanted", "answer", "wrong"),
    [
        ("files", "/x", {}, (0, "644 root root"), ""),
        ("files", "/x", {}, (1, ""), "/x is not there"),
        ("files", "/x", {"absent": "yes"}, (1, ""), ""),
        ("files", "/x", {"absent": "yes"}, (0, "644 root root"), "/x is there"),
        ("files", "/x", {"mode": "0644"}, (0, "644 root root"), ""),
        ("files", "/x", {"mode": "4755"}, (0, "755 root root"), "/x has mode 0755, not 4755"),
        ("files", "/x", {"owner": "cc", "group": "adm"}, (0, "600 root root"), "/x has owner root, not cc, group root"),
        ("executables", "jq", {}, (0, "/usr/bin/jq"), ""),
        ("executables", "jq", {}, (127, ""), "jq is not on the PATH"),
        ("units", "a.service", {}, (0, "enabled\n"), ""),
        ("units", "a.service", {}, (1, "disabled\n"), "a.service is disabled, not enabled"),
        ("units", "a.service", {}, (1, "masked\n"), "a.service is masked"),
        ("units", "a.service", {}, (1, ""), "a.service is not there"),
        ("packages", "vim", {}, (0, "version 9.0"), ""),
        ("packages", "vim", {}, (1, ""), "package vim is not installed"),
        (
            "packages",
            "vim",
            {"version": ">= 10"},
            (0, "version 9.0\nnot >=10"),
            "vim has version 9.0, which is not >=10",
        ),
        ("commands", "x", {}, (0, ""), ""),
        ("commands", "x", {}, (1, "oops\n"), "`x` ended with code 1, not 0: oops"),
        ("commands", "x", {"exit": "3"}, (3, ""), ""),
        ("commands", "x", {"output": "^b$"}, (0, "a\nb\n"), ""),
        ("commands", "x", {"output": "^c$"}, (0, "a\nb\n"), "`x` did not say '^c$': a\nb"),
        ("ports", "22/tcp", {}, (0, ""), ""),
        ("ports", "22/tcp", {}, (1, ""), "nothing listens on port 22/tcp"),
        ("ports", "22/tcp", {"banner": "^SSH-2"}, (0, "SSH-2.0-OpenSSH\r\n"), ""),
        ("ports", "22/tcp", {"banner": "^SSH-2"}, (0, "\n"), "port 22/tcp says nothing, not '^SSH-2'"),
        ("ports", "22/tcp", {"banner": "^SSH-2"}, (0, "220\nx"), "port 22/tcp says '220"),
        ("free", "/", {"least": "1G"}, (0, "1024\n"), ""),
        ("free", "/", {"least": "1G"}, (0, "1023\n"), "/ has 1023 MiB free, not 1024"),
        ("free", "/data", {"least": "1M"}, (1, ""), "/data has no file system"),
        ("kernel", "quiet", {}, (0, "ro quiet\n"), ""),
        ("kernel", "quiet", {}, (0, "ro quieter\n"), "the kernel was started without quiet"),
    ],
)
def test_answers_are_judged(kind: str, name: str, wanted: dict[str, str], answer: tuple[int, str], wrong: str) -> None:
    said = KINDS[kind].judge(name, wanted, Answer(code=answer[0], output=answer[1]))
    assert wrong in said
    assert bool(said) is bool(wrong)


def test_children_inherit_add_change_and_drop() -> None:
    parent = merged({}, {"files": {"/a": {}, "/b": {"mode": "0644"}}, "units": {"x.service": {}}})
    child = merged(parent, {"files": {"/b": {"mode": "0600"}, "/c": {}}, "units": {"x.service": {DROPPED: ""}}})
    assert child == {"files": {"/a": {}, "/b": {"mode": "0600"}, "/c": {}}}


def asked(kind: str, name: str, **wanted: str) -> str:
    """Ask this machine as a guest would be asked, and judge what it says."""
    (question,) = questions({kind: {name: wanted}})
    said = subprocess.run(["sh", "-c", f"{ASK.read_text()}\n{question}"], capture_output=True, text=True)
    found = problems({kind: {name: wanted}}, [Answer(code=said.returncode, output=said.stdout)])
    return found[0] if found else ""


def test_a_real_shell_answers(tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s $(odd) "really"'
    odd.touch(mode=0o640)
    assert asked("files", str(odd)) == ""
    assert asked("files", str(odd), mode="0640") == ""
    assert "mode 0640, not 0600" in asked("files", str(odd), mode="0600")
    assert asked("executables", "sh") == ""
    assert asked("executables", "no-such-program")
    assert asked("commands", "echo 'a  b'; exit 4", exit="4", output="^a  b$") == ""
    assert asked("free", "/", least="1M") == ""
    assert asked("kernel", Path("/proc/cmdline").read_text().split()[0]) == ""
    assert "not there" in asked("files", "/no/such/file")


@pytest.mark.skipif(not Path("/usr/bin/dpkg").exists(), reason="needs dpkg")
def test_dpkg_compares_versions() -> None:
    assert asked("packages", "dpkg") == ""
    assert asked("packages", "dpkg", version=">= 1.0, << 99:0") == ""
    assert "which is not >=99:0" in asked("packages", "dpkg", version=">= 99:0")
    assert "is not installed" in asked("packages", "no-such-package")


def test_listening_ports_are_seen() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert asked("ports", str(port)) == ""
        assert asked("ports", f"{port}/udp")
    assert asked("ports", str(port))


def test_a_banner_is_read_without_waiting_for_the_connections_end() -> None:
    import socket
    import threading
    import time

    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def greet() -> None:
            connection = server.accept()[0]
            connection.sendall(b"RFB 003.008\n")
            held.append(connection)  # and stays

        port = server.getsockname()[1]
        for wanted, wrong in (("^RFB 003", ""), ("^SSH", f"port {port} says 'RFB 003.008', not '^SSH'")):
            thread = threading.Thread(target=greet)
            thread.start()
            began = time.monotonic()
            assert asked("ports", str(port), banner=wanted) == wrong
            assert time.monotonic() - began < 8
            thread.join()
            held.pop().close()
