"""Addresses of containers."""

from __future__ import annotations

import pytest

from cc_images.model.swift_address import SwiftAddress


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("swift://metal/images", SwiftAddress("metal", "images")),
        ("swift://metal/images/", SwiftAddress("metal", "images")),
        ("swift://metal/my images/prod", SwiftAddress("metal", "my images", "prod")),
        ("swift://metal/images/prod/versions/x/", SwiftAddress("metal", "images", "prod/versions/x")),
    ],
)
def test_an_address_has_parts(text: str, expected: SwiftAddress) -> None:
    assert SwiftAddress.parse(text) == expected


@pytest.mark.parametrize("text", ["", "swift:/a/b", "swift://", "swift://a", "swift://a/", "swift:///b", "https://a/b"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address such as swift://CLOUD/CONTAINER"):
        SwiftAddress.parse(text)
