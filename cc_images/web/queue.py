"""The queue: builds in the database, who has requested them, and how each stands for whom."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, bindparam, case, func, select
from sqlalchemy.orm import Session, aliased

from cc_images import clock
from cc_images.model.service_terms import Limits
from cc_images.web import audit
from cc_images.web.accounts import Role
from cc_images.web.database import Database
from cc_images.web.decisions import Status
from cc_images.web.tables import OVER, RUNNING, WAITING, Account, Attempt, Build, Product, Requester
from cc_images.web.value import Value

ID = re.compile(r"[0-9a-f]{32}\Z")


class Full(Exception):
    """An account has as much as it may; `lasts`: that stays so until somebody does something."""

    def __init__(self, message: str, *, lasts: bool = False) -> None:
        super().__init__(message)
        self.lasts = lasts


_BEFORE = aliased(Build)

NEWEST_RUN = select(func.max(Attempt.id)).where(Attempt.build == Build.number).correlate(Build).scalar_subquery()
"""The id of the newest run of a build, as a part of questions."""

PLACE = case(
    (
        Build.state == WAITING,
        select(func.count())
        .where(_BEFORE.state == WAITING, _BEFORE.number <= Build.number)
        .correlate(Build)
        .scalar_subquery(),
    ),
    else_=0,
)
"""The place of a build among those that wait, from 1; 0: it does not wait."""

_MINE = (Requester.build == Build.number) & (Requester.account_id == bindparam("account"))
_ONE = (
    select(Build, Requester, Attempt, PLACE)
    .outerjoin(Requester, _MINE)
    .outerjoin(Attempt, Attempt.id == NEWEST_RUN)
    .where(Build.id == bindparam("id"))
)
"""The question for one build, made once: clients ask it again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A build as one account sees it, with its newest run."""

    build: Build
    run: Attempt | None
    mine: Requester | None
    requesters: tuple[str, ...] = ()
    products: tuple[Product, ...] = field(default=())
    position: int = 0
    """Its place among those that wait, from 1; 0: it does not wait."""

    @property
    def withdrawn(self) -> bool:
        """Whether this account has cancelled it; for others it may go on."""
        return self.mine is not None and self.mine.withdrawn is not None


class Queue:
    """The queue of a database."""

    def __init__(self, database: Database, limits: Limits | None = None) -> None:
        self._database = database
        self.limits = limits or Limits()

    def submit(self, account: Account, value: Value, address: str = "") -> tuple[str, bool]:
        """Add a request; return the id of its build, and whether that was there already. Raises Full."""
        with self._database.writing() as session:
            if session.get_one(Account, account.id).closed is not None:
                raise Full("the account was closed", lasts=True)
            found = session.scalars(
                select(Build).where(Build.key == value.key, Build.state != OVER, Build.cancelled.is_(False))
            ).first()
            joined = found is not None
            mine = session.get(Requester, (found.number, account.id)) if found is not None else None
            has = mine is not None and mine.withdrawn is None
            if found is None or (found.state == WAITING and not has):  # also to join is to have one more that waits
                self._check_room(session, account)
            if found is None:
                found = Build(id=secrets.token_hex(16), kind=value.kind, value=value.text, key=value.key, state=WAITING,
                              status=Status.PENDING, message="", cancelled=False, created=clock.now())  # fmt: skip
                session.add(found)
                session.flush()
            if mine is None:
                mine = Requester(build=found.number, account_id=account.id, requested=clock.now())
                session.add(mine)
            mine.withdrawn = mine.hidden = None
            audit.note(session, account.name, "join" if joined else "request", f"{found.id} {value.text}", address)
            return found.id, joined

    def _check_room(self, session: Session, account: Account) -> None:
        most = self.limits.waiting if account.most_waiting is None else account.most_waiting
        waiting = select(func.count()).select_from(Build).join(Requester, Requester.build == Build.number)
        waiting = waiting.where(Build.state == WAITING, Requester.account_id == account.id)
        if (session.scalar(waiting.where(Requester.withdrawn.is_(None))) or 0) >= most:
            raise Full(
                f"{most} of your builds wait already, and no more may: cancel one, or ask again when one has begun"
            )

    def withdraw(self, account: Account, id: str, address: str = "", *, remove: bool = True) -> str | None:
        """Cancel a build that is not over, or remove one that is from the account's list; return which it was.

        It goes on if others have requested it. An administrator who has not cancels it for all, and removes it from
        nobody's list. `over`: nothing was done, because of that or without `remove`. None: there is no such build for
        this account.
        """
        with self._database.writing() as session:
            entry = self._entry(session, account, id)
            if entry is None:
                return None
            chosen = select(Requester).where(Requester.build == entry.build.number)
            everybody = list(session.scalars(chosen))
            now = clock.now()
            targets = [each for each in everybody if entry.mine is None or each.account_id == account.id]
            done = "removed" if entry.build.state == OVER or entry.withdrawn else "cancelled"
            if done == "removed" and (entry.mine is None or not remove):
                return "over"
            for each in targets:
                if done == "removed":
                    each.hidden = now
                else:
                    each.withdrawn = each.withdrawn or now
            if done == "cancelled" and all(each.withdrawn is not None for each in everybody):
                entry.build.cancelled = True
            audit.note(session, account.name, done, id, address)
            return done

    def entry(self, account: Account, id: str) -> Entry | None:
        """Return a build as an account sees it; None if it is somebody else's, or there is none."""
        with self._database.reading() as session:
            return self._entry(session, account, id)

    def _entry(self, session: Session, account: Account, id: str) -> Entry | None:
        row = session.execute(_ONE, {"id": id, "account": account.id}).one_or_none() if ID.match(id) else None
        if row is None:
            return None
        build, mine, run, place = row
        return self.seen(session, account, Entry(build=build, mine=mine, run=run, position=place))

    def seen(self, session: Session, account: Account, entry: Entry) -> Entry | None:
        """Return a build as an account sees it, with all that belongs to it; None if it is somebody else's."""
        mine = entry.mine if entry.mine is not None and entry.mine.hidden is None else None
        if mine is None and account.role != Role.ADMINISTRATOR:
            return None
        number, over = entry.build.number, entry.build.state == OVER
        return replace(
            entry,
            mine=mine,
            requesters=tuple(_requesters(session, account, [number]).get(number, ())),
            products=tuple(_products(session, [number]).get(number, ()) if over else ()),
        )

    def _filled(
        self, session: Session, account: Account, found: Sequence[tuple[Build, Requester | None]]
    ) -> list[Entry]:
        """Return builds as an account sees them: a few questions, however many builds there are."""
        numbers = [build.number for build, _ in found]
        states = {build.state for build, _ in found}
        newest = select(func.max(Attempt.id)).where(Attempt.build.in_(numbers)).group_by(Attempt.build)
        runs = {each.build: each for each in session.scalars(select(Attempt).where(Attempt.id.in_(newest)))}
        places: dict[int, int] = {}
        if WAITING in states:
            waiting = select(Build.number).where(Build.state == WAITING).order_by(Build.number)
            places = {number: place for place, number in enumerate(session.scalars(waiting), 1)}
        names = _requesters(session, account, numbers)
        products = _products(session, numbers) if OVER in states else {}
        return [
            Entry(build=build, run=runs.get(build.number), mine=mine, requesters=tuple(names.get(build.number, ())),
                  products=tuple(products.get(build.number, ())), position=places.get(build.number, 0))
            for build, mine in found
        ]  # fmt: skip

    def entries(self, account: Account, *, everyone: bool = False, most: int = 100, before: int = 0) -> list[Entry]:
        """Return the builds of an account, newest first; with `everyone` those of all, for administrators alone.

        `before`: only those with a smaller number.
        """
        everyone = everyone and account.role == Role.ADMINISTRATOR
        chosen = select(Build, Requester)
        wanted: ColumnElement[bool] = (Requester.build == Build.number) & (Requester.account_id == account.id)
        chosen = chosen.outerjoin(Requester, wanted) if everyone else chosen.join(Requester, wanted)
        if not everyone:
            chosen = chosen.where(Requester.hidden.is_(None))
        if before:
            chosen = chosen.where(Build.number < before)
        with self._database.reading() as session:
            rows = session.execute(chosen.order_by(Build.number.desc()).limit(most)).all()
            return self._filled(session, account, [(build, mine) for build, mine in rows])

    def versions(self, account: Account) -> set[tuple[str, str, str]] | None:
        """Return the versions that builds in an account's list have made or found; None: all, for an administrator."""
        return None if account.role == Role.ADMINISTRATOR else self.known(account)

    def known(self, account: Account) -> set[tuple[str, str, str]]:
        """Return the versions that builds in an account's list have made or found, stored or not; or all builds."""
        chosen = select(Product.tag, Product.arch, Product.version).distinct()
        if account.role != Role.ADMINISTRATOR:
            chosen = chosen.join(Requester, Requester.build == Product.build).where(*_in_list(account))
        with self._database.reading() as session:
            return {(tag, arch, version) for tag, arch, version in session.execute(chosen)}

    def at_work(self) -> list[tuple[Value, str]]:
        """Return what is requested and not over, by anybody, each with the name of its run; empty: it has none yet."""
        chosen = select(Build, Attempt).outerjoin(Attempt, Attempt.id == NEWEST_RUN)
        with self._database.reading() as session:
            rows = session.execute(chosen.where(Build.state != OVER, Build.cancelled.is_(False))).all()
            return [
                (Value(kind=build.kind, content=json.loads(build.value)), run.name if run is not None else "")
                for build, run in rows
            ]

    def use(self, account: Account) -> tuple[int, int]:
        """Return how many builds of an account run and wait."""
        chosen = select(Build.state, func.count()).join(Requester, Requester.build == Build.number)
        chosen = chosen.where(Requester.account_id == account.id, Requester.withdrawn.is_(None), Build.state != OVER)
        with self._database.reading() as session:
            found = {row[0]: row[1] for row in session.execute(chosen.group_by(Build.state))}
            return found.get(RUNNING, 0), found.get(WAITING, 0)

    def made(self, account: Account) -> set[tuple[str, str, str]]:
        """Return the versions that builds in an account's list have made."""
        chosen = select(Product).join(Requester, Requester.build == Product.build).where(Product.made)
        with self._database.reading() as session:
            rows = session.scalars(chosen.where(*_in_list(account)))
            return {(each.tag, each.arch, each.version) for each in rows}

    def counts(self) -> dict[str, int]:
        """Return how many builds wait, run, and are over by status."""
        with self._database.reading() as session:
            rows = session.execute(select(Build.state, Build.status, func.count()).group_by(Build.state, Build.status))
            found = {"waiting": 0, "running": 0, "FINISHED": 0, "FAILED": 0, "CANCELLED": 0}
            for state, status, count in rows:
                name = status if state == OVER else state
                found[name] = found.get(name, 0) + count
            return found


def _requesters(session: Session, account: Account, numbers: Sequence[int]) -> dict[int, list[str]]:
    """Return the names of those who have requested builds, for administrators alone."""
    names: dict[int, list[str]] = {}
    if account.role == Role.ADMINISTRATOR:
        chosen = select(Requester.build, Account.name).join(Account, Requester.account_id == Account.id)
        for number, name in session.execute(chosen.where(Requester.build.in_(numbers)).order_by(Account.name)):
            names.setdefault(number, []).append(name)
    return names


def _products(session: Session, numbers: Sequence[int]) -> dict[int, list[Product]]:
    products: dict[int, list[Product]] = {}
    for each in session.scalars(select(Product).where(Product.build.in_(numbers)).order_by(Product.tag)):
        products.setdefault(each.build, []).append(each)
    return products


def _in_list(account: Account) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for requests that an account has neither cancelled nor removed from its list."""
    return Requester.account_id == account.id, Requester.withdrawn.is_(None), Requester.hidden.is_(None)
