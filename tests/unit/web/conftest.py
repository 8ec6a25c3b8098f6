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


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[ServiceBed]:
    if ADDRESS:
        engine = create_engine(ADDRESS)
        with engine.begin() as connection:
            Base.metadata.drop_all(connection)
            connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
        engine.dispose()
    made = ServiceBed(tmp_path, address=ADDRESS)
    yield made
    made.close()
