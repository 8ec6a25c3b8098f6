"""Keys: golden, moved by every input, deaf to everything else; and what is said about a difference."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cc_images.model.catalog import Arch
from cc_images.model.recipe import Recipe, differences, key_of, merged
from cc_images.model.redaction import redacted, secret_values

RECIPE = Recipe(
    name="CC-X",
    arch=Arch.AMD64,
    content=("cc-x",),
    disk=("vm",),
    elements={"cc-x": "aa"},
    environment={"DIB_RELEASE": "bookworm", "DIB_PASSWORD": "geheim"},
    packages=("vim",),
    artifacts={"A": "ff"},
    files={"DIB_X": "1 files aa"},
    tools={"diskimage-builder": "3.43.0"},
)


def test_the_key_of_a_known_recipe_never_changes() -> None:
    assert RECIPE.key == "1921f79c1127851254884bf5a997a39908980dc6e6a8bf3cc4afeefcff9cbbb7"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "CC-Y"},
        {"arch": Arch.ARM64},
        {"content": ("cc-x", "cc-y")},
        {"disk": ("vm", "block-device-mbr")},
        {"elements": {"cc-x": "ab"}},
        {"elements": {"cc-x": "aa", "cc-y": "bb"}},
        {"environment": {"DIB_RELEASE": "trixie", "DIB_PASSWORD": "geheim"}},
        {"environment": {"DIB_RELEASE": "bookworm", "DIB_PASSWORD": "secret"}},
        {"packages": ()},
        {"artifacts": {"A": "fe"}},
        {"files": {"DIB_X": "1 files ab"}},
        {"tools": {"diskimage-builder": "3.44.0"}},
        {"parent": "p"},
        {"upstream": {"http://a/InRelease": "ee"}},
        {"schema": 3},
    ],
)
def test_every_input_moves_the_key(change: dict[str, Any]) -> None:
    assert replace(RECIPE, **change).key != RECIPE.key


def test_the_order_of_mappings_does_not_move_the_key() -> None:
    turned = replace(RECIPE, environment=dict(reversed(list(RECIPE.environment.items()))))
    assert turned.key == RECIPE.key


def test_secrets_are_not_in_what_is_stored() -> None:
    assert "geheim" not in json.dumps(RECIPE.as_json())


def test_a_password_in_an_address_is_not_shown_but_counts() -> None:
    mirror = "https://user:geheim@mirror.invalid/debian?token=geheim"
    shown = redacted({"DIB_DISTRIBUTION_MIRROR": mirror})["DIB_DISTRIBUTION_MIRROR"]
    assert "geheim" not in shown
    assert shown.startswith("https://mirror.invalid/debian sha256:")
    assert shown != redacted({"DIB_DISTRIBUTION_MIRROR": mirror.replace("geheim", "anders")})["DIB_DISTRIBUTION_MIRROR"]


def test_what_was_asked_does_not_know_upstream_but_everything_else() -> None:
    moved = replace(RECIPE, upstream={"http://a/InRelease": "ee"})
    assert moved.recipe_key == RECIPE.recipe_key == RECIPE.key
    assert replace(RECIPE, parent="p").recipe_key != RECIPE.recipe_key


def test_a_repository_that_moved_during_a_build_is_in_no_state_that_will_be_seen_again() -> None:
    assert merged({"a": "1", "b": "2"}, {"a": "1", "c": "3"}) == {"a": "1", "b": "2", "c": "3"}
    assert merged({"a": "1"}, {"a": "2"}) == {"a": "1+2"}


def test_differences_name_files_and_values() -> None:
    old = {"elements": {"cc-x": {"install.d/10-x": "755 aa", "element-deps": "644 bb"}}, "packages": ["vim"],
           "tools": {"diskimage-builder": "3.43.0"}}  # fmt: skip
    new = {
        "elements": {"cc-x": {"install.d/10-x": "755 " + "c" * 64, "post-install.d/20-y": "755 dd"}},
        "packages": ("vim", "less"),
        "tools": {"diskimage-builder": "3.44.0"},
    }
    assert differences(old, new) == (
        "elements/cc-x/element-deps is gone",
        "elements/cc-x/install.d/10-x changed",
        "elements/cc-x/post-install.d/20-y is new",
        "packages +less",
        "tools/diskimage-builder 3.43.0 → 3.44.0",
    )


def test_secrets_are_found_by_name_and_inside_addresses() -> None:
    environment = {
        "DIB_ROOT_PASSWORD": "correct-horse",
        "DIB_PROXY": "http://build:battery%20staple@proxy:3128/",
        "DIB_PASSWORDLESS_SUDO": "enabled",
        "DIB_URL": "https://store/x?temp_url_sig=0123456789abcdef&temp_url_expires=1",
        "DIB_RELEASE": "bookworm",
        "DIB_TOKEN": "short",
    }
    assert secret_values(environment) == (
        "correct-horse",
        "battery%20staple",
        "0123456789abcdef",
        "battery staple",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("DIB_SSH_KEY", "abcdefgh"), ("DIB_ROOTPW", "abcdefgh"), ("DIB_LUKS", "abcdefgh"), ("DIB_BEARER", "abcdefgh"),
     ("DIB_X", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc"), ("DIB_X", "glpat-abcdefghijklmnopqrst")],
)  # fmt: skip
def test_secrets_by_name_and_form_are_in_no_record_and_move_no_key(name: str, value: str) -> None:
    made = replace(RECIPE, environment={name: value})
    assert value not in json.dumps(made.as_json())
    assert value in secret_values({name: value})
    assert made.recipe_key == key_of({**made.as_json(), "environment": {name: value}, "upstream": {}})


def test_a_declared_secret_is_masked_looked_for_and_in_no_key() -> None:
    one, other = (
        replace(RECIPE, environment={"DIB_MINE": value}, secrets=("DIB_MINE",)) for value in ("first-one", "second-one")
    )
    assert one.key == other.key
    assert one.key != replace(one, secrets=()).key
    assert "first-one" not in str(one.as_json())
    assert one.as_json() != other.as_json(), "a record tells which one it was built with"
    assert "secrets" not in one.as_json()
    assert secret_values({"DIB_MINE": "first-one"}, ("DIB_MINE",)) == ("first-one",)
    assert secret_values({"DIB_MINE": "first-one"}) == ()
