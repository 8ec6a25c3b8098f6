"""The database: private, migrated, and what is said when it cannot be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, func, select, text
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from cc_images import clock
from cc_images.errors import UserError
from cc_images.web import database
from cc_images.web.database import Database, default, holds_password
from cc_images.web.tables import Account, Base, Build, LogIn, Product
from tests.conftest import GOLDEN, REPOSITORY
from tests.support.servicebed import ServiceBed
from tests.unit.web.conftest import ADDRESS, emptied


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


def load(version: str, folder: Path) -> None:
    """Make the database of a version in a store."""
    with sqlite3.connect(folder / "service.sqlite") as connection:
        connection.executescript((GOLDEN / f"service-{version}.sql").read_text())
    connection.close()


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_a_database_of_an_earlier_version_goes_on(tmp_path: Path, version: str) -> None:
    load(version, tmp_path)
    bed = ServiceBed(tmp_path, store_folder=tmp_path)
    assert [each.name for each in bed.gatekeeper.accounts.everyone()] == ["ada", "bob", "root"]
    said = bed.ask("ada", "GET", "/builds").json()
    assert [(each["status"], each["image_id"]) for each in said] == [("FINISHED", "cc-one@20261122T030000Z")]
    assert bed.ask("ada", "GET", "/account").json()["most_bytes"] == (5 << 30 if version == "0002" else None)
    bed.stored(b"disk", "20261122T030000Z")
    assert bed.ask("ada", "GET", "/account").json()["bytes"] == len(b"disk"), "versions of old builds count"
    assert bed.ask("root", "POST", "/api/v1/invitations", json={}).status_code == 200
    assert len(bed.ask("root", "GET", "/api/v1/invitations").json()) == (2 if version == "0002" else 1)
    bed.request("ada", "cc-two")
    bed.close()


def test_the_first_version_goes_on_in_the_database_of_the_tests(tmp_path: Path) -> None:
    """Also in PostgreSQL: its tables as the first migration makes them, with the rows of the golden file."""
    (tmp_path / "old").mkdir()
    load("0001", tmp_path / "old")
    address = ADDRESS or default(tmp_path)
    emptied(address)
    config, old, rows = Config(), MetaData(), 0
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    with create_engine(default(tmp_path / "old")).connect() as source, create_engine(address).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        old.reflect(source)
        for table in old.sorted_tables:
            for row in source.execute(table.select()).mappings() if table.name != "alembic_version" else ():
                connection.execute(table.insert().values(**row))
                rows += 1
    assert rows == 13
    found = Database(address)
    found.migrate()
    with found.reading() as session:
        assert [(each.name, each.most_bytes) for each in session.scalars(select(Account).order_by(Account.id))] == [
            ("ada", None), ("bob", None), ("root", None)
        ]  # fmt: skip
        assert [each.made for each in session.scalars(select(Product))] == [True]
        assert session.scalars(select(Build.removed)).all() == [None]
    with create_engine(address).connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert [each for each in differences if "alembic_version" not in str(each)] == []
    found.close()


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    made = Database(default(tmp_path))
    made.migrate()
    files = [*tmp_path.glob("service.sqlite*")]
    assert {each.name for each in files} >= {"service.sqlite", "service.sqlite-wal"}
    assert {each.stat().st_mode & 0o077 for each in files} == {0}
    made.close()


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


def test_a_single_question_sees_what_was_written_and_holds_nobody_up(bed: ServiceBed) -> None:
    count = select(func.count()).select_from(Account)
    with bed.database.asking() as session:
        before = session.scalar(count) or 0
        with bed.database.writing() as other:  # no transaction of the other one is in its way
            other.add(Account(name="eve", password="x", role="user", created=clock.now()))
        assert session.scalar(count) == before + 1
    with pytest.raises(DatabaseError), bed.database.asking() as session:
        session.execute(text("SELECT nothing FROM nowhere"))
    with bed.database.asking() as session:
        assert session.scalar(count) == before + 1, "a connection that has failed is not asked again"


@pytest.mark.skipif(not ADDRESS.startswith("postgresql"), reason="SQLite has no connections that a server ends")
def test_a_server_that_has_started_again_is_no_fault_of_a_status(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    assert [bed.ask("ada", "GET", f"/build/{build}").status_code for _ in range(2)] == [200, 200]
    with bed.database.writing() as session:
        session.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
                             " AND datname = current_database()"))  # fmt: skip
    assert [bed.ask("ada", "GET", f"/build/{build}").status_code for _ in range(3)] == [200, 200, 200]


HOLD = """\
import sys
from cc_images.web.database import Database
with Database(sys.argv[1]).claimed():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_database_belongs_to_one_service(bed: ServiceBed) -> None:
    address = ADDRESS or default(bed.store.root)
    first, second = Database(address), Database(address)
    assert not second.is_claimed()
    with first.claimed():
        assert second.is_claimed()
        with pytest.raises(UserError, match="another service works with this database"), second.claimed():
            pass
        first.assure()
        assert bed.request("ada", "cc-one"), "accounts and commands go on"
    with second.claimed():
        assert first.is_claimed()
    for each in (first, second):
        each.close()


def test_a_service_that_was_killed_leaves_the_database(bed: ServiceBed) -> None:
    address = ADDRESS or default(bed.store.root)
    database = Database(address)
    words = [sys.executable, "-c", HOLD, address]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert database.is_claimed()
        other.kill()
        with database.claimed():  # at once, or as soon as the server of the database has seen it
            database.assure()
    database.close()


def test_a_link_to_a_database_is_the_same_database(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "store" / "service.sqlite")
    link = Database(f"sqlite:///{tmp_path / 'link.sqlite'}")
    with Database(default(tmp_path / "store")).claimed(), pytest.raises(UserError), link.claimed():
        pass


@pytest.mark.skipif(not ADDRESS.startswith("postgresql"), reason="SQLite has no connections that a server ends")
def test_a_claim_is_taken_again_when_the_server_has_ended_its_connection(bed: ServiceBed) -> None:
    first, second = Database(ADDRESS), Database(ADDRESS)
    end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid() AND"
               " pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')")  # fmt: skip
    with first.claimed():
        for taken in (False, True):
            with bed.database.writing() as session:
                session.execute(end)
            with pytest.raises(SQLAlchemyError):
                first.assure()
            if not taken:
                first.assure()
                assert second.is_claimed()
                continue
            with second.claimed(), pytest.raises(UserError, match="another service"):
                first.assure()
            first.assure()
    for each in (first, second):
        each.close()


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


def test_a_writer_that_has_waited_sees_what_the_one_before_it_has_written(
    bed: ServiceBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_isolation=repeatable\\ read")  # as an operator may have it
    bed = bed.again()
    count, has = select(func.count()).select_from(Account), threading.Event()
    seen: list[int | None] = []

    def second() -> None:
        has.wait()
        with bed.database.writing() as session:
            seen.append(session.scalar(count))

    thread = threading.Thread(target=second)
    thread.start()
    with bed.database.writing() as session:
        before = session.scalar(count)
        has.set()
        time.sleep(0.5)
        session.add(Account(name="eve", password="x", role="user", created=clock.now()))
    thread.join()
    bed.database.close()
    assert seen == [(before or 0) + 1]
