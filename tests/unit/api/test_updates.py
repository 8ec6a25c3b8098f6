"""Pending updates: a published build, and repositories on loopback that have moved on."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.store.records import Store
from tests.conftest import Cli, write_files

VERSION = "20261101T000000Z"
INSTALLED = {"libssl3": "3.0.1-1", "openssl": "3.0.1-1", "vim": "9.0", "linux-image": "6.1.1"}


class Archive:
    """Suites of a distribution on loopback."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self._day = 0

    def address(self, suite: str) -> str:
        return f"http://127.0.0.1:{self.port}/dists/{suite}/InRelease"

    def release(self, suite: str, label: str, **packages: str) -> str:
        """Write a suite; return the digest of its InRelease. The source of `libssl3` is `openssl`."""
        source = {"libssl3": "Source: openssl (1)\n"}
        names = {name.replace("_", "-"): version for name, version in packages.items()}
        text = "".join(
            f"Package: {name}\n{source.get(name, '')}Version: {version}\n\n" for name, version in names.items()
        )
        index = self.root / "dists" / suite / "main/binary-amd64/Packages.xz"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(lzma.compress(text.encode()))
        digest = hashlib.sha256(index.read_bytes()).hexdigest()
        whole = (
            f"Label: {label}\nSuite: {suite}\nComponents: main\nSHA256:\n {digest} 9 main/binary-amd64/Packages.xz\n"
        )
        file = self.root / "dists" / suite / "InRelease"
        file.write_text(whole)
        self._day += 86_400  # servers and clients tell changes by the second
        os.utime(file, (self._day, self._day))
        return hashlib.sha256(whole.encode()).hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    (tmp_path / "www").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield Archive(tmp_path / "www", server.server_port)
    server.shutdown()
    server.server_close()


def project(tmp_path: Path, more: str = "", site: str = "") -> None:
    write_files(
        tmp_path,
        images="CC-X:\n  {elements: [debian-minimal], disk: [], provenance: {distro: debian, release: bookworm}"
        f"{', ' if more else ''}{more}}}\n",
        sites=f"one: {{directory: one, is_baremetal: true{', ' if site else ''}{site}}}\n",
    )


@pytest.fixture
def published(cli: Cli, tmp_path: Path, archive: Archive) -> Cli:
    """Return the command line in a project whose one version was published when its repositories had just that."""
    project(tmp_path)
    before = {
        archive.address("stable"): archive.release("stable", "Debian", **_names(INSTALLED)),
        archive.address("stable-security"): archive.release("stable-security", "Debian-Security"),
    }
    store = Store(tmp_path / "store")
    store.root.mkdir()
    staged = store.root / "staged"
    staged.write_text("disk")
    blob = store.blobs.add(staged)
    output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1)
    build = Build(tag="cc-x", name="CC-X", arch=Arch.AMD64, version=VERSION, recipe_key="a", key="k",
                  outputs={Format.QCOW2: output}, upstream=before, packages=len(INSTALLED))  # fmt: skip
    store.record(build, {"packages": INSTALLED}, "CC-X")
    assert cli("-q", "-p", "--no-boot-test", "cc-x").returncode == 0
    return cli


def _names(packages: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): version for name, version in packages.items()}


def move(archive: Archive) -> None:
    """Let the repositories have a later vim, and for security a later openssl."""
    archive.release("stable", "Debian", **_names(INSTALLED | {"vim": "9.1"}))
    archive.release("stable-security", "Debian-Security", openssl="3.0.1-1+deb12u1", libssl3="3.0.1-1+deb12u1")


def lacks(cli: Cli, *words: str) -> tuple[int, dict[str, tuple[str, bool, list[str]]]]:
    """Return the exit code, and what the image lacks."""
    done = cli("check-updates", "--json", *words)
    (row,) = json.loads(done.stdout)
    assert not row["unknown"], row
    return done.returncode, {
        each["name"]: (each["offered"], each["security"], each["flaws"]) for each in row["updates"]
    }


def test_nothing_is_pending_while_the_repositories_have_what_the_image_has(published: Cli) -> None:
    assert lacks(published) == (0, {})
    done = published("check-updates", "cc-x", "--sites")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[:5] == ["one", "CC-X", VERSION, "0", "0"]


def test_what_is_pending_and_what_of_it_is_for_security(published: Cli, archive: Archive, tmp_path: Path) -> None:
    move(archive)
    code, found = lacks(published)
    assert code == 5
    assert found == {
        "libssl3": ("3.0.1-1+deb12u1", True, []),
        "openssl": ("3.0.1-1+deb12u1", True, []),
        "vim": ("9.1", False, []),
    }
    shown = published("check-updates").stdout
    assert "  openssl 3.0.1-1 → 3.0.1-1+deb12u1  security" in shown.splitlines()
    metrics = tmp_path / "metrics"
    published("-q", "-p", "--no-boot-test", "--metrics", str(metrics), "cc-x")
    assert 'cc_images_pending_security_updates{image="cc-x",arch="amd64",site="one"} 2' in metrics.read_text()
    assert 'cc_images_pending_updates{image="cc-x",arch="amd64",site="one"} 3' in metrics.read_text()
    page = tmp_path / "page"
    assert published("catalogue-page", str(page)).returncode == 0
    assert "2 security updates" in (page / "index.html").read_text()


FEEDS = {
    "tracker.json": {
        "openssl": {
            "CVE-2026-1": {"releases": {"bookworm": {"status": "resolved", "fixed_version": "3.0.1-1+deb12u1"}}},
            "CVE-2020-1": {"releases": {"bookworm": {"status": "resolved", "fixed_version": "3.0.0-1"}}},
            "CVE-2026-2": {"releases": {"bookworm": {"status": "open"}}},
            "CVE-2026-3": {"releases": {"trixie": {"status": "resolved", "fixed_version": "3.0.1-1+deb12u1"}}},
        }
    },
    "osv.json": [
        {
            "id": "DSA-1-1",
            "aliases": ["CVE-2026-1"],
            "affected": [
                {
                    "package": {"ecosystem": "Debian:12", "name": "openssl"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.1-1+deb12u1"}]}],
                }
            ],
        }
    ],
}


@pytest.mark.parametrize("feed", [*FEEDS, "osv.zip", "osv.jsonl"])
def test_a_feed_names_what_is_mended(published: Cli, archive: Archive, tmp_path: Path, feed: str) -> None:
    move(archive)
    file = tmp_path / feed
    if feed == "osv.zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("DSA-1-1.json", json.dumps(FEEDS["osv.json"][0]))  # type: ignore[index]
    else:
        plain = FEEDS.get(feed) or FEEDS["osv.json"][0]  # type: ignore[index]
        file.write_text(json.dumps(plain))
    for index in (tmp_path / "store" / "indices").glob("*.sources.gz"):
        index.unlink()  # a store of an older version has none
    code, found = lacks(published, "--feed", str(file))
    assert code == 5
    assert found["openssl"] == found["libssl3"] == ("3.0.1-1+deb12u1", True, ["CVE-2026-1"])
    assert found["vim"] == ("9.1", False, [])


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"openssl": {"CVE-1": {"releases": {}}}}'])
def test_a_feed_that_is_none_is_refused(published: Cli, tmp_path: Path, content: str) -> None:
    (tmp_path / "feed").write_text(content)
    done = published("check-updates", "--feed", str(tmp_path / "feed"))
    assert done.returncode == 2
    assert f"--feed {tmp_path / 'feed'}" in done.stderr


def test_what_is_ignored_until_a_day(published: Cli, archive: Archive, tmp_path: Path) -> None:
    move(archive)
    (tmp_path / "feed").write_text(json.dumps(FEEDS["tracker.json"]))
    why = "{why: not reachable"
    project(tmp_path, f"ignore: {{vim: {why}}}, CVE-2026-1: {why}, until: 2099-01-01}}}}")
    assert lacks(published, "--feed", str(tmp_path / "feed")) == (0, {})
    project(tmp_path, f"ignore: {{vim: {why}, until: 2020-01-01}}, openssl: {why}}}, libssl3: {why}}}}}")
    assert lacks(published)[1] == {"vim": ("9.1", False, [])}
    project(tmp_path, "ignore: [vim]")
    done = published("list")
    assert done.returncode == 2
    assert "ignore.vim: needs {why: TEXT, until: DATE}" in done.stderr


def test_what_nobody_can_say_is_not_up_to_date(published: Cli, archive: Archive, tmp_path: Path) -> None:
    move(archive)
    (tmp_path / "www" / "dists" / "stable-security" / "InRelease").unlink()
    done = published("check-updates", "--json")
    assert done.returncode == 3
    (row,) = json.loads(done.stdout)
    assert "stable-security" in row["unknown"]
    assert row["updates"] == []
    records = tmp_path / "store" / "builds"
    for record in records.rglob("*.json"):
        record.unlink()
    gone = published("check-updates", "--json")
    assert "is not in this store" in json.loads(gone.stdout)[0]["unknown"]


def test_a_site_refuses_what_lacks_security_updates(published: Cli, archive: Archive, tmp_path: Path) -> None:
    gated = "one: {directory: one, is_baremetal: true, gates: {security-updates: refuse}}\n"
    two = gated.replace("one", "two")
    project(tmp_path)
    move(archive)
    (tmp_path / "sites.yaml").write_text(gated + two)
    done = published("-p", "--no-boot-test", "cc-x")
    assert done.returncode == 3
    assert "lacks security updates: libssl3, openssl" in done.stderr
    assert "push cc-x amd64 to one: " not in done.stderr, "which has it already"
    assert not (tmp_path / "two" / "CC-X.qcow2").exists()
    (tmp_path / "www" / "dists" / "stable-security" / "InRelease").unlink()
    unknown = published("-p", "--no-boot-test", "cc-x")
    assert unknown.returncode == 3
    assert "nobody can say whether version" in unknown.stderr
    archive.release("stable-security", "Debian-Security", openssl="3.0.1-1+deb12u1", libssl3="3.0.1-1+deb12u1")
    project(tmp_path, "ignore: {openssl: {why: x}, libssl3: {why: x}}")
    (tmp_path / "sites.yaml").write_text(gated + two)
    assert published("-q", "-p", "--no-boot-test", "cc-x").returncode == 0
    assert (tmp_path / "two" / "CC-X.qcow2").exists()
    project(tmp_path, site="gates: {security-updates: maybe}")
    wrong = published("list")
    assert wrong.returncode == 2
    assert "gates.security-updates" in wrong.stderr
