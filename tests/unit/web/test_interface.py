"""The interface: downloads, logs, errors that name the field, and the OpenAPI document."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from cc_images.host import record_files
from cc_images.host.record_files import load_build
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch
from cc_images.store.workspace import log_path
from cc_images.web import files, ranges
from tests.support.servicebed import ServiceBed

RUN = "20261122T030000Z"
FILE = f"CC-One-{RUN}.qcow2"
CONTENT = bytes(range(256)) * 20


def finished(bed: ServiceBed, who: str = "ada", log: bytes = b"") -> str:
    """Let an account have a build that is over, with an image."""
    build = bed.request(who, "cc-one")
    bed.look()
    bed.plan(build, RUN, {"event": "started", "task": "build cc-one amd64"})
    bed.look()
    (bed.of(build) / "log").write_bytes(log)
    bed.stored(CONTENT, RUN)
    bed.finish(build, RUN)
    return build


def test_a_download_is_what_the_record_says(bed: ServiceBed) -> None:
    finished(bed)
    (row,) = bed.ask("ada", "GET", "/images").json()
    assert (row["file"], row["size"], row["architecture"]) == (FILE, len(CONTENT), "amd64")
    answer = bed.ask("ada", "GET", f"/images/download/{FILE}")
    assert answer.content == CONTENT
    digest = hashlib.sha256(CONTENT).digest()
    assert answer.headers["etag"] == f'"{digest.hex()}"' == f'"{row["sha256"]}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
    assert answer.headers["content-disposition"] == f'attachment; filename="{FILE}"'
    assert answer.headers["content-type"] == "application/binary"
    head = bed.ask("ada", "HEAD", f"/images/download/{FILE}")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(CONTENT)))
    unchanged = bed.ask("ada", "GET", f"/images/download/{FILE}", headers={"if-none-match": answer.headers["etag"]})
    assert unchanged.status_code == 304


def test_a_download_goes_on_after_a_cut(bed: ServiceBed) -> None:
    finished(bed)
    path, half = f"/images/download/{FILE}", len(CONTENT) // 2
    etag = bed.ask("ada", "HEAD", path).headers["etag"]
    rest = bed.ask("ada", "GET", path, headers={"range": f"bytes={half}-", "if-range": etag})
    assert (rest.status_code, rest.content) == (206, CONTENT[half:])
    assert rest.headers["content-range"] == f"bytes {half}-{len(CONTENT) - 1}/{len(CONTENT)}"
    other = bed.ask("ada", "GET", path, headers={"range": f"bytes={half}-", "if-range": '"another"'})
    assert (other.status_code, other.content) == (200, CONTENT), "it is another file now: all of it"
    behind = bed.ask("ada", "GET", path, headers={"range": f"bytes={len(CONTENT)}-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=2-", (2, 10)), ("bytes=-3", (7, 10)), ("bytes=-30", (0, 10)),
        ("bytes=3-99", (3, 10)), ("bytes=5-4", None), ("bytes=-", None), ("bytes=0-1,3-4", None), ("lines=1-2", None),
        ("bytes=a-b", None), ("", None), (f"bytes=0-{'9' * 30}", None),
    ],
)  # fmt: skip
def test_ranges(header: str, found: tuple[int, int] | None) -> None:
    assert ranges.wanted(header, 10) == found


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=11-12", "bytes=-0"])
def test_ranges_behind_the_end(header: str) -> None:
    with pytest.raises(ranges.Unsatisfiable):
        ranges.wanted(header, 10)


def test_an_image_is_seen_by_those_whose_build_made_it(bed: ServiceBed) -> None:
    finished(bed)
    bed.stored(b"made by the command line", "20261121T030000Z", "cc-two", "CC-Two")
    assert bed.ask("bob", "GET", "/images").json() == []
    assert bed.ask("bob", "GET", f"/images/download/{FILE}").status_code == 404
    assert bed.ask("bob", "POST", f"/images/{FILE}/push").status_code == 404
    assert len(bed.ask("ada", "GET", "/images").json()) == 1
    assert len(bed.ask("root", "GET", "/images").json()) == 2


def test_an_image_that_has_left_the_store_is_no_more(bed: ServiceBed) -> None:
    build = finished(bed)
    for path in (bed.store.root / "builds").rglob("2*.json"):
        path.unlink()
    assert bed.ask("ada", "GET", f"/images/download/{FILE}").status_code == 404
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (said["image_id"], said["filename"]) == (f"cc-one@{RUN}", None)


def test_a_stored_version_is_pushed(bed: ServiceBed) -> None:
    finished(bed)
    build = bed.ask("ada", "POST", f"/images/{FILE}/push").json()["id"]
    bed.look()
    assert bed.runs.words[build] == ["-p", "-v", "--version", RUN, "-a", "amd64", "cc-one"]


def test_the_list_of_builds_has_the_files_of_those_that_are_over(
    bed: ServiceBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = finished(bed)
    for number in range(40):
        bed.stored(b"by the command line", f"20261101T0300{number:02}Z")
    bed.request("ada", "cc-two")
    read: list[str] = []

    def load(path: Path) -> Build:
        read.append(path.stem)
        return load_build(path)

    monkeypatch.setattr(record_files, "load_build", load)
    waits, over = bed.ask("ada", "GET", "/builds").json()
    assert read == [RUN], "others are not looked at, however many there are"
    one = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (
        (over["filename"], over["images"])
        == (one["filename"], one["images"])
        == (
            FILE,
            [{"image": "cc-one", "architecture": "amd64", "version": RUN, "files": [FILE]}],
        )
    )
    assert (waits["filename"], waits["images"]) == (None, [])
    assert bed.ask("bob", "GET", "/builds").json() == []


NEWER = "20261123T030000Z"


def forget(bed: ServiceBed, version: str) -> None:
    """Take a version out of the store, as a build by force does with those before."""
    bed.store.forget(*(each for each in bed.store.builds("cc-one", Arch.AMD64) if each.version == version))


def test_a_version_that_was_built_again_is_not_requested_to_be_published(bed: ServiceBed) -> None:
    finished(bed)
    again = bed.request("ada", "cc-one", force=True)
    bed.look()
    bed.plan(again, NEWER)
    bed.look()
    bed.stored(b"newer", NEWER)
    forget(bed, RUN)
    bed.finish(again, NEWER)
    answer = bed.ask("ada", "POST", f"/images/{FILE}/push")
    assert answer.status_code == 409, answer.text
    assert answer.json()["message"] == (
        f"version {RUN} of cc-one for amd64 is no longer in the store: a build by force has replaced it, or it was "
        f"pruned; there is CC-One-{NEWER}.qcow2"
    )
    assert bed.ask("root", "POST", f"/images/{FILE}/push").status_code == 409
    assert bed.ask("bob", "POST", f"/images/{FILE}/push").status_code == 404, "it was never his"
    assert bed.ask("ada", "POST", f"/images/CC-One-{NEWER}.qcow2/push").status_code == 200
    forget(bed, NEWER)
    said = bed.ask("ada", "POST", f"/images/{FILE}/push").json()["message"]
    assert said.endswith("or it was pruned; request the image again, with push: true")
    assert bed.ask("ada", "POST", f"/images/x-{FILE}/push").status_code == 404


def test_a_version_that_is_about_to_be_replaced_is_not_requested_to_be_published(bed: ServiceBed) -> None:
    """The push would wait for that build, and find the version gone."""
    finished(bed)
    path = f"/images/{FILE}/push"
    others = [bed.request("bob", "cc-two", force=True), bed.request("bob", "cc-one")]
    pushed = bed.ask("ada", "POST", path)
    assert pushed.status_code == 200, "others replace nothing of it"
    for each in (*others, pushed.json()["id"]):
        bed.ask("ada" if each not in others else "bob", "DELETE", f"/build/{each}")
    forced = bed.request("bob", "cc-one", "cc-two", force=True, architectures=["amd64"])
    for _ in ("it waits", "it runs"):
        answer = bed.ask("ada", "POST", path)
        assert answer.status_code == 409, answer.text
        assert answer.json()["message"] == (
            f"a build by force that waits or runs replaces version {RUN} of cc-one for amd64: publish what it makes"
        )
        bed.look()
    bed.plan(forced, NEWER)
    bed.look()
    bed.stored(b"newer", NEWER)
    path = f"/images/CC-One-{NEWER}.qcow2/push"
    assert bed.ask("root", "POST", path).status_code == 200, "that is what it has made"
    bed.ask("bob", "DELETE", f"/build/{forced}")
    assert bed.ask("ada", "POST", f"/images/{FILE}/push").status_code == 200


LOG = b"first\nsecond \x1b[31mred\x1b[0m\nlast <b>" + "\u009b1mää".encode()


def test_a_log_is_read_whole_by_range_and_live(bed: ServiceBed) -> None:
    build = finished(bed, log=LOG)
    path = f"/build/{build}/log"
    whole = bed.ask("ada", "GET", path)
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(whole.content) == len(LOG), "offsets stay"
    assert b"\x1b" not in whole.content
    assert "last <b>??1mää" in whole.text
    part = bed.ask("ada", "GET", path, headers={"range": "bytes=6-11"})
    assert (part.status_code, part.content) == (206, b"second")
    live = bed.ask("ada", "GET", path, headers={"accept": "text/event-stream"})
    assert live.headers["content-type"].startswith("text/event-stream")
    assert f"id: {len(LOG)}\ndata: first\ndata: second ?[31mred?[0m\ndata: last" in live.text
    assert live.text.endswith(f"event: end\nid: {len(LOG)}\ndata: FINISHED\n\n")
    on = bed.ask("ada", "GET", path, headers={"accept": "text/event-stream", "last-event-id": "6"})
    assert "data: first" not in on.text
    assert "data: second" in on.text
    assert bed.ask("ada", "GET", f"{path}?follow=true&offset=6").text == on.text


def test_the_log_of_a_task_is_found_by_its_name_alone(bed: ServiceBed) -> None:
    build = finished(bed)
    logs = bed.store.root / "logs" / RUN
    logs.mkdir(parents=True)
    log_path(logs, "build cc-one amd64").write_text("what dib says\n")
    (logs / "run.log").write_text("secret")
    answer = bed.ask("ada", "GET", f"/build/{build}/log", params={"task": "build cc-one amd64"})
    assert answer.text == "what dib says\n"
    for task in ("run", "../run", "build cc-two amd64", "/etc/passwd", "."):
        assert bed.ask("ada", "GET", f"/build/{build}/log", params={"task": task}).status_code == 404


def test_a_build_that_waits_has_an_empty_log(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    assert bed.ask("ada", "GET", f"/build/{build}/log").text == ""


def test_a_long_log_is_read_in_chunks() -> None:
    assert files.cleaned(b"a\tb\r\n\x00\x7f" + bytes([0xC2, 0x9B])) == b"a\tb?\n????"


WRONG: list[tuple[Any, str]] = [
    ({}, "images"),
    ({"images": []}, "images"),
    ({"images": "cc-one"}, "images"),
    ({"images": [1]}, "images.0"),
    ({"images": ["cc-one", "nothing"]}, "images.1"),
    ({"images": ["cc-base"]}, "images.0"),
    ({"images": ["all"]}, "images.0"),
    ({"images": ["-f"]}, "images.0"),
    ({"images": ["cc-*"]}, "images.0"),
    ({"images": ["cc-one"] * 101}, "images"),
    ({"images": ["cc-one"], "architectures": ["vax"]}, "architectures.0"),
    ({"images": ["cc-one"], "architectures": ["amd64", "arm64"]}, "architectures.1"),
    ({"images": ["cc-one"], "push": "yes"}, "push"),
    ({"images": ["cc-one"], "force": 1}, "force"),
    ({"images": ["cc-one"], "more": 1}, "more"),
    ([], ""),
    ("text", ""),
    (None, ""),
]


@pytest.mark.parametrize(("body", "field"), WRONG, ids=str)
def test_what_is_wrong_names_the_field(bed: ServiceBed, body: Any, field: str) -> None:
    answer = bed.ask("ada", "POST", "/build/", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
    bed.look()
    assert bed.runs.launches == []


WORDS: list[tuple[Any, str]] = [
    ({}, "is missing"),
    ({"images": []}, "at least 1 is needed"),
    ({"images": ["cc-one"] * 101}, "at most 100 can be named"),
    ({"images": "cc-one"}, "a list is expected"),
    ({"images": [1]}, "a text is expected"),
    ({"images": ["cc-one"], "push": "yes"}, "true or false is expected"),
    ({"images": ["cc-one"], "more": 1}, "there is no such key"),
]


@pytest.mark.parametrize(("body", "words"), WORDS, ids=str)
def test_what_is_wrong_is_said_in_plain_words(bed: ServiceBed, body: Any, words: str) -> None:
    assert bed.ask("ada", "POST", "/build/", json=body).json()["message"] == words


def test_plain_words_for_other_bodies_than_those_of_builds(bed: ServiceBed) -> None:
    answer = bed.ask("ada", "POST", "/tokens", json={"label": "x", "scopes": ["read"], "days": "many"})
    assert (answer.status_code, answer.json()["field"]) == (400, "days")
    assert answer.json()["message"] == "a whole number is expected"


def test_a_request_that_does_not_say_that_it_is_json(bed: ServiceBed) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = bed.ask("ada", "POST", "/build/", content='{"images": ["cc-one"]}', headers=headers)
    assert answer.status_code == 400
    assert "content-type: application/json" in answer.json()["message"], "what curl -d alone sends"


def test_the_catalogue_is_read_again_when_it_changes(bed: ServiceBed) -> None:
    assert [each["image"] for each in bed.ask("ada", "GET", "/catalogue").json()] == ["cc-one", "cc-two"]
    catalogue = bed.folder / "images.yaml"
    catalogue.write_text(catalogue.read_text() + "CC-New: {elements: [debian-minimal], disk: []}\n")
    bed.request("ada", "cc-new")
    catalogue.write_text("nonsense: [")
    bed.request("ada", "cc-new")


def test_operations(bed: ServiceBed) -> None:
    finished(bed)
    assert bed.ask("", "GET", "/health").json() == {"database": "ok", "queue": "ok", "state": "ok"}
    assert bed.ask("", "GET", "/metrics").status_code == 401
    assert bed.ask("ada", "GET", "/metrics").status_code == 403
    said = bed.ask("root", "GET", "/metrics").text
    assert 'cc_images_service_builds{state="FINISHED"} 1\n' in said
    assert 'cc_images_service_requests_total{method="POST",route="/build/",status="200"} 1\n' in said
    assert [each["name"] for each in bed.ask("ada", "GET", "/builders").json()["hosts"]] == ["here"]
    bed.service.draining.set()
    assert bed.ask("", "GET", "/health").status_code == 503
    assert bed.ask("ada", "POST", "/build", json={"images": ["cc-two"]}).status_code == 503


def test_the_audit_log_is_for_administrators(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    assert bed.ask("ada", "GET", "/audit").status_code == 403
    rows = bed.ask("root", "GET", "/audit").json()
    assert (rows[0]["account"], rows[0]["action"], rows[0]["object"].split()[0]) == ("ada", "request", build)
    assert {each["action"] for each in rows} == {"request", "account-add"}


def test_the_document_says_what_is(bed: ServiceBed) -> None:
    document = bed.ask("", "GET", "/api/v1/openapi.json").json()
    assert {path.split("{")[0] for path in document["paths"]} == {
        f"/api/v1/{each}"
        for each in ("build", "build/", "builds", "images", "images/download/", "images/", "catalogue", "builders",
                     "machines", "workflows", "account", "account/password", "tokens", "tokens/", "audit", "health",
                     "metrics", "sign-up", "accounts", "accounts/", "invitations", "invitations/")
    }  # fmt: skip
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], path
            assert operation["description"], (method, path)
    body = document["paths"]["/api/v1/build"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert [each["required"] for each in body["anyOf"]] == [["images"], ["machine", "workflow", "step_id"]]
    assert "$ref" not in str(body)
    for path in ("/api/v1/health", "/health"):
        assert bed.ask("", "GET", path).status_code == 200


def test_every_route_but_two_needs_an_account(bed: ServiceBed) -> None:
    document = bed.ask("", "GET", "/api/v1/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in operations:
            answer = bed.ask("", method.upper(), path.replace("{id}", "x").replace("{name}", "x"), json={})
            expected = {"/api/v1/health": 200, "/api/v1/sign-up": 400}.get(path, 401)
            assert answer.status_code == expected, (method, path)
