"""Unit tests of named contexts: keys, copies for a build here and elsewhere, and mistakes."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cc_images.builders.base import BUNDLED
from cc_images.builders.containerfile.builder import CONTAINERFILE
from cc_images.builders.containerfile.named import laid_out
from cc_images.builders.containerfile.recipes import Recipes
from cc_images.builders.containerfile.spec import ContainerfileSpec, NamedContext
from cc_images.builders.resolved import Resolved
from cc_images.config.loader import load
from cc_images.errors import CCImagesError, UserError
from cc_images.model.catalog import Arch
from cc_images.store.records import Store
from tests.conftest import clean_environment, write_files
from tests.support.context import run_context, task_context

TEXT = "FROM debian:12\nCOPY --from=src . /src\n"


def resolved(folder: Path, contexts: str, text: str = TEXT, **environment: str) -> Resolved:
    write_files(folder, images=f"Kid:\n  builder: containerfile\n  contexts: {contexts}\n")
    place = folder / "containers" / "kid"
    place.mkdir(parents=True, exist_ok=True)
    (place / "Containerfile").write_text(text)
    found = load(clean_environment(folder) | environment, folder)
    made = Recipes(
        config=found, builder="1.28", parent_layer=lambda image, arch: made.layer(image, arch),
        digest_of=lambda name, arch: "sha256:1",
    )  # fmt: skip
    return made.layer(found.images["kid"], Arch.AMD64)


def spec(folder: Path, contexts: str = "{src: src}", **environment: str) -> ContainerfileSpec:
    made = resolved(folder, contexts, **environment).spec
    assert isinstance(made, ContainerfileSpec)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    for name in ("bin/run", "bin/__pycache__/run.pyc", ".git/HEAD", "opt/large"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")
    (folder / "bin/run").chmod(0o755)
    return folder


def copied(made: ContainerfileSpec, tmp_path: Path, offline: bool = False) -> Path:
    store = Store(tmp_path / "store")
    shutil.rmtree(tmp_path / "place", ignore_errors=True)
    run = store.start_run(datetime.now(UTC))
    with closing(run), task_context(run_context(store, run, offline=offline), "build kid amd64") as context:
        return laid_out(made, tmp_path / "place", context)["src"]


def names(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if not each.is_dir()}


def test_a_key_follows_files_that_differ_and_nothing_else_of_a_checkout(tmp_path: Path, source: Path) -> None:
    before = spec(tmp_path).recipe_key
    (source / ".git/HEAD").write_text("2\n")
    (source / "bin/__pycache__/run.pyc").unlink()
    os.utime(source / "bin/run", (1, 1))
    assert spec(tmp_path).recipe_key == before
    assert spec(tmp_path, "{src: {folder: src, ignore: [opt]}}").recipe_key != before
    (source / "bin/run").write_text("2\n")
    assert spec(tmp_path).recipe_key != before
    commit = "0123456789" * 4
    pinned = spec(tmp_path, f"{{src: {{git: 'https://x.invalid/a', commit: {commit}}}}}")
    moved = spec(tmp_path, f"{{src: {{git: 'https://y.invalid/a', commit: {commit}}}}}")
    assert pinned.recipe_key == moved.recipe_key, "the same commit at another address"
    assert pinned.host_programs == ("buildah", "skopeo", "git")
    assert pinned.shown()["contexts"] == {"src": f"git {commit} "}


def test_an_image_without_any_has_the_recipe_that_it_had(tmp_path: Path) -> None:
    made = resolved(tmp_path, "{}", "FROM debian:12\n")
    assert sorted(made.recipe.files) == ["Containerfile", "context", "target"]
    assert "contexts" not in made.spec.shown()


def test_a_copy_has_the_same_times_and_modes_everywhere(tmp_path: Path, source: Path) -> None:
    found = copied(spec(tmp_path, "{src: {folder: src, ignore: [opt]}}"), tmp_path)
    assert names(found) == {"bin/run"}
    assert (found / "bin/run").stat().st_mode & 0o777 == 0o755
    made = spec(tmp_path)
    (source / "bin/run").write_text("3\n")
    with pytest.raises(CCImagesError, match="src have changed since the plan was made"):
        copied(made, tmp_path)


def test_a_commit_is_fetched_once_and_then_needs_no_network(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    who = [word for name in ("user.name", "user.email") for word in ("-c", f"{name}=a")]

    def git(*words: str) -> str:
        command = ["git", *who, "-C", str(repository), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (repository / "lib").mkdir(parents=True)
    (repository / "lib/file").write_text("1\n")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD")
    (repository / "lib/file").write_text("2\n")
    (repository / "out").symlink_to("/etc")
    git("add", ".")
    git("commit", "-qam", "two")
    newest = git("rev-parse", "HEAD")
    made = spec(tmp_path, f"{{src: {{git: 'file://{repository}', commit: {commit}, folder: lib}}}}")
    with pytest.raises(CCImagesError, match="the files of context-src"):
        copied(made, tmp_path, offline=True)
    assert (copied(made, tmp_path) / "file").read_text() == "1\n"
    repository.rename(tmp_path / "away")
    assert (copied(made, tmp_path, offline=True) / "file").read_text() == "1\n"
    for folder in ("bin", "out"):
        gone = spec(tmp_path, f"{{src: {{git: 'file://{tmp_path}/away', commit: {newest}, folder: {folder}}}}}")
        with pytest.raises(CCImagesError, match=rf"images\.yaml: Kid\.contexts\.src: no folder {folder} at commit"):
            copied(gone, tmp_path)


def test_a_build_elsewhere_takes_folders_along(tmp_path: Path, source: Path) -> None:
    bundle = tmp_path / "bundle"
    packed = CONTAINERFILE.packed(spec(tmp_path), bundle)
    assert isinstance(packed, ContainerfileSpec)
    assert packed.contexts["src"].folder == f"{BUNDLED}/contexts/src"
    assert names(bundle / "contexts/src") == {"bin/run", "opt/large"}
    assert str(tmp_path) not in repr(packed)


@pytest.mark.parametrize(
    ("contexts", "text", "message", "hint"),
    [
        ("{src: gone}", TEXT, "images.yaml: Kid.contexts.src: {}/gone is no folder", "correct it"),
        ("{src: {variable: CC_IMAGES_SRC}}", TEXT, "contexts.src: CC_IMAGES_SRC is not set", "set CC_IMAGES_SRC to it"),
        ("{src: {variable: CC_IMAGES_BAD, folder: src}}", TEXT, "/nowhere is no folder", "set CC_IMAGES_BAD to it"),
        ("{src: src}", "FROM debian:12\n", "the Containerfile takes nothing from it", "say COPY --from=src"),
        ("{src: src}", "FROM debian:12 AS src\n" + TEXT, "src is a stage of the Containerfile, too", "another name"),
        (
            "{kid: src}",
            "FROM debian:12\nCOPY --from=kid . /\n",
            "kid is an image of the catalogue, too",
            "another name",
        ),
        ("{src: src}", "FROM src\n", "FROM src: that is no image", "say COPY --from=src"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, source: Path, contexts: str, text: str, message: str, hint: str) -> None:
    with pytest.raises(UserError) as failed:
        resolved(tmp_path, contexts, text, CC_IMAGES_BAD="/nowhere")
    assert message.format(tmp_path) in failed.value.message
    assert hint in failed.value.hint


def test_no_two_places_of_a_repository_are_one() -> None:
    places = [("a b", ()), ("a", ("b",)), ("a", ("b c",)), ("a", ("b", "c")), ("a b", ("c",)), ("", ("a", "b"))]
    commit = "1" * 40
    found = {NamedContext(repo="x", commit=commit, folder=a, ignore=b).identity for a, b in places}
    assert len(found) == len(places)
    plain = NamedContext(repo="x", commit=commit, folder="a", ignore=("b",)).identity
    assert plain == f"git {commit} a b", "which is part of keys"
