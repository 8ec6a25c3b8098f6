"""What a build's commands are shown besides its context, by a real buildah in the sandbox."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.containerfile import context as contexts
from cc_images.builders.containerfile.build import build
from cc_images.builders.containerfile.shown import Shown
from cc_images.builders.containerfile.spec import ContainerfileSpec, From
from cc_images.host.containers.archive import plain, read
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch, Material
from cc_images.model.container import Configuration
from cc_images.store.records import Store
from tests.support.context import run_context, task_context

pytestmark = pytest.mark.skipif(shutil.which("buildah") is None, reason="needs buildah")

TEXT = """\
FROM base
RUN cat /run/cc-images/cache/file > /seen && cat /run/cc-images/cache/file > /run/cc-images/drop/made
RUN ! touch /run/cc-images/cache/file && ! touch /run/cc-images/cache/new && ls -A /run/cc-images/drop >> /seen
"""


def made(tmp_path: Path, root: Path, *shown: Shown) -> Built:
    folder = tmp_path / "workspace" / "generated"
    folder.mkdir(parents=True)
    (folder / "Containerfile").write_text(TEXT)
    spec = ContainerfileSpec(
        makes=Material.TREE, name="Shown", tag="shown", arch=Arch.AMD64, recipe_key="a", folder="", context="",
        arguments={}, said=Configuration().as_json(), images={"base": From(layer="b", said=Configuration().as_json())},
    )  # fmt: skip
    packed = tmp_path / "base.tar.zst"
    subprocess.run(["zstd", "-q", "-1", root, "-o", packed], check=True)
    layer = Layer(tag="base", arch=Arch.AMD64, run="1", recipe_key="b", key="b", digest="", size=0)
    inputs = BuildInputs(version="1", workspace=tmp_path / "workspace", layers={"b": (layer, packed)})
    store = Store(tmp_path / "store")
    run = store.start_run(datetime.now(UTC))
    with closing(run), task_context(run_context(store, run), "build shown amd64") as context:
        return build(contexts.spec_of(folder, spec), inputs, context, shown)


def test_commands_see_it_and_no_layer_has_a_trace_of_it(tmp_path: Path, tiny_root: Path) -> None:
    cache = tmp_path / "a cache: of packages"
    cache.mkdir()
    (cache / "file").write_text("of the host\n")
    drop = tmp_path / "workspace" / "drop"
    drop.mkdir(parents=True)
    built = made(
        tmp_path,
        tiny_root,
        Shown(source=cache, place="/run/cc-images/cache"),
        Shown(source=drop, place="/run/cc-images/drop", writable=True),
    )
    assert (drop / "made").read_text() == "of the host\n"
    assert [each.name for each in cache.iterdir()] == ["file"]
    image = read(built.file)
    found = dict[str, bytes]()
    with plain(image.layers[-1]) as tar:
        for each in tar:
            file = tar.extractfile(each)
            found[each.name] = file.read() if file else b""
    seen = found.pop("seen")
    assert seen == b"of the host\nmade\n"
    assert found.keys() <= {"etc", "run"}, "folders of its base, in which buildah works"
