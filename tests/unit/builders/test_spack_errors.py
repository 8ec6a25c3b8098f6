"""Which line of Spack's output says what went wrong."""

from __future__ import annotations

import pytest

from cc_images.builders.spack.errors import clear_errors, said
from cc_images.errors import CCImagesError
from cc_images.host.process import CommandFailed, TimedOut

MISSING = [
    "==> No binary for zip-3.0-grg76veprf4ds7f47t6223al5hnera46 found: installing from source",
    "==> Patch /opt/zip/01.patch failed.",
    "==> Error: CommandNotFoundError: spack requires 'patch'. Make sure it is in your path.",
    "==> Error: Terminating after first install failure: CommandNotFoundError: spack requires 'patch'.",
    "==> Updating view at /opt/views/view",
    "subprocess exited with status 1",
    'Error: building at STEP "RUN /bin/sh -c sh /opt/cc-images/install": exit status 1',
]

IMPOSSIBLE = [
    "==> Error: failed to concretize `zip@77` for the following reasons:",
    "     1. cannot satisfy a requirement for package zip",
    "     2. no version satisfies the given constraints",
    "subprocess exited with status 1",
]


def test_the_first_error_is_shown_with_its_lines() -> None:
    assert said(MISSING) == "CommandNotFoundError: spack requires 'patch'. Make sure it is in your path."
    assert said(IMPOSSIBLE) == (
        "failed to concretize `zip@77` for the following reasons; 1. cannot satisfy a requirement for package zip; "
        "2. no version satisfies the given constraints"
    )
    assert said(["make: *** [all] Error 2", "==> Installing zip"]) == ""


def test_it_takes_the_place_of_the_error_around_it() -> None:
    with pytest.raises(CCImagesError, match=r"^Spack: failed to concretize"), clear_errors():
        raise CCImagesError("buildah ended") from CommandFailed("buildah", 1, IMPOSSIBLE)
    for cause in (CommandFailed("buildah", 1, ["RUN false"]), TimedOut("buildah", 3, IMPOSSIBLE), None):
        with pytest.raises(CCImagesError, match=r"^buildah ended$"), clear_errors():
            raise CCImagesError("buildah ended") from cause
