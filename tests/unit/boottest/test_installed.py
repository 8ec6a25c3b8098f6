"""The packages of an image: dpkg's, RPM's in both of its formats, and Python's that no package brings."""

from __future__ import annotations

import importlib
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cc_images

INSIDE = Path(cc_images.__file__).parent / "boottest/inside"

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+b1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""

BASH: dict[int, str | int | list[str] | list[int]] = {
    1000: "bash", 1001: "5.1.8", 1002: "6.el9", 1014: "GPLv3+", 1022: "x86_64", 1044: "bash-5.1.8-6.el9.src.rpm",
}  # fmt: skip
TOOL: dict[int, str | int | list[str] | list[int]] = {
    1000: "python3-tool", 1001: "2", 1002: "1.el9", 1003: 3, 1022: "noarch", 1116: [0, 1],
    1117: ["METADATA", "tool.py"],
    1118: ["/usr/lib/python3.9/site-packages/tool-2.dist-info/", "/usr/lib/python3.9/site-packages/"],
}  # fmt: skip


def header(tags: dict[int, str | int | list[str] | list[int]]) -> bytes:
    """Return a header as RPM keeps it: an index of tags, then their values."""
    index, store = b"", b""
    for tag, value in tags.items():
        several = value if isinstance(value, list) else [value]
        if isinstance(several[0], int):
            store += bytes(-len(store) % 4)
            kind, content = 4, struct.pack(f">{len(several)}I", *several)
        else:
            kind, content = 8 if isinstance(value, list) else 6, b"".join(f"{each}\0".encode() for each in several)
        index += struct.pack(">4I", tag, kind, len(store), len(several))
        store += content
    return struct.pack(">2I", len(tags), len(store)) + index + store


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def inside(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the program, which takes `tree` for the root."""
    monkeypatch.syspath_prepend(str(INSIDE))
    for name in ("installed", "system"):
        monkeypatch.setitem(sys.modules, name, None)  # so that they are gone again after the test
        del sys.modules[name]
    program = importlib.import_module("installed")

    def names(*patterns: str) -> list[str]:
        return sorted(str(path.relative_to(tree)) for each in patterns for path in tree.glob(each))

    def text(path: str) -> str:
        file = tree / path.lstrip("/")
        return file.read_text() if file.is_file() else ""

    monkeypatch.setattr(program, "system", SimpleNamespace(names=names, text=text))
    for kind in ("SQLITE", "BERKELEY"):
        monkeypatch.setattr(program, kind, tuple(str(tree / each.lstrip("/")) for each in getattr(program, kind)))
    return program


def put(tree: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def named(packages: list[dict[str, str]]) -> list[str]:
    return [f"{each['type']} {each['name']} {each['version']}" for each in packages]


def test_dpkgs_packages_have_their_source_and_architecture(inside: Any, tree: Path) -> None:
    put(tree, {"var/lib/dpkg/status": STATUS})
    assert inside.installed() == [
        {"type": "deb", "name": "libc6", "version": "2.36-9", "arch": "amd64", "source": "glibc",
         "source-version": "2.36-9"},
        {"type": "deb", "name": "libgcc-s1", "version": "12.2.0-14+b1", "arch": "amd64", "source": "gcc-12",
         "source-version": "12.2.0-14"},
    ]  # fmt: skip


def sqlite(tree: Path, *headers: bytes) -> Path:
    path = tree / "var/lib/rpm/rpmdb.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    database.executemany("INSERT INTO Packages (blob) VALUES (?)", [(each,) for each in headers])
    database.commit()
    database.close()
    return path


KEY = header({1000: "gpg-pubkey", 1001: "8483c65d", 1002: "5ccc5b19"})


def test_rpms_packages_from_its_sqlite_database(inside: Any, tree: Path) -> None:
    sqlite(tree, header(BASH), b"damaged", KEY, header(TOOL))
    assert inside.installed() == [
        {"type": "rpm", "name": "bash", "version": "5.1.8-6.el9", "arch": "x86_64", "source": "bash",
         "source-version": "5.1.8-6.el9", "licence": "GPLv3+"},
        {"type": "rpm", "name": "python3-tool", "version": "3:2-1.el9", "arch": "noarch"},
    ]  # fmt: skip


def test_a_damaged_database_has_no_packages_and_is_no_error(inside: Any, tree: Path) -> None:
    put(tree, {"var/lib/rpm/rpmdb.sqlite": "this is no database", "var/lib/rpm/Packages": "and this is none"})
    assert inside.installed() == []
    (tree / "var/lib/rpm/rpmdb.sqlite").unlink()
    assert inside.installed() == []


def test_a_table_without_end_is_given_up(inside: Any, tree: Path) -> None:
    path = tree / "var/lib/rpm/rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    database = sqlite3.connect(path)
    database.execute("CREATE VIEW Packages AS WITH RECURSIVE n(hnum, blob) AS "
                     "(SELECT 1, x'00' UNION ALL SELECT hnum + 1, blob FROM n) SELECT * FROM n")  # fmt: skip
    database.close()
    assert inside.installed(steps=10) == []


BERKELEY = """
use DB_File;
my ($file, @values) = @ARGV;
tie(my %all, 'DB_File', $file, O_RDWR | O_CREAT, 0644, $DB_HASH) or die "no database: $!";
my $number = 0;
$all{pack('V', $number++)} = pack('H*', $_) for @values;
untie %all;
"""


def test_rpms_packages_from_a_berkeley_database(inside: Any, tree: Path) -> None:
    path = tree / "var/lib/rpm/Packages"
    path.parent.mkdir(parents=True)
    large = header(BASH | {1000: "large", 1117: ["x" * 20_000], 1116: [0], 1118: ["/"]})
    words = [each.hex() for each in (b"\1\0\0\0", header(BASH), large, header(TOOL))]
    subprocess.run(["perl", "-e", BERKELEY, path, *words], check=True)
    assert named(inside.installed()) == ["rpm bash 5.1.8-6.el9", "rpm large 5.1.8-6.el9", "rpm python3-tool 3:2-1.el9"]
    content = path.read_bytes()
    for size in range(0, len(content), 4099):
        path.write_bytes(content[:size])
        assert {*named(inside.installed())} <= {"rpm bash 5.1.8-6.el9", "rpm large 5.1.8-6.el9",
                                               "rpm python3-tool 3:2-1.el9"}  # fmt: skip


def test_python_distributions_are_those_that_no_package_brings(inside: Any, tree: Path) -> None:
    theirs, metadata = "usr/lib/python3/dist-packages", "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"
    put(tree, {
        f"{theirs}/yaml-6.0.dist-info/METADATA": metadata.format("PyYAML", "6.0"),
        f"{theirs}/six-1.egg-info": metadata.format("six", "1"),
        f"{theirs}/by_hand-3.egg-info/PKG-INFO": metadata.format("by-hand", "3"),
        "var/lib/dpkg/info/python3-yaml.list": f"/{theirs}\n/{theirs}/yaml-6.0.dist-info/METADATA\n",
        "var/lib/dpkg/info/python3-six.list": f"/{theirs}/six-1.egg-info\n",
        "usr/local/lib/python3.11/dist-packages/hammers-0.3.dist-info/METADATA":
            metadata.format("hammers", "0.3") + "License: MIT\n\nVersion: of the description\n",
        "opt/agent/lib/python3.12/site-packages/agent-2.dist-info/METADATA":
            metadata.format("agent", "2") + f"License: {'long ' * 99}\nLicense-Expression: Apache-2.0\n",
        "opt/agent/lib/python3.12/site-packages/torn-1.dist-info/METADATA": "Name: torn\n",
    })  # fmt: skip
    assert inside.installed() == [
        {"type": "pypi", "name": "agent", "version": "2", "licence": "Apache-2.0",
         "path": "/opt/agent/lib/python3.12/site-packages/agent-2.dist-info"},
        {"type": "pypi", "name": "by-hand", "version": "3", "path": f"/{theirs}/by_hand-3.egg-info"},
        {"type": "pypi", "name": "hammers", "version": "0.3", "licence": "MIT",
         "path": "/usr/local/lib/python3.11/dist-packages/hammers-0.3.dist-info"},
    ]  # fmt: skip


def test_rpms_own_python_distributions_are_left_out(inside: Any, tree: Path) -> None:
    folder = "usr/lib/python3.9/site-packages"
    put(tree, {f"{folder}/{each}-2.dist-info/METADATA": f"Name: {each}\nVersion: 2\n" for each in ("tool", "pipped")})
    sqlite(tree, header(TOOL))
    assert named(inside.installed()) == ["pypi pipped 2", "rpm python3-tool 3:2-1.el9"]
