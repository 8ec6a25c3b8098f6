"""Starts a service: its database, its parts, its server; and checks beforehand whether it would start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cc_images.api.launch import Launcher, alone, observe
from cc_images.config.loader import Config
from cc_images.model.service_terms import Limits, SignUp
from cc_images.web import server, service
from cc_images.web.access import Gatekeeper
from cc_images.web.accounts import Accounts
from cc_images.web.catalogue import Catalogue
from cc_images.web.database import NEWEST, Database, default, unknown
from cc_images.web.invitations import Invitations
from cc_images.web.passwords import Cost, Passwords
from cc_images.web.server import Listen
from cc_images.web.service import Service
from cc_images.web.sessions import Sessions
from cc_images.web.tokens import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a service. `environ` is that of its runs."""

    load: Callable[[], Config]
    folder: Path
    environ: Mapping[str, str]
    database: str = ""
    """The database's address; empty: SQLite in the store."""
    listen: Listen = field(default_factory=Listen)
    limits: Limits = field(default_factory=Limits)
    sign_up: SignUp = SignUp.OFF
    cost: Cost = field(default_factory=Cost)


def accounts(settings: Settings) -> Accounts:
    """Return the accounts of a service, which need not run. Raises UserError."""
    return Accounts(_opened(settings), Passwords(settings.cost))


def invitations(settings: Settings) -> Invitations:
    """Return the invitations of a service, which need not run. Raises UserError."""
    return Invitations(_opened(settings))


def _opened(settings: Settings) -> Database:
    database = Database(settings.database or default(settings.load().store))
    database.migrate()
    return database


@contextmanager
def running(settings: Settings, app: Callable[[Service], Any]) -> Iterator[str]:
    """Run a service with an application over it, and yield its address; at the end its runs go on.

    Raises CCImagesError.
    """
    server.check(settings.listen)
    catalogue = Catalogue(settings.load)
    store = catalogue.config.store
    database = Database(settings.database or default(store))
    with alone(store / service.FOLDER), database.claimed():
        database.migrate()
        gatekeeper = Gatekeeper(
            accounts=Accounts(database, Passwords(settings.cost)), tokens=Tokens(database), sessions=Sessions(database)
        )
        launcher = Launcher(settings.folder, settings.environ)
        made = service.made(database, catalogue, gatekeeper, launcher, settings.limits,
                            secure=settings.listen.tls is not None, sign_up=settings.sign_up)  # fmt: skip
        made.supervisor.start()
        made.sweeper.start()
        try:
            with server.serving(app(made), settings.listen, made.draining) as address:
                yield address
        finally:
            made.sweeper.close()
            made.supervisor.close()
            database.close()


def check(settings: Settings) -> dict[str, str]:
    """Return what a service would start with; nothing is changed. Raises CCImagesError for what would keep it."""
    server.check(settings.listen)
    config = settings.load()
    database = Database(settings.database or default(config.store))
    found = database.revision()
    if found > NEWEST:
        raise unknown(found)
    works = observe(config.store / service.FOLDER).alive or database.is_claimed()
    if not works:  # else its address is taken, by itself
        server.listener(settings.listen).close()
    known = 0
    if found == NEWEST:
        known = len(Accounts(database, Passwords(Cost(time=1, memory=8, lanes=1))).everyone())
    database.close()
    return {
        "store": str(config.store),
        "images": str(_requestable(config)),
        "database": "would be made" if not found else "ready" if found == NEWEST else f"revision {found}",
        "accounts": str(known),
        "sign_up": settings.sign_up,
        "address": settings.listen.address,
        "tls": "yes" if settings.listen.tls is not None else "no",
        "service": "at work; another one cannot start" if works else "none is at work",
    }


def remarks(config: Config) -> list[str]:
    """Return what keeps nobody from starting a service, and yet is hardly meant."""
    if _requestable(config):
        return []
    return [f"nobody can request an image: {config.files['images.yaml']} has none, or abstract ones alone"]


def _requestable(config: Config) -> int:
    return sum(not each.abstract for each in config.images.values())
