"""Steps of workflows: found at versions of a repository, or in a folder, and never outside of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.api.workflows import description, listed, standing
from cc_images.config.loader import Config, load
from cc_images.errors import CCImagesError, UserError
from cc_images.model.machine import Machine
from cc_images.model.request import ImageRequest
from cc_images.model.workflow import Step
from tests.conftest import write_files
from tests.support.workflows import Workflows

MACHINE = Machine(platform="linux/amd64", architecture="zen", engine="podman")


@pytest.fixture
def repository(tmp_path: Path) -> Workflows:
    made = Workflows(tmp_path / "repository")
    made.write("w/one", eflows4hpc__yaml="apt: [less]\npip: [numpy>=1.2]\n")
    made.write("w/two", requirements__txt="numpy\n", post_inst__sh="true\n")
    return made


@pytest.fixture
def config(tmp_path: Path, repository: Workflows) -> Config:
    write_files(tmp_path, images="", sites="")
    (tmp_path / "settings.yaml").write_text(f"workflows: {{repo: '{repository.address}'}}\n")
    store, settings = str(tmp_path / "store"), str(tmp_path / "settings.yaml")
    return load({"HOME": str(tmp_path), "CC_IMAGES_STORE": store, "CC_IMAGES_SETTINGS": settings}, tmp_path)


def asked(step: str = "one", **said: object) -> ImageRequest:
    return ImageRequest(machine=MACHINE, workflow="w", step=step, **said)  # type: ignore[arg-type]


def test_latest_is_the_newest_of_the_default_branch_at_each_request(repository: Workflows, config: Config) -> None:
    first = repository.commit()
    found = description(asked(), config)
    assert (found.commit, found.step) == (first, Step(apt=("less",), pip=("numpy>=1.2",)))
    repository.write("w/two", post_inst__sh="false\n")
    second = repository.commit()
    assert description(asked(), config).commit == first, "the commit that changed the step"
    assert description(asked("two"), config).commit == second
    repository.write("w/one", eflows4hpc__yaml="apt: [more]\n")
    third = repository.commit()
    assert description(asked(), config, offline=True).commit == first
    assert description(asked(), config).commit == third
    repository.git("branch", "--move", "main", "trunk")
    assert description(asked(), config).commit == third, "whatever its name is"


def test_versions_are_tags_branches_and_commits(repository: Workflows, config: Config) -> None:
    first = repository.commit(tag="v1")
    repository.write("w/one", eflows4hpc__yaml="apt: [more]\n")
    second = repository.commit()
    repository.git("branch", "release/1", first)
    repository.git("branch", "abcdef0", first)
    for version, commit, of_branch in (
        ("v1", first, False), ("main", second, True), ("release/1", first, True), ("abcdef0", first, True),
        (second, second, False), (second[:9], second, False),
    ):  # fmt: skip
        found = description(asked(version=version), config)
        assert (found.commit, found.of_branch) == (commit, of_branch), version
    with pytest.raises(UserError, match="version v2: the repository of workflows has no such tag, branch or commit"):
        description(asked(version="v2"), config)
    with pytest.raises(UserError, match="no folder w/three at version v1"):
        description(asked("three", version="v1"), config)
    with pytest.raises(UserError, match="no folder w/three at version latest"):
        description(asked("three"), config)


def test_a_branch_and_a_folder_of_the_repository_may_be_said(repository: Workflows, config: Config) -> None:
    repository.write("steps/w/one", post_inst__sh="true\n")
    first = repository.commit()
    repository.git("branch", "stable")
    repository.write("steps/w/one", post_inst__sh="false\n")
    repository.commit()
    said = replace(config, workflows=replace(config.workflows, branch="stable", folder="steps"))
    found = description(asked(), said)
    assert (found.commit, found.step) == (first, Step(has_script=True))
    with pytest.raises(CCImagesError, match="of workflows cannot be fetched: fatal: couldn't find remote"):
        description(asked(), replace(config, workflows=replace(config.workflows, branch="nothing")))
    gone = replace(config, workflows=replace(config.workflows, repo=f"{repository.address}-gone"))
    with pytest.raises(CCImagesError, match="the repository of workflows cannot be fetched: "):
        description(asked(), gone)
    with pytest.raises(UserError, match="nothing says where the workflow w is described"):
        description(asked(), replace(config, workflows=replace(config.workflows, repo="")))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../secret", "../two/post_inst.sh", "loop", "folder/../../x"])
def test_links_that_lead_out_are_refused(target: str, repository: Workflows, config: Config, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (repository.folder / "w/one/loop").symlink_to(target)
    repository.commit()
    with pytest.raises(UserError, match="loop is a link that leads out of its folder"):
        description(asked(), config)
    own = tmp_path / "own"
    own.mkdir()
    (own / "post_inst.sh").write_text("true\n")
    (own / "loop").symlink_to(target)
    with pytest.raises(UserError, match="loop is a link"):
        description(asked(path=own), config)


def test_folders_behind_links_are_no_steps(repository: Workflows, config: Config, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "post_inst.sh").write_text("true\n")
    (repository.folder / "w/out").symlink_to(outside)
    (repository.folder / "w/up").symlink_to("../..")
    repository.commit()
    for step in ("out", "up"):
        with pytest.raises(UserError, match=f"no folder w/{step}|describes nothing"):
            description(asked(step), config)
    (repository.folder / "w/one/inside").symlink_to("eflows4hpc.yaml")
    repository.commit()
    assert description(asked(), config).step.apt == ("less",)


def test_a_folder_of_ones_own(config: Config, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(UserError, match="own describes nothing"):
        description(asked(path=own), config)
    (own / "spack.yaml").write_text("spack: {specs: [zlib]}\n")
    found = description(asked(path=own), config)
    assert (found.commit, found.step) == ("", Step(has_environment=True))
    (own / "eflows4hpc.yaml").write_text("spack: [zlib]\n")
    with pytest.raises(UserError, match=r"spack\.yaml has specs, too"):
        description(asked(path=own), config)
    (own / "eflows4hpc.yaml").write_text("")
    for text in ("[]", "spack: [a]\n", "spack:\n", "view: true\n", "a: &a [*a]\n"):
        (own / "spack.yaml").write_text(text)
        with pytest.raises(UserError, match=r"^spack\.yaml:"):
            description(asked(path=own), config)
    (own / "spack.yaml").unlink()
    os.mkfifo(own / "requirements.txt")
    with pytest.raises(UserError, match="which no image can have"):
        assert description(asked(path=own), config).entries
    for path, why in (
        (tmp_path / "none", "is not there"),
        (own / "spack", "is not there"),
        (Path("a" * 300), "cannot"),
    ):
        with pytest.raises(UserError, match=why):
            description(asked(path=path), config)


def test_a_description_is_known_by_its_commit_without_a_fetch(repository: Workflows, config: Config) -> None:
    first = repository.commit(tag="v1")
    repository.git("tag", "--annotate", "--message", "x", "v2")
    repository.git("branch", "deep/refs/heads/main")
    second = repository.commit()
    assert standing(asked(), config, 60) == standing(asked(version="main"), config, 60) == {"commit": second}
    assert standing(asked(version="v1"), config, 60) == {"commit": first}
    assert standing(asked(version="v2"), config, 60) != {"commit": second}
    assert standing(asked(version=first), config, 60) == {}, "it cannot change"
    branch = replace(config, workflows=replace(config.workflows, branch="v1"))
    assert standing(asked(), branch, 60) == {"commit": first}, "a tag may stand in the place of the branch"
    pinned = replace(config, workflows=replace(config.workflows, commit="abcdef0"))
    assert standing(asked(), pinned, 60) == {"commit": "abcdef0"}
    with pytest.raises(UserError, match="version v3: the repository of workflows has no such tag, branch or commit"):
        standing(asked(version="v3"), config, 60)
    assert not (config.store / "sources").exists()
    away = replace(config, workflows=replace(config.workflows, repo="file:///nonexistent/at/all"))
    with pytest.raises(CCImagesError, match="the repository of workflows does not answer") as caught:
        standing(asked(), away, 60)
    assert caught.value.temporary
    with pytest.raises(UserError, match="nothing says where the workflow w is described"):
        standing(asked(), replace(config, workflows=replace(config.workflows, repo="")), 60)


def test_a_folder_is_known_by_what_its_files_look_like(config: Config, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "deep").mkdir(parents=True)
    (own / "deep" / "file").write_text("one")
    seen = [standing(asked(path=own), config, 60)]
    changes: list[Callable[[], object]] = [
        lambda: (own / "deep" / "file").write_text("other"),
        lambda: (own / "deep" / "file").chmod(0o755),
        lambda: (own / "link").symlink_to("deep"),
        lambda: (own / "deep").rename(own / "deeper"),
    ]
    for change in changes:
        assert standing(asked(path=own), config, 60) == seen[-1]
        change()
        seen.append(standing(asked(path=own), config, 60))
    assert len({each["listing"] for each in seen}) == len(seen)


def test_the_steps_of_the_repository_are_listed(config: Config, repository: Workflows) -> None:
    repository.commit()
    repository.write("w/three", post_inst__sh="true\n")
    repository.write("w/described-by-nothing", README__md="no step\n")
    repository.write("other/one", requirements__txt="numpy\n")
    repository.write("no name/one", requirements__txt="numpy\n")
    (repository.folder / "w" / "link").symlink_to("/etc")
    repository.commit()
    assert listed(config) == {"other": ("one",), "w": ("one", "three", "two")}
    repository.write("w/four", post_inst__sh="true\n")
    repository.commit()
    assert listed(config)["w"] == ("four", "one", "three", "two"), "the newest commit"
    (repository.folder / "out").symlink_to(repository.folder.parent)
    repository.commit()
    assert listed(replace(config, workflows=replace(config.workflows, folder="out"))) == {}, "a link out of it"
    repository.folder.rename(repository.folder.with_name("gone"))
    assert listed(config)["w"] == ("four", "one", "three", "two"), "as it was the last time"
    with pytest.raises(CCImagesError):
        listed(replace(config, workflows=replace(config.workflows, repo="file:///nowhere")))
    assert listed(replace(config, workflows=replace(config.workflows, repo=""))) == {}
