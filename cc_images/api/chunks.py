"""Chunks: what a version costs when another one is there, and images put together from a folder of chunks."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cc_images.api.inspect import Bench, looking, one_of, stored
from cc_images.api.trust import require_signed
from cc_images.boottest import inspector
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Interrupted, Reason, UserError
from cc_images.host import chunks, environment, process
from cc_images.model.catalog import Arch, Json
from cc_images.model.stop import Stop
from cc_images.outputs import qcow2
from cc_images.planner.selection import names_images
from cc_images.store.records import Store
from cc_images.store.workspace import Run

AT_ONCE = 8
"""Chunks that are fetched at the same time."""

TIMEOUT = 60.0
"""Seconds that a server may be silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The cost of a version where an older one is: bytes, compressed; `size` is that of all its chunks."""

    old: str
    new: str
    size: int
    added: int
    chunks: int
    """How many chunks are new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An image that was put together: its file, and how many of its bytes, compressed, came over the network."""

    file: Path
    sha512: str
    received: int
    reused: int


def delta(config: Config, old: str, new: str, arches: Sequence[Arch], *, bench: Bench | None = None) -> Delta:
    """Return what a new version costs a folder of chunks that has the old one.

    Each is a tag of the catalogue, `TAG@VERSION`, or a qcow2 or raw file. Raises UserError for what is none of them.
    """
    chunks.tool()
    with looking(config, bench) as (store, run, stop):
        there = run.work / chunks.STORE
        titles = []
        for number, what in enumerate((old, new)):
            title, file = _named(config, store, run, what, arches)
            titles.append(title)
            before = chunks.size(there)
            chunks.make(
                _raw(file, run.work / "disk.raw", stop), run.work / f"{number}.{chunks.SUFFIX}", there, stop=stop
            )
        first, second = ({each.id: each for each in chunks.listed(run.work / f"{n}.{chunks.SUFFIX}")} for n in (0, 1))
        return Delta(
            old=titles[0],
            new=titles[1],
            size=chunks.size(there, second.values()),
            added=chunks.size(there) - before,
            chunks=len(second.keys() - first.keys()),
        )


def _named(config: Config, store: Store, run: Run, what: str, arches: Sequence[Arch]) -> tuple[str, Path]:
    """Return the title and file of what a person named."""
    tag, _, version = what.lower().partition("@")
    if names_images(tag, config) and not Path(what).is_file():
        image, arch = one_of(config, tag, arches)
        build, output = stored(store, image, arch, version.upper())
        return f"{image.tag} {arch} {build.version}", run.use(store.blobs.path(output.digest))
    if Path(what).is_file():
        return what, Path(what)
    raise UserError(
        f"{what} is neither an image of the catalogue nor a file",
        hint="name a tag, TAG@VERSION, or a file",
        reason=Reason.UNKNOWN_IMAGE,
    )


def _raw(file: Path, target: Path, stop: Stop) -> Path:
    """Return an image as a raw file. Raises UserError for one that refers to other files of this host."""
    file = file.resolve()
    if inspector.self_contained(file, stop) == "raw":
        return file
    argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(file), str(target)]
    process.run(argv, env=environment.plain(), stop=stop)
    return target


# -- fetch -------------------------------------------------------------------------------------------------------------


def fetch(
    source: str,
    target: Path,
    seed: Path | None,
    *,
    cores: int,
    stop: Stop,
    report: Callable[[int, int], None],
    trusted: Path | None = None,
) -> Fetched:
    """Put an image together from a folder of chunks, here or on the web; `source` names its index.

    What `seed`, an older image's file, has is not fetched. Chunks are kept beside the target until it is whole, so a
    fetch that was stopped goes on where it ended. `report` gets how many chunks are here, of how many. The target is a
    qcow2 file with the digest of the published one, or the raw disk where its name ends in `.raw`.

    With `trusted`, a file of keys, nothing is fetched that none of them has signed: what is signed is the qcow2 file.

    Raises UserError for a source that is none, and CCImagesError (reason `fetch`, `digest` or `signature`).
    """
    chunks.tool()
    if target.exists():
        raise UserError(f"{target} exists", hint="name another file with -o, or remove it")
    if seed is not None and not seed.is_file():
        raise UserError(f"{seed} is no file", hint="--seed names an older image", reason=Reason.MISSING_FILE)
    base, _, name = source.rpartition("/")
    if not name.endswith(f".{chunks.SUFFIX}"):
        raise UserError(f"{source} is no index of chunks", hint=f"its name ends in .{chunks.SUFFIX}")
    said = _description(_read(f"{source}.json"), source)
    if trusted is not None:
        _require_signed(said, target, trusted)
    content = _read(source)
    if hashlib.sha512(content).hexdigest() != said["index_sha512"]:
        raise _damaged(source)
    work = target.with_name(f".{target.name}.fetch")
    work.mkdir(parents=True, exist_ok=True)
    index, there = work / f"disk.{chunks.SUFFIX}", work / chunks.STORE
    index.write_bytes(content)
    if seed is not None and not (work / "seeded").exists():
        chunks.make(_raw(seed, work / "seed.raw", stop), work / f"seed.{chunks.SUFFIX}", there, stop=stop)
        (work / "seed.raw").unlink(missing_ok=True)
        (work / "seeded").touch()
    wanted = chunks.lacking(index, there)
    received = _fetch(wanted, f"{base or '.'}/{chunks.STORE}", there, stop, report)
    raw = work / "disk.raw"
    try:
        chunks.extract(index, raw, there, stop=stop)
        with raw.open("rb") as whole:
            right = hashlib.file_digest(whole, "sha256").hexdigest() == said["raw_sha256"]
    except process.CommandFailed as error:  # a chunk is not what its name says, and nobody knows which
        shutil.rmtree(work)
        raise _damaged(source) from error
    if not right:
        shutil.rmtree(work)
        raise _damaged(source)
    reused = chunks.size(there, chunks.listed(index)) - received
    sha512 = _placed(raw, target, said, cores, stop)
    shutil.rmtree(work)
    return Fetched(file=target, sha512=sha512, received=received, reused=reused)


def _require_signed(said: Json, target: Path, trusted: Path) -> None:
    """Raise CCImagesError unless a trusted key has signed the file that will be written."""
    if target.suffix == ".raw":
        raise UserError(
            f"the signature is about the qcow2 file, and {target} is to be a raw disk",
            hint="give -o a name that ends in .qcow2, and convert that",
        )
    properties = said.get("properties")
    require_signed(properties if isinstance(properties, dict) else {}, ("sha512", str(said.get("sha512"))), trusted)


def _placed(raw: Path, target: Path, said: Json, cores: int, stop: Stop) -> str:
    """Put the finished file into its place, and return its digest."""
    if target.suffix == ".raw":
        raw.rename(target)
        with target.open("rb") as whole:
            return hashlib.file_digest(whole, "sha512").hexdigest()
    staged = raw.with_name("disk.qcow2")
    written = qcow2.write(raw, staged, cores=cores, stop=stop)
    if said.get("sha512") not in (None, "", written.sha512):
        raise CCImagesError(
            "the disk is right, and its qcow2 file is not the published one: another version of cc-images wrote that",
            hint="take the raw disk: give -o a name that ends in .raw",
            reason=Reason.DIGEST,
        )
    staged.rename(target)
    return written.sha512


def _fetch(
    wanted: Sequence[chunks.Chunk], source: str, there: Path, stop: Stop, report: Callable[[int, int], None]
) -> int:
    """Bring chunks into a store, each whole or not at all; return how many bytes came."""
    received = done = 0

    def one(chunk: chunks.Chunk) -> int:
        if stop.is_set():
            raise Interrupted("the fetch was stopped")
        content = _read(chunk.place(source))
        place = Path(chunk.place(str(there)))
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = place.with_suffix(".part")
        staged.write_bytes(content)
        staged.rename(place)
        return len(content)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for size in pool.map(one, wanted):
                received, done = received + size, done + 1
                report(done, len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return received


def _read(place: str) -> bytes:
    """Return the bytes of a file, here or on the web. Raises CCImagesError (reason `fetch`)."""
    if not place.startswith(("http://", "https://")):
        try:
            return Path(place.removeprefix("file://")).read_bytes()
        except OSError as error:
            raise _unread(place, error.strerror or "unreadable") from error
    try:
        with urllib.request.urlopen(quote(place, safe="/:?&=%@+,;~"), timeout=TIMEOUT) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise _unread(place, f"the server says {error.code}") from None
    except (OSError, ValueError) as error:
        raise _unread(place, str(getattr(error, "reason", error))) from None


def _unread(place: str, why: str) -> CCImagesError:
    return CCImagesError(
        f"{place.rpartition('/')[2]} cannot be fetched: {why}",
        hint="what has come is kept: the same command goes on from there",
        reason=Reason.FETCH,
        temporary=True,
    )


def _description(content: bytes, source: str) -> Json:
    """Return what is said of an image beside its index. Raises UserError for anything else."""
    try:
        said = json.loads(content)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not all(isinstance(said.get(key), str) for key in ("index_sha512", "raw_sha256")):
        raise UserError(
            f"{source}.json does not describe an image that is kept as chunks",
            hint="is the site one with `chunks: yes`?",
        )
    return said


def _damaged(source: str) -> CCImagesError:
    return CCImagesError(
        f"{source} is not what its description says", hint="fetch it again; else tell who publishes it",
        reason=Reason.DIGEST,
    )  # fmt: skip
