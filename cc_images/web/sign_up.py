"""Sign-up: people make accounts themselves, if the service lets everybody, or those who are invited."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy.orm import Session

from cc_images.web import invitations
from cc_images.web.accounts import Accounts
from cc_images.web.database import Database
from cc_images.web.invitations import Invitations
from cc_images.web.passwords import Unfit
from cc_images.web.tables import Account
from cc_images.web.throttle import Throttle

TRIES, SPAN = 10, 3600.0
"""Attempts of one address within a time in seconds: whether a name is taken cannot be asked often."""


NO_INVITATION = "this invitation is unknown, was used, or has expired; ask for another one"


class SignUp(StrEnum):
    """Who may make an account."""

    OFF = "off"
    OPEN = "open"
    INVITATION = "invitation"


class Entrance:
    """Where people make accounts. `mode` says who may."""

    def __init__(self, database: Database, accounts: Accounts, mode: SignUp, tries: Throttle | None = None) -> None:
        self._database = database
        self._accounts = accounts
        self._tries = tries or Throttle(TRIES, SPAN)
        self.mode = mode
        self.invitations = Invitations(database)

    def sign_up(self, name: str, password: str, invitation: str, address: str) -> Account:
        """Make an account. Raises Unfit, and TooMany.

        Who lacks a valid invitation learns nothing of names. A name that belongs to a closed account, or to the
        service itself, is refused by the words for one that is taken.
        """
        if self.mode is SignUp.OFF:
            raise Unfit("", "sign-up is off; ask an administrator for an account")
        self._tries.take(address)
        if self.mode is SignUp.OPEN:
            return self._accounts.add(name, password, by=name, address=address)
        with self._database.reading() as session:
            if invitations.redeemable(session, invitation) is None:
                raise Unfit("invitation", NO_INVITATION)

        def use(session: Session, account: Account) -> None:
            found = invitations.redeemable(session, invitation)
            if found is None:  # somebody else was quicker
                raise Unfit("invitation", NO_INVITATION)
            invitations.redeem(session, found, account)

        return self._accounts.add(name, password, by=name, address=address, then=use)
