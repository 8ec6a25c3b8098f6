"""In force is the build that serves the present inputs, however new another one is, and whatever the clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cc_images import clock
from cc_images.api import removal, status
from cc_images.config import loader
from cc_images.errors import UserError
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.model.plan import PushJob, Request
from cc_images.planner import snapshot
from cc_images.store.records import Store
from tests.conftest import write_files

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


class Project:
    """A catalogue of one image; `build` records a build of its present inputs, as a run would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "store")
        hook = root / "elements/os/install.d/10-os"
        hook.parent.mkdir(parents=True)
        hook.write_text("echo\n")
        hook.chmod(0o755)
        (root / "elements/os/element-provides").write_text("operating-system\n")
        (root / "elements/block").mkdir()
        self.image("1")

    def image(self, setting: str) -> None:
        text = f"CC-One: {{elements: [os], disk: [block], environment: {{DIB_SETTING: '{setting}'}}}}\n"
        write_files(self.root, images=text, sites="local: {directory: site}")

    def look(self, **request: object) -> snapshot.Snapshot:
        loaded = loader.load({"HOME": str(self.root)}, self.root)
        wanted = Request(tags=("cc-one",), **request)  # type: ignore[arg-type]
        return snapshot.look(wanted, loaded, self.store, now=NOW, offline=False)

    def build(self, now: datetime = NOW) -> Build:
        """Record a build of the present inputs, and point the names to what serves, as each run with -b does."""
        seen = self.look(build=True)
        job = seen.image_states[0].job
        run = self.store.start_run(now)
        staged = self.store.root / "staged"
        staged.write_text(run.version)
        blob = self.store.blobs.add(staged)
        output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1)
        key = job.spec.recipe_key
        build = Build(tag="cc-one", name="CC-One", arch=Arch.AMD64, version=run.version, recipe_key=key, key="k",
                      outputs={Format.QCOW2: output})  # fmt: skip
        self.store.record(build, seen.details(job.spec.recipe_key), "CC-One")
        run.close()
        return build

    def pushed(self, **request: object) -> str:
        plan = self.look(push=True, boot_test=False, **request).plan("new")
        return next(task.job.version for task in plan.tasks if isinstance(task.job, PushJob))

    def listed(self) -> tuple[str, str]:
        loaded = loader.load({"HOME": str(self.root), "CC_IMAGES_STORE": str(self.store.root)}, self.root)
        (found,) = status.status(Request(tags=("all",)), loaded)
        return found.newest.version if found.newest else "", found.state

    def pruned(self) -> list[str]:
        loaded = loader.load({"HOME": str(self.root)}, self.root)
        removal.pruned(self.store, keep=1, cap=None, dry_run=False, serving=status.serving(loaded, self.store, NOW))
        return [build.version for build in self.store.builds("cc-one", Arch.AMD64)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    return Project(tmp_path / "project")


def test_after_a_change_was_taken_back_the_older_build_is_shown_pushed_and_kept(project: Project) -> None:
    good = project.build()
    project.image("2")
    newer = project.build(NOW + timedelta(days=1))
    project.image("1")
    assert project.pushed() == good.version
    assert project.listed() == (good.version, "fresh")
    assert project.pruned() == [newer.version, good.version], "another catalogue may use what was in force last"
    project.store.point_names(good, "CC-One")  # as a run does
    assert project.pruned() == [good.version]
    assert not [note for note in project.look(push=True, boot_test=False).notes if "damaged" in note], "it is whole"


def test_a_build_of_another_catalogue_is_not_pushed_as_ours(project: Project) -> None:
    ours = project.build()
    project.image("of another team")
    theirs = project.build(NOW + timedelta(days=1))
    assert project.pushed() == theirs.version
    project.image("1")
    assert project.pushed() == ours.version


def test_what_serves_no_present_input_is_pushed_by_its_version_only(project: Project) -> None:
    old = project.build()
    project.image("2")
    with pytest.raises(UserError, match="no stored build of cc-one for amd64 serves the present inputs") as refused:
        project.pushed()
    assert "environment/DIB_SETTING 1 → 2" in refused.value.message
    assert f"-p --version {old.version}" in refused.value.hint
    assert project.pushed(version=old.version) == old.version
    with pytest.raises(UserError, match="there is no version 20200101T000000Z of cc-one for amd64: the store has 2"):
        project.pushed(version="20200101T000000Z")
    assert project.listed() == (old.version, "stale")


def test_a_clock_that_was_ahead_makes_no_version_that_stays_the_newest(project: Project) -> None:
    ahead = project.build(NOW + timedelta(days=365))
    project.image("2")
    right = project.build(NOW)
    again = project.build(NOW + timedelta(minutes=1))
    assert ahead.version < right.version < again.version
    assert right.version == "20271122T030001Z"
    assert project.pushed() == again.version
    assert project.store.current("cc-one", Arch.AMD64) == again.version
    assert project.pruned() == [again.version]


def test_the_clock_is_said_to_be_behind(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.build(NOW + timedelta(seconds=30))
    project.build(NOW)
    assert not caplog.records, "two hosts differ by as much"
    project.build(NOW + timedelta(days=365))
    project.build(NOW)
    assert "the clock is behind 20271122T030000Z" in caplog.text


def test_a_run_points_the_names_for_people_to_what_serves(project: Project) -> None:
    good = project.build()
    project.image("2")
    newer = project.build(NOW + timedelta(days=1))
    assert project.store.current("cc-one", Arch.AMD64) == newer.version
    project.store.point_names(good, "CC-One")
    assert project.store.in_force("cc-one", Arch.AMD64) == good
    assert (project.store.root / "images/CC-One.qcow2").read_text() == good.version
    assert [build.version for build in project.store.builds("cc-one", Arch.AMD64)] == [newer.version, good.version]
