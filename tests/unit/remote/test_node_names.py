"""Names of nodes as Slurm writes them."""

from __future__ import annotations

import pytest

from cc_images.remote.node_names import MOST, node_names


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("one", ["one"]),
        ("a,b", ["a", "b"]),
        ("c[1-3]", ["c1", "c2", "c3"]),
        ("c[08-10,12]", ["c08", "c09", "c10", "c12"]),
        ("r[1-2]n[a,b],x.y", ["r1na", "r1nb", "r2na", "r2nb", "x.y"]),
        ("c[1,1]", ["c1"]),
    ],
)
def test_names(word: str, names: list[str]) -> None:
    assert node_names(word) == names


@pytest.mark.parametrize("word", ["", "-x", "c[1-", "c[1-x]", "a b", "../a", "c[1-3]]", f"c[0-{MOST}]", "c[]"])
def test_what_is_no_name(word: str) -> None:
    with pytest.raises(ValueError, match=r"no|more"):
        node_names(word)
