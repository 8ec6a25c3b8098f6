"""The service as clients see it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servedbed import Served
from tests.support.servicebed import ServiceBed


@pytest.fixture
def served(bed: ServiceBed) -> Iterator[Served]:
    """Give a service that is served on loopback."""
    made = Served(bed)
    made.start()
    yield made
    made.stop()
