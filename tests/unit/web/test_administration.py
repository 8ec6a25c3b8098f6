"""Administration: accounts of others, their roles and limits; and what an account may keep."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from cc_images.cli import accounts
from cc_images.model.service_terms import Limits
from cc_images.web.access import Caller, Problem
from cc_images.web.kinds import checked
from cc_images.web.routing import submit
from cc_images.web.sessions import COOKIE
from cc_images.web.tokens import Scope
from tests.conftest import Cli, write_files
from tests.support.servicebed import ServiceBed
from tests.unit.web.test_interface import CONTENT, FILE, finished

ACCOUNTS = "/api/v1/accounts"

LOADED = accounts
"""What `cli` forks has the modules already."""


def test_an_administrator_makes_changes_and_closes_accounts(bed: ServiceBed) -> None:
    said = {"name": "eve", "password": "a long enough password"}
    made = bed.ask("root", "POST", ACCOUNTS, json=said).json()
    assert (made["name"], made["role"], made["running"], made["bytes"]) == ("eve", "user", None, None)
    assert bed.ask("root", "POST", ACCOUNTS, json=said).json()["field"] == "name"
    change = {"administrator": True, "running": 5, "bytes": 10 << 30}
    assert bed.ask("root", "PATCH", f"{ACCOUNTS}/eve", json=change).json()["bytes"] == 10 << 30
    assert bed.ask("", "GET", ACCOUNTS, auth=("eve", said["password"])).status_code == 200
    row = bed.ask("root", "PATCH", f"{ACCOUNTS}/eve", json={"running": None, "administrator": False}).json()
    assert (row["role"], row["running"], row["bytes"]) == ("user", None, 10 << 30), "what is not said stays"
    assert bed.ask("", "GET", ACCOUNTS, auth=("eve", said["password"])).status_code == 403
    assert bed.ask("root", "DELETE", f"{ACCOUNTS}/eve").json()["done"] == "closed"
    for method in ("PATCH", "DELETE"):
        assert bed.ask("root", method, f"{ACCOUNTS}/eve", json={}).status_code == 404
    assert [each["name"] for each in bed.ask("root", "GET", ACCOUNTS).json() if each["closed"]] == ["eve"]
    actions = [each["action"] for each in bed.ask("root", "GET", "/audit").json() if each["account"] == "root"]
    assert actions == ["account-close", "account-limit", "account-role", "account-limit", "account-role", "account-add"]


@pytest.mark.parametrize("change", [{"running": -1}, {"bytes": 2**63}, {"waiting": "3"}, {"role": "x"}, {"bytes": 1.5}])
def test_a_limit_is_a_number(bed: ServiceBed, change: dict[str, object]) -> None:
    answer = bed.ask("root", "PATCH", f"{ACCOUNTS}/ada", json=change)
    assert (answer.status_code, answer.json()["field"]) == (400, next(iter(change)))


def test_the_last_administrator_stays(bed: ServiceBed) -> None:
    for method, said in (("PATCH", {"administrator": False}), ("DELETE", {})):
        answer = bed.ask("root", method, f"{ACCOUNTS}/root", json=said)
        assert (answer.status_code, answer.json()["message"]) == (400, "root is the last administrator")
    bed.ask("root", "PATCH", f"{ACCOUNTS}/ada", json={"administrator": True})
    assert bed.ask("root", "DELETE", f"{ACCOUNTS}/root").status_code == 200


def test_accounts_are_for_administrators_who_have_logged_in(bed: ServiceBed) -> None:
    token = bed.ask("root", "POST", "/tokens", json={"scopes": ["read", "build", "push"]}).json()["token"]
    for who in ("ada", token):
        for method, path in (("GET", ""), ("POST", ""), ("PATCH", "/ada"), ("DELETE", "/ada"), ("DELETE", "/nobody")):
            said = {"name": "x", "password": "a long enough password"} if method == "POST" else {}
            assert bed.ask(who, method, ACCOUNTS + path, json=said).status_code == 403, (who, method)


def test_an_account_that_is_closed_leaves_nothing_that_goes_on(bed: ServiceBed) -> None:
    mine, both = bed.request("ada", "cc-one"), bed.request("ada", "cc-two")
    bed.request("bob", "cc-two")
    ada = bed.gatekeeper.accounts.by_name("ada")
    assert ada is not None
    token, row = bed.gatekeeper.tokens.create(ada, "", [Scope.BUILD], 9)
    number = bed.gatekeeper.sessions.open(ada)
    assert bed.ask("root", "DELETE", f"{ACCOUNTS}/ada").status_code == 200
    assert bed.gatekeeper.sessions.owner(number) is None
    assert bed.ask(token, "POST", "/build", json={"images": ["cc-one"]}).status_code == 401
    assert bed.gatekeeper.tokens.of(ada) == [], f"{row.id} is revoked"
    bed.look()
    assert bed.runs.launches == [both], "what bob has requested, too, goes on"
    assert bed.status("root", mine) == "CANCELLED"


@pytest.mark.parametrize("how", ["password", "token", "token as password", "session"])
def test_a_log_that_is_followed_ends_with_what_has_let_its_reader_in(bed: ServiceBed, how: str) -> None:
    build = bed.request("ada", "cc-one")
    bed.look()
    (bed.of(build) / "log").write_text("first\n")
    ada = bed.gatekeeper.accounts.by_name("ada")
    assert ada is not None
    token, row = bed.gatekeeper.tokens.create(ada, "", [Scope.READ], 9)
    number = bed.gatekeeper.sessions.open(ada)
    who = {"password": "ada", "token": token}.get(how, "")
    headers = {"accept": "text/event-stream"} | ({"cookie": f"{COOKIE}={number}"} if how == "session" else {})
    if how == "token as password":
        headers |= {"authorization": f"Basic {base64.b64encode(f'ada:{token}'.encode()).decode()}"}

    def end() -> None:
        """End what has let the reader in, when it has got the first line."""
        if how == "password":
            bed.gatekeeper.accounts.close("ada")
        elif how.startswith("token"):
            bed.gatekeeper.tokens.revoke(ada, row.id)
        else:
            bed.gatekeeper.sessions.close(number)

    answer = bed.follow(who, f"/build/{build}/log", headers, end)
    assert "data: first" in answer
    assert answer.endswith("data: removed\n\n")
    assert bed.status("root", build) == "STARTED"


def test_an_account_that_is_closed_meanwhile_requests_nothing(bed: ServiceBed) -> None:
    ada = bed.gatekeeper.accounts.by_name("ada")
    assert ada is not None
    value = checked({"images": ["cc-one"]}, bed.service.catalogue.config)
    bed.gatekeeper.accounts.close("ada")
    with pytest.raises(Problem, match="closed"):
        submit(bed.service, Caller(account=ada, scopes=frozenset(Scope), address=""), value)


def test_limits_of_an_account_come_before_those_of_the_service(bed: ServiceBed) -> None:
    said = bed.ask("ada", "GET", "/account").json()
    assert [said[each] for each in ("most_running", "most_waiting", "most_bytes")] == [2, 20, None]
    bed.ask("root", "PATCH", f"{ACCOUNTS}/ada", json={"waiting": 1, "running": 0})
    build = bed.request("ada", "cc-one")
    answer = bed.ask("ada", "POST", "/build", json={"images": ["cc-two"]})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    bed.look()
    assert bed.runs.launches == []
    bed.ask("root", "PATCH", f"{ACCOUNTS}/ada", json={"running": None})
    bed.look()
    assert bed.runs.launches == [build]
    said = bed.ask("ada", "GET", "/account").json()
    assert [said[each] for each in ("running", "waiting", "most_running", "most_waiting")] == [1, 0, 2, 1]


def test_an_account_keeps_as_many_bytes_as_it_may(bed: ServiceBed) -> None:
    bed = bed.again(Limits(bytes=len(CONTENT)))
    build = finished(bed)
    said = bed.ask("ada", "GET", "/account").json()
    assert (said["bytes"], said["most_bytes"]) == (len(CONTENT), len(CONTENT))
    answer = bed.ask("ada", "POST", "/build", json={"images": ["cc-two"]})
    assert answer.status_code == 400, "it does not help to ask again, as 429 would say"
    assert answer.json()["message"] == (
        "you keep 5.0 KiB of at most 5.0 KiB: remove builds that are over from your list (DELETE /build/ID), or ask an "
        "administrator for more"
    )
    assert bed.ask("bob", "POST", "/build", json={"images": ["cc-two"]}).status_code == 200
    assert bed.ask("ada", "POST", f"/images/{FILE}/push").status_code == 200, "that takes no room"
    assert bed.ask("ada", "DELETE", f"/build/{build}").json()["done"] == "removed"
    assert bed.ask("ada", "GET", "/account").json()["bytes"] == 0
    assert bed.ask("ada", "GET", f"/images/download/{FILE}").status_code == 404, "what is not kept is not seen"
    bed.request("ada", "cc-two")
    bed.close()


def test_what_a_build_has_only_found_is_not_kept_by_its_requester(bed: ServiceBed) -> None:
    finished(bed)
    build = bed.request("bob", "cc-one")
    bed.look()
    bed.plan(build, "20261123T030000Z")
    bed.look()
    job = {"tag": "cc-one", "arch": "amd64", "serves": "20261122T030000Z"}
    task = {"id": "build cc-one amd64", "resource": "build", "cached": True, "job": job}
    bed.finish(build, "20261123T030000Z", version="none", plan={"tasks": [task]})
    assert bed.ask("bob", "GET", f"/build/{build}").json()["filename"] == FILE
    assert bed.ask("bob", "GET", "/account").json()["bytes"] == 0
    assert bed.ask("ada", "GET", "/account").json()["bytes"] == len(CONTENT)


def test_versions_with_the_same_bytes_count_once_and_gone_ones_not(bed: ServiceBed) -> None:
    finished(bed)
    build = bed.request("ada", "cc-one", force=True)
    bed.look()
    bed.plan(build, "20261124T030000Z")
    bed.look()
    bed.stored(CONTENT, "20261124T030000Z")
    bed.finish(build, "20261124T030000Z")
    assert len(bed.ask("ada", "GET", "/images").json()) == 2
    assert bed.ask("ada", "GET", "/account").json()["bytes"] == len(CONTENT)
    for path in (bed.store.root / "builds").rglob("2*.json"):
        path.unlink()
    assert bed.ask("ada", "GET", "/account").json()["bytes"] == 0


@pytest.mark.long
def test_the_command_line_limits_and_invites(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="", sites="")
    (tmp_path / "password").write_text("correct horse battery\n")
    for name in ("operator", "service"):
        assert "already" in cli("account", "add", name, "--password-file", "password").stderr
    assert cli("account", "add", "ada", "--password-file", "password").returncode == 0
    answer = cli("account", "limit", "ada", "--running", "3", "--bytes", "50G")
    assert answer.stdout == "ada: running 3, waiting default, bytes 50.0 GiB\n"
    assert json.loads(cli("account", "limit", "ada", "--running", "default", "--json").stdout)["running"] is None
    assert cli("account", "list").stdout == "ada                  user (bytes 50.0 GiB)\n"
    assert cli("account", "role", "ada", "--administrator").stdout == "ada: is an administrator now\n"
    said = cli("account", "invite", "Eve", "--days", "91").stderr
    assert "argument --days: '91' is not a whole number from 1 to 90" in said
    said = cli("account", "password", "ada", "--password-file", "nothing").stderr.splitlines()[0]
    assert said == "cc-images: nothing cannot be read: No such file or directory"
    for words in (("limit", "ada"), ("limit", "ada", "--bytes", "much"), ("limit", "nobody", "--running", "1"),
                  ("invite", "--days", "91"), ("uninvite",), ("uninvite", "x")):  # fmt: skip
        assert cli("account", *words).returncode == 2, words
    assert cli("account", "invite", "Eve of the lab", "--days", "3").stdout.startswith("invite_")
    (row,) = json.loads(cli("account", "invitations", "--json").stdout)
    assert (row["label"], row["used"]) == ("Eve of the lab", False)
    assert cli("account", "uninvite", row["id"]).returncode == 0
    assert cli("account", "invitations").stdout == f"{row['id']}  revoked  Eve of the lab\n"
    assert cli("serve", "--check", "--sign-up", "everybody").returncode == 2
    assert cli("serve", "--check", "--keep-days", "0").returncode == 2
    assert json.loads(cli("serve", "--check", "--sign-up", "invitation", "--json").stdout)["sign_up"] == "invitation"
