"""Sign-up: people make accounts themselves, if the service lets everybody, or those who are invited."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cc_images.model.service_terms import SignUp
from cc_images.web.accounts import Accounts
from cc_images.web.invitations import Invitations, redeem
from cc_images.web.passwords import Unfit
from cc_images.web.tables import Account
from cc_images.web.throttle import Throttle, network

TRIES, SPAN = 10, 3600.0
"""Attempts of one address within a time in seconds: whether a name is taken cannot be asked often."""

NO_INVITATION = "this invitation is unknown, was used, or has expired; ask for another one"


class Entrance:
    """Where people make accounts. `mode` says who may."""

    def __init__(
        self, accounts: Accounts, invitations: Invitations, mode: SignUp, tries: Throttle | None = None
    ) -> None:
        self._accounts = accounts
        self._tries = tries or Throttle(TRIES, SPAN)
        self.invitations = invitations
        self.mode = mode

    def sign_up(self, name: str, password: str, invitation: str, address: str) -> Account:
        """Make an account. Raises Unfit, and TooMany.

        Who lacks a valid invitation learns nothing of names. A name that belongs to a closed account, or to the
        service itself, is refused by the words for one that is taken.
        """
        if self.mode is SignUp.OFF:
            raise Unfit("", "sign-up is off; ask an administrator for an account")
        self._tries.take(network(address))
        if self.mode is SignUp.OPEN:
            return self._accounts.add(name, password, by=name, address=address)
        if not self.invitations.can_be_used(invitation):
            raise Unfit("invitation", NO_INVITATION)

        def use(session: Session, account: Account) -> None:
            if not redeem(session, invitation, account, address):  # somebody else was quicker
                raise Unfit("invitation", NO_INVITATION)

        return self._accounts.add(name, password, by=name, address=address, then=use)
