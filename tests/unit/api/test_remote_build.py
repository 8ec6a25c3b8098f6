"""One container from one recipe: which recipes are known, what is built of them, and how the file gets its place."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from cc_images.api import remote_build
from cc_images.api.remote_build import Order, placed, prepared
from cc_images.config.loader import Config, load
from cc_images.errors import CCImagesError, UserError
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format, Image
from cc_images.model.plan import Request
from cc_images.store.records import Store
from tests.conftest import Cli, write_files
from tests.support.hubs import blob

BASES = """\
CC-Debian12-Container: {elements: [debian-minimal], formats: [oci], environment: {DIB_RELEASE: bookworm}}
CC-Tools: {elements: [debian-minimal], formats: [oci]}
CC-Arm: {arch: [arm64], elements: [debian-minimal], formats: [oci]}
"""

RECIPES = {
    "the shortest": ("FROM cc-tools\n", ["cc-tools"]),
    "an argument before the first stage": ("ARG X=cc-tools\nFROM ${X}\n", ["cc-tools"]),
    "an argument of a catalogue's name": ("ARG BASE=cc-tools\nFROM cc-debian12-container AS x\nFROM $BASE\n"
                                          "COPY --from=x /a /a\n", ["cc-tools", "cc-debian12-container"]),
    "comments": ("# Bootstrap: no\n\n  # FROM nothing\nFROM cc-tools # as it is\n".replace(" # as it is", ""),
                 ["cc-tools"]),
    "line ends of another system": ("# x\r\nFROM cc-tools\r\nRUN true \\\r\n  && true\r\n", ["cc-tools"]),
    "stages": ("FROM cc-tools AS one\nFROM cc-arm AS unused\nFROM one\nRUN true\n", ["cc-tools"]),
    "small letters and a mark of the byte order": ("\ufefffrom CC-Tools as x\n", ["cc-tools"]),
    "a directive and here-documents": ("# syntax=docker/dockerfile:1\nFROM cc-tools\nRUN <<EOF\nFROM x\nEOF\n",
                                       ["cc-tools"]),
    "no image at all": ("FROM scratch\nCOPY a /\n", []),
    "a definition without From": ("Bootstrap: debootstrap\nOSVersion: bookworm\nMirrorURL: http://x\n%post\ntrue\n",
                                  ["cc-debian12-container"]),
    "a definition of a local image": ("# x\nbootstrap: localimage\nfrom: cc-tools\n%post\ntrue\n", ["cc-tools"]),
    "a definition with line ends of another system": ("Bootstrap: docker\r\nFrom: cc-tools\r\n%runscript\r\necho\r\n",
                                                      ["cc-tools"]),
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    write_files(tmp_path, images=BASES, sites="")
    (tmp_path / "builders.yaml").write_text("cube: {ssh: cube, architectures: [arm64]}\n")
    return load({"HOME": str(tmp_path), "CC_IMAGES_STORE": str(tmp_path / "store"), "CC_IMAGES_SETTINGS": ""}, tmp_path)


def entry(folder: Path, config: Config, text: str, **said: object) -> tuple[Image, Request, dict[str, str]]:
    """Return the entry that is made of a recipe, the request for it, and the texts of its context."""
    recipe = folder / "x.recipe"
    recipe.write_bytes(text.encode())
    with prepared(Order(target=folder / "x.sif", recipe=recipe, **said), config) as (request, own):  # type: ignore[arg-type]
        image = own.images[request.tags[0]]
        context = Path(image.containerfile["context"])
        texts = {path.name: path.read_text() for path in context.iterdir() if path.is_file()}
    assert not context.exists() or said.get("context") == context
    return image, request, texts


@pytest.mark.parametrize("name", RECIPES)
def test_twelve_recipes(tmp_path: Path, config: Config, name: str) -> None:
    text, parents = RECIPES[name]
    image, request, texts = entry(tmp_path, config, text)
    assert (list(image.depends), image.builder, image.formats) == (parents, "containerfile", (Format.SIF,))
    assert list(texts) == ["Containerfile"], "only what is named travels"
    assert (request.tags, request.build, request.push) == ((image.tag,), True, False)


def test_an_argument_of_the_file_is_not_taken_for_the_catalogues(tmp_path: Path, config: Config) -> None:
    image, _, _ = entry(tmp_path, config, "ARG BASE=cc-tools\nFROM cc-debian12-container AS x\nFROM $BASE\n")
    assert image.containerfile["build-args"] == {"BASE": "cc-tools"}


@pytest.mark.parametrize("text", ["", "hello\n", "RUN true\n", "FROM\n", "FROMAGE x\n"])
def test_what_is_no_recipe_is_refused_with_its_file(tmp_path: Path, config: Config, text: str) -> None:
    with pytest.raises(UserError, match=r"x\.recipe: "):
        entry(tmp_path, config, text)


def test_the_context_travels_on_request_alone(tmp_path: Path, config: Config) -> None:
    context = tmp_path / "context"
    context.mkdir()
    for name in ("a", "b.md", ".containerignore"):
        (context / name).write_text("*.md\n")
    _, _, texts = entry(tmp_path, config, "FROM scratch\nCOPY a /\n", context=context)
    assert sorted(texts) == ["Containerfile", "a"]
    (context / "Dockerfile").write_text("FROM cc-tools\n")
    with prepared(Order(target=tmp_path / "x.sif", recipe=context / "Dockerfile", context=context), config) as (_, own):
        assert [*own.images.values()][-1].containerfile["context"] == str(context)
    assert context.exists()
    _, _, texts = entry(tmp_path, config, "FROM scratch\n", context=context)
    assert texts["Containerfile"] == "FROM scratch\n", "the first name wins"


def test_the_architecture_is_that_of_the_builder_and_its_parents(tmp_path: Path, config: Config) -> None:
    with pytest.raises(UserError, match="FROM cc-tools: it is not made for arm64"):
        entry(tmp_path, config, "FROM cc-tools\n", on="cube")
    assert entry(tmp_path, config, "FROM cc-arm\n", on="cube")[0].arches == (Arch.ARM64,)


@pytest.mark.parametrize("target", ["folder", "nowhere/x.sif"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, config: Config, target: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.recipe").write_text("FROM scratch\n")
    order = Order(target=tmp_path / target, recipe=tmp_path / "x.recipe")
    with pytest.raises(UserError, match=target.partition("/")[0]), prepared(order, config):
        pass


def made(config: Config, order: Order, content: bytes) -> Request:
    """Put a build of the entry into the store; return the request that asks for it."""
    store, tag = Store(config.store), order.name.lower()
    digest = blob(store, content)
    output = Output(format=Format.SIF, digest=digest, sha512="0" * 128, size=len(content), virtual_size=0)
    build = Build(tag=tag, name=order.name, arch=Arch.AMD64, version="20261121T120000Z", recipe_key="k", key="k",
                  outputs={Format.SIF: output})  # fmt: skip
    store.record(build, {}, order.name)
    return Request(tags=(tag,), arches=(Arch.AMD64,))


def test_the_file_is_replaced_when_it_is_whole(tmp_path: Path, config: Config) -> None:
    target = tmp_path / "x.sif"
    target.write_text("old")
    (tmp_path / "link.sif").symlink_to(target)
    (tmp_path / ".x.sif.part").write_bytes(b"left by a kill" * 100)
    order = Order(target=tmp_path / "link.sif", recipe=tmp_path / "x")
    assert placed(order, made(config, order, b"new"), config).size == 3
    assert (target.read_bytes(), (tmp_path / "link.sif").is_symlink()) == (b"new", True)
    assert not (tmp_path / ".x.sif.part").exists()
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_damaged_blob_leaves_the_old_file(tmp_path: Path, config: Config) -> None:
    target = tmp_path / "x.sif"
    target.write_text("old")
    order = Order(target=target, recipe=tmp_path / "x")
    request = made(config, order, b"new")
    (path,) = (each for each in config.store.glob("blobs/sha256/*/*") if each.read_bytes() == b"new")
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"neu")
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CCImagesError, match="is damaged"):
        placed(order, request, config)
    assert target.read_text() == "old"
    assert not (tmp_path / ".x.sif.part").exists()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.sif"
    target.write_text("old")
    order = Order(target=target, recipe=tmp_path / "x")
    request = made(config, order, b"new")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CCImagesError, match="No space left on device; it is as it was"):
        placed(order, request, config)
    assert target.read_text() == "old"


def test_two_that_write_one_file_do_not_mix(tmp_path: Path, config: Config) -> None:
    order = Order(target=tmp_path / "x.sif", recipe=tmp_path / "x")
    request = made(config, order, b"new")
    with (tmp_path / ".x.sif.part").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CCImagesError, match="is being written by another"):
            placed(order, request, config)
        assert (tmp_path / ".x.sif.part").exists()


def test_names_are_those_of_files() -> None:
    first = remote_build.Order(target=Path("/a/My Image.v1.sif"), recipe=Path("x")).name
    assert first.startswith("My-Image-r")
    assert first != remote_build.Order(target=Path("/b/My Image.v1.sif"), recipe=Path("x")).name
    assert remote_build.Order(target=Path("/a/….sif"), recipe=Path("x")).name.startswith("container-r")


@pytest.mark.parametrize(
    "words",
    [("remote",), ("remote", "build"), ("remote", "build", "x.sif"), ("remote", "build", "x.sif", "x.recipe", "more"),
     ("remote", "make", "x.sif", "x.recipe"), ("remote", "build", "x.sif", "missing.recipe"),
     ("remote", "build", "x.sif", "x.recipe", "--on", "nobody")],
)  # fmt: skip
def test_words_that_are_wrong_end_with_the_code_of_input(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    write_files(tmp_path, images=BASES, sites="")
    (tmp_path / "x.recipe").write_text("FROM cc-tools\n")
    done = cli(*words)
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "x.sif").exists()
    shutil.rmtree(tmp_path / "store", ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
