"""The packages of an image by its own databases: dpkg's, RPM's (SQLite or Berkeley DB), and Python's in system paths.

Reads the files of databases and runs none of the image's programs, which may be of another architecture. Runs beside
`look.py` with the standard library only; knows nothing of cc_images.

A package is a mapping of texts: `type` (`deb`, `rpm`, `pypi`), `name` and `version`; where known `arch`, `source` and
`source-version` of its source package, `licence`, and `path` of a Python distribution that no other package brings.
"""

from __future__ import annotations

import os
import re
import sqlite3
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from cc_images.boottest.inside import system
else:  # a script has no package
    import system

Package = dict[str, str]

PYTHON = tuple(
    f"{place}/python3*/{kind}-packages/*.{ending}-info"
    for place, kinds in (
        ("usr/lib", ("dist", "site")), ("usr/lib64", ("site",)), ("usr/local/lib", ("dist", "site")),
        ("usr/local/lib64", ("site",)), ("opt/*/lib", ("site",)),
    )
    for kind in kinds
    for ending in ("dist", "egg")
)  # fmt: skip
"""Where Python distributions for all users are, as glob patterns."""

METADATA = ("METADATA", "PKG-INFO")
"""The file that describes a distribution, in the folder of a wheel and in that of an egg."""

ORDER = ("type", "name", "version", "arch", "path")

PARAGRAPH = re.compile(r"^(Package|Status|Version|Architecture|Source): (.*)$", re.MULTILINE)
FIELDS = re.compile(r"^(Name|Version|License|License-Expression): *(.*?)\r?$", re.MULTILINE)

SQLITE = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
BERKELEY = ("/usr/lib/sysimage/rpm/Packages", "/var/lib/rpm/Packages")

NAME, VERSION, RELEASE, EPOCH, LICENCE, ARCH, SOURCE = 1000, 1001, 1002, 1003, 1014, 1022, 1044
INDICES, BASENAMES, FOLDERS = 1116, 1117, 1118
"""Tags of an RPM header; see rpmtag.h."""

WIDTHS = {4: "I", 6: "", 8: "", 9: ""}
"""Types of the tags above: numbers of 32 bits, and three kinds of texts."""

MOST_STEPS = 200_000
"""Thousands of SQLite's instructions that a query may take: what a table is, the image's author decides."""

LEAST_PAGE, MOST_PAGE = 512, 1 << 16
"""Bytes of a page in Berkeley DB's format."""

MOST_VALUE = 1 << 26
"""Bytes of one RPM header at most."""

LONGEST = 200
"""Characters of a licence; a longer one is its text and no name."""


def installed(steps: int = MOST_STEPS) -> list[Package]:
    """Return all packages, sorted; `steps` bounds what reading RPM's database may take."""
    packages, owned = _dpkg(), _listed_by_dpkg()
    for header in _headers(steps):
        try:
            packages += _rpm(header)
            owned |= _files(header)
        except (struct.error, IndexError, ValueError):  # no header, or a damaged one
            continue
    return sorted(packages + _python(owned), key=lambda each: [each.get(name, "") for name in ORDER])


def _package(**fields: str) -> Package:
    return {name.replace("_", "-"): value for name, value in fields.items() if value}


# -- dpkg --------------------------------------------------------------------------------------------------------------


def _dpkg() -> list[Package]:
    """Return the packages that dpkg's status has as installed."""
    found = []
    for paragraph in system.text("/var/lib/dpkg/status").split("\n\n"):
        said: Package = dict(PARAGRAPH.findall(paragraph))
        if not (said.get("Status", "").endswith(" installed") and said.get("Package") and said.get("Version")):
            continue
        source, _, version = said.get("Source", said["Package"]).partition(" ")
        found.append(
            _package(
                type="deb",
                name=said["Package"],
                version=said["Version"],
                arch=said.get("Architecture", ""),
                source=source,
                source_version=version.strip("()") or said["Version"],
            )
        )
    return found


def _listed_by_dpkg() -> set[str]:
    """Return the descriptions of Python distributions that packages of dpkg's bring."""
    lists = (system.text("/" + name) for name in system.names("var/lib/dpkg/info/*.list"))
    return {line for text in lists for line in text.splitlines() if _describes(line.rpartition("/")[2])}


def _describes(name: str) -> bool:
    return name in METADATA or name.endswith(".egg-info")


# -- RPM ---------------------------------------------------------------------------------------------------------------


def _headers(steps: int) -> Iterator[bytes]:
    """Yield the header of each package from the first of RPM's databases that there is."""
    for path in SQLITE:
        if os.path.isfile(path):
            yield from _of_sqlite(path, steps)
            return
    for path in BERKELEY:
        if os.path.isfile(path):
            yield from _of_berkeley(path)
            return


def _of_sqlite(path: str, steps: int) -> Iterator[bytes]:
    """Yield the headers of a database in SQLite's format; nothing from one that is damaged."""
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        left = iter(range(steps))
        database.set_progress_handler(lambda: next(left, None) is None, 1000)
        for (blob,) in database.execute("SELECT blob FROM Packages ORDER BY hnum"):
            if isinstance(blob, bytes):
                yield blob
    except sqlite3.Error:
        return


def _of_berkeley(path: str) -> Iterator[bytes]:
    """Yield the values of a hash in Berkeley DB's format, see its dbinc/db_page.h; nothing from another file."""
    with open(path, "rb") as file:
        meta = file.read(LEAST_PAGE).ljust(LEAST_PAGE, b"\0")
        order = next((each for each in "<>" if meta[12:16] == struct.pack(f"{each}I", 0x00061561)), "")
        if not order:
            return
        size, last = (struct.unpack_from(f"{order}I", meta, at)[0] for at in (20, 32))
        if not LEAST_PAGE <= size <= MOST_PAGE:
            return
        pages = _Pages(file, order, size, min(last, os.fstat(file.fileno()).st_size // size))
        for number in range(1, pages.last + 1):
            try:
                yield from pages.values(number)
            except (struct.error, IndexError):  # a damaged page
                continue


class _Pages:
    """The pages of a hash: byte order, size, and the number of the last one."""

    def __init__(self, file: BinaryIO, order: str, size: int, last: int) -> None:
        self._file, self._order, self._size, self.last = file, order, size, last

    def values(self, number: int) -> Iterator[bytes]:
        """Yield the values that are named on a page."""
        content = self._page(number)
        if content[25] not in (2, 13):  # a page of a hash, unsorted or sorted
            return
        (entries,) = self._numbers("H", content, 20)
        offsets = self._numbers(f"{entries}H", content, 26)
        for key, at in zip(offsets[::2], offsets[1::2], strict=False):
            if content[at] == 1:  # the value is on the page, and ends where its key begins
                yield content[at + 1 : key]
            elif content[at] == 3:  # it is on pages of its own
                first, length = self._numbers("2I", content, at + 4)
                yield self._overflowing(first, min(length, MOST_VALUE))

    def _overflowing(self, number: int, length: int) -> bytes:
        value = b""
        while 0 < number <= self.last and len(value) < length:
            content = self._page(number)
            (number,), (used,) = self._numbers("I", content, 16), self._numbers("H", content, 22)
            if not used:
                break
            value += content[26 : 26 + used]
        return value[:length]

    def _page(self, number: int) -> bytes:
        self._file.seek(number * self._size)
        return self._file.read(self._size)

    def _numbers(self, form: str, content: bytes, at: int) -> tuple[int, ...]:
        return struct.unpack_from(f"{self._order}{form}", content, at)


def _rpm(header: bytes) -> list[Package]:
    """Return the package of a header; nothing for a key, which RPM keeps as one."""
    said = _tags(header, NAME, VERSION, RELEASE, EPOCH, LICENCE, ARCH, SOURCE)
    name, version, release, epoch, licence, arch, source = (str(each[0]) if each else "" for each in said)
    if name == "gpg-pubkey" or not (name and version):
        return []
    made_from = re.match(r"(.+)-([^-]+-[^-]+)\.(?:no)?src\.rpm\Z", source)
    return [
        _package(
            type="rpm",
            name=name,
            version=f"{f'{epoch}:' if epoch not in ('', '0') else ''}{version}-{release}",
            arch=arch,
            source=made_from[1] if made_from else "",
            source_version=made_from[2] if made_from else "",
            licence=licence[:LONGEST],
        )
    ]


def _files(header: bytes) -> set[str]:
    """Return the descriptions of Python distributions that a package brings."""
    names, indices, folders = _tags(header, BASENAMES, INDICES, FOLDERS)
    pairs = zip(names, indices, strict=False)
    return {f"{folders[int(index)]}{name}" for name, index in pairs if _describes(str(name))}


def _tags(header: bytes, *wanted: int) -> list[list[str | int]]:
    """Return the values of some tags of a header. Raises struct.error, IndexError or ValueError for none."""
    entries = struct.unpack_from(">I", header)[0]
    if entries * 16 > len(header):
        raise ValueError
    base, found = 8 + 16 * entries, dict[int, list[str | int]]()
    for number in range(entries):
        tag, kind, offset, count = struct.unpack_from(">4I", header, 8 + 16 * number)
        if tag not in wanted or kind not in WIDTHS or count > len(header):
            continue
        if WIDTHS[kind]:
            found[tag] = list(struct.unpack_from(f">{count}{WIDTHS[kind]}", header, base + offset))
        else:
            texts = header[base + offset :].split(b"\0", count)[:count]
            found[tag] = [each.decode(errors="replace") for each in texts]
    return [found.get(tag, []) for tag in wanted]


# -- Python ------------------------------------------------------------------------------------------------------------


def _python(owned: set[str]) -> list[Package]:
    """Return the distributions that no other package brings."""
    found = []
    for name in system.names(*PYTHON):
        places = (f"/{name}", *(f"/{name}/{file}" for file in METADATA))  # an old egg's is a file itself
        described, text = next(((each, text) for each in places if (text := system.text(each))), ("", ""))
        said: Package = dict(FIELDS.findall(text.partition("\n\n")[0]))
        if described in owned or not (said.get("Name") and said.get("Version")):
            continue
        licence = said.get("License-Expression") or said.get("License", "")
        found.append(
            _package(
                type="pypi",
                name=said["Name"],
                version=said["Version"],
                licence=licence if len(licence) <= LONGEST and licence != "UNKNOWN" else "",
                path=f"/{name}",
            )
        )
    return found
