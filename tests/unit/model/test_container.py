"""How an image is run as a container: its own words, its parent's, and what follows from the catalogue."""

from __future__ import annotations

from cc_images.config.container_parts import inherited
from cc_images.model.catalog import Image
from cc_images.model.container import PATH, Configuration, configured

PARENT = Image(name="P", container={"user": "cc", "command": ["a"], "environment": {"A": "1", "B": "1"}})


def test_a_child_is_run_as_its_parent_with_its_own_words() -> None:
    child = Image(name="C", container={"command": ["b"], "environment": {"B": "2"}})
    assert inherited(child, PARENT) == {"user": "cc", "command": ["b"], "environment": {"A": "1", "B": "2"}}


def test_labels_have_the_name_and_the_provenance_and_yield_to_what_is_said() -> None:
    image = Image(
        name="C",
        provenance={"variant": "base", "distro": "debian"},
        container={"labels": {"build-variant": "mine", "x": "y"}},
    )
    assert configured(image, "CC-C").labels == {
        "org.opencontainers.image.title": "CC-C",
        "build-distro": "debian",
        "build-variant": "mine",
        "x": "y",
    }


def test_an_image_that_says_nothing_is_run_as_its_tree() -> None:
    said = configured(Image(name="C"), "C")
    assert said == Configuration(labels={"org.opencontainers.image.title": "C"})
    assert "/usr/bin" in PATH


def test_how_an_image_is_tried_is_its_own_and_in_no_configuration() -> None:
    parent = Image(name="P", container={"user": "cc", "try": ["--help"], "try-network": True, "try-timeout": 5})
    child = Image(name="C", container={"try": []})
    assert inherited(Image(name="C"), parent) == {"user": "cc"}
    assert inherited(child, parent) == {"user": "cc", "try": []}
    assert configured(parent, "P").user == "cc"
