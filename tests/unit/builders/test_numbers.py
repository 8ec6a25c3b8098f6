"""Unit tests of versions that are raised when an image changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.builders.containerfile.numbers import called, content_of, following, numbered
from cc_images.builders.containerfile.spec import Numbered
from cc_images.host.containers import archive
from cc_images.host.containers.image import config_of
from cc_images.model.catalog import Arch
from cc_images.model.container import Configuration
from tests.support.containers import archive as archive_of
from tests.support.containers import base


@pytest.mark.parametrize(
    ("version", "before", "content", "expected"),
    [
        ("1.0", Numbered(), "a", "1.0"),
        ("1.0", Numbered(version="1.0", content="a"), "a", "1.0"),
        ("1.0", Numbered(version="1.0", content="a"), "b", "1.0.1"),
        ("1.0", Numbered(version="1.0.9", content="a"), "b", "1.0.10"),
        ("1.0", Numbered(version="1.0.9", content="a"), "a", "1.0.9"),
        ("1.1", Numbered(version="1.0.9", content="a"), "a", "1.1"),
        ("1.0", Numbered(version="1x0", content="a"), "b", "1.0"),
        ("1", Numbered(version="1.0.9", content="a"), "b", "1"),
    ],
)
def test_a_version_is_raised_by_what_changes(version: str, before: Numbered, content: str, expected: str) -> None:
    assert following(version, before, content) == expected


def test_the_content_is_all_but_the_version(tmp_path: Path) -> None:
    said = Configuration(command=("true",), labels={"name": "x", "version": "1.0"})
    found = archive.read(archive_of(tmp_path / "x.oci.tar", said, base()))
    content = content_of(found.layers, found.config)
    for labels, same in (({"name": "x", "version": "1.7"}, True), ({"name": "y", "version": "1.0"}, False)):
        other = config_of(replace(said, labels=labels), Arch.AMD64)
        assert (content_of(found.layers, other) == content_of(found.layers, config_of(said, Arch.AMD64))) is same
    assert content_of(found.layers[:0], found.config) != content
    raised = numbered(found.config, found.layers, Numbered(version="1.0.3", content="another"))
    assert raised["config"]["Labels"] == {"name": "x", "version": "1.0.4"}
    assert found.config["config"]["Labels"]["version"] == "1.0", "it is another mapping"
    unnamed = config_of(replace(said, labels={}), Arch.AMD64)
    assert numbered(unnamed, found.layers, Numbered(version="1.0.3", content="another")) == unnamed
    assert called(found) == Numbered(version="1.0", content=content)
