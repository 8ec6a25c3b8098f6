"""What a head knows of machines in clouds: its records, and who waits for a machine or uses one.

    machines/head               the head's name in the tags of its machines: random, made once
    machines/<cluster>/
        records/<name>.json     a machine that was asked for; written before the cloud is
        wants/<id>.json         somebody who needs a machine, or has one; removed when that is over
        wants/<id>.lock         held by that process, as long as it lives; a scheduler's node has none

All of it is read and written under the store's lock `machines <cluster>`, which is never held while a cloud is asked.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import clear_errors, locked, try_lock, write_bytes, write_json
from cc_images.remote.machine_steps import Record, Want
from cc_images.store.records import Store

FORMAT = 1
LOCK = fcntl.LOCK_EX
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")


class MachineFiles:
    """The folder of one entry of builders.yaml."""

    def __init__(self, store: Store, cluster: str) -> None:
        self.cluster = cluster
        self._store = store
        self._folder = store.root / "machines" / cluster

    def head(self) -> str:
        """Return the head's name in the tags of machines. Raises CCImagesError."""
        path = self._folder.parent / "head"
        with clear_errors(self._store.root):
            if not path.exists():
                staged = path.with_name(f".head.{secrets.token_hex(4)}")
                write_bytes(staged, secrets.token_hex(8).encode())
                with suppress(FileExistsError):
                    os.link(staged, path)
                staged.unlink()
            return path.read_text()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of records and wants."""
        with self._store.lock(f"machines {self.cluster}"):
            yield

    # -- records, under the lock --------------------------------------------------------------------------------------

    def records(self) -> tuple[Record, ...]:
        """Return the records, the oldest first. Raises CCImagesError for one that cannot be read."""
        found = [Record(**plain) for plain in _read(self._folder / "records", Record)]
        return tuple(sorted(found, key=lambda each: (each.made, each.name)))

    def write(self, record: Record) -> None:
        """Write a record."""
        plain = {key: value for key, value in asdict(record).items() if key != "gone"}
        with clear_errors(self._store.root):
            write_json(self._folder / "records" / f"{record.name}.json", {"format": FORMAT, **plain})

    def change(self, name: str, **changes: Any) -> None:
        """Change a record, if it is there."""
        for record in self.records():
            if record.name == name:
                self.write(replace(record, **changes))

    def forget(self, name: str) -> None:
        """Remove a record."""
        (self._folder / "records" / f"{name}.json").unlink(missing_ok=True)

    # -- wants, under the lock ----------------------------------------------------------------------------------------

    def wants(self) -> tuple[Want, ...]:
        """Return who lives and needs a machine, the longest-waiting first; remove those whose process is dead."""
        found = []
        for plain in _read(self._folder / "wants", Want):
            want = Want(**plain)
            lock = self._want(want.id, "lock")
            if not want.node and (descriptor := try_lock(lock)) is not None:
                self.end(want.id)
                os.close(descriptor)
            else:
                found.append(want)
        return tuple(sorted(found, key=lambda each: (each.since, each.id)))

    def want(self, want: Want) -> int | None:
        """Write that somebody needs a machine; return the descriptor that holds the lock, None for a node."""
        with clear_errors(self._store.root):
            path = self._want(want.id, "lock")
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = None if want.node else locked(path, LOCK)
            write_json(self._want(want.id, "json"), {"format": FORMAT, **asdict(want)})
        return descriptor

    def serve(self, want: str, name: str) -> None:
        """Write that somebody has got a machine."""
        for each in self.wants():
            if each.id == want:
                write_json(self._want(want, "json"), {"format": FORMAT, **asdict(replace(each, served=name))})

    def end(self, want: str) -> None:
        """Remove who needs no machine any more."""
        self._want(want, "json").unlink(missing_ok=True)
        self._want(want, "lock").unlink(missing_ok=True)

    def _want(self, want: str, suffix: str) -> Path:
        if not _ID.match(want):
            raise ValueError(f"{want!r} is no name of somebody who needs a machine")
        return self._folder / "wants" / f"{want}.{suffix}"


def _read(folder: Path, kind: type[Record] | type[Want]) -> Iterator[dict[str, Any]]:
    """Yield what the files of a folder say, as far as this version knows the fields."""
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("."):
            continue
        try:
            plain = json.loads(path.read_bytes())
            if plain["format"] > FORMAT:
                raise ValueError("it was written by a newer cc-images")
            yield {key: plain[key] for key in kind.__dataclass_fields__ if key in plain}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CCImagesError(
                f"{path} cannot be read: {error}",
                hint="its machine may still be there: see the cloud, then remove the file",
                reason=Reason.STORE_UNREADABLE,
            ) from error
