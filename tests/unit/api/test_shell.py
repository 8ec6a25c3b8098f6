"""Which tree a shell opens: the layer, or the kept tree that is asked for, and what is said when it is not there."""

from __future__ import annotations

import pytest

from cc_images.api.shell import Visit, chosen
from cc_images.errors import Reason, UserError
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch
from cc_images.model.kept import Kept

LAYER = Layer(tag="cc-x", arch=Arch.AMD64, run="20261120T120000Z", recipe_key="a", key="k", digest="d", size=1,
              upstream={})  # fmt: skip
KEPT = Kept(tag="cc-x", arch=Arch.AMD64, run="20261121T120000Z", task="build cc-x amd64", phase="install", hook="50-x",
            code=7, until=False, created=0.0)  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "kept", "asked", "found"),
    [
        (LAYER, None, False, LAYER),
        (LAYER, KEPT, False, LAYER),
        (LAYER, KEPT, True, KEPT),
        (None, KEPT, True, KEPT),
    ],
)
def test_the_layer_is_opened_unless_the_kept_tree_is_asked_for(
    layer: Layer | None, kept: Kept | None, asked: bool, found: object
) -> None:
    assert chosen("cc-x", Arch.AMD64, layer, kept, Visit(kept=asked)) is found


@pytest.mark.parametrize(
    ("layer", "kept", "asked", "reason", "said", "hint"),
    [
        (None, None, False, Reason.NEVER_BUILT, "no layer of cc-x for amd64$", "a build of one of its children"),
        (None, KEPT, False, Reason.NEVER_BUILT, r"a tree is kept \(install.d/50-x failed with code 7\)",
         "`cc-images shell -a amd64 cc-x --kept` opens it"),
        (LAYER, None, True, Reason.NOT_KEPT, "no tree of cc-x for amd64 is kept", "-b --keep-failed cc-x"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(
    layer: Layer | None, kept: Kept | None, asked: bool, reason: Reason, said: str, hint: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        chosen("cc-x", Arch.AMD64, layer, kept, Visit(kept=asked))
    assert caught.value.reason is reason
    assert hint in caught.value.hint
