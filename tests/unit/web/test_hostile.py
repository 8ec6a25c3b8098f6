"""Hostile callers: what each attempt gets."""

from __future__ import annotations

import json
import logging
import statistics
import time
from contextlib import suppress
from typing import Any

import pytest

from cc_images.web import guard
from cc_images.web.log import JsonLines
from cc_images.web.passwords import Cost, Passwords
from cc_images.web.throttle import TooMany
from tests.support.servicebed import PASSWORDS, ServiceBed
from tests.unit.web.test_interface import FILE, finished

INJECTIONS = ("x; rm -rf /", "$(id)", "`id`", "cc-one\nid", "cc-one --notify=id", "--notify=id", "' OR 1=1 --",
              "../../etc/passwd", "\0", "\ud800", "<script>alert(1)</script>", "{{7*7}}", "cc-one\x1b[2J")  # fmt: skip


@pytest.mark.parametrize("field", ["images", "architectures"])
def test_injections_are_no_image_and_no_architecture(bed: ServiceBed, field: str) -> None:
    for text in INJECTIONS:
        body: dict[str, Any] = {"images": ["cc-one"]} | {field: [text]}
        content = json.dumps(body).encode()  # surrogates are escaped, as a client would have to
        answer = bed.ask("ada", "POST", "/build", content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["field"].split(".")[0]) == (400, field), ascii(text)
    bed.look()
    assert bed.runs.words == {}


PATHS = ("../service.sqlite", "..%2f..%2fservice.sqlite", "%2e%2e/service.sqlite", "/etc/passwd", "%2fetc%2fpasswd",
         "a%00b", "service.sqlite")  # fmt: skip


def test_no_path_leads_out_of_the_records(bed: ServiceBed) -> None:
    build = finished(bed)
    for name in PATHS:
        for path in (f"/images/download/{name}", f"/api/v1/images/download/{name}", f"/build/{build}/{name}",
                     f"/build/{name}/log"):  # fmt: skip
            assert bed.ask("ada", "GET", path).status_code in (404, 405), path
    assert bed.ask("ada", "DELETE", "/tokens/a%00b").status_code == 404


def test_somebody_elses_objects_are_as_if_they_were_not_there(bed: ServiceBed) -> None:
    build = finished(bed)
    token = bed.ask("ada", "POST", "/tokens", json={"scopes": ["read"]}).json()["id"]
    pairs = {
        f"/build/{build}": "/build/0",
        f"/build/{build}/log": "/build/0/log",
        f"/images/download/{FILE}": "/images/download/0",
        f"/tokens/{token}": "/tokens/0",
    }
    for theirs, nothing in pairs.items():
        method = "DELETE" if "tokens" in theirs else "GET"
        one, other = bed.ask("bob", method, theirs), bed.ask("bob", method, nothing)
        assert (one.status_code, one.content) == (other.status_code, other.content) == (404, one.content)


def test_accounts_are_not_told_by_text_or_status(bed: ServiceBed) -> None:
    answers = {
        (answer.status_code, answer.content)
        for name in ("ada", "nobody", "root", "a" * 500, "", "ADA")
        for answer in [bed.ask("", "GET", "/account", auth=(name, "wrong password"))]
    }
    assert len(answers) == 1


def test_accounts_are_not_told_by_time() -> None:
    passwords = Passwords(Cost(time=2, memory=4096, lanes=1))
    known = passwords.hashed("the right password")
    taken: dict[str | None, list[float]] = {known: [], None: []}
    for _ in range(7):
        for each, times in taken.items():
            began = time.process_time()
            assert not passwords.fits(each, "a wrong password")
            times.append(time.process_time() - began)
    one, other = (statistics.median(times) for times in taken.values())
    assert 0.5 < one / other < 2


def test_guessing_is_slow_also_for_names_that_do_not_exist(bed: ServiceBed) -> None:
    bed = bed.again(tries=3)
    assert bed.ask("bob", "GET", "/account").status_code == 200
    for name in ("ada", "nobody"):
        found = [bed.ask("", "GET", "/account", auth=(name, f"guess number {n}")).status_code for n in range(4)]
        assert found == [401, 401, 401, 429], name
    refused = bed.ask("", "GET", "/account", auth=("ada", PASSWORDS["ada"]))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert bed.ask("", "GET", "/account", auth=("bob", PASSWORDS["bob"])).status_code == 200
    for number in range(3):
        bed.ask("", "GET", "/account", auth=(f"name{number}", "guess"))
    assert bed.ask("", "GET", "/account", auth=("fresh", "guess")).status_code == 429, "one address, many names"
    assert bed.ask("bob", "GET", "/account").status_code == 200, "he was right a moment ago"
    bed.close()


ODD = (
    "Basic",
    "Basic !!!",
    "Basic YWRh",
    "Bearer",
    "Bearer cci_x_y",
    "Digest a=b",
    "Basic " + "A" * 5000,
    "Bearer \xe4",
)


def test_odd_credentials_are_nobodys(bed: ServiceBed) -> None:
    for header in ODD:
        answer = bed.ask("", "GET", "/account", headers={"authorization": header.encode("latin-1")})
        assert answer.status_code == 401, header
        assert answer.headers["www-authenticate"].startswith("Basic")


NO_JSON = (b"{", b"", b"[" * 100_000, b'{"images": NaN}', b"\xff\xfe", b'{"images":["' + b"9" * 9999,
           b'{"images": [' + b"9" * 5000 + b"]}")  # fmt: skip


def test_what_is_no_json_is_a_mistake_of_the_caller(bed: ServiceBed) -> None:
    for content in NO_JSON:
        answer = bed.ask("ada", "POST", "/build", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400, content[:20]
        assert answer.json().keys() == {"message", "field"}


def test_bodies_have_a_limit_whether_they_say_their_length_or_not(bed: ServiceBed) -> None:
    big = b'{"images": ["' + b"x" * guard.MOST_BODY + b'"]}'

    async def chunks() -> Any:
        for at in range(0, len(big), 1 << 16):
            yield big[at : at + (1 << 16)]

    for content in (big, chunks()):
        answer = bed.ask("ada", "POST", "/build", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413, answer.text


def test_nothing_is_changed_by_reading(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    for path in (f"/build/{build}", "/builds", "/images", "/tokens", "/account", "/catalogue"):
        for method in ("GET", "HEAD"):
            bed.ask("ada", method, path)
    assert bed.status("ada", build) == "PENDING"
    assert bed.ask("ada", "GET", "/images/x/push").status_code == 405


def test_answers_have_headers_for_browsers(bed: ServiceBed) -> None:
    for path in ("/health", "/nothing", "/builds"):
        headers = bed.ask("", "GET", path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["cache-control"] == "no-store"


def test_labels_and_names_do_not_poison_the_audit_log(bed: ServiceBed) -> None:
    said = {"scopes": ["read"], "label": "a\x1b[2J\r\nb\u202e"}
    assert bed.ask("ada", "POST", "/tokens", json=said).json()["label"] == "a\\x1b[2J\\r\\nb\\u202e"
    bed.ask("", "GET", "/account", auth=("eve\r\n2026 root log-in", "wrong password"))
    (row,) = [each for each in bed.ask("root", "GET", "/audit").json() if each["action"] == "log-in-failed"]
    assert row["account"] == "eve\\r\\n2026 root log-in"


def test_a_line_of_the_log_stays_one_line_without_secrets() -> None:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "a\n{} \x1b[2J https://me:secret@host/", (), None)
    record.said = {"path": "/a\nb\x1b"}
    line = JsonLines().format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    assert "secret" not in line
    assert json.loads(line)["path"] == "/a\nb\x1b"


def test_parameters_out_of_range_are_mistakes_of_the_caller(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    for path, field in (("/builds?limit=0", "limit"), ("/builds?limit=9999", "limit"), ("/builds?before=-1", "before"),
                        (f"/builds?before={'9' * 40}", "before"), (f"/build/{build}/log?offset=-1", "offset"),
                        (f"/build/{build}/log?follow=perhaps", "follow"),
                        (f"/build/{build}/log?task={'x' * 999}", "task"), ("/audit?before=0", "before")):  # fmt: skip
        answer = bed.ask("root", "GET", path)
        assert (answer.status_code, answer.json()["field"]) == (400, field), path


def test_an_account_cannot_flood_the_queue(bed: ServiceBed) -> None:
    for _ in range(200):
        with suppress(TooMany):
            bed.service.requests.take(1)  # ada
    answers = [bed.ask(who, "POST", "/build", json={"images": ["cc-one"]}).status_code for who in ("ada", "bob")]
    assert answers == [429, 200]
