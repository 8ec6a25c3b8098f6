"""Upstream: addresses from what a build noted, answers of a real web server, and what happens without one."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.host.root import TOOLBOX
from cc_images.sources import upstream

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
Suites: jammy
 jammy-updates
\tjammy-security
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


def test_an_index_that_moved_during_the_build_is_in_no_state_that_will_be_seen_again(tmp_path: Path) -> None:
    name = "m.invalid_debian_dists_bookworm_InRelease"
    assert notes(tmp_path, ONE_LINE, name, name) == {"http://m.invalid/debian/dists/bookworm/InRelease": f"+{1:064x}"}


def test_an_index_whose_address_is_unknown_or_secret_still_counts(tmp_path: Path) -> None:
    lists = ("private.invalid_debian_dists_bookworm_InRelease", "mirror_list_InRelease")
    assert notes(tmp_path, ONE_LINE, *lists) == {f"apt:{lists[0]}": "", f"apt:{lists[1]}": "1"}


def test_an_index_that_apt_took_unverified_counts_as_what_it_is(tmp_path: Path) -> None:
    """With trusted=yes and a key that it lacks, apt keeps the InRelease file under the name of the Release file."""
    lists, out = tmp_path / "tree" / "var/lib/apt/lists", tmp_path / "out"
    lists.mkdir(parents=True)
    (tmp_path / "tree" / "etc/apt").mkdir(parents=True)
    (tmp_path / "tree" / "etc/apt/sources.list").write_text("deb [trusted=yes] http://t.invalid/r stable main\n")
    index = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: T\n"
    (lists / "t.invalid_r_dists_stable_Release").write_bytes(index)
    program = TOOLBOX / "elements" / "cc-build" / "cc-build" / "upstream"
    subprocess.run([program, tmp_path / "tree", out], check=True)
    assert upstream.seen(out) == {"http://t.invalid/r/dists/stable/InRelease": hashlib.sha256(index).hexdigest()}
    (lists / "t.invalid_r_dists_stable_Release").write_bytes(b"Origin: T\n")
    (out / "apt-lists").unlink()
    subprocess.run([program, tmp_path / "tree", out], check=True)
    assert list(upstream.seen(out)) == ["http://t.invalid/r/dists/stable/Release"]


def test_elements_may_note_more(tmp_path: Path) -> None:
    (tmp_path / "upstream").write_text("https://r.invalid/repodata/repomd.xml abc\nhttps://u:p@r.invalid/x abc\n")
    assert upstream.seen(tmp_path) == {
        "https://r.invalid/repodata/repomd.xml": "abc",
        "private:https://r.invalid/x": "abc",
    }
    (tmp_path / "cache.json").write_text('{"kept": ["apt/debian/x.deb"], "new": ["base.qcow2", "base.qcow2.lock"]}')
    assert upstream.seen(tmp_path)["downloads:base.qcow2"] == "-", "nobody knows whether a base image has moved"


def test_kept_indices_of_apt_are_no_download_of_unknown_state(tmp_path: Path) -> None:
    """Apt compares them with what the repository has signed; records of before name them, and are sure nevertheless."""
    (tmp_path / "cache.json").write_text('{"kept": ["cc-lists/debian/x_Packages"], "new": ["apt/debian/x.deb"]}')
    assert upstream.seen(tmp_path) == {}
    state = upstream.look(["downloads:cc-lists"], tmp_path / "memory.json")
    assert (dict(state.digests), dict(state.troubles)) == ({"downloads:cc-lists": "-"}, {})


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
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
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


class Torn(http.server.BaseHTTPRequestHandler):
    """Promises more than it sends, with an ETag for the whole; later on says that nothing has changed."""

    def do_GET(self) -> None:
        if self.headers.get("If-None-Match"):
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", '"whole"')
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")

    def log_message(self, *args: object) -> None:
        pass


class Slow(Torn):
    """Sends a byte now and then, for ever."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)


def test_an_answer_that_breaks_off_is_no_answer(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Torn) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/InRelease"
        for _ in range(2):
            state = upstream.look([address], tmp_path / "upstream.json")
            assert not state.digests
            assert "broke off after 4 of 1000 bytes" in state.troubles[address]
        server.shutdown()


def test_a_server_that_never_ends_is_left(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/InRelease"
        assert list(upstream.look([address], tmp_path / "upstream.json", patience=0.5).troubles) == [address]
        server.shutdown()


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
    for other in ("feature/main", "x"):  # listed before it
        subprocess.run([*git, "branch", other], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "y"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    address = f"git+{repository.as_uri()}#main"
    assert upstream.look([address], tmp_path / "upstream.json").digests == {address: head}
