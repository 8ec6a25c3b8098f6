"""The database: private, migrated, and what is said when it cannot be used."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from cc_images.errors import UserError
from cc_images.web.database import Database, default, holds_password
from cc_images.web.tables import Base, LogIn
from tests.conftest import GOLDEN
from tests.support.servicebed import ServiceBed


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    database = Database(default(tmp_path))
    assert database.revision() == ""
    assert not list(tmp_path.iterdir()), "a look makes nothing"
    database.migrate()
    database.migrate()
    database.close()
    with create_engine(default(tmp_path)).connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert [each for each in found if "alembic_version" not in str(each)] == []


def test_a_database_of_the_first_version_goes_on(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "service.sqlite") as connection:
        connection.executescript((GOLDEN / "service-0001.sql").read_text())
    connection.close()
    bed = ServiceBed(tmp_path, store_folder=tmp_path)
    assert [each.name for each in bed.gatekeeper.accounts.everyone()] == ["ada", "bob", "root"]
    said = bed.ask("ada", "GET", "/builds").json()
    assert [(each["status"], each["image_id"]) for each in said] == [("FINISHED", "cc-one@20261122T030000Z")]
    bed.close()


def test_only_the_owner_reads_it(bed: ServiceBed) -> None:
    files = [*bed.store.root.glob("service.sqlite*")]
    assert {each.name for each in files} >= {"service.sqlite"}
    assert {each.stat().st_mode & 0o077 for each in files} == {0}


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Database(default(tmp_path)).migrate()
    with sqlite3.connect(tmp_path / "service.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UserError, match="9999"):
        Database(default(tmp_path)).migrate()


@pytest.mark.parametrize("address", ["nonsense", "oracle+nothing://x", "sqlite:////proc/nothing/here.sqlite"])
def test_an_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(UserError, match=r"cannot be (used|written)"):
        Database(address).migrate()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "service.sqlite").write_text("something else, " * 100)
    with pytest.raises(UserError, match="file is not a database"):
        Database(default(tmp_path)).migrate()


def test_a_password_in_an_address_is_seen() -> None:
    assert holds_password("postgresql+psycopg://me:secret@host/name")
    assert not holds_password("postgresql+psycopg://me@host/name")
    assert not holds_password("")


def test_writers_wait_for_each_other(bed: ServiceBed) -> None:
    account = bed.gatekeeper.accounts.everyone()[0]

    def write() -> None:
        for _ in range(10):
            bed.gatekeeper.sessions.open(account)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with bed.database.reading() as session:
        assert session.query(LogIn).count() == 40
