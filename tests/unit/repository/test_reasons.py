"""The words of failures: one enumeration, used and documented."""

from __future__ import annotations

import ast
import re

from cc_images import errors
from cc_images.errors import Reason
from cc_images.model.catalog import Level
from tests.conftest import REPOSITORY
from tests.support import house

CHANGED = ("message", "hint", "tail", "temporary")
"""Parts of an error that stay as they are made."""


def meanings(module: house.Module) -> dict[str, str]:
    """Return what stands below each word in the source."""
    classes = {each.name: each for each in module.tree.body if isinstance(each, ast.ClassDef)}
    words = classes["Reason"]
    body = words.body[1:]
    found: dict[str, str] = {}
    for word, meaning in zip(body[::2], body[1::2], strict=True):
        assert isinstance(word, ast.Assign)
        assert isinstance(meaning, ast.Expr)
        found[ast.literal_eval(word.value)] = ast.literal_eval(meaning.value)
    return found


def test_every_word_is_documented(modules: dict[str, house.Module]) -> None:
    said = meanings(modules["errors"])
    text = (REPOSITORY / "docs/events.md").read_text()
    rows = "\n".join(f"| `{word}` | {meaning} |" for word, meaning in said.items())
    assert rows in text, rows
    assert [*said] == [reason.value for reason in Reason]


def test_every_word_is_used(modules: dict[str, house.Module]) -> None:
    used = {node.attr for module in modules.values() for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Reason"}  # fmt: skip
    by_default = {"FAILED", "INTERRUPTED", "CONFIGURATION"}
    of_levels = {Reason(f"boot-{level}".replace(" ", "-")).name for level in Level}
    assert used | by_default | of_levels == {reason.name for reason in Reason}


def test_no_error_is_changed_and_no_text_decides(modules: dict[str, house.Module]) -> None:
    for name, module in modules.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    changed = isinstance(target, ast.Attribute) and target.attr in CHANGED
                    assert not changed or ast.unparse(target).startswith("self."), (name, ast.unparse(node))
            if isinstance(node, ast.Compare):
                sides = [ast.unparse(each) for each in (node.left, *node.comparators)]
                assert not any(re.search(r"error\.(message|hint)|str\(error\)", each) for each in sides), (name, sides)


def test_errors_say_their_word() -> None:
    assert errors.CCImagesError("x").reason is Reason.FAILED
    assert errors.ConfigError(["a", "b"]).reason is Reason.CONFIGURATION
    assert errors.Interrupted().reason is Reason.INTERRUPTED
