"""Values that cannot be, and variables that nobody reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.builders.dib.element_variables import impossible, unread
from cc_images.builders.dib.elements import Elements
from cc_images.config.loader import packaged
from cc_images.errors import UserError


@pytest.fixture
def elements(tmp_path: Path) -> Elements:
    """Return one element that reads DIB_MINE_LEVEL, and says which values it may have."""
    folder = tmp_path / "mine"
    (folder / "environment.d").mkdir(parents=True)
    (folder / "environment.d/10-mine.bash").write_text("export DIB_MINE_LEVEL=${DIB_MINE_LEVEL:-1}\n")
    (folder / "variables.yaml").write_text("DIB_MINE_LEVEL: {values: '[1-9]', says: a digit from 1 to 9}\n")
    return Elements((tmp_path,))


def test_a_value_that_cannot_be_is_told_in_words(elements: Elements) -> None:
    assert list(impossible(elements, ["mine"], {"DIB_MINE_LEVEL": "3"})) == []
    assert list(impossible(elements, ["mine"], {})) == []
    assert list(impossible(elements, ["mine"], {"DIB_MINE_LEVEL": "33"})) == [
        "DIB_MINE_LEVEL: '33' is not a digit from 1 to 9"
    ]


def test_a_file_that_is_wrong_is_named(elements: Elements) -> None:
    (elements.path("mine") / "variables.yaml").write_text("DIB_X: {valeus: x}\n")
    with pytest.raises(UserError, match=r"elements/mine/variables.yaml:1: DIB_X.valeus: unknown key"):
        list(impossible(elements, ["mine"], {"DIB_X": "1"}))


def test_what_nobody_reads_is_told_with_what_may_be_meant(elements: Elements) -> None:
    set_there = ["DIB_MINE_LEVEL", "DIB_IMAGE_SIZE", "FS_TYPE", "DIB_MINE_LEVLE"]
    assert list(unread(elements, ["mine"], set_there)) == [
        "nothing reads DIB_MINE_LEVLE (did you mean DIB_MINE_LEVEL?)"
    ]


@pytest.mark.parametrize(
    ("name", "value", "is_fine"),
    [
        ("DIB_CC_TRUSTED_NETS", "10.0.0.0/8 fc00::/7", True),
        ("DIB_CC_TRUSTED_NETS", "", True),
        ("DIB_CC_TRUSTED_NETS", "not-a-net", False),
        ("DIB_CC_INITRAMFS_LEVEL", "19", True),
        ("DIB_CC_INITRAMFS_LEVEL", "20", False),
    ],
)
def test_our_elements_say_what_their_variables_may_be(name: str, value: str, is_fine: bool) -> None:
    ours = Elements((packaged("elements"),))
    assert (list(impossible(ours, ["cc-firewall", "cc-initramfs"], {name: value})) == []) is is_fine
