"""Unit tests of the stages and images of Containerfiles."""

from __future__ import annotations

import pytest

from cc_images.builders.containerfile.containerfile import Containerfile, images, parsed, renamed
from cc_images.builders.containerfile.instructions import filled, instructions
from cc_images.errors import UserError


def of(text: str, **arguments: str) -> Containerfile:
    return parsed(text, arguments, "amd64")


def begins(text: str, target: str = "", **arguments: str) -> list[int | str]:
    """Return what the stages begin with that the target needs."""
    found = of(text, **arguments)
    return [stage.begins for stage in found.needed(found.target(target))]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FROM debian:12\n", ["debian:12"]),
        ("from debian:12 as base\nfrom base\nrun true\n", ["debian:12", 0]),
        ("ARG TAG=12\nFROM debian:${TAG}\n", ["debian:12"]),
        ("ARG TAG\nFROM debian:${TAG:-13}\n", ["debian:13"]),
        ("ARG A=1 B=${A}2\nFROM x:$B\n", ["x:12"]),
        ('ARG NAME="a b"\nARG IMAGE=\'debian\'\nFROM ${IMAGE}\n', ["debian"]),
        ("ARG S=one\nFROM x AS one\nFROM ${S}\n", ["x", 0]),
        ("FROM x AS one\nFROM 0 AS two\n", ["x", 0]),
        ("FROM --platform=$BUILDPLATFORM golang:1.22 AS build\nFROM scratch\nCOPY --from=build /a /a\n",
         ["golang:1.22", "scratch"]),
        ("FROM debian:12@sha256:" + "a" * 64 + "\n", ["debian:12@sha256:" + "a" * 64]),
        ("FROM x AS unused\nRUN false\nFROM y\n", ["y"]),
        ("FROM x\nFROM y AS b\nFROM z\nCOPY --from=0 /a /a\nCOPY --chown=1:1 --from=b /a /a\n", ["x", "y", "z"]),
        ("FROM x AS t\nFROM y\nRUN --mount=type=bind,from=t,target=/t ls /t\n", ["x", "y"]),
        ("# syntax=docker/dockerfile:1\n# a comment\n\n  FROM \\\n  # within\n\n  debian:12 \\\n  AS base\n",
         ["debian:12"]),
        ("# escape=`\nFROM `\n  debian:12\nRUN echo a\\\n", ["debian:12"]),
        ("FROM x\nRUN <<EOF\nFROM y\nEOF\n", ["x"]),
        ("FROM x\nRUN <<-'END' cat\n\tFROM y\n\tEND\nCOPY <<A <<B /d/\nFROM z\nA\nFROM q\nB\n", ["x"]),
        ("FROM x\nRUN echo $((1<<2)) <<<word\n", ["x"]),
        ("FROM x\nARG V=3\nFROM y:${V}\n", ["y:3"]),
        ("\ufeffFROM x\r\nRUN true\r\n", ["x"]),
    ],
)  # fmt: skip
def test_the_images_that_stages_begin_with(text: str, wanted: list[int | str]) -> None:
    assert begins(text) == wanted


def test_a_build_argument_wins_over_defaults_and_a_target_over_the_last_stage() -> None:
    text = "ARG BASE=debian:12\nFROM ${BASE} AS one\nFROM one AS two\nFROM other\n"
    assert begins(text, "two", BASE="ws-base") == ["ws-base", 0]
    assert begins(text, "0", BASE="ws-base") == ["ws-base"]
    with pytest.raises(UserError, match="no stage three"):
        begins(text, "three")


def test_images_are_named_once_and_scratch_is_none() -> None:
    found = of("FROM x AS a\nFROM scratch\nCOPY --from=x /a /a\nCOPY --from=busybox:1 /b /b\nCOPY --from=a /c /c\n")
    assert images(found.stages) == ("x", "busybox:1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no FROM"),
        ("RUN true\nFROM x\n", "line 1: RUN stands before"),
        ("ARG A\nFROM $A\n", "line 2: FROM .*names no image"),
        ("FROM x AS a b\n", "line 1"),
        ("FROM x\nRUN <<EOF\ntrue\n", "line 2: the text of <<EOF has no end"),
        ("FROM x AS Ä\n", "is no name of a stage"),
        ("ARG S=a\nFROM x AS a\nFROM y\nCOPY --from=$S /a /a\n", "line 4: --from=.S: a name cannot be an argument"),
        ("FROM --platform=linux/arm64 x\n", "line 1: --platform=linux/arm64: the image is for linux/amd64"),
    ],
)
def test_what_cannot_be_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        of(text)


def test_sources_of_files_are_renamed_in_flags_alone() -> None:
    text = (
        "COPY --from=0 \\\n  /a /b\nRUN --mount=type=bind,from=B,target=/x echo a,from=0 <<EOF\n--from=0 from=b\nEOF\n"
    )
    copy, run = instructions(text)
    names = {"0": "stage-0", "b": "stage-1"}
    assert (renamed(copy, names), copy.rest) == (("--from=stage-0",), "/a /b")
    assert renamed(run, names) == ("--mount=type=bind,from=stage-1,target=/x",)
    assert run.rest == "echo a,from=0 <<EOF"
    assert run.heredocs[0].text == "--from=0 from=b\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FROM\tdebian:12 AS x\nCOPY\t--from=busybox /x /y\nRUN\tcat <<EOF\nFROM b\nEOF\n", ["debian:12"]),
        ("FROM x\nRUN echo \"<<no\" # see <<later\nRUN echo '<<no'\n", ["x"]),
        ("FROM x\nRUN <<END-OF\nFROM evil\nEND-OF\n", ["x"]),
        ("FROM x\nRUN echo one && \\\n    cat <<EOF > /text\nFROM y\nEOF\n", ["x"]),
        ("FROM x AS Build\nFROM y\nCOPY --from=BUILD /a /a\n", ["x", "y"]),
        ("ARG V=12\nFROM debian:$V AS a\nARG V=13\nFROM debian:$V\nCOPY --from=a /a /a\n", ["debian:12", "debian:12"]),
    ],
)
def test_what_has_misled_a_parser_before(text: str, wanted: list[str]) -> None:
    assert begins(text) == wanted


def test_variables_are_filled_in() -> None:
    values = {"A": "1", "EMPTY": ""}
    assert filled("$A-${A}-${B:-x}-${B-x${A}}-${A:+y}-${EMPTY:+y}-\\$A", values) == "1-1-x-x1-y--$A"
