"""dib's own functional test elements: a plan accepts and refuses what dib does, and uses the same elements."""

from __future__ import annotations

from pathlib import Path

import pytest
from diskimage_builder import element_dependencies as theirs  # type: ignore[import-untyped]

from cc_images.builders.dib.elements import Elements, own_elements, with_layout
from cc_images.errors import UserError
from tests.conftest import sampled

SUITE = sorted(own_elements().glob("*/test-elements/*"))
"""Each is built together with the element that it tests; rule: dib's run_functests.sh."""


def name(test: Path) -> str:
    return f"{test.parent.parent.name}/{test.name}"


def expanded(wanted: list[str], folders: str) -> set[str] | None:
    """Return what dib expands some elements to, or None when it refuses them."""
    try:
        return {found for found, _ in theirs.get_elements(wanted, folders)}
    except (theirs.MissingElementException, theirs.AlreadyProvidedException, theirs.MissingOSException):
        return None


def test_the_suite_is_there() -> None:
    assert len(SUITE) > 40


@pytest.mark.parametrize("test", sampled(SUITE), ids=name)
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_a_plan_uses_what_dib_uses(test: Path, arch: str) -> None:
    wanted = [test.parent.parent.name, test.name]
    folders = (test.parent, own_elements())
    said = expanded([*with_layout(wanted, arch)], ":".join(map(str, folders)))
    try:
        found: set[str] | None = set(Elements(folders).closure(with_layout(wanted, arch)))
    except UserError:
        found = None
    assert found == said
