"""The audit log: who did what, when, from where. Rows are only added; the sweeper removes those of a year ago."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from cc_images import clock
from cc_images.web.tables import Audit


def note(session: Session, account: str, action: str, subject: str = "", address: str = "") -> None:
    """Add a row; characters that a terminal or page could take for something else are written out."""
    session.add(
        Audit(
            time=clock.now(),
            account=plain(account)[:64],
            action=action,
            object=plain(subject)[:200],
            address=plain(address)[:64],
        )
    )


def newest(
    session: Session, most: int = 200, before: int | None = None, account: str = "", action: str = ""
) -> list[Audit]:
    """Return the newest rows, or those before a row; of one account or action, if it is named."""
    found = select(Audit).order_by(Audit.id.desc()).limit(most)
    if before is not None:
        found = found.where(Audit.id < before)
    if account:
        found = found.where(Audit.account == account)
    if action:
        found = found.where(Audit.action == action)
    return list(session.scalars(found))


def actions(session: Session) -> list[str]:
    """Return the names of all actions that were noted."""
    return list(session.scalars(select(Audit.action).distinct().order_by(Audit.action)))


def plain(text: str) -> str:
    """Return a text in which every character that cannot be printed is written out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
