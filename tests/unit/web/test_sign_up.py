"""Sign-up: off, open, by invitation; and what it tells of names."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest

from cc_images import clock
from cc_images.model.service_terms import SignUp
from cc_images.web.passwords import Unfit
from cc_images.web.sign_up import TRIES
from cc_images.web.tables import Invitation
from tests.support.servicebed import PASSWORDS, ServiceBed

SIGN_UP, INVITATIONS = "/api/v1/sign-up", "/api/v1/invitations"
PASSWORD = "a long enough password"


def sign_up(bed: ServiceBed, name: str = "eve", **said: Any) -> httpx.Response:
    return bed.ask("", "POST", SIGN_UP, json={"name": name, "password": PASSWORD} | said)


def invite(bed: ServiceBed, **said: Any) -> str:
    return str(bed.ask("root", "POST", INVITATIONS, json=said).json()["invitation"])


def test_the_audit_log_has_the_address_of_what_came_over_http(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.INVITATION)
    assert sign_up(bed, invitation=invite(bed)).status_code == 200
    made = bed.ask("ada", "POST", "/tokens", json={"label": "x", "scopes": ["read"], "days": 1}).json()
    assert bed.ask("ada", "DELETE", f"/tokens/{made['id']}").status_code == 200
    rows = bed.ask("root", "GET", "/audit").json()
    found = {each["action"]: each["address"] for each in rows if each["account"] != "operator"}
    wanted = "invitation-create", "account-add", "invitation-use", "token-create", "token-revoke"
    assert found == dict.fromkeys(wanted, "127.0.0.1")


def test_it_is_off_by_default(bed: ServiceBed) -> None:
    answer = sign_up(bed)
    assert (answer.status_code, answer.json()["message"][:14]) == (400, "sign-up is off")
    assert sign_up(bed, "ada").content == answer.content
    assert sign_up(bed, invitation=invite(bed)).content == answer.content


def test_everybody_makes_an_account_where_it_is_open(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.OPEN)
    assert sign_up(bed).json() == {"name": "eve", "done": "added"}
    said = bed.ask("", "GET", "/account", auth=("eve", PASSWORD)).json()
    assert (said["name"], said["role"]) == ("eve", "user")
    row = bed.ask("root", "GET", "/audit").json()[0]
    assert (row["account"], row["action"], row["object"], row["address"]) == (
        "eve", "account-add", "eve user", "127.0.0.1"
    )  # fmt: skip
    bed.close()


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": "ada"}, "name"), ({"name": "root"}, "name"), ({"name": "operator"}, "name"),
        ({"name": "Eve"}, "name"), ({"name": "../x"}, "name"), ({"name": "x" * 99}, "name"), ({"name": None}, "name"),
        ({"password": "short"}, "password"), ({"password": "x" * 201}, "password"), ({"role": "user"}, "role"),
    ],
)  # fmt: skip
def test_the_field_at_fault_is_named(bed: ServiceBed, said: dict[str, Any], field: str) -> None:
    bed = bed.again(sign_up=SignUp.OPEN)
    answer = sign_up(bed, **said)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert len(bed.gatekeeper.accounts.everyone()) == len(PASSWORDS)
    bed.close()


def test_a_name_of_a_closed_account_or_of_the_service_is_taken_by_the_same_words(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.OPEN)
    bed.gatekeeper.accounts.close("bob")
    said = {name: sign_up(bed, name).json()["message"].replace(name, "NAME") for name in ("ada", "bob", "service")}
    assert set(said.values()) == {"there is an account NAME already"}
    bed.close()


def test_one_address_asks_for_few_names(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.OPEN)
    found = [sign_up(bed, "ada").status_code for _ in range(TRIES + 1)]
    assert found == [400] * TRIES + [429]
    assert int(sign_up(bed).headers["retry-after"]) > 60
    bed.close()


def test_an_invitation_makes_one_account(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.INVITATION)
    text = invite(bed, label="Eve\x1b[2J of the lab")
    assert sign_up(bed, invitation=text, password="short").status_code == 400
    assert sign_up(bed, "ada", invitation=text).json()["field"] == "name"
    assert sign_up(bed, invitation=f" {text}\n").status_code == 200, "a mistake does not use it"
    again = sign_up(bed, "mallory", invitation=text)
    assert (again.status_code, again.json()["field"]) == (400, "invitation")
    (row,) = bed.ask("root", "GET", INVITATIONS).json()
    assert row["used"]
    assert (row["label"], row["maker"], "invitation" in row) == ("Eve\\x1b[2J of the lab", "root", False)
    secret = text.split("_", 2)[2].encode()
    assert not any(secret in each.read_bytes() for each in bed.store.root.glob("service.sqlite*"))
    with bed.database.reading() as session:
        assert session.get_one(Invitation, row["id"]).account_id == bed.gatekeeper.accounts.everyone()[2].id
    bed.close()


def test_an_invitation_makes_one_account_also_for_many_at_once(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.INVITATION)
    text, found, refused = invite(bed), list[str](), list[str]()

    def attempt(number: int) -> None:
        try:
            found.append(bed.service.entrance.sign_up(f"eve{number}", PASSWORD, text, f"192.0.2.{number}").name)
        except Unfit as unfit:
            refused.append(unfit.field)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(found), refused) == (1, ["invitation"] * 7)
    assert {each.name for each in bed.gatekeeper.accounts.everyone()} == {*PASSWORDS, *found}
    bed.close()


def test_without_an_invitation_nothing_is_told_of_names(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed = bed.again(sign_up=SignUp.INVITATION)
    revoked, expired, valid = invite(bed), invite(bed, days=1), invite(bed, days=9)
    number = revoked.split("_")[1]
    assert bed.ask("root", "DELETE", f"{INVITATIONS}/{number}").status_code == 200
    assert bed.ask("root", "DELETE", f"{INVITATIONS}/{number}").status_code == 404
    moment = clock.now() + timedelta(days=2)
    monkeypatch.setattr("cc_images.clock.now", lambda: moment)
    forged = valid[:-1] + ("A" if valid[-1] != "A" else "B")
    answers = {
        (answer.status_code, answer.content)
        for name, text in (("ada", ""), ("eve", ""), ("ada", revoked), ("eve", expired), ("ada", forged), ("?", "x"))
        for answer in [sign_up(bed, name, invitation=text)]
    }
    assert len(answers) == 1
    assert sign_up(bed, invitation=valid).status_code == 200
    bed.close()


@pytest.mark.parametrize("who", ["ada", "token"])
def test_people_do_not_invite(bed: ServiceBed, who: str) -> None:
    if who == "token":
        who = bed.ask("root", "POST", "/tokens", json={"scopes": ["read", "build", "push"]}).json()["token"]
    for method, path in (("POST", INVITATIONS), ("GET", INVITATIONS), ("DELETE", f"{INVITATIONS}/0123456789ab")):
        assert bed.ask(who, method, path, json={}).status_code == 403


@pytest.mark.parametrize("days", [0, 91, "7"])
def test_an_invitation_ends(bed: ServiceBed, days: object) -> None:
    answer = bed.ask("root", "POST", INVITATIONS, json={"days": days})
    assert (answer.status_code, answer.json()["field"]) == (400, "days")
