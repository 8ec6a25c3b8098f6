"""Keys from a real project on disk: each input moves them, nothing else does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cc_images.builders import provenance
from cc_images.builders.dib import command, element_path, recipes
from cc_images.builders.dib.builder import DIB
from cc_images.builders.dib.elements import Elements
from cc_images.builders.dib.spec import DibSpec
from cc_images.config import loader
from cc_images.errors import ConfigError, UserError
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.model.plan import BuildJob, Request, Task
from cc_images.planner import snapshot
from cc_images.store.records import Store
from tests.conftest import write_files

NOW = datetime(2026, 11, 21, tzinfo=UTC)

IMAGES = """\
Parent:
  arch: [amd64, arm64]
  elements: [os]
  packages: [less]
  environment: {DIB_ONE: "1"}
Child:
  arch: [amd64, arm64]
  depends: [Parent]
  elements: [extra]
  packages: [vim]
  environment: {DIB_TWO: "2"}
  artifacts: {A_FILE: {url: "https://a.invalid/a.tar", sha256: "SHA"}}
"""


class Project:
    """A catalogue of a parent and a child, elements, and a third-party repository; each look reads it anew."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"HOME": str(root)}
        self.request = Request(tags=("parent", "child"), build=True)
        self.repository = root / "repository"
        if not root.exists():
            self._make()
        self.images(IMAGES)

    def _make(self) -> None:
        for name, text in {
            "elements/os/element-provides": "operating-system\n",
            "elements/os/install.d/10-os": "echo os\n",
            "elements/os/bin/tool": "echo tool\n",
            "elements/extra/install.d/10-extra": "echo extra\n",
            "elements/extra/element-deps": "theirs\n",
            "elements/extra/environment.d/10-extra": "export EXPORTED=1\n",
            "elements/vm/finalise.d/50-vm": "echo vm\n",
            "elements/block-device-efi/environment.d/10-x": "export X=1\n",
            "repository/theirs/install.d/10-theirs": "echo theirs\n",
            "repository/README": "one\n",
        }.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if path.parent.suffix == ".d" else 0o644)
        (self.root / "elements/os/static").mkdir()
        (self.root / "elements/os/link").symlink_to("install.d")
        self.commit()

    def images(self, text: str) -> None:
        write_files(
            self.root,
            images=text.replace("SHA", "a" * 64),
            sites="local: {directory: site}",
            third_party=f"theirs: {{repo: {self.repository.as_uri()}}}",
        )

    def commit(self) -> None:
        subprocess.run(["git", "init", "--quiet", "--template=", "--initial-branch=main", self.repository], check=True)
        git = ("git", "-C", str(self.repository), "-c", "user.name=x", "-c", "user.email=x@x.invalid")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", "x"], check=True)

    def look(self) -> snapshot.Snapshot:
        loaded = loader.load(self.environ, self.root)
        return snapshot.look(self.request, loaded, Store(self.root / "store"), now=NOW, offline=False)

    def specs(self) -> dict[str, DibSpec]:
        seen = self.look()
        jobs: dict[str, BuildJob] = {each.label: each.job for each in seen.image_states}
        jobs |= {f"layer {each.job.tag} {each.job.arch}": each.job for each in seen.layer_states.values()}
        return {name: job.spec for name, job in jobs.items() if isinstance(job.spec, DibSpec)}

    def keys(self) -> dict[str, str]:
        return {name: spec.recipe_key for name, spec in self.specs().items()}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Project(tmp_path_factory.mktemp("pristine") / "project").root


@pytest.fixture
def project(pristine: Path, tmp_path: Path) -> Project:
    """Return a project of its own: a copy, since git takes longer than most tests."""
    return Project(shutil.copytree(pristine, tmp_path / "project", symlinks=True))


def write(name: str, text: str) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        (project.root / name).parent.mkdir(exist_ok=True)
        (project.root / name).write_text(text)

    return change


def element_added(project: Project) -> None:
    (project.root / "elements/more/install.d").mkdir(parents=True)
    (project.root / "elements/more/install.d/10-more").write_text("echo\n")
    (project.root / "elements/more/install.d/10-more").chmod(0o755)
    (project.root / "elements/os/element-deps").write_text("more\n")


def executable(project: Project) -> None:
    (project.root / "elements/os/bin/tool").chmod(0o755)


def static_mode(project: Project) -> None:
    (project.root / "elements/os/static/key").write_text("k")
    project.keys()
    (project.root / "elements/os/static/key").chmod(0o755)


def link(project: Project) -> None:
    (project.root / "elements/os/link").unlink()
    (project.root / "elements/os/link").symlink_to("static")


def third_party(project: Project) -> None:
    (project.repository / "theirs/install.d/10-theirs").write_text("echo new\n")
    project.commit()


def catalogue(old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.images(IMAGES.replace(old, new))


BOTH = {"parent amd64", "parent arm64", "child amd64", "child arm64", "layer parent amd64", "layer parent arm64"}
CHILD = {"child amd64", "child arm64"}
IMAGES_ONLY = BOTH - {"layer parent amd64", "layer parent arm64"}


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (write("elements/os/install.d/10-os", "echo other\n"), BOTH),
        (write("elements/extra/install.d/10-extra", "echo other\n"), CHILD),
        (write("elements/extra/bin/new", "echo new\n"), CHILD),
        (write("elements/vm/finalise.d/50-vm", "echo other\n"), IMAGES_ONLY),
        (executable, BOTH),
        (static_mode, BOTH),
        (link, BOTH),
        (element_added, BOTH),
        (third_party, CHILD),
        (catalogue("[less]", "[less, git]"), BOTH),
        (catalogue("[vim]", "[]"), CHILD),
        (catalogue('DIB_ONE: "1"', 'DIB_ONE: "2"'), BOTH),
        (catalogue("SHA", "b" * 64), CHILD),
        (catalogue("Child:\n", "Child:\n  disk: [vm]\n"), CHILD),
        (catalogue("Child:\n", "Child:\n  layer: false\n"), CHILD),
        (lambda project: project.environ.update(DIB_ANY="x"), BOTH),
    ],
    ids=["content", "content of the child", "file added", "content of a disk element", "mode", "static mode", "symlink",
         "element added", "third-party commit", "packages", "packages of the child", "DIB_* of an image",
         "artifact digest", "disk elements", "layering", "DIB_* of the user"],
)  # fmt: skip
def test_an_input_moves_exactly_the_keys_that_it_belongs_to(
    project: Project, change: Callable[[Project], None], moved: set[str]
) -> None:
    before = project.keys()
    assert set(before) == BOTH
    change(project)
    after = project.keys()
    assert {name for name in after if after[name] != before.get(name)} == moved & set(after)


def test_dibs_version_and_the_tools_of_the_host_move_all_keys(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.keys()
    with monkeypatch.context() as patch:
        patch.setattr(command, "version", lambda: "99")
        assert not set(project.keys().values()) & set(before.values())
    monkeypatch.setattr(command.shutil, "which", lambda name, path=None: "/bin/true")  # type: ignore[attr-defined]
    assert not set(project.keys().values()) & set(before.values())


def test_architectures_have_keys_of_their_own(project: Project) -> None:
    assert len(set(project.keys().values())) == len(BOTH)


def touched(project: Project) -> None:
    for path in project.root.rglob("elements/**/*"):
        os.utime(path, (1, 1), follow_symlinks=False)


def moved_away(project: Project) -> None:
    target = project.root.with_name("elsewhere")
    shutil.copytree(project.root, target, symlinks=True)
    project.root = target


def reordered(project: Project) -> None:
    parent, child = IMAGES.split("Child:")
    turned = ["Child:", *reversed([line for line in child.splitlines() if line])]
    project.images("\n".join(turned) + "\n" + parent)


def unrelated_commit(project: Project) -> None:
    (project.repository / "README").write_text("two\n")
    project.commit()


def other_umask(project: Project) -> None:
    for path in (project.root / "elements").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)


def other_request(project: Project) -> None:
    project.request = replace(project.request, jobs=4, push=True, sites=("local",), fail_fast=True, max_age=1)


def other_proxy(project: Project) -> None:
    project.environ |= {"http_proxy": "http://p.invalid", "CC_IMAGES_STORE": "/nowhere", "LANG": "de"}


OTHER_SETTINGS = "Child:\n  timeout: 7\n  formats: [raw]\n  eol: 2099-01-01\n  properties: {os_type: linux}\n"


@pytest.mark.parametrize(
    "change",
    [touched, moved_away, reordered, unrelated_commit, other_umask, other_request, other_proxy,
     write("sites.yaml", "other: {directory: elsewhere, is_baremetal: true}"),
     write("elements/unused", "x"),
     catalogue("Child:\n", OTHER_SETTINGS),
     catalogue("Child:\n", "Other: {elements: [os], depends: [Child], arch: [amd64, arm64]}\nChild:\n")],
    ids=["mtime", "path of the checkout", "order of YAML keys", "a commit that changes no element", "umask",
         "-t, sites, limits", "proxy, store, language", "sites.yaml", "a file beside the elements", "other settings",
         "another image that starts from it"],
)  # fmt: skip
def test_what_is_no_input_moves_no_key(project: Project, change: Callable[[Project], None]) -> None:
    before = project.keys()
    change(project)
    after = project.keys()
    assert {name: after[name] for name in before} == before


def test_a_child_starts_from_its_parents_layer_and_a_parent_from_its_own(project: Project) -> None:
    jobs = project.specs()
    layer, parent, child = (jobs[name] for name in ("layer parent amd64", "parent amd64", "child amd64"))
    assert layer.base is None
    assert (layer.content, layer.disk, layer.packages) == (("os",), (), ("less",))
    assert parent.base is not None
    assert parent.base.recipe_key == layer.recipe_key
    assert (parent.content, parent.disk, parent.packages) == ((), ("vm", "block-device-efi"), ())
    assert child.base == parent.base
    assert (child.content, child.packages) == (("extra",), ("vim",))


@pytest.mark.parametrize(
    ("images", "file", "obstacle"),
    [
        (IMAGES.replace("Child:\n", "Child:\n  layer: false\n"), "", "layer: false"),
        (IMAGES, "echo $DIB_TWO", "it or its elements set DIB_TWO, which element os of the parent reads"),
        (IMAGES.replace('DIB_TWO: "2"', 'DIB_ONE: "2"'), "echo $DIB_ONE",
         "it or its elements set DIB_ONE, which element os of the parent reads"),
        (IMAGES, "echo $EXPORTED", "it or its elements set EXPORTED, which element os of the parent reads"),
        (IMAGES, "echo $A_FILE; echo $DIB_TWO_AND_MORE",
         "it or its elements set A_FILE, which element os of the parent reads"),
    ],
)  # fmt: skip
def test_a_child_that_would_have_made_another_tree_of_its_parent_is_built_in_one_go(
    project: Project, images: str, file: str, obstacle: str
) -> None:
    project.images(images)
    (project.root / "elements/os/install.d/10-os").write_text(f"{file}\n")
    loaded = loader.load(project.environ, project.root)
    store = Store(project.root / "store")
    element_path.third_party(loaded, store, offline=False)
    folders = element_path.known_folders(loaded, store)
    drawn = recipes.Recipes(loaded, Elements(folders), DIB.host_facts([Arch.AMD64])).build(
        loaded.images["child"], Arch.AMD64
    )
    assert drawn.obstacle == obstacle
    spec = drawn.spec
    assert isinstance(spec, DibSpec)
    assert spec.base is None
    assert (spec.content, spec.packages) == (("os", "extra"), ("less", "vim"))
    notes = snapshot.look(project.request, loaded, Store(project.root / "store"), now=NOW, offline=False).notes
    told = [note for note in notes if "in one go" in note]
    said = f"child is built in one go, not from its parent's tree: {obstacle}"
    assert told == ([] if obstacle == "layer: false" else [said])


def test_base_is_added_where_the_tree_begins(project: Project) -> None:
    (project.root / "elements/base").mkdir()
    project.images(IMAGES.replace("elements: [os]", "elements: [os]\n  base: true"))
    assert project.specs()["layer parent amd64"].content == ("base", "os")
    assert project.specs()["child amd64"].content == ("extra",), "it is in the parent's tree"
    assert not [each for each in project.look().notes if "disk-image-create would" in each]
    project.images(IMAGES)
    assert [each for each in project.look().notes if "disk-image-create would add its element base to Parent;" in each]
    project.images(IMAGES.replace("elements: [extra]", "elements: [extra]\n  base: true"))
    with pytest.raises(ConfigError, match="say it there"):
        project.look()


def test_a_rotated_secret_that_is_declared_is_no_new_build(project: Project) -> None:
    project.images(IMAGES.replace("elements: [os]", "elements: [os]\n  secrets: [DIB_MINE]"))
    project.environ["DIB_MINE"] = "first-value"
    before = project.keys()
    project.environ["DIB_MINE"] = "second-value"
    assert project.keys() == before
    job = project.specs()["child amd64"]
    assert (job.secrets, job.environment["DIB_MINE"]) == (("DIB_MINE",), "second-value")
    loaded = loader.load(project.environ, project.root)
    assert "second-value" in loaded.secrets("child")
    task = Task(id="t", job=BuildJob(spec=job), reason="")
    assert "second-value" not in str(task.as_json())


def test_an_artifact_can_be_handed_over_as_an_address(project: Project) -> None:
    before = project.keys()
    project.images(IMAGES.replace('sha256: "SHA"', 'sha256: "SHA", as: url'))
    assert project.specs()["child amd64"].artifacts["A_FILE"].as_url
    project.images(IMAGES.replace("A_FILE", "A_URL"))
    assert [each for each in project.look().notes if each.startswith("A_URL holds the path of the fetched file")]
    project.images(IMAGES.replace("A_FILE", "A_URL").replace('sha256: "SHA"', 'sha256: "SHA", as: path'))
    assert not [each for each in project.look().notes if "A_URL" in each]
    project.images(IMAGES.replace('sha256: "SHA"', 'sha256: "SHA", as: url'))
    assert {name for name, key in project.keys().items() if key != before[name]} == {
        "child amd64",
        "child arm64",
    }


def test_provenance_is_in_the_key_where_an_element_reads_it(project: Project) -> None:
    project.images(IMAGES.replace("  packages: [vim]", "  packages: [vim]\n  provenance: {variant: kid}"))
    assert provenance.PROVENANCE not in project.specs()["child amd64"].environment
    (project.root / "elements/extra/install.d/10-extra").write_text(f"echo ${provenance.PROVENANCE}")
    job = project.specs()["child amd64"]
    assert provenance.PROVENANCE in job.environment
    assert job.base is not None
    (project.root / "elements/os/install.d/10-os").write_text(f"echo ${provenance.PROVENANCE}")
    assert project.specs()["child amd64"].base is None, "its parent's tree says what the parent is"


def test_all_leaves_out_what_cannot_be_planned_and_says_so(project: Project) -> None:
    project.images(IMAGES + "Lost: {elements: [os, nowhere]}\n")
    project.request = Request(tags=("all",), build=True)
    assert "child amd64" in project.specs()
    assert [each.partition(";")[0] for each in project.look().left_out] == [
        "Lost: element nowhere is not in any elements folder"
    ]
    project.request = Request(tags=("lost", "child"), build=True)
    with pytest.raises(UserError, match="nowhere"):
        project.look()


def test_an_image_without_a_disk_is_refused_when_it_is_planned(project: Project) -> None:
    (project.root / "elements/no-final-image").mkdir()
    (project.root / "elements/os/element-deps").write_text("no-final-image\n")
    with pytest.raises(UserError, match="no-final-image"):
        project.keys()


def test_explain_says_when_a_build_is_too_old_to_be_trusted(project: Project) -> None:
    loaded = loader.load(project.environ, project.root)
    store = Store(project.root / "store")
    staged = store.root / "staged"
    store.root.mkdir(exist_ok=True)
    staged.write_text("disk")
    blob = store.blobs.add(staged)
    output = Output(format=Format.QCOW2, digest=blob.digest, sha512="", size=blob.size, virtual_size=1)
    build = Build(tag="parent", name="Parent", arch=Arch.AMD64, version="20261101T120000Z", key="k",
                  recipe_key=project.keys()["parent amd64"], outputs={Format.QCOW2: output})  # fmt: skip
    store.record(build, {}, "Parent")
    request = replace(project.request, tags=("parent",), arches=(Arch.AMD64,))
    told = [snapshot.look(replace(request, max_age=days), loaded, store, now=NOW, offline=False).reasons()[0]
            for days in (30, 7)]  # fmt: skip
    assert [each["serves"] for each in told] == ["20261101T120000Z", None]
    assert told[1]["changed"][0].startswith("it is 20 days old, more than --max-age 7, and the sources")
