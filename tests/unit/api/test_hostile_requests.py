"""Hostile requests: each gets one message of one line, and nothing is run, whatever stands in which place."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cc_images.api.requests import prepared, read_request, request_of
from cc_images.config.loader import Config, load
from cc_images.errors import UserError
from tests.conftest import Cli, write_files

IMAGES = (
    "CC-Base: {elements: [a], formats: [oci]}\nCC-Disk: {elements: [a]}\n"
    "CC-Spack-Builder: {builder: containerfile}\nCC-Spack-Runtime: {builder: containerfile}\n"
)

MACHINE = {"platform": "linux/amd64", "architecture": "zen2", "container_engine": "docker", "base": "cc-base"}
GOOD = {"machine": MACHINE, "workflow": "w", "step_id": "s", "path": "own"}

WORDS = (
    "$(touch /tmp/x)", "`id`", "; rm -rf /", "a; rm -rf /", "a && b", "a | b", "a > /etc/passwd", "$HOME", "${IFS}",
    "'", '"', "a'b", 'a"b', "\\", "a\\nb", "a\nb", "a\r\nFROM x", "\n", "\t", "a\tb", " ", " a", "a ", "a b",
    "a\0b", "\0", "\x1b[2J", "a\x7f", "\u202ea", "é", "日本", "😀", "../..", "..", ".", "/", "/etc/passwd", "a/../b",
    "a//b", "./a", "-rf", "--help", "-", "_", "a__b", "a--b", "a..b", "_a", "a_", ".a", "a.", "a" * 41, "x" * 5000,
    "a" * 50_000, "[]", "{}", "*", "?", "a*", "%s", "%n%n", "{0}", "{{x}}", "~", "~root", "#", "a#b", "!a", "@", "a@",
    "@4", "a@b", "a:b", "a=b", "a,b", "<a>", "&amp;", "file:///etc/passwd", "http://x.example/", "null", "latest-x",
)  # fmt: skip
"""Texts for each place; few of them mean something in one."""

OF_MACHINES = (*MACHINE, "mpi", "gpu", "spack-builder")
PLACES = ("workflow", "step_id", "version", "path", "machine", *(f"machine.{key}" for key in OF_MACHINES))

MEANT = {
    ("workflow", "null"), ("step_id", "null"), ("workflow", "latest-x"), ("step_id", "latest-x"),
    ("machine.gpu", "latest-x"), ("version", "a/../b"), ("version", "null"), ("machine.mpi", "null"),
    ("machine.gpu", "null"),
}  # fmt: skip
"""What is no mistake: names of the user's own."""

TEXTS = {
    "nothing": "",
    "a list": "[]",
    "a text": "hello",
    "a number": "12",
    "two documents": "a: 1\n---\nb: 2\n",
    "no end": '{"machine": "a"',
    "no comma": '{"machine": "a" "workflow": "b"}',
    "a bomb of aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nworkflow: *c\n",
    "a bomb of merges": "a: &a {x: 1}\nb: &b {<<: [*a, *a]}\nc: {<<: [*b, *b]}\n",
    "an alias of itself": "machine: &a {platform: *a}\n",
    "an object": "workflow: !!python/object/apply:os.system ['touch /tmp/x']\n",
    "a name of Python": "workflow: !!python/name:os.system\n",
    "a tag of its own": "workflow: !x y\n",
    "bytes": "workflow: !!binary aGk=\n",
    "a set": "!!set {workflow, step_id}\n",
    "brackets without end": "[" * 60_000,
    "maps without end": "{a: " * 15_000,
    "dashes without end": "- " * 30_000,
    "too large": "#" * 70_000,
    "much too large": "a: " + "x" * 3_000_000,
    "ten thousand keys": "\n".join(f"k{number}: 1" for number in range(6000)),
    "a key twice": '{"workflow": "a", "workflow": "b"}',
    "a key that is a list": "? [a]\n: b\n",
    "a key for terminals": '{"\\u001b[2J\\u0007": 1}',
    "a key without end": f'{{"{"k" * 1000}": 1}}',
    "control characters": "workflow: \x01\n",
    "half a character": '{"workflow": "\\ud800"}',
    "a tab where none may be": "machine:\n\tplatform: x\n",
    "a number without end": '{"force": ' + "9" * 50_000 + "}",
    "an exponent": '{"force": 1e999999}',
}

OTHERS: list[Any] = [[], [[]], {"a": {}}, ["a"]]
FLAGS: list[Any] = ["yes", 1, "true", [], {}, "", 0.5, "$(id)"]

STRUCTURES: list[dict[str, Any]] = [
    *({key: value} for key in ("workflow", "step_id", "version", "path") for value in OTHERS),
    *({key: value} for key in ("force", "push") for value in FLAGS),
    *({"machine": {**MACHINE, key: value}} for key in (*MACHINE, "mpi", "gpu") for value in OTHERS),
    {"workflow": "BASE"}, {"step_id": "BASE"}, {"machine": None}, {"workflow": None},
    {"machine": {**MACHINE, "base": "cc-disk"}}, {"machine": {**MACHINE, "base": "nobody"}},
    {"machine": {**MACHINE, "container-engine": "docker"}}, {"machine": {**MACHINE, "mpi": "nompi"}},
    {"machine": {**MACHINE, "gpu": "nogpu"}}, {"machine": {**MACHINE, "mpi": "mvapich2@2"}},
    {"machine": []}, {"machine": ["a"]}, {"machine": 5},
    {"machine": {**MACHINE, "platform": "linux/arm64"}}, {"machine": {**MACHINE, "user": "root"}}, {"shell": "id"},
]  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("hostile")
    write_files(folder, images=IMAGES, sites="")
    (folder / "own").mkdir()
    (folder / "own" / "eflows4hpc.yaml").write_text("apt: [less]\n")
    (folder / "machines.yaml").write_text(f"cube: {json.dumps(MACHINE)}\n")
    return load({"HOME": str(folder), "CC_IMAGES_SETTINGS": "", "CC_IMAGES_STORE": str(folder / "store")}, folder)


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: object, **more: object) -> None:
        raise AssertionError(f"was run: {words}")

    monkeypatch.setattr(subprocess, "Popen", refused)
    monkeypatch.setattr(os, "system", refused)


def refusal(config: Config, text: str) -> str:
    """Carry out a request as far as its entries; return the message of its refusal."""
    folder = config.files["images.yaml"].parent
    file = folder / "request.json"
    file.write_text(text, errors="surrogatepass")
    with pytest.raises(UserError) as caught, prepared(read_request(file, config.machines), config):
        pass
    return str(caught.value)


def assert_clear(message: str, *places: str) -> None:
    assert message.splitlines() == [message], "one line"
    assert message.isprintable()
    assert len(message) < 700
    assert not places or any(each in message for each in places), message


def test_letters_of_json_are_letters(config: Config) -> None:
    for word in ("\U0001f600", "\\\\ud83d\\ude00"):
        assert "is not there" in refusal(config, json.dumps({**GOOD, "path": word}))


@pytest.mark.parametrize("place", PLACES)
def test_words_in_each_place(config: Config, place: str) -> None:
    """Each of some eighty words in each of twelve places."""
    whole, _, key = place.partition(".")
    for word in WORDS:
        if (place, word) not in MEANT:
            said = {**GOOD, whole: {**MACHINE, key: word} if key else word}
            message = refusal(config, json.dumps(said))
            assert_clear(message, place, f"{key}: ", "describes nothing", "has more than 64 KiB")


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_no_request(config: Config, name: str) -> None:
    message = refusal(config, TEXTS[name])
    for line in message.splitlines():
        assert_clear(line, "request.json", "more mistakes")
    assert len(message.splitlines()) <= 11


@pytest.mark.parametrize("said", STRUCTURES, ids=str)
def test_values_of_other_kinds(config: Config, said: dict[str, Any]) -> None:
    (key,) = said
    assert_clear(refusal(config, json.dumps({**GOOD, **said})), key, "base", "mpi", "workflow")


ENTRIES = (
    "$(id)", "a b", "a;b", "--option", "-o", "a-", "A", "./a.deb", "/a.deb", "a=1 b", "a\nb", "a'", "a/b/c", "a=$(id)",
    "a" * 301, "", "é", "a=1;b", "https://x.example/a", "^a$", "a:amd64-", "a=1-", "a/stable-",
)  # fmt: skip


@pytest.mark.parametrize("key", ["apt", "pip", "spack"])
def test_entries_of_a_description(config: Config, key: str, tmp_path: Path) -> None:
    means = {"pip": {"A", "a-"[:1]}, "spack": {"a b", "a-", "A", "a=1 b", "a:amd64-", "a=1-"}}.get(key, set())
    for entry in ENTRIES:
        if entry not in means:
            (tmp_path / "eflows4hpc.yaml").write_text(json.dumps({key: [entry]}))
            message = refusal(config, json.dumps({**GOOD, "path": str(tmp_path)}))
            assert re.match(rf"eflows4hpc\.yaml:1:\d+: {key}: ", message)
            assert_clear(message)


def linked(place: Path) -> None:
    (place / "post_inst.sh").rename(place / "a")
    (place / "post_inst.sh").symlink_to("a")
    (place / ".dockerignore").write_text("a\n")


FOLDERS: dict[str, Callable[[Path], object]] = {
    "its script is ignored": lambda place: (place / ".dockerignore").write_text("*.sh\n"),
    "its environment is ignored": lambda place: (place / ".containerignore").write_text("spack.yaml\n"),
    "its script leads to what is ignored": linked,
    "it has our folder": lambda place: (place / "cc-images-files").mkdir(),
    "our folder leads to itself": lambda place: (place / "cc-images-files").symlink_to("."),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_a_description(config: Config, name: str, tmp_path: Path) -> None:
    (tmp_path / "post_inst.sh").write_text("#!/bin/sh\n")
    (tmp_path / "spack.yaml").write_text("spack: {specs: [zip]}\n")
    FOLDERS[name](tmp_path)
    assert_clear(refusal(config, json.dumps({**GOOD, "path": str(tmp_path)})), "ignore file", "cc-images-files")


@pytest.mark.parametrize("name", ["Containerfile.epilogue", "cc-images-requirements.txt"])
def test_names_of_ours_in_a_description_are_replaced(config: Config, name: str, tmp_path: Path) -> None:
    (tmp_path / "spack.yaml").write_text("spack: {specs: [zip]}\n")
    (tmp_path / "eflows4hpc.yaml").write_text("pip: [a]\n")
    for how in ("folder", "link"):
        if how == "folder":
            (tmp_path / name / "more").mkdir(parents=True)
        else:
            (tmp_path / name).symlink_to("spack.yaml")
        said = request_of({**GOOD, "path": str(tmp_path)}, config.machines, tmp_path)
        with prepared(said, config) as ready:
            made = Path(ready.image.containerfile["context"])
            assert (made / "Containerfile.epilogue").read_text().startswith("RUN ")
            assert (made / "cc-images-files" / "cc-images-requirements.txt").read_text() == "a\n"
            assert (made / "spack.yaml").read_text() == (made / "cc-images-files" / "spack.yaml").read_text()
        if how == "folder":
            shutil.rmtree(tmp_path / name)


def test_there_are_more_than_three_hundred() -> None:
    assert len(WORDS) * len(PLACES) - len(MEANT) + len(TEXTS) + len(STRUCTURES) + 3 * len(ENTRIES) - 5 > 300


def test_mappings_of_programs_are_looked_at_alike(config: Config, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(exist_ok=True)
    loop: dict[Any, Any] = dict(GOOD)
    loop["machine"] = loop
    numbered: dict[Any, Any] = {**GOOD, 1: 2}
    for said in (loop, {**GOOD, "workflow": object()}, numbered, {**GOOD, "version": "$(id)"}):
        with pytest.raises(UserError) as caught:
            request_of(said, config.machines, tmp_path)
        assert_clear(caught.value.message)


def test_the_command_line_says_it_with_the_code_of_input(cli: Cli, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.undo()
    write_files(tmp_path, images=IMAGES, sites="")
    (tmp_path / "r.yaml").write_text("machine: {platform: linux/amd64, mpi: 'x; rm -rf /'}\nworkflow: a b\n")
    done = cli("build-request", "r.yaml")
    assert done.returncode == 2
    assert "cc-images: r.yaml:1:39: machine.mpi: 'x; rm -rf /' is not NAME or NAME@VERSION" in done.stderr
    assert cli("build-request", "none.json").stderr == (
        "cc-images: none.json is not there\ncc-images: what to do: name a file\n"
    )
    good = {**GOOD, "push": False}
    (tmp_path / "r.yaml").write_text(json.dumps(good))
    assert (
        "r.yaml:1:156: path: 'own' is not there; name a folder with a description"
        in cli("build-request", "r.yaml").stderr
    )
    (tmp_path / "own").write_text("")
    assert "path: 'own' is no folder" in cli("build-request", "r.yaml").stderr
    (tmp_path / "own").unlink()
    (tmp_path / "own").mkdir()
    assert "push: false, and -p says the opposite" in cli("build-request", "-p", "r.yaml").stderr
    assert "--output nowhere is not there" in cli("build-request", "-o", "nowhere", "r.yaml").stderr
    (tmp_path / "file").write_text("")
    assert "--output file is no folder" in cli("build-request", "-o", "file", "r.yaml").stderr
    (tmp_path / "machines.yaml").write_text("")
    (tmp_path / "r.yaml").write_text(json.dumps({**GOOD, "machine": "m", "version": "a b"}))
    said = cli("build-request", "r.yaml").stderr
    assert "machine: no machine is called 'm': no machines.yaml, here or beside the catalogue, has a machine" in said
    assert "version: 'a b' is not letters and digits, with single dots, hyphens, underscores and slashes" in said
    assert not (tmp_path / "store").exists()
