"""Image properties that the configuration refuses, because Glance would."""

from __future__ import annotations

import pytest

from cc_images.model.properties import mistake


@pytest.mark.parametrize("name", ["location", "deleted", "os_glance_failed_import", "os_hidden", "build-name"])
def test_names_that_the_site_keeps_for_itself_are_refused(name: str) -> None:
    assert mistake(name, "x") == "is set by cc-images or by the site itself"


def test_a_users_own_property_is_fine() -> None:
    assert mistake("trait:CUSTOM_X", "required") == ""
