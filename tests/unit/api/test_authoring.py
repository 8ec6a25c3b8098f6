"""New images, what they are resolved to, and what they leave out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cc_images.config.loader import load
from cc_images.errors import ConfigError
from tests.conftest import Cli, write_files
from tests.unit.builders.test_keys import Project, pristine, project  # noqa: F401 - fixtures

PARENT = """\
# mine
CC-Base:
  arch: [amd64, arm64]
  elements: [os]
  properties: {os_type: linux}
  eol: 2030-01-01
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Return a folder with a catalogue of one image, and its element."""
    write_files(tmp_path, images=PARENT, sites="local: {directory: d}")
    (tmp_path / "elements/os").mkdir(parents=True)
    (tmp_path / "elements/os/element-provides").write_text("operating-system\n")
    (tmp_path / "elements/os/checks.yaml").write_text("executables: [sh]\n")
    for each in ("vm", "block-device-efi"):
        (tmp_path / "elements" / each).mkdir()
    return tmp_path


def test_a_new_image_can_be_planned_at_once(cli: Cli, catalogue: Path) -> None:
    said = cli("new", "CC-Base-Emacs", "--from", "cc-base", "--package", "emacs-nox", "--package", "git")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines()[-1] == "next: cc-images plan -b cc-base-emacs"
    text = (catalogue / "images.yaml").read_text()
    assert text.startswith(PARENT)
    assert "CC-Base-Emacs:\n  depends: [CC-Base]\n  arch: [amd64, arm64]\n  provenance: {variant: emacs}\n" in text
    assert (catalogue / "elements/cc-base-emacs/package-installs.yaml").read_text() == "emacs-nox:\ngit:\n"
    planned = cli("plan", "-b", "-a", "amd64", "cc-base-emacs")
    assert planned.returncode == 0, planned.stderr
    shown = json.loads(cli("show", "--json", "-a", "amd64", "cc-base-emacs").stdout)[0]
    assert {each["name"]: each["from"] for each in shown["checks"]} == {
        "sh": "element os", "emacs-nox": "element cc-base-emacs", "git": "element cc-base-emacs",
    }  # fmt: skip
    why = {each["name"]: (each["from"], each["why"]) for each in shown["elements"]}
    assert why["os"] == (str(catalogue / "elements"), "CC-Base")
    assert why["package-installs"] == ("dib", "needed by cc-base-emacs")
    assert "os" in cli("show", "cc-base-emacs").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("CC-Base", "--from", "cc-base"), "there is an image CC-Base already"),
        (("CC-New", "--from", "cc-bsae"), "there is no image cc-bsae"),
        (("-x/y", "--from", "cc-base"), "error"),
        (("a/b", "--from", "cc-base"), "'a/b' is not an image's name"),
        (("os", "--from", "cc-base"), "elements/os already exists"),
        (("manifests", "--from", "cc-base"), "has an element manifests already"),
        (("CC-New", "--from", "cc-base", "--package", "a,b"), "'a,b' is not a package's name"),
        (("x-new", "--from", "cc-base"), "'x-new' is not an image's name"),
        (("all", "--from", "cc-base"), "'all' is not an image's name"),
        (("X-ARM64-20260101", "--from", "cc-base"), "archived"),
    ],
)
def test_what_cannot_be_new_leaves_everything_as_it_was(
    cli: Cli, catalogue: Path, words: tuple[str, ...], said: str
) -> None:
    before = {path: path.read_text() for path in catalogue.rglob("*") if path.is_file()}
    answer = cli("new", *words)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert {path: path.read_text() for path in catalogue.rglob("*") if path.is_file()} == before


def test_what_is_not_inherited_is_the_parents(cli: Cli, catalogue: Path) -> None:
    more = "  disk: [vm]\n  firmware: [bios]\n  timeout: 30\n  allow: [keys]\n"
    (catalogue / "images.yaml").write_text(PARENT + more)
    assert cli("new", "CC-Kid", "--from", "cc-base").returncode == 0
    found = load({"HOME": str(catalogue), "CC_IMAGES_SETTINGS": ""}, catalogue).images
    for key in ("disk", "firmware", "timeout", "allow", "properties", "arches", "eol"):
        assert getattr(found["cc-kid"], key) == getattr(found["cc-base"], key), key


def test_names_that_yaml_reads_as_something_else_are_in_quotes(cli: Cli, catalogue: Path) -> None:
    names = ("yes", "vim", "vim=2:9.0", "1e3")
    said = cli("new", "CC-Kid", "--from", "cc-base", *(word for name in names for word in ("--package", name)))
    assert said.returncode == 0, said.stderr
    element = catalogue / "elements/cc-kid"
    assert list(yaml.safe_load((element / "package-installs.yaml").read_text())) == list(names)
    assert yaml.safe_load((element / "checks.yaml").read_text()) == {"packages": ["yes", "vim", "vim", "1e3"]}


def test_a_link_to_the_catalogue_stays_one_and_its_mode_stays(cli: Cli, catalogue: Path) -> None:
    real = catalogue / "real.yaml"
    (catalogue / "images.yaml").rename(real)
    real.chmod(0o664)
    (catalogue / "images.yaml").symlink_to("real.yaml")
    assert cli("new", "CC-Kid", "--from", "cc-base").returncode == 0
    assert (catalogue / "images.yaml").is_symlink()
    assert "CC-Kid:" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o664


def test_the_catalogue_of_the_package_is_not_changed_from_elsewhere(cli: Cli, tmp_path: Path) -> None:
    said = cli("new", "CC-Kid", "--from", "cc-debian12")
    assert (said.returncode, "there is no images.yaml here" in said.stderr) == (2, True)


def test_an_element_of_the_parents_list_is_left_out(project: Project) -> None:  # noqa: F811
    (project.root / "elements/more").mkdir()
    text = "Parent: {elements: [os, more]}\nChild: {depends: [Parent], elements: [], without: [more]}\n"
    project.images(text)
    job = project.specs()["child amd64"]
    assert (job.base, job.content) == (None, ("os",))
    assert "it leaves out element more, which is in the parent's tree" in "".join(project.look().notes)
    project.images(text.replace("[more]}", "[less]}"))
    with pytest.raises(ConfigError, match="less is in no parent's list: os, more"):
        project.look()
    (project.root / "elements/os/element-deps").write_text("more\n")
    project.images(text)
    with pytest.raises(Exception, match="more cannot be left out: element os depends on it"):
        project.look()
