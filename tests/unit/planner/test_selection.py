"""Which images words name: tags, patterns, what is abstract, what begins with x-."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path

import pytest

from cc_images.api.inspect import one_of
from cc_images.cli.main import run as command
from cc_images.config import loader
from cc_images.errors import ConfigError, Reason, UserError
from cc_images.model.catalog import Arch
from cc_images.model.plan import Request
from cc_images.planner.selection import names_images, select
from tests.conftest import Cli, clean_environment, write_files

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


def test_what_is_not_in_all_is_there_by_name_and_by_pattern(tmp_path: Path) -> None:
    write_files(tmp_path, images=IMAGES.replace("Other: {", "Other: {in-all: false, "))
    loaded = loader.load({"HOME": str(tmp_path)}, tmp_path)

    def tags(*said: str) -> list[str]:
        return [image.tag for image, _ in select(Request(tags=said), loaded, date.max)[0]]

    assert tags("all") == ["cc-one", "cc-two"]
    assert tags("all", "other") == ["cc-one", "cc-two", "other"]
    assert tags("oth*") == ["other"]


def test_a_pattern_names_what_it_fits(tmp_path: Path) -> None:
    assert chosen(tmp_path, "cc-*", "other") == ["cc-one", "cc-two", "other"]
    with pytest.raises(UserError, match=r"there is no image nope\*"):
        chosen(tmp_path, "nope*")


def test_patterns_are_those_of_shells(tmp_path: Path) -> None:
    assert chosen(tmp_path, "cc-?ne") == ["cc-one"]
    assert chosen(tmp_path, "cc-[!o]*") == ["cc-two"]
    assert chosen(tmp_path, "*o*", "cc-one") == ["cc-one", "cc-two", "other"]


@pytest.mark.parametrize(
    ("tag", "hint"),
    [("c-o*", "did you mean cc-one or cc-two?"), ("othre*", "did you mean other?"), ("cc-b*", "did you mean cc-"),
     ("zzzz?", "known are cc-one, cc-two, other")],
)  # fmt: skip
def test_a_pattern_that_fits_nothing_is_an_unknown_tag(tmp_path: Path, tag: str, hint: str) -> None:
    with pytest.raises(UserError, match=f"there is no image {re.escape(tag)}") as refused:
        chosen(tmp_path, tag)
    assert refused.value.reason is Reason.UNKNOWN_IMAGE
    assert hint in str(refused.value.hint)


def test_a_pattern_leaves_out_what_is_not_made_for_an_architecture(tmp_path: Path) -> None:
    write_files(tmp_path, images="A-One: {arch: [amd64, arm64]}\nA-Two: {}\n")
    config = loader.load({"HOME": str(tmp_path)}, tmp_path)

    def asked(*tags: str) -> list[str]:
        return [each.image.tag for each in select(Request(tags=tags, arches=(Arch.ARM64,)), config, date.max)[0]]

    assert asked("a-*") == ["a-one"]
    with pytest.raises(UserError, match="a-two is not made for arm64"):
        asked("a-*", "a-two")
    with pytest.raises(UserError, match="no image matches"):
        asked("a-t*")


def test_a_verb_of_one_image_takes_a_pattern_that_fits_one(tmp_path: Path) -> None:
    write_files(tmp_path, images=IMAGES)
    config = loader.load({"HOME": str(tmp_path)}, tmp_path)
    assert one_of(config, "*-one", ()).image.tag == "cc-one"
    with pytest.raises(UserError, match=r"cc-\* fits 2 images: cc-one, cc-two") as refused:
        one_of(config, "cc-*", ())
    assert refused.value.hint == "name one of them"
    assert [names_images(each, config) for each in ("cc-one", "CC-O*", "cc-n*", "disk[1].qcow2")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    ["show {}", "diff {}", "sbom {}", "boot {}", "rollback {}", "retire {}", "hold {} V --why w",
     "release {} V", "check-updates {}", "list {}", "status {}", "explain {}", "plan -b {}",
     "plan -b cc-one {}", "plan -p {}", "inspect {}", "verify {}", "delta {} {}"],
)  # fmt: skip
def test_every_verb_with_a_tag_takes_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    write_files(tmp_path, images=IMAGES, sites="here: {directory: site}\n")
    clean = clean_environment(tmp_path)
    for name in {*os.environ, *clean}:
        monkeypatch.setenv(name, clean[name]) if name in clean else monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    file = words.split()[0] in ("inspect", "verify", "delta")
    assert command(words.format(*["nope*"] * 2).split()) == 2
    said = capsys.readouterr().err
    assert ("nope* is neither an image" if file else "there is no image nope*") in said
    command(words.format(*["cc-o*"] * 2).split())
    said = capsys.readouterr().err
    assert "there is no image" not in said
    assert "neither an image" not in said


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
