"""Unit tests of what a build's commands are shown besides its context."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.builders.containerfile.shown import Shown, outside, volumes
from cc_images.host.sandbox import Sandbox

WORKSPACE = Path("/store/runs/1/kid-amd64")


def sandbox(*visible: Path) -> Sandbox:
    return Sandbox(workspace=WORKSPACE, guards=Path("/store/runs/1/guards"), visible=visible)


def test_only_folders_of_the_workspace_can_be_written_to() -> None:
    cache = Shown(source=Path("/a cache"), place="/run/cc-images/cache")
    drop = Shown(source=WORKSPACE / "drop", place="/run/cc-images/drop", writable=True)
    assert outside([cache, drop], WORKSPACE) == (Path("/a cache"),)
    assert [*volumes([cache, drop], sandbox(Path("/a cache")))] == [
        "--volume", "/cc-images/2:/run/cc-images/cache:ro",
        "--volume", f"{WORKSPACE}/drop:/run/cc-images/drop:rw",
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="only folders of the workspace"):
        outside([Shown(source=Path("/a cache"), place="/run/cc-images/cache", writable=True)], WORKSPACE)


@pytest.mark.parametrize("place", ["/opt/all", "/run/cc-images", "/run/cc-images/archives/of-apt"])
def test_it_is_shown_where_no_layer_has_it_and_the_toolbox_uses_nothing(place: str) -> None:
    with pytest.raises(AssertionError, match=r"left in a layer|is taken"):
        [*volumes([Shown(source=WORKSPACE / "drop", place=place)], sandbox())]
