"""Attempts in the store: made whole, bound to one execution, fenced for good, and spared by prune while open."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from cc_images.api import removal
from cc_images.errors import CCImagesError, UserError
from cc_images.host import record_files
from cc_images.host.files import write_bytes
from cc_images.model import attempt_shapes
from cc_images.model.attempt import Claim, Grant
from cc_images.model.record_shapes import Shape
from cc_images.remote.attempt_files import AttemptFiles, StreamFull, every
from cc_images.remote.outputs import Busy, Elsewhere
from cc_images.remote.protocol import Fenced, decoded_ticket, encoded_ticket
from cc_images.store.records import Store
from tests.conftest import GOLDEN, NOW
from tests.support import hubs

NAME = "a0123456789abcdef0123456789abcdef"
SHAPES: dict[str, type[Shape]] = {
    "claim": attempt_shapes.ClaimShape, "inputs": attempt_shapes.InputsShape, "grant": attempt_shapes.GrantShape,
    "ticket": attempt_shapes.TicketShape, "attempt-result": attempt_shapes.AttemptResultShape,
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_records_of_all_formats_are_read_and_written_again(name: str) -> None:
    found = record_files.load(GOLDEN / f"{name}-1.json", SHAPES[name])
    assert record_files.encoded(SHAPES[name], found) == json.loads((GOLDEN / f"{name}-1.json").read_text())


def test_golden_files_are_those_that_a_store_has(store: Store) -> None:
    golden = {name: json.loads((GOLDEN / f"{name}-1.json").read_text()) for name in SHAPES}
    plain = {key: value for key, value in golden["claim"].items() if key != "format"}
    claim = Claim(**plain | {"tasks": tuple(plain["tasks"])})
    files = AttemptFiles(store, NAME)
    files.create(claim, "t", {"format": 1}, golden["inputs"]["digests"])
    files.grant(1795329640.0, "4f2a9c")
    files.grant(1795329700.25, "4f2a9c")
    files.put_result(golden["attempt-result"])
    for name, file in (("claim", "claim"), ("inputs", "inputs"), ("grant", "lease"), ("attempt-result", "result")):
        assert json.loads((files.folder / f"{file}.json").read_text()) == golden[name]
    assert (files.claim(), files.inputs()) == (claim, frozenset(golden["inputs"]["digests"]))
    assert encoded_ticket(decoded_ticket(json.dumps(golden["ticket"]).encode())) == golden["ticket"]


def test_a_claim_of_an_older_version_has_no_owner(store: Store) -> None:
    files = hubs.attempt(store)
    path = files.folder / "claim.json"
    plain = json.loads(path.read_text())
    del plain["owner"]
    path.write_text(json.dumps(plain))
    assert files.claim().owner == ""


def test_a_ticket_that_is_none_is_not_quoted() -> None:
    for content in (b"", b"[]", b'{"token": "secret"}', b'{"format": 9, "token": "secret"}'):
        with pytest.raises(UserError) as raised:
            decoded_ticket(content)
        assert "secret" not in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize("name", ["", "..", "a", "b" * 33, NAME + "\n", NAME.upper(), f"../{NAME}"])
def test_a_name_that_is_no_attempt_leads_nowhere(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="is no attempt"):
        AttemptFiles(store, name)


def test_an_attempt_is_made_once_and_is_its_owners(store: Store) -> None:
    def make(_: int) -> bool:
        try:
            hubs.attempt(store)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(16))) == 1
    (files,) = every(store)
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    assert [path.name for path in files.folder.parent.iterdir()] == [files.attempt]
    assert files.admits(hubs.token())
    assert not files.admits(hubs.token(2))
    assert not files.admits("")
    assert hubs.token() not in "".join(path.read_text() for path in files.folder.glob("*") if path.is_file())


def test_the_first_execution_has_the_attempt(store: Store) -> None:
    files = hubs.attempt(store)
    assert files.last_grant() is None
    assert files.grant(100.0, "one").seconds == 60.0
    assert files.grant(130.0, "one") == files.grant(90.0, "one")
    assert files.last_grant() == Grant(at=130.0, seconds=60.0, nonce="one", first=100.0)
    with pytest.raises(Fenced):
        files.grant(500.0, "two")
    files.ask_to_stop()
    assert files.grant(140.0, "one").stop
    assert asdict(AttemptFiles(store, files.attempt).last_grant() or Grant(at=0, seconds=0, nonce="", first=0)) == {
        "at": 140.0, "seconds": 60.0, "nonce": "one", "first": 100.0}  # fmt: skip


def test_of_many_executions_one_gets_a_lease(store: Store) -> None:
    files = hubs.attempt(store)

    def ask(number: int) -> bool:
        try:
            files.grant(float(number), f"n{number}")
        except Fenced:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(40))) == 1


def test_no_lease_and_no_result_after_a_fence(store: Store) -> None:
    """Whatever the fence sees as the last grant is the last one."""
    for number in range(1, 20):
        files = hubs.attempt(store, number)
        granted: list[float] = []

        def ask(files: AttemptFiles = files, granted: list[float] = granted) -> None:
            for each in range(1000):
                try:
                    files.grant(float(each), "one")
                except Fenced:
                    return
                granted.append(float(each))

        thread = threading.Thread(target=ask)
        thread.start()
        hubs.until(lambda granted=granted: granted)  # type: ignore[misc]
        files.fence("given up")
        last = files.last_grant()
        thread.join()
        assert last is not None
        assert last.at == granted[-1]
        with pytest.raises(Fenced, match="given up"):
            files.put_result({"attempt": files.attempt, "tasks": [], "blobs": {}})
        files.fence("another reason")
        assert files.fenced() == "given up"
        assert files.result() is None


def test_a_damaged_lease_is_no_lease_that_was_never_granted(store: Store) -> None:
    files = hubs.attempt(store)
    files.grant(1.0, "one")
    (files.folder / "lease.json").write_text("{")
    for ask in (files.last_grant, lambda: files.grant(2.0, "one")):
        with pytest.raises(CCImagesError, match="cannot be read"):
            ask()


def test_the_stream_grows_at_its_end_alone(store: Store) -> None:
    files = hubs.attempt(store)
    assert files.append(0, b"one\n") == 4
    assert files.append(0, b"one\n") == 4
    assert files.append(9, b"late") == 4
    assert files.append(4, b"two\n") == 8
    with pytest.raises(StreamFull):
        files.append(8, b"x" * 10, most=16)
    assert files.stream.read_bytes() == b"one\ntwo\n"


def test_secrets_are_given_out_once(store: Store) -> None:
    files = hubs.attempt(store, trusted=True, secrets={"PASSWORD": "canary"})
    assert stat.S_IMODE((files.folder / "secrets.json").stat().st_mode) == 0o600
    with ThreadPoolExecutor(8) as pool:
        found = [each for each in pool.map(lambda _: files.take_secrets(), range(8)) if each is not None]
    assert found == [{"PASSWORD": "canary"}]
    assert "canary" not in "".join(path.read_text() for path in files.folder.rglob("*") if path.is_file())


def test_the_result_is_written_once(store: Store) -> None:
    files = hubs.attempt(store)
    plain = {"format": 1, "attempt": files.attempt, "tasks": [], "blobs": {}}
    files.put_result(plain)
    files.put_result(plain)
    with pytest.raises(FileExistsError):
        files.put_result(plain | {"tasks": [{}]})
    assert files.result() == plain


def test_a_connection_that_comes_late_leaves_nothing_on_its_way(store: Store) -> None:
    files = hubs.attempt(store)
    digest = brought(store, files, b"output")
    partial = files.folder / "partial" / digest
    for at in (3, 0):  # where it was, and at the beginning
        with pytest.raises((Elsewhere, Busy)), files.outputs.receiving(digest, at):
            pass
        assert not partial.exists()
    partial.write_bytes(b"out")
    files.outputs.discard(digest)
    assert not partial.exists()
    files.outputs.discard(digest)


def test_what_a_connection_still_brings_is_not_discarded(store: Store) -> None:
    files = hubs.attempt(store)
    digest = hubs.digest_of(b"output")
    with files.outputs.receiving(digest, 0) as partial:
        partial.write(memoryview(b"out"))
        files.outputs.discard(digest)
        assert files.outputs.end(digest) == 3


# -- prune -----------------------------------------------------------------------------------------------------------


def aged(path: Path, days: float) -> None:
    """Let a folder and what is in it be some days old."""
    moment = time.time() - days * 86400
    for each in (*path.rglob("*"), path):
        os.utime(each, (moment, moment))


def brought(store: Store, files: AttemptFiles, content: bytes) -> str:
    digest = hubs.digest_of(content)
    with files.outputs.receiving(digest, 0) as partial:
        partial.write(memoryview(content))
        assert files.outputs.finish(partial, lambda: None)
    return digest


def loose(store: Store, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Prune two hours later; return the blobs that are left."""
    later = time.time() + 7200
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        removal.pruned(store, keep=1, cap=0, dry_run=False)
    return {path.name for path in store.blobs.all()}


def test_prune_spares_what_an_open_attempt_reads_and_has_brought(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read, stray = hubs.blob(store, b"layer"), hubs.blob(store, b"of nobody")
    files = hubs.attempt(store, inputs=(read,))
    new = brought(store, files, b"output")
    had = hubs.blob(store, b"there already")
    assert files.outputs.has(had)
    assert loose(store, monkeypatch) == {read, new, had}
    assert stray != read
    files.put_result({"attempt": files.attempt, "tasks": [], "blobs": {new: 6}})
    assert loose(store, monkeypatch) == {new, had}
    files.fence("taken")
    assert loose(store, monkeypatch) == set()
    assert files.exists()


def test_an_output_that_another_process_removes_comes_back(store: Store) -> None:
    files = hubs.attempt(store)
    digest = brought(store, files, b"output")
    store.blobs.remove(digest)
    assert files.outputs.lacking({digest: 6}) == []
    assert store.blobs.path(digest).read_bytes() == b"output"
    assert files.outputs.lacking({digest: 7, hubs.digest_of(b"other"): 5}) == sorted([digest, hubs.digest_of(b"other")])


def test_a_damaged_output_is_lacking(store: Store) -> None:
    files = hubs.attempt(store)
    digest = brought(store, files, b"output")
    path = store.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"outpux")
    assert files.outputs.lacking({digest: 6}) == [digest]
    assert not files.outputs.has(digest)
    assert brought(store, files, b"output") == digest
    assert files.outputs.lacking({digest: 6}) == []


@pytest.mark.parametrize(
    ("end", "days", "stays"),
    [("open", 29, True), ("open", 31, False), ("fenced", 6, True), ("fenced", 8, False), ("result", 8, False)],
)
def test_attempts_that_ended_long_ago_are_removed(store: Store, end: str, days: float, stays: bool) -> None:
    files, young = hubs.attempt(store), hubs.attempt(store, 2)
    for name in ({"fenced": "fenced", "result": "result.json"}[end],) if end != "open" else ():
        write_bytes(files.folder / name, b"{}")
    aged(files.folder, days)
    left = files.folder.with_name(f".{files.attempt}.0a1b")
    left.mkdir()
    aged(left, 1)
    removal.rotate(store, NOW)
    assert [each.attempt for each in every(store)] == ([files.attempt] if stays else []) + [young.attempt]
    assert not left.exists()
