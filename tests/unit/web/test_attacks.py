"""Attacks on the queue and on who sees what: what a run says, roles that change, removal by others, and limits."""

from __future__ import annotations

import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.attempt import Waiting
from cc_images.model.fleet import AtWork, FleetStatus, HostStatus, MachineState, MachineStatus
from cc_images.model.service_terms import Limits, SignUp
from cc_images.web.accounts import Role
from cc_images.web.pages.planning import Planner
from cc_images.web.passwords import Unfit
from cc_images.web.recent import Recent
from cc_images.web.throttle import TooMany
from cc_images.web.value import Value
from tests.support.browser import Browser
from tests.support.servicebed import PASSWORDS, ServiceBed
from tests.unit.web.test_interface import FILE, RUN, finished

ODD = "the file b\udcff\0 is odd\x1b[2J"
"""As Python reads the name of a file that is no UTF-8: half a character, which no database and no answer takes."""


def logged_in(bed: ServiceBed, who: str) -> Browser:
    browser = Browser(bed)
    browser.log_in(who)
    return browser


def test_what_a_run_says_stops_neither_the_queue_nor_a_page(bed: ServiceBed) -> None:
    ada = logged_in(bed, "ada")
    build, other = bed.request("ada", "cc-one"), bed.request("ada", "cc-two")
    bed.look()
    task = f"build {ODD}"
    bed.plan(build, RUN, {"event": "started", "task": task}, {"event": "step", "task": task, "doing": ODD})
    bed.look()
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert said["message"] == "build the file b?? is odd?[2J: the file b?? is odd?[2J"
    assert [ada.get(path).status_code for path in ("/", "/requests", f"/requests/{build}")] == [200, 200, 200]
    bed.runs.note(bed.of(build), state="failed", message=ODD, exit_code=3)
    bed.runs.die(bed.of(build))
    bed.finish(other, "20261122T030001Z", tag="cc-two")
    assert (bed.status("ada", build), bed.status("ada", other)) == ("FAILED", "FINISHED")
    assert bed.ask("ada", "GET", f"/build/{build}").json()["message"] == "the file b?? is odd?[2J"


def test_the_supervisor_outlives_what_nobody_expected(bed: ServiceBed) -> None:
    failed, launch = threading.Event(), bed.runs.launch

    def odd(*what: Any, **more: Any) -> bool:
        failed.set()
        raise KeyError("odd")

    build = bed.request("ada", "cc-one")
    bed.runs.launch = odd  # type: ignore[method-assign]
    bed.service.supervisor.start()
    assert failed.wait(5)
    bed.runs.launch = launch  # type: ignore[method-assign]
    for _ in range(50):
        if bed.runs.launches:
            break
        bed.service.supervisor.wake()
        time.sleep(0.1)
    bed.service.supervisor.close()
    assert bed.runs.launches == [build]


@pytest.mark.parametrize("path", ["/live", "/requests/live?everyone=true"])
def test_a_live_page_is_that_of_the_role_that_its_reader_has_now(bed: ServiceBed, path: str) -> None:
    bed.gatekeeper.accounts.give_role("bob", Role.ADMINISTRATOR)
    bob = logged_in(bed, "bob")

    def demoted() -> None:
        bed.gatekeeper.accounts.give_role("bob", Role.USER)
        bed.request("ada", "cc-two")

    threads = [threading.Timer(0.4, demoted), threading.Timer(2.8, bed.service.draining.set)]
    for each in threads:
        each.start()
    text = bob.get(path).text
    for each in threads:
        each.join()
    assert "data: " in text
    assert "cc-two" not in text


def test_an_administrator_takes_nothing_from_the_lists_of_others(bed: ServiceBed) -> None:
    build = finished(bed)
    root = logged_in(bed, "root")
    root.get("/new")
    answer = root.post(f"/requests/{build}/withdraw", next=f"/requests/{build}")
    assert answer.headers["location"] == f"/requests/{build}?notice=over"
    assert "nothing was changed" in root.follow().text
    assert bed.ask("root", "DELETE", f"/build/{build}").json()["done"] == "over"
    assert bed.status("ada", build) == "FINISHED"
    assert bed.ask("ada", "HEAD", f"/images/download/{FILE}").status_code == 200


def test_a_button_that_cancels_removes_nothing_when_the_build_is_over_meanwhile(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    bed.look()
    bed.plan(build, RUN)
    bed.look()
    ada = logged_in(bed, "ada")
    for path in ("/requests", f"/requests/{build}"):
        form = ada.get(path).text.partition(f'action="/requests/{build}/withdraw"')[2].partition("</form>")[0]
        assert 'name="only" value="cancel"' in form, path
    bed.finish(build, RUN)
    answer = ada.post(f"/requests/{build}/withdraw", only="cancel")
    assert answer.headers["location"] == "/requests?notice=over"
    assert bed.status("ada", build) == "FINISHED"
    assert ada.post(f"/requests/{build}/withdraw").headers["location"] == "/requests?notice=removed"
    other = bed.request("ada", "cc-two")
    said = [ada.post(f"/requests/{other}/withdraw", only="cancel").headers["location"] for _ in range(2)]
    assert said == ["/requests?notice=cancelled", "/requests?notice=over"], "somebody has pressed twice"
    assert bed.status("ada", other) == "CANCELLED"


def test_two_who_join_and_leave_do_not_get_around_the_limit_of_what_waits(bed: ServiceBed) -> None:
    bed = bed.again(Limits(places=1, running=1, waiting=1))
    running = bed.request("root", "cc-one", "cc-two")
    bed.look()
    first = bed.request("ada", "cc-one")
    assert bed.request("bob", "cc-one") == first
    bed.ask("ada", "DELETE", f"/build/{first}")
    second = bed.request("ada", "cc-two")
    answer = bed.ask("bob", "POST", "/build", json={"images": ["cc-two"]})
    assert answer.status_code == 429, "bob has one that waits"
    assert bed.ask("bob", "GET", f"/build/{second}").status_code == 404
    assert bed.request("bob", "cc-one") == first, "which may be requested again"
    assert bed.request("bob", "cc-one", "cc-two") == running, "what runs does not wait"
    bed.close()


def test_builders_tell_only_administrators_what_others_do(bed: ServiceBed) -> None:
    work = AtWork(task="build cc-secret amd64", run="r-secret", began=5.0, owner="secret", doing="secret",
                  attempt="secret", tasks=("build cc-secret amd64",))  # fmt: skip
    machine = MachineStatus(name="m1", since=1.0, state=MachineState.ACTIVE, id="i-secret", address="secret:22",
                            user="secret", task="build cc-secret amd64", owner="secret")  # fmt: skip
    host = HostStatus(name="far", reached="ssh", cores=8, limit=2, at_work=(work, work), strangers=("secret",),
                      machines=(machine,))  # fmt: skip
    waiting = Waiting(chain="build cc-secret amd64", run="r-secret", since=3.0, why="far is busy", owner="secret")
    bed.app.state.fleet = Recent("hosts", lambda: FleetStatus(now=9.0, hosts=(host,), queue=(waiting,)))
    assert "cc-secret" in bed.ask("root", "GET", "/builders").text
    found = bed.ask("ada", "GET", "/builders")
    assert "secret" not in found.text
    (said,) = found.json()["hosts"]
    assert (said["name"], said["cores"], said["limit"], len(said["at_work"]), len(found.json()["queue"])) == (
        "far", 8, 2, 2, 1
    )  # fmt: skip
    assert (len(said["strangers"]), [each["name"] for each in said["machines"]]) == (1, ["m1"])


def test_a_log_in_that_was_on_its_way_does_not_outlive_the_password(bed: ServiceBed) -> None:
    thief, ada = Browser(bed), logged_in(bed, "ada")
    thief.get("/login")
    known, let = threading.Event(), threading.Event()
    accounts = bed.gatekeeper.accounts
    log_in = accounts.log_in

    def slow(name: str, password: str, address: str) -> Any:
        found = log_in(name, password, address)
        if threading.current_thread() is not threading.main_thread() and not known.is_set():
            known.set()
            let.wait(5)
        return found

    accounts.log_in = slow  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: thief.post("/login", name="ada", password=PASSWORDS["ada"]))
    thread.start()
    assert known.wait(5)
    ada.get("/me")
    new = "a password that is new"
    assert ada.post("/me/password", old=PASSWORDS["ada"], new=new, again=new).status_code == 303
    let.set()
    thread.join()
    assert thief.get("/me").status_code == 303
    assert ada.get("/me").status_code == 200


def test_the_audit_log_has_where_tokens_and_invitations_were_made_and_finds_odd_names(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.INVITATION)
    token = bed.ask("ada", "POST", "/tokens", json={"scopes": ["read"]}).json()["id"]
    bed.ask("ada", "DELETE", f"/tokens/{token}")
    text = bed.ask("root", "POST", "/api/v1/invitations", json={}).json()["invitation"]
    said = {"name": "eve", "password": "a long enough one", "invitation": text}
    assert bed.ask("", "POST", "/api/v1/sign-up", json=said).status_code == 200
    rows = [(row["action"], row["address"]) for row in bed.ask("root", "GET", "/audit").json()]
    for each in ("token-create", "token-revoke", "invitation-create", "invitation-use", "account-add"):
        assert (each, "127.0.0.1") in rows
    odd = "odd\0\r\nname"
    bed.ask("", "GET", "/account", auth=(odd, "wrong password"))
    (row,) = bed.ask("root", "GET", "/audit", params={"account": odd}).json()
    assert row["action"] == "log-in-failed"
    bed.close()


def test_no_plan_tells_a_secret_of_an_address(bed: ServiceBed) -> None:
    class Odd(dict[str, object]):
        def __getitem__(self, name: str) -> object:
            raise CCImagesError("https://me:secret@git.example.org/x?token=secret does not answer")

    said = str(Planner().planned(Value(kind="images", content=Odd()), bed.service.catalogue.config, 1))
    assert "git.example.org" in said
    assert "secret" not in said


def test_guesses_of_endless_names_do_not_fill_the_memory(bed: ServiceBed) -> None:
    tracemalloc.start()
    for number in range(40):
        assert (
            bed.gatekeeper.accounts.log_in(f"{number}{'x' * 250_000}", "a wrong password", f"192.0.2.{number}") is None
        )
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 4 << 20


def test_sign_up_counts_a_network_of_ipv6_as_one_address(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.OPEN)

    def sign_up(number: int) -> None:
        bed.service.entrance.sign_up(f"eve{number}", "short", "", f"2001:db8::{number:x}")

    for number in range(10):
        with pytest.raises(Unfit):
            sign_up(number)
    with pytest.raises(TooMany):
        sign_up(10)
    bed.close()


def test_a_fault_with_one_build_holds_up_no_other(bed: ServiceBed) -> None:
    first, second = bed.request("ada", "cc-one"), bed.request("bob", "cc-two")
    launch = bed.runs.launch

    def odd(folder: Path, *what: Any, **more: Any) -> bool:
        if folder.name == first:
            raise KeyError("odd")
        return launch(folder, *what, **more)

    bed.runs.launch = odd  # type: ignore[method-assign]
    bed.look()
    assert bed.runs.launches == [second]
