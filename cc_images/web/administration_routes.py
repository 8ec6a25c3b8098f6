"""Routes of accounts as a whole: sign-up; and for administrators their roles and limits, and invitations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from cc_images.web.access import Problem
from cc_images.web.accounts import LIMITS, Role
from cc_images.web.invitations import is_open
from cc_images.web.routing import Administrator, the
from cc_images.web.tables import Account, Invitation

router = APIRouter(tags=["administration"])

Limit = Annotated[int | None, Field(ge=0, le=2**31 - 1, description="Null: that of the service.")]
Name = Annotated[str, Path(max_length=64)]


class SignUpRequest(BaseModel):
    """An account that somebody makes for themselves."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(max_length=64)
    password: str = Field(max_length=200)
    invitation: str = Field(default="", max_length=100, description="Needed where sign-up is by invitation.")


class AccountRow(BaseModel):
    """An account, as administrators see it."""

    name: str
    role: str
    created: datetime
    closed: datetime | None
    running: int | None = Field(description="Its own limit of builds that run; null: that of the service.")
    waiting: int | None
    bytes: int | None


class NewAccount(BaseModel):
    """An account to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(max_length=64)
    password: str = Field(max_length=200)
    administrator: bool = False


class AccountChange(BaseModel):
    """A change of an account: the fields that are said."""

    model_config = ConfigDict(extra="forbid", strict=True)

    administrator: bool | None = None
    running: Limit = None
    waiting: Limit = None
    bytes: int | None = Field(default=None, ge=0, le=2**62, description="Null: that of the service.")


class InvitationRequest(BaseModel):
    """An invitation to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: str = Field(default="", max_length=100, description="Whom it is for.")
    days: int = Field(default=7, ge=1, le=90, description="Days for which it is valid.")


class InvitationView(BaseModel):
    """An invitation, without its secret."""

    id: str
    label: str
    maker: str
    created: datetime
    expires: datetime
    revoked: datetime | None
    used: datetime | None
    open: bool = Field(description="Whether it can be used.")


class NewInvitation(InvitationView):
    """An invitation as it is shown once."""

    invitation: str


@router.post("/sign-up")
def sign_up(request: Request, said: SignUpRequest) -> dict[str, str]:
    """Make an account, if the service lets people sign up. Needs no account."""
    address = request.client.host if request.client is not None else ""
    made = the(request).entrance.sign_up(said.name, said.password, said.invitation, address)
    return {"name": made.name, "done": "added"}


@router.get("/accounts")
def list_accounts(request: Request, caller: Administrator) -> list[AccountRow]:
    """List all accounts; for administrators."""
    return [_row(each) for each in the(request).gatekeeper.accounts.everyone()]


@router.post("/accounts")
def add_account(request: Request, caller: Administrator, said: NewAccount) -> AccountRow:
    """Make an account; for administrators."""
    role = Role.ADMINISTRATOR if said.administrator else Role.USER
    known = the(request).gatekeeper.accounts
    return _row(known.add(said.name, said.password, role, caller.account.name, address=caller.address))


@router.patch("/accounts/{name}")
def change_account(request: Request, caller: Administrator, name: Name, said: AccountChange) -> AccountRow:
    """Change the role or limits of an account; for administrators."""
    found = present(request, name)
    known, by = the(request).gatekeeper.accounts, (caller.account.name, caller.address)
    if said.administrator is not None:
        known.give_role(found.name, Role.ADMINISTRATOR if said.administrator else Role.USER, *by)
    if changes := {each: getattr(said, each) for each in LIMITS if each in said.model_fields_set}:
        known.limit(found.name, changes, *by)
    return _row(present(request, name))


@router.delete("/accounts/{name}")
def close_account(request: Request, caller: Administrator, name: Name) -> dict[str, str]:
    """Close an account, for administrators: its sessions and tokens end, its waiting builds are withdrawn."""
    found = present(request, name)
    the(request).gatekeeper.accounts.close(found.name, caller.account.name, caller.address)
    the(request).supervisor.wake()
    return {"name": found.name, "done": "closed"}


@router.get("/invitations")
def list_invitations(request: Request, caller: Administrator) -> list[InvitationView]:
    """List invitations, the newest first; for administrators. Those that ended more than a month ago are gone."""
    return [InvitationView(**_fields(each)) for each in the(request).entrance.invitations.everything()]


@router.post("/invitations")
def create_invitation(request: Request, caller: Administrator, said: InvitationRequest) -> NewInvitation:
    """Make an invitation for one account; for administrators. Its text is in this answer alone."""
    text, made = the(request).entrance.invitations.create(said.label, said.days, caller.account.name, caller.address)
    return NewInvitation(invitation=text, **_fields(made))


@router.delete("/invitations/{id}")
def revoke_invitation(request: Request, caller: Administrator, id: str) -> dict[str, str]:
    """Revoke an invitation; for administrators."""
    if not the(request).entrance.invitations.revoke(id, caller.account.name, caller.address):
        raise Problem(404, "there is no such invitation that could be used")
    return {"id": id, "done": "revoked"}


def present(request: Request, name: str, *, closed: bool = False) -> Account:
    """Return an account; `closed`: also one that is closed. Raises Problem."""
    found = the(request).gatekeeper.accounts.by_name(name)
    if found is None or (found.closed is not None and not closed):
        raise Problem(404, "there is no such account")
    return found


def _row(account: Account) -> AccountRow:
    limits = {each: getattr(account, column) for each, column in LIMITS.items()}
    return AccountRow(name=account.name, role=account.role, created=account.created, closed=account.closed, **limits)


def _fields(invitation: Invitation) -> dict[str, Any]:
    own = {each: getattr(invitation, each) for each in InvitationView.model_fields if each != "open"}
    return own | {"open": is_open(invitation)}
