"""Upstream: addresses from what a build noted, answers of a real web server, and what happens without one."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images import upstream

ONE_LINE = """\
# deb http://commented.invalid/debian bookworm main
deb http://m.invalid/debian bookworm main contrib
deb [arch=amd64 signed-by=/k.gpg] http://m.invalid/debian/ bookworm-updates main
deb-src http://m.invalid/debian bookworm main
deb https://flat.invalid/repo ./
deb https://user:geheim@private.invalid/debian bookworm main
"""

DEB822 = """\
Types: deb
URIs: http://n.invalid/ubuntu
Suites: jammy jammy-security
Components: main
"""


def notes(out: Path, sources: str, *lists: str) -> dict[str, str]:
    (out / "apt-sources").write_text(sources)
    (out / "apt-lists").write_text("".join(f"{number:064x}  ./{name}\n" for number, name in enumerate(lists)))
    return {address: digest.lstrip("0") for address, digest in upstream.seen(out).items()}


def test_apt_names_what_a_build_has_read(tmp_path: Path) -> None:
    lists = ("m.invalid_debian_dists_bookworm_InRelease", "m.invalid_debian_dists_bookworm-updates_InRelease",
             "flat.invalid_repo_._Release", "n.invalid_ubuntu_dists_jammy-security_InRelease")  # fmt: skip
    assert notes(tmp_path, ONE_LINE + "\n" + DEB822, *lists) == {
        "http://m.invalid/debian/dists/bookworm/InRelease": "",
        "http://m.invalid/debian/dists/bookworm-updates/InRelease": "1",
        "https://flat.invalid/repo/./Release": "2",
        "http://n.invalid/ubuntu/dists/jammy-security/InRelease": "3",
    }


def test_an_index_whose_address_is_unknown_or_secret_still_counts(tmp_path: Path) -> None:
    lists = ("private.invalid_debian_dists_bookworm_InRelease", "mirror_list_InRelease")
    assert notes(tmp_path, ONE_LINE, *lists) == {f"apt:{lists[0]}": "", f"apt:{lists[1]}": "1"}


def test_elements_may_note_more(tmp_path: Path) -> None:
    (tmp_path / "upstream").write_text("https://r.invalid/repodata/repomd.xml abc\nhttps://u:p@r.invalid/x abc\n")
    assert upstream.seen(tmp_path) == {"https://r.invalid/repodata/repomd.xml": "abc"}


class Server(http.server.ThreadingHTTPServer):
    """A web server on a folder that counts what it sends."""

    def __init__(self, folder: Path) -> None:
        self.sent: list[int] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        assert isinstance(self.server, Server)
        self.server.sent.append(int(code))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "InRelease").write_text("one")
    with Server(tmp_path / "www") as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def test_what_has_not_changed_is_not_sent_again_and_what_has_is_seen(server: Server, tmp_path: Path) -> None:
    address, memory = f"http://127.0.0.1:{server.server_port}/InRelease", tmp_path / "upstream.json"
    for _ in range(2):
        state = upstream.look([address, address], memory)
        assert state.digests == {address: hashlib.sha256(b"one").hexdigest()}
        assert not state.troubles
    assert server.sent == [200, 304]
    index = tmp_path / "www" / "InRelease"
    index.write_text("two")
    os.utime(index, (2e9, 2e9))
    assert upstream.look([address], memory).digests == {address: hashlib.sha256(b"two").hexdigest()}


def test_without_an_answer_what_was_seen_last_counts_and_the_trouble_is_told(server: Server, tmp_path: Path) -> None:
    address, memory = f"http://127.0.0.1:{server.server_port}/InRelease", tmp_path / "upstream.json"
    upstream.look([address], memory)
    gone = address.replace("InRelease", "Gone")
    state = upstream.look([address, gone, "apt:x"], memory)
    assert list(state.digests) == [address]
    assert set(state.troubles) == {gone, "apt:x"}
    assert "404" in state.troubles[gone]
    server.shutdown()
    server.server_close()
    for offline in (True, False):
        state = upstream.look([address], memory, offline=offline)
        assert state.digests == {address: hashlib.sha256(b"one").hexdigest()}
        assert list(state.troubles) == [address]


def test_a_reference_of_a_repository_is_an_address(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@x.invalid", "-C", str(repository))
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", repository], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    address = f"git+{repository.as_uri()}#main"
    assert upstream.look([address], tmp_path / "upstream.json").digests == {address: head}
