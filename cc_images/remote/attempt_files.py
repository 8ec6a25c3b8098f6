"""Attempts in the store of the head: who does which tasks where, what the builder host says, and its result.

    attempts/<attempt>/     mode 0700; made whole under another name, then renamed
        claim.json          who does which tasks where
        token               sha256 of the token, in hex
        bundle.json         what the builder host does
        inputs.json         digests of the blobs that it may read
        secrets.json        for a trusted builder host; removed when it is read
        stream              what the builder host says: events and logs, appended
        lease.json          the last lease that was granted
        stop, fenced        ask the builder host to end; refuse it from now on, and why
        result.json         written once
        over                no process of it is left, by what a run has seen
        partial/<digest>    an output that is on its way (see `outputs`)
        put/, had/<digest>  names of blobs: outputs that have arrived, and those that the store had already
        lock                held for a moment by what reads and writes lease, fence, secrets or result

A lease is on disk before it is answered, and never granted after a fence: the fence and the last grant say until when
the builder host may be at work. Bytes come in without any lock of the store.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import json
import os
import secrets as random
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.host.files import clear_errors, flush_folder, locked, write_bytes, write_json
from cc_images.model import attempt_shapes
from cc_images.model.attempt import ATTEMPT, Claim, Grant, Lease
from cc_images.model.catalog import Json
from cc_images.model.record_shapes import Shape
from cc_images.remote.outputs import Outputs
from cc_images.remote.protocol import Fenced, Limits
from cc_images.store.records import Store

LIMITS = Limits()


class StreamFull(Exception):
    """A builder host says more than it may."""


class AttemptFiles:
    """The folder of one attempt."""

    def __init__(self, store: Store, attempt: str) -> None:
        if not ATTEMPT.fullmatch(attempt):
            raise ValueError(f"{attempt!r} is no attempt")
        self.attempt = attempt
        self.folder = store.root / "attempts" / attempt
        self.stream = self.folder / "stream"
        self.outputs = Outputs(store, self.folder)
        self._root = store.root

    def create(
        self, claim: Claim, token: str, bundle: Json, inputs: Collection[str], secrets: Json | None = None
    ) -> None:
        """Write the attempt. Raises FileExistsError when it is there, and CCImagesError."""
        assert claim.attempt == self.attempt
        staged = self.folder.with_name(f".{self.attempt}.{random.token_hex(4)}")
        listed = {"digests": sorted(set(inputs))}
        try:
            with clear_errors(self._root):
                staged.parent.mkdir(parents=True, exist_ok=True)
                staged.mkdir(mode=0o700)
                write_json(staged / "claim.json", record_files.encoded(attempt_shapes.ClaimShape, asdict(claim)))
                write_bytes(staged / "token", _hidden(token).encode())
                write_json(staged / "bundle.json", bundle)
                write_json(staged / "inputs.json", record_files.encoded(attempt_shapes.InputsShape, listed))
                if secrets is not None:
                    _write_secrets(staged / "secrets.json", secrets)
                for name in ("partial", "put", "had"):
                    (staged / name).mkdir()
                write_bytes(staged / "stream", b"")
                staged.rename(self.folder)
                flush_folder(self.folder.parent)
        except OSError as error:
            shutil.rmtree(staged, ignore_errors=True)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise FileExistsError(error.errno, "the attempt is there", str(self.folder)) from None
            raise
        except CCImagesError:
            shutil.rmtree(staged, ignore_errors=True)
            raise

    # -- the head's word ----------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Say whether there is such an attempt."""
        return (self.folder / "claim.json").is_file()

    def claim(self) -> Claim:
        """Return who does which tasks where. Raises CCImagesError."""
        known = Claim.__dataclass_fields__
        plain = {
            key: value for key, value in self._loaded("claim.json", attempt_shapes.ClaimShape).items() if key in known
        }
        return Claim(**plain | {"tasks": tuple(plain["tasks"])})

    def bundle(self) -> Json:
        """Return what the builder host does. Raises CCImagesError."""
        return self._loaded("bundle.json", Shape)

    def inputs(self) -> frozenset[str]:
        """Return the digests of the blobs that the attempt may read. Raises CCImagesError."""
        return frozenset(self._loaded("inputs.json", attempt_shapes.InputsShape)["digests"])

    def admits(self, token: str) -> bool:
        """Say whether this is the attempt's token."""
        try:
            known = (self.folder / "token").read_text()
        except OSError:
            return False
        return hmac.compare_digest(known.encode(), _hidden(token).encode())

    def ask_to_stop(self) -> None:
        """Ask the builder host to end: its next lease says so."""
        with clear_errors(self._root):
            write_bytes(self.folder / "stop", b"")

    def fence(self, why: str) -> None:
        """Refuse every call from now on; the first reason stays. No lease is granted afterwards."""
        with self._locked():
            if not (self.folder / "fenced").exists():
                write_bytes(self.folder / "fenced", (why or "fenced").encode())

    def fenced(self) -> str:
        """Return why the attempt is fenced; empty for one that is not."""
        try:
            return (self.folder / "fenced").read_text(errors="replace") or "fenced"
        except FileNotFoundError:
            return ""

    # -- the builder host's -------------------------------------------------------------------------------------

    def grant(self, now: float, nonce: str, seconds: float = LIMITS.lease_seconds) -> Lease:
        """Grant a lease to the execution that asked first, which `nonce` names. Raises Fenced and CCImagesError."""
        with self._locked():
            self._require_open()
            before = self.last_grant()
            if before is not None and before.nonce != nonce:
                raise Fenced("another execution of it holds the lease")
            at = max(now, before.at) if before else now
            made = Grant(at=at, seconds=seconds, nonce=nonce, first=before.first if before else at)
            write_json(self.folder / "lease.json", record_files.encoded(attempt_shapes.GrantShape, asdict(made)))
        return Lease(seconds=seconds, stop=(self.folder / "stop").exists())

    def last_grant(self) -> Grant | None:
        """Return the last lease; None: there was never one. Raises CCImagesError when nobody can say."""
        if not (self.folder / "lease.json").exists():
            return None
        plain = self._loaded("lease.json", attempt_shapes.GrantShape)
        return Grant(**{key: plain[key] for key in Grant.__dataclass_fields__})

    def append(self, at: int, data: bytes, most: int = LIMITS.stream_bytes) -> int:
        """Append to the stream if it ends at byte `at`; return where it ends then.

        Raises StreamFull beyond `most` bytes, and CCImagesError when nothing can be written; then nothing was.
        """
        with clear_errors(self._root):
            descriptor = locked(self.stream, fcntl.LOCK_EX)
            try:
                end = os.fstat(descriptor).st_size
                if at != end:
                    return end
                if end + len(data) > most:
                    raise StreamFull
                try:
                    _write_all(descriptor, data, end)
                except OSError:
                    os.ftruncate(descriptor, end)
                    raise
                return end + len(data)
            finally:
                os.close(descriptor)

    def put_result(self, plain: Json) -> None:
        """Write the result, once; the same one again changes nothing.

        Raises Fenced, FileExistsError for another one, and CCImagesError.
        """
        with self._locked():
            self._require_open()
            if (known := self.result()) is not None:
                if known == plain:
                    return
                raise FileExistsError(errno.EEXIST, "there is a result", str(self.folder / "result.json"))
            write_json(self.folder / "result.json", plain)

    def result(self) -> Json | None:
        """Return the result, if there is one. Raises CCImagesError when it cannot be read."""
        if not (self.folder / "result.json").exists():
            return None
        return self._loaded("result.json", attempt_shapes.AttemptResultShape)

    def take_secrets(self) -> Json | None:
        """Return the secrets and forget them; None: there are none, or they were taken."""
        path = self.folder / "secrets.json"
        with self._locked():
            try:
                found: Json = json.loads(path.read_bytes())
            except FileNotFoundError:
                return None
            path.unlink()
            flush_folder(self.folder)
            return found

    # -- its end ------------------------------------------------------------------------------------------------

    def is_open(self) -> bool:
        """Say whether it may still bring something: it has no result and is not fenced."""
        return not any((self.folder / name).exists() for name in ("result.json", "fenced"))

    def note_over(self) -> None:
        """Note that no process of it is left: a later run could only wait for its lease once more."""
        with clear_errors(self._root):
            write_bytes(self.folder / "over", b"")

    def is_over(self) -> bool:
        """Say whether a run has seen that no process of it is left."""
        return (self.folder / "over").exists()

    def _require_open(self) -> None:
        if why := self.fenced():
            raise Fenced(why)

    def _loaded(self, name: str, shape: type[Shape]) -> Json:
        path = self.folder / name
        try:
            return record_files.load(path, shape)
        except (OSError, record_files.Damaged, record_files.Newer) as error:
            raise CCImagesError(
                f"{path} cannot be read: {error}",
                hint="use the cc-images that wrote it, and its user",
                reason=Reason.STORE_UNREADABLE,
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with clear_errors(self._root):
            descriptor = locked(self.folder / "lock", fcntl.LOCK_EX)
            try:
                yield
            finally:
                os.close(descriptor)


def every(store: Store) -> list[AttemptFiles]:
    """Return the attempts that a store has."""
    folder = store.root / "attempts"
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return [AttemptFiles(store, name) for name in names if ATTEMPT.fullmatch(name)]


def _hidden(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _write_secrets(path: Path, secrets: dict[str, Any]) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(json.dumps(secrets).encode())
        file.flush()
        os.fsync(file.fileno())


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
