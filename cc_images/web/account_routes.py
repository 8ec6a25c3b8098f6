"""Routes of accounts: who one is, tokens, the password, the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from cc_images.web import audit
from cc_images.web.access import Gatekeeper, Problem
from cc_images.web.routing import Owner, Reader, the
from cc_images.web.tables import Token
from cc_images.web.tokens import LONGEST as LONGEST
from cc_images.web.tokens import Scope

router = APIRouter(tags=["account"])


class AccountView(BaseModel):
    """An account."""

    name: str
    role: str
    scopes: list[str]
    running: int = Field(description="Builds of the account that run.")
    waiting: int
    bytes: int = Field(description="Bytes of stored versions that builds in the account's list have made.")
    most_running: int
    most_waiting: int
    most_bytes: int | None = Field(description="None: no limit.")


class TokenRequest(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: str = Field(default="", max_length=100)
    scopes: list[str] = Field(min_length=1, max_length=3, description="read, build, push")
    days: int = Field(default=90, ge=1, le=LONGEST, description="Days for which it is valid.")


class TokenView(BaseModel):
    """A token, without its secret."""

    id: str
    label: str
    scopes: list[str]
    created: datetime
    expires: datetime
    used: datetime | None


class NewToken(TokenView):
    """A token as it is shown once."""

    token: str


class PasswordRequest(BaseModel):
    """A change of the password."""

    model_config = ConfigDict(extra="forbid", strict=True)

    old: str = Field(max_length=200)
    new: str = Field(min_length=10, max_length=200)


class AuditView(BaseModel):
    """A row of the audit log."""

    id: int
    time: datetime
    account: str
    action: str
    object: str
    address: str


@router.get("/account")
def get_account(request: Request, caller: Reader) -> AccountView:
    """Show the account of the caller."""
    quotas, mine = the(request).quotas, caller.account
    used, most = quotas.used(mine), quotas.most(mine)
    return AccountView(
        name=mine.name,
        role=mine.role,
        scopes=sorted(caller.scopes),
        running=used.running,
        waiting=used.waiting,
        bytes=used.bytes or 0,
        most_running=most.running,
        most_waiting=most.waiting,
        most_bytes=most.bytes,
    )


@router.post("/account/password")
def change_password(request: Request, caller: Owner, said: PasswordRequest) -> dict[str, str]:
    """Change the password; all sessions end. Tokens stay."""
    accounts = _gatekeeper(request).accounts
    if accounts.log_in(caller.account.name, said.old, caller.address) is None:
        raise Problem(400, "that is not the password", "old")
    accounts.change_password(caller.account.name, said.new, caller.account.name, caller.address)
    return {"done": "changed"}


@router.get("/tokens")
def list_tokens(request: Request, caller: Owner) -> list[TokenView]:
    """List the tokens of the account."""
    return [TokenView(**_fields(each)) for each in _gatekeeper(request).tokens.of(caller.account)]


@router.post("/tokens")
def create_token(request: Request, caller: Owner, said: TokenRequest) -> NewToken:
    """Make a token; its text is in this answer alone."""
    the(request).requests.take(caller.account.id)
    unknown = next((each for each in said.scopes if each not in ("read", "build", "push")), None)
    if unknown is not None:
        raise Problem(400, "scopes are read, build and push", "scopes")
    scopes = {Scope(each) for each in said.scopes}
    text, made = _gatekeeper(request).tokens.create(caller.account, said.label, scopes, said.days)
    return NewToken(token=text, **_fields(made))


@router.delete("/tokens/{id}")
def revoke_token(request: Request, caller: Owner, id: str) -> dict[str, str]:
    """Revoke a token."""
    if not _gatekeeper(request).tokens.revoke(caller.account, id):
        raise Problem(404, "there is no such token")
    return {"id": id, "done": "revoked"}


@router.get("/audit")
def get_audit(
    request: Request,
    caller: Reader,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    account: Annotated[str, Query(max_length=64)] = "",
    action: Annotated[str, Query(max_length=32)] = "",
) -> list[AuditView]:
    """List who did what, the newest first, or what one account did; for administrators."""
    if not caller.is_administrator:
        raise Problem(403, "this is for administrators")
    with the(request).database.reading() as session:
        rows = audit.newest(session, 200, before, account, action)
        return [AuditView.model_validate(each, from_attributes=True) for each in rows]


def _fields(token: Token) -> dict[str, Any]:
    return {
        "id": token.id, "label": token.label, "scopes": token.scopes.split(), "created": token.created,
        "expires": token.expires, "used": token.used,
    }  # fmt: skip


def _gatekeeper(request: Request) -> Gatekeeper:
    found: Gatekeeper = request.app.state.gatekeeper
    return found
