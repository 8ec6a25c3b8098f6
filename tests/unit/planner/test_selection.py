"""Which images words name: tags, patterns, what is abstract, what begins with x-."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cc_images.config import loader
from cc_images.errors import ConfigError, UserError
from cc_images.model.plan import Request
from cc_images.planner.selection import select
from tests.conftest import Cli, write_files

IMAGES = """\
x-common: &common {elements: [os]}
CC-Base: {abstract: true, <<: *common}
CC-One: {depends: [CC-Base], <<: *common}
CC-Two: {depends: [CC-Base], <<: *common}
Other: {elements: [os]}
"""


def chosen(tmp_path: Path, *tags: str) -> list[str]:
    write_files(tmp_path, images=IMAGES)
    loaded = loader.load({"HOME": str(tmp_path)}, tmp_path)
    return [image.tag for image, _ in select(Request(tags=tags), loaded, date.max)[0]]


def test_all_has_neither_what_is_abstract_nor_what_is_for_anchors(tmp_path: Path) -> None:
    assert chosen(tmp_path, "all") == ["cc-one", "cc-two", "other"]


def test_a_pattern_names_what_it_fits(tmp_path: Path) -> None:
    assert chosen(tmp_path, "cc-*", "other") == ["cc-one", "cc-two", "other"]
    with pytest.raises(UserError, match=r"there is no image nope\*"):
        chosen(tmp_path, "nope*")


def test_what_is_abstract_is_not_built_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cc-base is abstract") as refused:
        chosen(tmp_path, "cc-base")
    assert refused.value.hint == "name one that builds on it: cc-one, cc-two"


def test_an_architecture_by_another_name_is_understood(tmp_path: Path) -> None:
    write_files(tmp_path, images="A: {arch: [x86_64]}\nB: {arch: [aarch64]}\n")
    with pytest.raises(ConfigError, match=r"did you mean amd64(.|\n)*did you mean arm64"):
        loader.load({"HOME": str(tmp_path)}, tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [((), 2, "cc-images -b -p cc-debian12 "), (("help",), 0, "usage: cc-images"), (("version",), 0, "cc-images 0."),
     (("build", "nope"), 2, "there is no image nope"), (("push", "nope"), 2, "there is no image nope"),
     (("list", "cc-o*"), 0, "cc-one")],
)  # fmt: skip
def test_words_that_people_try_lead_somewhere(
    cli: Cli, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    write_files(tmp_path, images=IMAGES)
    done = cli(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
