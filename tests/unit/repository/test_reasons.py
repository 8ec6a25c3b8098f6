"""The words of failures: one enumeration, used and documented."""

from __future__ import annotations

import ast
import re

import pytest

from cc_images import errors
from cc_images.errors import Reason
from cc_images.model.catalog import Level
from tests.conftest import REPOSITORY
from tests.support import house


def meanings() -> dict[str, str]:
    """Return what stands below each word in the source."""
    classes = {each.name: each for each in house.module("errors").tree.body if isinstance(each, ast.ClassDef)}
    words = classes["Reason"]
    body = words.body[1:]
    found: dict[str, str] = {}
    for word, meaning in zip(body[::2], body[1::2], strict=True):
        assert isinstance(word, ast.Assign)
        assert isinstance(meaning, ast.Expr)
        found[ast.literal_eval(word.value)] = ast.literal_eval(meaning.value)
    return found


def test_every_word_is_documented() -> None:
    text = (REPOSITORY / "docs/events.md").read_text()
    rows = "\n".join(f"| `{word}` | {meaning} |" for word, meaning in meanings().items())
    assert rows in text, rows
    assert [*meanings()] == [reason.value for reason in Reason]


def test_every_word_is_used() -> None:
    used = {node.attr for module in house.modules().values() for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Reason"}  # fmt: skip
    by_default = {"FAILED", "INTERRUPTED", "CONFIGURATION"}
    of_levels = {Reason(f"boot-{level}".replace(" ", "-")).name for level in Level}
    assert used | by_default | of_levels == {reason.name for reason in Reason}


@pytest.mark.parametrize("name", house.names())
def test_no_error_is_changed_and_no_text_decides(name: str) -> None:
    for node in ast.walk(house.module(name).tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                changed = isinstance(target, ast.Attribute) and target.attr in ("message", "hint", "tail", "temporary")
                assert not changed or ast.unparse(target).startswith("self."), ast.unparse(node)
        if isinstance(node, ast.Compare):
            sides = [ast.unparse(each) for each in (node.left, *node.comparators)]
            assert not any(re.search(r"error\.(message|hint)|str\(error\)", each) for each in sides), sides


def test_errors_say_their_word() -> None:
    assert errors.CCImagesError("x").reason is Reason.FAILED
    assert errors.ConfigError(["a", "b"]).reason is Reason.CONFIGURATION
    assert errors.Interrupted().reason is Reason.INTERRUPTED
