"""The catalogue that comes with cc-images: every image resolves, is planned, and is what its name says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from cc_images.builders.dib.spec import DibSpec
from cc_images.config.loader import Config, load
from cc_images.errors import UserError
from cc_images.host import user_emulation
from cc_images.model.catalog import Arch, Format, Material
from cc_images.model.plan import BuildJob, FetchJob, PushJob, Request
from cc_images.planner import snapshot
from cc_images.store.records import Store
from tests.conftest import REPOSITORY, sampled, write_files

TODAY = datetime(2026, 11, 21, tzinfo=UTC)

CHILD = "\nChild: {{depends: [{}], elements: [], packages: [less], formats: [oci]}}\n"

WANTED = {
    "cc-debian12", "cc-debian12-cuda", "cc-debian13", "cc-debian13-cuda",
    "cc-ubuntu20.04", "cc-ubuntu20.04-cuda", "cc-ubuntu22.04", "cc-ubuntu22.04-cuda", "cc-ubuntu24.04",
    "cc-ubuntu24.04-cuda", "cc-centos9-stream", "cc-centos9-stream-cuda", "cc-centos8-stream", "cc-centos8-stream-cuda",
    "cc-centos7", "cc-centos7-cuda", "cc-centos7-nallatech", "cc-centos7-terasic", "cc-centos7-xilinx",
}  # fmt: skip

CONTAINERS = {"cc-debian12-container", "cc-debian13-container", "cc-ubuntu22.04-container", "cc-ubuntu24.04-container"}

ENDED = {tag for tag in WANTED if tag.startswith(("cc-centos7", "cc-centos8", "cc-ubuntu20.04"))}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    home = tmp_path_factory.mktemp("home")
    return load({"HOME": str(home)}, home)


def planned(config: Config, tmp_path: Path, *tags: str) -> tuple[snapshot.Snapshot, list[object]]:
    request = Request(tags=tags, build=True, push=True)
    seen = snapshot.look(request, config, Store(tmp_path / "store"), now=TODAY, offline=True)
    return seen, [task.job for task in seen.plan("20261121T000000Z").tasks]


def test_the_images_are_those_that_are_promised(config: Config) -> None:
    assert set(config.images) >= WANTED
    two = {tag for tag in WANTED if config.images[tag].arches == (Arch.AMD64, Arch.ARM64)}
    assert two == {tag for tag in WANTED if not tag.startswith(("cc-centos7", "cc-centos8"))}
    assert all(config.images[tag].eol for tag in WANTED)


@pytest.mark.parametrize("tag", sampled(sorted(WANTED)))
def test_every_image_is_planned(config: Config, tmp_path: Path, tag: str) -> None:
    seen, jobs = planned(config, tmp_path, tag)
    image = config.images[tag]
    builds = [job for job in jobs if type(job) is BuildJob]
    assert {job.arch for job in builds} == set(image.arches)
    assert any("past its end of life" in note for note in seen.notes) is (tag in ENDED)
    for artifact in (job.artifact for job in jobs if isinstance(job, FetchJob)):
        assert artifact.object or artifact.url.startswith("http"), "a mirror's variable has become its address"


def test_all_leaves_out_what_is_past_its_end_of_life(config: Config, tmp_path: Path) -> None:
    _, jobs = planned(config, tmp_path, "all")
    assert {job.tag for job in jobs if type(job) is BuildJob} & WANTED == WANTED - ENDED
    assert date(2025, 1, 1) < min(image.eol for tag, image in config.images.items() if tag not in ENDED and image.eol)


def test_the_builder_is_planned_with_wheels_and_is_no_part_of_all(tmp_path: Path) -> None:
    def loaded(**environment: str) -> Config:
        return load({"HOME": str(tmp_path), **environment}, tmp_path)

    with pytest.raises(UserError, match=r"DIB_CC_BUILDER_WHEELS: '' is not a folder of wheels: pip wheel"):
        planned(loaded(), tmp_path, "cc-builder")
    _, jobs = planned(loaded(), tmp_path, "all")
    assert "cc-builder" not in {job.tag for job in jobs if type(job) is BuildJob}
    (wheels := tmp_path / "wheels").mkdir()
    with_wheels = loaded(DIB_CC_BUILDER_WHEELS=str(wheels))

    def key() -> str:
        seen, jobs = planned(with_wheels, tmp_path, "cc-builder")
        assert not [note for note in seen.notes if "in one go" in note]
        (spec,) = (job.spec for job in jobs if type(job) is BuildJob and job.tag == "cc-builder")
        assert isinstance(spec, DibSpec)
        assert spec.base is not None
        assert spec.base.tag == "cc-debian12"
        return spec.recipe_key

    before = key()
    (wheels / "cc_images-1-py3-none-any.whl").write_text("other wheels\n")
    assert key() != before, "other wheels make another image"


def test_variants_are_for_bare_metal_and_start_from_their_base(config: Config, tmp_path: Path) -> None:
    for tag in WANTED:
        assert config.images[tag].baremetal_only is bool(config.images[tag].depends), tag
    seen, jobs = planned(config, tmp_path, "cc-debian12-cuda", "cc-ubuntu24.04-cuda")
    assert not [note for note in seen.notes if "in one go" in note]
    assert all(job.spec.base is not None for job in jobs if type(job) is BuildJob and isinstance(job.spec, DibSpec))
    assert {job.site for job in jobs if isinstance(job, PushJob)} == {"local"}


@pytest.mark.parametrize("tag", sorted(CONTAINERS))
def test_containers_are_trees_from_which_children_start(config: Config, tmp_path: Path, tag: str) -> None:
    image = config.images[tag]
    assert (image.makes, image.formats) == (Material.TREE, (Format.OCI, Format.SIF))
    assert image.arches == ((Arch.AMD64, Arch.ARM64) if "debian" in tag else (Arch.AMD64,))
    assert (image.provenance["variant"], image.base) == ("container", False)
    write_files(
        tmp_path,
        images=(REPOSITORY / "images.yaml").read_text() + CHILD.format(image.name),
        sites="here: {directory: site}",
    )
    (tmp_path / "elements").symlink_to(REPOSITORY / "elements")
    both = load({"HOME": str(tmp_path)}, tmp_path)
    seen, jobs = planned(both, tmp_path, "child")
    assert not [note for note in seen.notes if "in one go" in note or "base" in note]
    (child,) = (job.spec for job in jobs if type(job) is BuildJob and job.tag == "child")
    assert isinstance(child, DibSpec)
    assert child.base is not None, "the layer has what no child must do again"
    assert child.base.tag == tag


def test_what_this_host_cannot_build_is_left_out_unless_it_is_named(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cc_images.host.user_emulation.runs_programs", lambda arch: arch is Arch.AMD64)
    seen, jobs = planned(config, tmp_path, "cc-debian12")
    assert {job.arch for job in jobs if type(job) is BuildJob} == {Arch.AMD64}
    assert [note for note in seen.notes if note.startswith("arm64 is left out: this host cannot run its programs")]
    named = Request(tags=("cc-debian12",), build=True, arches=(Arch.ARM64,))
    plan = snapshot.look(named, config, Store(tmp_path / "store"), now=TODAY, offline=True).plan("20261121T000000Z")
    built = {(task.job.tag, task.job.arch) for task in plan.tasks if isinstance(task.job, BuildJob)}
    assert {arch for tag, arch in built if tag == "cc-debian12"} == {Arch.ARM64}
    with pytest.raises(UserError, match="this host cannot run programs for arm64"):
        user_emulation.require_programs({Arch.ARM64})
