"""The client and a service at work: cuts, restarts, downloads, certificates, and servers that mean no good."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, UserError
from cc_images.web.client.address import address_of, authorization_of
from cc_images.web.client.answers import Build
from cc_images.web.client.connection import Cut
from cc_images.web.client.decisions import Patience
from cc_images.web.client.download import download
from cc_images.web.client.following import Lines, followed
from cc_images.web.tokens import Scope
from tests.support.certificates import certificate
from tests.support.proxy import Proxy
from tests.support.servedbed import Canned, Served, linked, stranger, written
from tests.support.servicebed import ServiceBed

RUN = "20261122T030000Z"
FILE = f"CC-One-{RUN}.qcow2"
CONTENT = bytes(range(256)) * 12_000


@pytest.fixture
def token(served: Served, tmp_path: Path) -> Path:
    return served.token_file(tmp_path)


def nothing(have: int, whole: int) -> None:
    pass


def all_of(happened: list[Lines | Build]) -> tuple[list[str], Build]:
    *pieces, build = happened
    assert isinstance(build, Build)
    return [line for each in pieces if isinstance(each, Lines) for line in each.lines], build


def test_a_log_goes_on_where_it_was_cut_and_no_line_comes_twice(served: Served, token: Path) -> None:
    lines = [f"line {number} " + "ü" * (number % 50) for number in range(3000)]
    build = served.bed.request("ada", "cc-one")
    served.bed.look()
    served.bed.plan(build, RUN)
    served.write(build, "".join(f"{each}\n" for each in lines[:2000]))

    def rest() -> None:
        for each in lines[2000:]:
            served.write(build, f"{each}\n")
            time.sleep(0.0005)
        served.bed.finish(build, RUN, version="none")

    with Proxy(served.port, answer_cut_after=80_000) as proxy:
        service, told = linked(proxy.url, token)
        writer = threading.Thread(target=rest)
        writer.start()
        found, ended = all_of(list(followed(service, build)))
        writer.join()
    assert found == lines
    assert ended.status == "FINISHED"
    assert proxy.connections > 3, "it was cut again and again"
    assert told
    assert "was cut" in told[0]
    assert all("was cut" in first and again == "the service answers again"
               for first, again in zip(told[::2], told[1::2], strict=False))  # fmt: skip


def test_a_line_of_a_log_is_there_within_a_second(served: Served, token: Path) -> None:
    build = served.bed.request("ada", "cc-one")
    served.bed.look()
    served.bed.plan(build, RUN)
    service, _ = linked(served.url, token)
    happened, waits = followed(service, build), list[float]()
    for number in range(5):
        written_at = time.monotonic()
        served.write(build, f"line {number}\n")
        found = next(happened)
        waits.append(time.monotonic() - written_at)
        assert isinstance(found, Lines)
        assert found.lines == (f"line {number}",)
    assert sorted(waits)[2] < 1.0, waits
    served.bed.finish(build, RUN, version="none")
    assert isinstance(next(happened), Build)


def test_a_service_that_starts_again_is_no_failure(served: Served, token: Path) -> None:
    service, told = linked(served.url, token)
    build = served.bed.request("ada", "cc-one")
    served.bed.look()
    served.bed.plan(build, RUN)
    served.write(build, "before\n")
    happened: list[Lines | Build] = []
    reader = threading.Thread(target=lambda: happened.extend(followed(service, build)))
    reader.start()
    time.sleep(0.5)
    served.stop()
    time.sleep(0.3)
    served.bed = served.bed.again()
    served.start()
    served.write(build, "after\n")
    served.bed.finish(build, RUN, version="none")
    reader.join(30)
    lines, ended = all_of(happened)
    assert (lines, ended.status) == (["before", "after"], "FINISHED")
    assert len([each for each in told if "tried again" in each]) == 1, told
    assert told[-1] == "the service answers again"


def test_a_run_says_its_exit_code(served: Served, token: Path) -> None:
    service, _ = linked(served.url, token)
    build = served.bed.request("ada", "cc-one")
    served.bed.look()
    assert service.build(build).exit_code is None
    served.fail(build, RUN, code=1)
    found = service.build(build)
    assert (found.status, found.exit_code, found.message) == ("FAILED", 1, "a hook failed")


def test_a_log_that_stands_is_read_whole_across_cuts(served: Served, token: Path) -> None:
    build = served.bed.request("ada", "cc-one")
    served.bed.look()
    text = "".join(f"line {number} ä\n" for number in range(20_000))
    served.write(build, text)
    with Proxy(served.port, answer_cut_after=100_001) as proxy:
        service, _ = linked(proxy.url, token)
        assert "".join(service.log(build)) == text
        assert proxy.connections > 2
    with pytest.raises(UserError, match="task: the build has no such task"):
        list(service.log(build, "build cc-one amd64"))


def test_a_download_goes_on_after_cuts(served: Served, token: Path, tmp_path: Path) -> None:
    served.made_file(CONTENT, RUN)
    seen: list[int] = []
    with Proxy(served.port, answer_cut_after=700_000) as proxy:
        service, _ = linked(proxy.url, token)
        path = download(service, FILE, tmp_path, lambda have, whole: seen.append(have))
    assert path.read_bytes() == CONTENT
    assert seen == sorted(seen), "nothing was fetched twice"
    assert len(CONTENT) // 700_000 < proxy.connections < 12
    assert [each.name for each in tmp_path.glob(f".{FILE}*")] == []


def test_a_download_that_was_ended_goes_on_with_what_there_is(served: Served, token: Path, tmp_path: Path) -> None:
    served.made_file(CONTENT, RUN)
    service, _ = linked(served.url, token)
    for left, fetched in [(CONTENT[:1_000_000], CONTENT[1_000_000:]), (b"another file", CONTENT), (CONTENT, b"")]:
        (tmp_path / f".{FILE}.part").write_bytes(left)
        seen: list[int] = []
        download(service, FILE, tmp_path, lambda have, whole, seen=seen: seen.append(have))  # type: ignore[misc]
        assert (tmp_path / FILE).read_bytes() == CONTENT
        assert not (tmp_path / f".{FILE}.part").exists()
        assert bool(seen) == bool(fetched)
    (tmp_path / f".{FILE}.part").write_bytes(CONTENT + b"more")
    download(service, FILE, tmp_path, nothing)
    assert (tmp_path / FILE).read_bytes() == CONTENT


def test_a_download_into_a_place_that_cannot_be_written_changes_nothing(
    served: Served, token: Path, tmp_path: Path
) -> None:
    served.made_file(CONTENT, RUN)
    service, _ = linked(served.url, token)
    with pytest.raises(CCImagesError, match="cannot be written: No such file"):
        download(service, FILE, tmp_path / "nowhere", nothing)
    (tmp_path / f".{FILE}.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CCImagesError, match="cannot be written"):
        download(service, FILE, tmp_path, nothing)
    assert not (tmp_path / "elsewhere").exists(), "no link is followed"
    with pytest.raises(UserError, match=r"^CC-Two.qcow2: the service has no such thing"):
        download(service, "CC-Two.qcow2", tmp_path, nothing)
    for name in ("../x", ".ssh", "a/b"):
        with pytest.raises(UserError, match="is no name of a file"):
            download(service, name, tmp_path, nothing)


def test_two_downloads_of_one_file_do_not_mix(served: Served, token: Path, tmp_path: Path) -> None:
    served.made_file(CONTENT, RUN)
    service, _ = linked(served.url, token)
    refused: list[str] = []

    def meanwhile(have: int, whole: int) -> None:
        if not refused:
            with pytest.raises(UserError) as other:
                download(linked(served.url, token)[0], FILE, tmp_path, nothing)
            refused.append(other.value.message)

    assert download(service, FILE, tmp_path, meanwhile).read_bytes() == CONTENT
    assert refused == [f"another program downloads {FILE} there"]


def test_a_certificate_must_be_one_that_counts(bed: ServiceBed, tmp_path: Path) -> None:
    right = certificate(tmp_path, "right")
    wrong, _ = certificate(tmp_path, "wrong")
    served = Served(bed, tls=right)
    served.start()
    try:
        token = served.token_file(tmp_path)
        assert [each.image for each in linked(served.url, token, right[0])[0].catalogue()] == ["cc-one", "cc-two"]
        for authorities in (wrong, None):
            with pytest.raises(CCImagesError, match=r"certificate of https://127.0.0.1:.* does not count") as error:
                linked(served.url, token, authorities)[0].catalogue()
            assert not error.value.temporary, "it is not tried again"
    finally:
        served.stop()
    with pytest.raises(UserError, match="has no certificate"):
        linked("https://127.0.0.1", token, written(tmp_path / "none.pem", "nothing"))
    with pytest.raises(UserError, match="No such file"):
        linked("https://127.0.0.1", token, tmp_path / "not-there.pem")


def test_the_name_of_a_certificate_counts(bed: ServiceBed, tmp_path: Path) -> None:
    other = certificate(tmp_path, "other", "DNS:images.example.org")
    served = Served(bed, tls=other)
    served.start()
    try:
        with pytest.raises(CCImagesError, match="does not count"):
            linked(served.url, served.token_file(tmp_path), other[0])[0].catalogue()
    finally:
        served.stop()


def test_a_wrong_token_and_one_without_rights_are_told_at_once(served: Served, tmp_path: Path) -> None:
    wrong = written(tmp_path / "wrong", f"cci_{'0' * 12}_{'x' * 43}\n")
    with pytest.raises(UserError, match="refuses the token or password") as error:
        linked(served.url, wrong)[0].catalogue()
    assert "x" * 43 not in str(error.value.hint + error.value.message)
    reader = linked(served.url, served.token_file(tmp_path, "ada", Scope.READ))[0]
    assert reader.catalogue()
    with pytest.raises(UserError, match="lacks the scope build"):
        reader.request({"images": ["cc-one"]})
    by_password = linked(served.url, written(tmp_path / "password", "ada:correct horse battery\n"))[0]
    assert by_password.catalogue()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("http://images.example.org", "anybody on the way could read the token"),
        ("http://10.0.0.1:8080", "anybody on the way could read the token"),
        ("http://localhost.example.org", "anybody on the way could read the token"),
        ("https://ada:secret@images.example.org", "has a name or password in it"),
        ("http://127.0.0.1@images.example.org", "has a name or password in it"),
        ("images.example.org", "is no address of a service"),
        ("ftp://images.example.org", "is no address of a service"),
        ("https://images.example.org/?x=1", "is no address of a service"),
        ("https://images.example.org:99999", "is no address"),
        ("https://ima\x1b[2Jges.example.org", "is no address"),
        ("https://", "is no address of a service"),
    ],
)
def test_addresses_to_which_no_token_is_sent(said: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as error:
        address_of(said)
    assert "secret" not in f"{error.value.message}{error.value.hint}"
    assert "\x1b" not in error.value.message


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://images.example.org/", "https://images.example.org"),
        ("https://images.example.org:8443/cc/", "https://images.example.org:8443/cc"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_addresses_of_services(said: str, shown: str) -> None:
    assert str(address_of(said)) == shown


def test_a_token_comes_from_a_file_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert authorization_of(str(written(tmp_path / "token", "cci_abc_def\nmore\n"))) == "Bearer cci_abc_def"
    basic = authorization_of(str(written(tmp_path / "password", "ada:pass:word\n")))
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"ada:pass:word"
    for said, why in [
        ("", "the service must know who asks"),
        ("-", "not standard input"),
        ("cci_secret", "not a token itself"),
        (str(tmp_path / "nowhere"), "cannot be read: No such file"),
        (str(tmp_path), "cannot be read: Is a directory"),
        (str(written(tmp_path / "odd", "geheim")), "has no token"),
        (str(written(tmp_path / "split", "cci_a b")), "has no token"),
    ]:
        with pytest.raises(UserError, match=why) as error:
            authorization_of(said)
        assert "geheim" not in error.value.message
        assert "secret" not in error.value.message
    (tmp_path / "token").chmod(0o644)
    assert not caplog.records
    authorization_of(str(tmp_path / "token"))
    assert "can be read by others" in caplog.text


Answers = Callable[[str, str, dict[str, str]], Canned]


def answer(value: object, status: int = 200, **headers: str) -> Answers:
    return lambda method, path, given: Canned(status, json.dumps(value).encode(), headers)


@pytest.fixture
def my_token(tmp_path: Path) -> Path:
    return written(tmp_path / "token", "cci_abc_def")


@pytest.mark.parametrize(
    ("answered", "why"),
    [
        (answer({"message": "\x1b]0;owned\x07\x9b31m no"}, 400), r"^\?\]0;owned\?\?31m no$"),
        (answer({"message": "wrong", "field": "images.0\x1b[2J"}, 400), r"^images.0\?\[2J: wrong$"),
        (answer(["odd"], 400), "HTTP status 400"),
        (answer({}, 500), "HTTP status 500"),
        (answer({}, 302, location="https://evil.example.org/\x1b"), r"leads to https://evil.example.org/"),
        (lambda *_: Canned(200, b"<html>"), "something that is no JSON"),
        (lambda *_: Canned(200, b"[" * 100_000), "something that is no JSON"),
        (answer({"id": "../../x"}), "gives a build a name that is none"),
        (answer({"id": 5}), "answers in a way that is not understood"),
        (answer([]), "answers in a way that is not understood"),
    ],
)
def test_answers_that_mean_no_good(answered: Answers, why: str, my_token: Path) -> None:
    with stranger(answered) as url, pytest.raises(CCImagesError, match=why) as error:
        linked(url, my_token)[0].request({"images": ["cc-one"]})
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", error.value.message) is None


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"-1", b"1" + b"0" * 300])
def test_a_time_that_is_none_is_no_answer(number: bytes, my_token: Path) -> None:
    said = b'{"id": "x", "status": "BUILDING", "estimate": ' + number + b"}"
    with stranger(lambda *_: Canned(200, said)) as url, pytest.raises(CCImagesError, match="not understood"):
        linked(url, my_token)[0].build("a" * 32)


@pytest.mark.parametrize("body", [b"-5\r\nabc", b"-5\r\n", b"zz\r\nabc", b"5\r\nabc", b"\xff\r\n", b"5\r\n[\r\n0\r\n"])
@pytest.mark.parametrize("how", ["answer", "log", "followed"])
def test_parts_of_an_odd_length_are_a_connection_that_was_cut(body: bytes, how: str, my_token: Path) -> None:
    with stranger(lambda *_: Canned(200, body, {"transfer-encoding": "chunked"})) as url:
        service, _ = linked(url, my_token, patience=Patience(seconds=0.0))
        asked: dict[str, Callable[[], object]] = {
            "answer": service.catalogue,
            "log": lambda: list(service.log("a" * 32)),
            "followed": lambda: list(followed(service, "a" * 32)),
        }
        with pytest.raises(CCImagesError):
            asked[how]()


def test_no_token_follows_a_redirection(my_token: Path) -> None:
    asked: list[str] = []

    def other(method: str, path: str, given: dict[str, str]) -> Canned:
        asked.append(path)
        return Canned()

    with (
        stranger(other) as elsewhere,
        stranger(answer({}, 307, location=elsewhere)) as url,
        pytest.raises(UserError, match="leads to"),
    ):
        linked(url, my_token)[0].catalogue()
    assert asked == []


def file_of(content: bytes, said: bytes, **more: str) -> Answers:
    digest = base64.b64encode(hashlib.sha256(said).digest()).decode()
    return lambda *_: Canned(200, content, {"repr-digest": f"sha-256=:{digest}:", "etag": '"x"'} | more)


def test_a_file_that_is_not_what_its_digest_says_gets_no_name(my_token: Path, tmp_path: Path) -> None:
    with stranger(file_of(b"evil", b"good")) as url, pytest.raises(CCImagesError, match="is not what the service says"):
        download(linked(url, my_token)[0], "x.qcow2", tmp_path, nothing)
    with stranger(lambda *_: Canned(200, b"x")) as url, pytest.raises(CCImagesError, match="cannot be verified"):
        download(linked(url, my_token)[0], "x.qcow2", tmp_path, nothing)
    with stranger(file_of(b"good", b"good")) as url:
        assert download(linked(url, my_token)[0], "x.qcow2", tmp_path, nothing).read_bytes() == b"good"
    assert sorted(each.name for each in tmp_path.iterdir() if "x.qcow2" in each.name) == ["x.qcow2"]


def test_a_file_that_changes_amid_its_download_is_fetched_again(my_token: Path, tmp_path: Path) -> None:
    old, new = b"old" * 100_000, b"new" * 90_000
    asked: list[dict[str, str]] = []

    def changing(method: str, path: str, given: dict[str, str]) -> Canned:
        asked.append(given)
        content, tag = (old, '"old"') if len(asked) < 3 else (new, '"new"')
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        said = {"repr-digest": f"sha-256=:{digest}:", "etag": tag, "content-length": str(len(content))}
        return Canned(200, content[:1000] if len(asked) == 2 else content, said)

    with stranger(changing) as url:
        path = download(linked(url, my_token)[0], "x.qcow2", tmp_path, nothing)
    assert path.read_bytes() == new
    assert (asked[2]["range"], asked[2]["if-range"]) == ("bytes=1000-", '"old"')


def test_a_request_that_may_have_come_is_not_sent_twice(my_token: Path) -> None:
    asked: list[str] = []

    def silent(method: str, path: str, given: dict[str, str]) -> Canned:
        asked.append(method)
        return Canned(502, b"")

    with stranger(silent) as url:
        service, _ = linked(url, my_token, patience=Patience(seconds=0.2, shortest=0.01))
        with pytest.raises(CCImagesError, match="it may have got the request"):
            service.request({"images": ["cc-one"]})
        assert asked == ["POST"]
        with pytest.raises(Cut, match="502"):
            service.catalogue()
        assert asked.count("GET") > 2


def test_a_service_that_is_about_to_end_is_asked_again(my_token: Path) -> None:
    asked: list[str] = []

    def ending(method: str, path: str, given: dict[str, str]) -> Canned:
        asked.append(method)
        if len(asked) < 3:
            return Canned(503, b'{"message": "the service is about to end", "field": ""}')
        return Canned(200, json.dumps({"id": "0" * 32}).encode())

    with stranger(ending) as url:
        service, told = linked(url, my_token)
        assert service.request({"images": ["cc-one"]}).id == "0" * 32
    assert asked == ["POST"] * 3
    assert "the service is about to end; it is tried again" in told[0]
    assert told[1:] == ["the service answers again"]


def test_nobody_there_is_told_after_a_while(my_token: Path) -> None:
    service, told = linked("http://127.0.0.1:1", my_token, patience=Patience(seconds=0.2, shortest=0.01))
    with pytest.raises(Cut, match="does not answer: Connection refused"):
        service.request({"images": ["cc-one"]})
    assert len(told) == 1
