"""A service for each test; its database is SQLite, or the one that CC_IMAGES_TEST_DATABASE names, which is emptied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from cc_images.web.tables import Base
from tests.support.servicebed import ServiceBed

ADDRESS = os.environ.get("CC_IMAGES_TEST_DATABASE", "")


def emptied(address: str) -> None:
    """Leave nothing in a database."""
    engine = create_engine(address)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[ServiceBed]:
    if ADDRESS:
        emptied(ADDRESS)
    made = ServiceBed(tmp_path, address=ADDRESS)
    yield made
    made.close()
