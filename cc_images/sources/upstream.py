"""Upstream: the present state of the sources of an image's packages, each address as one digest.

An address is one of a repository's files whose content changes with the repository, by its URL: apt's InRelease, yum's
repomd.xml, the checksum file of a base image; or `git+<url>#<ref>`. Which addresses belong to an image is not guessed:
its build notes what it really read (see `seen`). To add a kind of address: a prefix in PROBES.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cc_images import clock
from cc_images.errors import CCImagesError
from cc_images.host import environment, process, record_files
from cc_images.host.files import write_json
from cc_images.model import record_shapes
from cc_images.model.recipe import merged
from cc_images.model.redaction import without_secrets
from cc_images.sources import images

AT_ONCE = 8
"""Addresses that are asked at a time."""

TIMEOUT = 10.0
"""Seconds that an address has to answer, and may be silent."""

PATIENCE = 30.0
"""Seconds that all addresses together get."""

LARGEST = 64 << 20
"""Bytes above which an answer is no index of a repository."""

VERIFIED = frozenset({"apt", "yum", "cc-lists"})
"""Parts of dib's cache that package managers compare with what a repository has signed."""

_QUOTED = re.compile(r"[\\|{}\[\]<>\"^~_=!@#$%^&*]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The last answer of an address: its digest, and when it was asked (UTC).

    `etag` and `modified` spare the next transfer.
    """

    digest: str
    when: str
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The known state of some addresses: digests by address, and why some of them could not be asked."""

    digests: Mapping[str, str]
    troubles: Mapping[str, str]


def look(
    addresses: Iterable[str],
    memory: Path,
    *,
    offline: bool = False,
    stop: threading.Event | None = None,
    patience: float = PATIENCE,
) -> State:
    """Ask all addresses at once and remember the answers in the file `memory`.

    An address that does not answer, or `offline`, is taken for what was remembered of it, and is among the troubles.
    """
    wanted = sorted(set(addresses))
    known = remembered(memory)
    if offline or not wanted:
        return State(
            digests={address: known[address].digest for address in wanted if address in known},
            troubles=dict.fromkeys(wanted, "it was not asked (--offline)"),
        )

    deadline = time.monotonic() + patience

    def over() -> bool:
        return time.monotonic() > deadline or (stop is not None and stop.is_set())

    def ask(address: str) -> Seen | str:
        if over():
            return "there was no time left to ask it"
        probe = next((probe for prefix, probe in PROBES.items() if address.startswith(prefix)), None)
        if probe is None:
            return "nothing here can ask it"
        try:
            return probe(address, known.get(address), over)
        except (OSError, ValueError, http.client.HTTPException, CCImagesError) as error:
            return f"it did not answer ({without_secrets(str(error)) or type(error).__name__})"

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upstream") as pool:
        answers = dict(zip(wanted, pool.map(ask, wanted), strict=True))
    fresh = {address: answer for address, answer in answers.items() if isinstance(answer, Seen)}
    if fresh:
        with suppress(OSError):  # a full or foreign store must not keep anybody from looking
            told = {address: asdict(seen) for address, seen in (known | fresh).items()}
            write_json(memory, record_files.encoded(record_shapes.MemoryShape, told))
    together = known | fresh
    return State(
        digests={address: together[address].digest for address in wanted if address in together},
        troubles={address: answer for address, answer in answers.items() if isinstance(answer, str)},
    )


def seen(out: Path) -> dict[str, str]:
    """Return what a build has read, by address, from the notes that it left in its folder `out`.

    `apt-sources` has apt's sources as they were in the tree, `apt-lists` the digests of the indices by the names that
    apt gives them, both at several moments of the build; `upstream` has lines of address and digest from elements that
    know of more; `cache.json` the files in dib's cache. A download whose address cannot be asked (or shown:
    a password) gets an address that no probe takes, so that its build does not count as fresh for ever.
    """
    addresses = {_apt_name(address): address for address in _apt_indices(out / "apt-sources")}
    steps: list[dict[str, str]] = []
    for line in _lines(out / "apt-lists"):
        digest, _, name = line.partition(" ")
        name = name.strip()
        name = name.removeprefix("./")
        steps.append({shown(addresses.get(name, f"apt:{name}"), f"apt:{name}"): digest})
    for line in _lines(out / "upstream"):
        address, _, digest = line.strip().rpartition(" ")
        if address:
            steps.append({shown(address.strip(), f"private:{without_secrets(address.strip())}"): digest})
    steps += [{f"downloads:{unit}": "-"} for unit in _other_downloads(out / "cache.json")]
    return merged(*steps)


def shown(address: str, otherwise: str) -> str:
    """Return an address, or the other text when it holds what may be a secret."""
    return address if address == without_secrets(address) else otherwise


def _other_downloads(listing: Path) -> set[str]:
    """Return what a build has in dib's cache besides packages: base images and repositories, whose state is unknown."""
    said = record_files.found(listing, record_shapes.DownloadsShape)
    if not said:
        return set()
    units = {path.partition("/")[0] for path in (*said["kept"], *said["new"])}
    return {unit for unit in units - VERIFIED if not unit.endswith(".lock")}


def _apt_indices(sources: Path) -> Iterator[str]:
    """Yield the addresses that apt may read indices from, by its sources in both formats; see sources.list(5)."""
    places: list[tuple[str, str]] = []
    stanza: dict[str, str] = {}
    field = ""
    for line in [*_lines(sources, blank=True), ""]:
        words = re.sub(r"\[.*?\]", "", line).split()
        if words[:1] == ["deb"] and len(words) > 2:
            places.append((words[1], words[2]))
        elif not words:
            suites = stanza.get("suites", "").split()
            places += [(uri, suite) for uri in stanza.get("uris", "").split() for suite in suites]
            stanza, field = {}, ""
        elif line[0] in " \t":
            stanza[field] = f"{stanza.get(field, '')} {line}"
        elif ":" in line and not line.startswith("#"):
            field = line.partition(":")[0].strip().lower()
            stanza[field] = line.partition(":")[2]
    for uri, suite in places:
        folder = suite if suite.endswith("/") else f"dists/{suite}/"
        for index in ("InRelease", "Release"):
            yield f"{uri.rstrip('/')}/{folder.lstrip('/')}{index}"


def _lines(path: Path, blank: bool = False) -> list[str]:
    lines = record_files.text(path).splitlines()
    return [line for line in lines if blank or line.strip()]


def _apt_name(address: str) -> str:
    """Return what apt calls the file of an address in its lists; rule: URItoFileName in apt-pkg/contrib/strutl.cc."""
    plain = address.partition("://")[2].rpartition("@")[2]
    return _QUOTED.sub(lambda found: f"%{ord(found[0]):02x}", plain).replace("/", "_")


def remembered(memory: Path) -> dict[str, Seen]:
    """Return what mirrors have answered, by address; what cannot be read is not known."""
    known = {each.name for each in fields(Seen)}
    found = record_files.entries(memory, record_shapes.SeenShape)
    return {
        address: Seen(**{name: value for name, value in said.items() if name in known})
        for address, said in found.items()
    }


def _web(address: str, known: Seen | None, over: Callable[[], bool]) -> Seen:
    """Return the sha256 of what an address serves; a server that says that nothing has changed need not send it."""
    request = urllib.request.Request(address, headers={"User-Agent": "cc-images"})
    if known is not None and known.etag:
        request.add_header("If-None-Match", known.etag)
    elif known is not None and known.modified:
        request.add_header("If-Modified-Since", known.modified)
    now = clock.now().isoformat()
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            length = answer.headers.get("Content-Length")
            if int(length or 0) > LARGEST:
                raise ValueError(f"more than {LARGEST >> 20} MiB")
            content = hashlib.sha256()
            got = 0
            while chunk := answer.read1(1 << 16):
                content.update(chunk)
                got += len(chunk)
                if got > LARGEST:
                    raise ValueError(f"more than {LARGEST >> 20} MiB")
                if over():
                    raise TimeoutError("too slow")
            if length is not None and got != int(length):
                raise ValueError(f"broke off after {got} of {length} bytes")
            etag, modified = answer.headers.get("ETag") or "", answer.headers.get("Last-Modified") or ""
    except urllib.error.HTTPError as error:
        if error.code == 304 and known is not None:
            return Seen(digest=known.digest, when=now, etag=known.etag, modified=known.modified)
        raise
    return Seen(digest=content.hexdigest(), when=now, etag=etag, modified=modified)


def _git(address: str, known: Seen | None, over: Callable[[], bool]) -> Seen:
    """Return the commit that a reference of a repository stands for: a branch, else a tag, else the name as it is."""
    repository, _, ref = address.removeprefix("git+").partition("#")
    env = environment.whole("GIT_", GIT_TERMINAL_PROMPT="0")
    said = process.run(["git", "ls-remote", repository], env=env, timeout=TIMEOUT * 3)
    found = {line[1]: line[0] for line in re.findall(r"^([0-9a-f]{40,64})\t(\S+)$", said, re.MULTILINE)}
    wanted = ref or "HEAD"
    for name in (f"refs/heads/{wanted}", f"refs/tags/{wanted}^{{}}", f"refs/tags/{wanted}", wanted):
        if name in found:
            return Seen(digest=found[name], when=clock.now().isoformat())
    raise ValueError(f"there is no {wanted}")


def _registry(address: str, known: Seen | None, over: Callable[[], bool]) -> Seen:
    """Return the digest of what a reference of a registry stands for: of an index where there are several images."""
    script = 'skopeo inspect --raw "$@" | sha256sum'
    command = ["bash", "-o", "pipefail", "-c", script, "inspect", *images.tls(address), address]
    try:
        said = process.run(command, env=environment.whole(), timeout=TIMEOUT * 3)
    except process.CommandFailed as error:
        told = re.findall(r'msg="((?:[^"\\]|\\.)*)"', "\n".join(error.tail))
        raise ValueError(told[-1].replace("\\", "") if told else str(error)) from error
    if (found := re.search(r"^([0-9a-f]{64})  -$", said, re.MULTILINE)) is None:
        raise ValueError("no digest was told")
    return Seen(digest=f"sha256:{found[1]}", when=clock.now().isoformat())


Probe = Callable[[str, Seen | None, Callable[[], bool]], Seen]

PROBES: Mapping[str, Probe] = {
    "http://": _web,
    "https://": _web,
    "git+": _git,
    "docker://": _registry,
    "downloads:cc-lists": lambda address, known, over: Seen(digest="-", when=clock.now().isoformat()),
}
"""The function that asks an address, by how the address begins."""
