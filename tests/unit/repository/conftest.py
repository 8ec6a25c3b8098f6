"""The modules of the package, read once for all tests here."""

from __future__ import annotations

import pytest

from tests.support import house


@pytest.fixture(scope="package")
def modules() -> dict[str, house.Module]:
    return house.modules()
