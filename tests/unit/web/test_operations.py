"""Operations: figures, health, what a broken part does to the others, and an end that cuts nobody off."""

from __future__ import annotations

import dataclasses
import hashlib
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError, TimeoutError

from cc_images.api.launch import alone
from cc_images.cli import web
from cc_images.errors import CCImagesError
from cc_images.web import app
from cc_images.web.database import Database
from cc_images.web.queue import Queue
from cc_images.web.server import Listen, listener
from tests.conftest import Cli, samples, write_files
from tests.support.servicebed import PASSWORDS, PlayedRuns, ServiceBed
from tests.support.wire import request, rest_of, served
from tests.unit.web.test_hostile_wire import BIG, download
from tests.unit.web.test_interface import FILE, RUN, finished

LOADED = web
"""What `cli` forks has the service's modules already."""


def metrics(bed: ServiceBed) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what Prometheus reads: values by name and labels."""
    text = bed.ask("root", "GET", "/metrics").text
    return {
        family.name: {tuple(each.labels.values()): each.value for each in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_prometheus_reads_the_figures(bed: ServiceBed) -> None:
    assert bed.ask("root", "GET", "/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    build = bed.request("ada", "cc-one")
    families = [*text_string_to_metric_families(bed.ask("root", "GET", "/metrics").text)]
    assert len(families) == 6
    assert all(each.documentation for each in families)
    found = metrics(bed)
    assert found["cc_images_service_builds"] == {
        ("FINISHED",): 0, ("FAILED",): 0, ("CANCELLED",): 0, ("waiting",): 1, ("running",): 0
    }  # fmt: skip
    assert 0 <= found["cc_images_service_oldest_wait_seconds"][()] < 60
    assert found["cc_images_service_places"][()] == 2
    assert found["cc_images_service_requests"]["POST", "/build/", "200"] == 1
    assert found["cc_images_service_request_seconds"]["POST", "/build/", "200"] > 0
    bed.look()
    for number in range(3):
        bed.ask("ada", "GET", f"/build/{number}")
        bed.ask("ada", "GET", f"/no/such/path/{number}")
        bed.ask("ada", f"ODD{number}", "/builds")
    bed.ask("ada", "GET", f"/build/{build}")
    found = metrics(bed)
    assert found["cc_images_service_builds"][("running",)] == 1
    assert found["cc_images_service_oldest_wait_seconds"][()] == 0
    counts = found["cc_images_service_requests"]
    assert (counts["GET", "/build/{id}", "404"], counts["GET", "/build/{id}", "200"]) == (3, 1)
    assert counts["GET", "other", "404"] == 3, "paths that are none are one"
    assert {method for method, _, _ in counts} == {"GET", "POST", "other"}


def test_figures_are_read_while_requests_come(bed: ServiceBed) -> None:
    over = threading.Event()
    figures = bed.app.state.figures

    def grow() -> None:
        number = 0
        while not over.is_set():
            number += 1
            figures["GET", f"/path{number % 5000}", 200] = (1, 0.1)
            if number % 5000 == 0:
                figures.clear()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(samples(10, 30)):
            assert bed.ask("root", "GET", "/metrics").status_code == 200
    finally:
        over.set()
        thread.join()


def test_health_says_what_is_wrong(bed: ServiceBed) -> None:
    bed.look()
    assert bed.ask("", "GET", "/health").status_code == 200
    bed.service.supervisor.looked -= 61
    answer = bed.ask("", "GET", "/health")
    assert (answer.status_code, answer.json()["queue"]) == (503, "stands still")
    bed.look()
    gone = Database(f"sqlite:///{bed.folder / 'none' / 'x.sqlite'}")
    bed.app = app.made(dataclasses.replace(bed.service, database=gone))
    answer = bed.ask("", "GET", "/health")
    assert (answer.status_code, answer.json()["database"]) == (503, "no answer")
    gone.close()


@pytest.mark.parametrize(
    "error", [TimeoutError("no connection is free"), OperationalError("SELECT", {}, Exception("gone"))]
)
def test_a_database_that_does_not_work_is_told_without_a_word_of_it(
    bed: ServiceBed, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*said: object, **more: object) -> object:
        raise error

    monkeypatch.setattr(Queue, "entries", broken)
    answer = bed.ask("ada", "GET", "/builds")
    assert (answer.status_code, "operator" in answer.text, "SELECT" in answer.text) == (503, True, False)


class Unlucky(PlayedRuns):
    """Runs of which those of one image cannot be launched: the disk is full, say."""

    def launch(self, folder: Path, words: Sequence[str], files: Mapping[str, str] | None = None) -> bool:
        if words[-1] == "cc-one":
            raise CCImagesError("no space left")
        return super().launch(folder, words)


def test_a_build_that_cannot_begin_fails_and_holds_up_no_other(tmp_path: Path) -> None:
    bed = ServiceBed(tmp_path, runs=Unlucky())
    one, other = bed.request("ada", "cc-one"), bed.request("ada", "cc-two")
    bed.look()
    assert bed.runs.launches == [other]
    for _ in range(3):
        bed.look()
    assert (bed.status("ada", one), bed.status("ada", other)) == ("FAILED", "STARTED")
    bed.close()


def test_an_end_lets_answers_end_and_takes_nothing_new(bed: ServiceBed) -> None:
    build = finished(bed)
    bed.stored(bytes(range(256)) * (BIG >> 8), RUN)
    waiting = bed.request("ada", "cc-two")
    with ExitStack() as held, served(bed) as wire:
        reader, follower = held.enter_context(wire.connect(kept=4096)), held.enter_context(wire.connect())
        reader.sendall(download())
        found = bytearray(reader.recv(1000))
        follower.sendall(request("GET", f"/build/{waiting}/log?follow=true", who="ada"))
        assert follower.recv(12) == b"HTTP/1.1 200"
        said: dict[str, int] = {}

        def meanwhile() -> None:
            while not bed.service.draining.is_set():
                time.sleep(0.01)
            told = rest_of(follower)
            said["end"] = told.count(b"event: end") + told.count(b"connect again")
            found.extend(rest_of(reader))

        thread = threading.Thread(target=meanwhile)
        held.callback(thread.join)
        thread.start()
        place = wire.place
    assert said == {"end": 2}
    assert (
        hashlib.sha256(bytes(found).partition(b"\r\n\r\n")[2]).hexdigest()
        == hashlib.sha256(bytes(range(256)) * (BIG >> 8)).hexdigest()
    ), "the download was not cut"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{place[0]}:{place[1]}/health")
    assert bed.ask("ada", "POST", "/build", json={"images": ["cc-one"]}).status_code == 503
    assert bed.ask("ada", "GET", f"/build/{build}").json()["filename"] == FILE


def test_a_check_finds_what_a_start_would(cli: Cli, tmp_path: Path, bed: ServiceBed) -> None:
    write_files(tmp_path, images="CC-One: {elements: [debian-minimal], disk: []}", sites="")
    with listener(Listen(address="127.0.0.1:0")) as taken:
        answer = cli("serve", "--check", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        assert (answer.returncode, "nothing can listen" in answer.stderr) == (2, True)
    free = ("serve", "--check", "--listen", "127.0.0.1:0")
    assert "service: none is at work" in cli(*free).stdout
    with alone(tmp_path / "store" / "service"):
        assert "service: at work; another one cannot start" in cli(*free).stdout
    with sqlite3.connect(tmp_path / "store" / "service.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    answer = cli(*free)
    assert (answer.returncode, "revision 9999" in answer.stderr) == (2, True)
    assert "newer" in answer.stderr
    assert PASSWORDS["ada"] not in answer.stderr
