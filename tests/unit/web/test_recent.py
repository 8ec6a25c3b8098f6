"""The builder hosts as they stood: asked once at a time, and nobody waits long for them twice."""

from __future__ import annotations

import threading
import time

from cc_images.errors import CCImagesError
from cc_images.model.fleet import FleetStatus
from cc_images.web.recent import WAITING, Recent

KNOWN = FleetStatus(now=0.0, hosts=())


def test_many_who_ask_at_once_are_one_question() -> None:
    asked, let = list[int](), threading.Event()

    def ask() -> FleetStatus:
        asked.append(1)
        let.wait(10)
        return KNOWN

    fleet = Recent("hosts", ask)
    began = time.monotonic()
    assert fleet.known(0.1) is None
    assert time.monotonic() - began < 5, "a silent host keeps nobody"
    found: list[FleetStatus | None] = []
    threads = [threading.Thread(target=lambda: found.append(fleet.known(10))) for _ in range(5)]
    for each in threads:
        each.start()
    let.set()
    for each in threads:
        each.join()
    assert found == [KNOWN] * 5
    assert len(asked) == 1
    assert fleet.known(0.1) is KNOWN
    assert len(asked) == 1, "it is young"


def test_hosts_that_cannot_be_asked_are_not_known() -> None:
    def ask() -> FleetStatus:
        raise CCImagesError("no way")

    assert Recent("hosts", ask).known(10) is None


def test_silent_hosts_hold_few_of_those_who_ask() -> None:
    let, held = threading.Event(), list[FleetStatus | None]()

    def ask() -> FleetStatus:
        let.wait(30)
        return KNOWN

    fleet = Recent("hosts", ask)
    threads = [threading.Thread(target=lambda: held.append(fleet.known(30))) for _ in range(WAITING)]
    for each in threads:
        each.start()
    time.sleep(0.2)
    assert fleet.known(30) is None, "and it was told at once"
    assert held == []
    let.set()
    for each in threads:
        each.join()
    assert held == [KNOWN] * WAITING
