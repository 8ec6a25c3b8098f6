"""Decisions of the client: when to try again, what Ctrl-C means, which exit code; and events, however they are cut."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_images.web.client import decisions
from cc_images.web.client.decisions import BRIEF, LONG, Interruption, Patience
from cc_images.web.client.events import Event, events


def waits(patience: Patience, asked: float | None = None) -> list[float]:
    """Return the waits of a service that never answers."""
    found: list[float] = []
    while (wait := patience.wait(len(found) + 1, sum(found), asked)) is not None:
        found.append(wait)
    return found


def test_waits_grow_and_end_with_the_patience() -> None:
    assert waits(BRIEF) == [1.0, 2.0, 4.0, 8.0]
    long = waits(LONG)
    assert long[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert 1800 <= sum(long) < 1801
    assert waits(LONG, asked=5.0)[:4] == [5.0, 5.0, 5.0, 8.0], "the service wants more time than we would give it"
    assert max(waits(LONG, asked=1e9)) == 60.0, "but not for ever"


@given(st.integers(1, 10**6), st.floats(0, 10**6), st.none() | st.floats(0, 10**6))
def test_a_wait_is_never_longer_than_the_patience_allows(failures: int, spent: float, asked: float | None) -> None:
    wait = LONG.wait(failures, spent, asked)
    if spent >= LONG.seconds:
        assert wait is None
    else:
        assert wait is not None
        assert 0 < wait <= 60.0
        assert spent + wait <= LONG.seconds + LONG.shortest


@pytest.mark.parametrize(
    ("count", "wanted", "askable", "meant"),
    [
        (1, "", True, Interruption.ASK),
        (1, "", False, Interruption.DETACH),
        (2, "", True, Interruption.DETACH),
        (1, "cancel", False, Interruption.CANCEL),
        (1, "cancel", True, Interruption.CANCEL),
        (1, "detach", True, Interruption.DETACH),
        (2, "cancel", True, Interruption.DETACH),
    ],
)
def test_what_an_interrupt_means(count: int, wanted: str, askable: bool, meant: Interruption) -> None:
    assert decisions.at_interrupt(count, wanted, askable=askable) is meant


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("c\n", Interruption.CANCEL), (" Cancel \n", Interruption.CANCEL), ("d\n", Interruption.DETACH),
        ("\n", Interruption.GO_ON), ("g\n", Interruption.GO_ON), ("", Interruption.DETACH), ("what?\n", None),
    ],
)  # fmt: skip
def test_what_an_answer_means(answer: str, meant: Interruption | None) -> None:
    assert decisions.meaning(answer) is meant


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("FINISHED", 0, 0), ("FINISHED", None, 0), ("FAILED", 3, 3), ("FAILED", 1, 1), ("FAILED", 2, 2),
        ("FAILED", None, 3), ("FAILED", 0, 3), ("FAILED", 256, 3), ("CANCELLED", None, 130), ("CANCELLED", 3, 130),
        ("NEVER-HEARD-OF", None, 3),
    ],
)  # fmt: skip
def test_exit_codes_are_those_of_the_run(status: str, code: int | None, expected: int) -> None:
    assert decisions.exit_code(status, code) == expected


def test_the_first_bad_code_of_several_counts() -> None:
    assert decisions.worst([0, 3, 130]) == 3
    assert decisions.worst([0, 0]) == 0


def test_a_digest_is_read_from_its_header_alone() -> None:
    sha256 = hashlib.sha256(b"x")
    said = f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:"
    assert decisions.sha256_of(said) == sha256.hexdigest()
    assert decisions.sha256_of(f"sha-512=:AAAA:, {said}") == sha256.hexdigest()
    for odd in ("", said.replace("256", "512"), said[:-2] + ":", "sha-256=:AAAA:", said.replace("=:", "=")):
        assert decisions.sha256_of(odd) == ""


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "../x", "a\nb", "a\x1b[2J", "-rf", "x" * 300, "a\0b"]
)
def test_names_that_lead_elsewhere_are_none(name: str) -> None:
    assert not decisions.is_file_name(name)
    assert decisions.is_file_name("CC-One-20261122T030000Z.qcow2")


LINES = st.lists(st.text("aü😀:  \u2028\u202e\xa0\t;", max_size=20), max_size=5)


@settings(max_examples=30, deadline=None)
@given(st.lists(LINES.filter(bool), max_size=5), st.sampled_from([b"\n", b"\r\n"]))
def test_events_come_as_they_were_sent(sent: list[list[str]], end: bytes) -> None:
    raw: list[bytes] = [b"retry: 1000" + end, end]
    for number, lines in enumerate(sent):
        raw += [f"id: {number}".encode() + end, *(f"data: {each}".encode() + end for each in lines), end]
        raw += [b": alive" + end, end]
    printable = [
        tuple("".join(a if a.isprintable() or a == "\t" else "?" for a in each) for each in lines) for lines in sent
    ]
    assert list(events(raw)) == [Event(kind="", number=at, lines=lines) for at, lines in enumerate(printable)]


def test_odd_events() -> None:
    assert list(events([b"data: cut off\n"])) == [], "its end has not come"
    (found,) = events([b"event: end\n", b"id: -1\n", b"data:FINISHED\n", b"nonsense\n", b"\n"])
    assert found == Event(kind="end", number=None, lines=("FINISHED",))
    (found,) = events([b"id: 12\n", b"data: \x1b]0;title\x07\xc2\x9b2J\xff\xe2\x80\xae\n", b"data:\n", b"\n"])
    assert found == Event(kind="", number=12, lines=("?]0;title??2J\ufffd?", ""))
    (found,) = events([b"id: 99999999999999999999\n", b"data: x\n", b"\n"])
    assert found.number is None
