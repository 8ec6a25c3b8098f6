"""Requests as files in JSON: mistakes of JSON have line, column and what JSON expects there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.config.requests import read_request
from cc_images.errors import UserError
from cc_images.model.machine import Machine

MACHINES = {"a": Machine(name="a", platform="linux/amd64", architecture="zen", engine="docker")}


def refusal(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_request(file, MACHINES)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  "machine": "a"\n  "workflow": "w"\n}', "3:3: is not JSON: a comma is expected, or the end"),
        ('{"machine" "a"}', "1:12: is not JSON: a colon is expected after the key"),
        ('{"machine": @}', "1:13: is not JSON: a value is expected: a text in double quotes"),
        ('{"machine": "a", %: 1}', "1:18: is not JSON: a key in double quotes is expected"),
        ('{"machine": "a"', "1:16: is not JSON: a comma is expected, or the end"),
        ('{\n"machine": "a', "2:12: is not JSON: the text that begins here has no double quote at its end"),
        ('{"machine": "a"} {"workflow": "w"}', "1:18: is not JSON: nothing more is expected"),
        ('{"path": "\\q"}', "1:11: is not JSON: a backslash stands before one of"),
        ('{"workflow": "a\x01"}', "1:16: is not JSON: a control character is written"),
    ],
)
def test_mistakes_of_json_are_said_as_such(tmp_path: Path, text: str, said: str) -> None:
    assert refusal(tmp_path / "request.json", text).startswith(f"request.json:{said}")
    assert "JSON" not in refusal(tmp_path / "request.yaml", text)


def test_mistakes_of_other_kinds_keep_their_sentences(tmp_path: Path) -> None:
    file = tmp_path / "Request.JSON"
    assert "1:1001: exceeded maximum nesting depth" in refusal(file, "[" * 60_000)
    assert "YAML" not in refusal(file, '{"workflow": "\x7f"}'), "which is JSON"
    assert "is empty; it needs a mapping" in refusal(file, "")
    assert "force: " in refusal(file, '{"force": ' + "9" * 5000 + "}")


def test_tabs_and_escapes_of_json_are_read_and_yaml_under_its_name(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{\n\t"machine":\t"a",\n\t"workflow": "w",\n\t"step_id":\t"s", "version": "v\\/1"\n}\n')
    assert read_request(file, MACHINES).version == "v/1"
    file.write_text("machine: a\nworkflow: w\nstep_id: s\n")
    assert read_request(file, MACHINES).step == "s"


@pytest.mark.parametrize(
    ("said", "names", "expected"),
    [
        ("3", ("nord3",), "no machine is called '3'; known are nord3"),
        ("true", ("nord3", "cube"), "no machine is called 'true'; known are nord3, cube"),
        ("norrd3", ("cube", "nord3"), "no machine is called 'norrd3'; known are cube, nord3 (did you mean nord3?)"),
        ("x" * 50, ("nord3",), f"no machine is called '{'x' * 50}'; known are nord3"),
        ("q", tuple(f"m{number}" for number in range(25)), "m18, m19 and 5 more"),
        ("3", (), "no machine is called '3': no machines.yaml, here or beside the catalogue, has a machine"),
    ],
)
def test_an_unknown_machine_is_said_with_the_known_ones(
    tmp_path: Path, said: str, names: tuple[str, ...], expected: str
) -> None:
    file = tmp_path / "request.yaml"
    file.write_text(f"machine: {said}\nworkflow: w\nstep_id: s\n")
    with pytest.raises(UserError) as caught:
        read_request(file, dict.fromkeys(names, MACHINES["a"]))
    assert caught.value.message.startswith("request.yaml:1:10: machine: no machine is called ")
    assert caught.value.message.endswith(expected)
