"""Bills of materials of builds: in the store, beside the image in folders and catalogues, signed, removed with it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from cc_images.model.catalog import Arch
from cc_images.store.records import Store
from tests.conftest import Cli, write_files
from tests.unit.api.test_rollback import add
from tests.unit.api.test_signatures import allowed, settings, ssh_key

V1, V2 = "20261101T000000Z", "20261102T000000Z"
PUSH = ("-p", "--no-boot-test", "cc-x")
SITES = "all: {catalogue: catalogue, scope: prod}\none: {directory: one}\n"

INSTALLED = [
    {
        "type": "deb",
        "name": "libc6",
        "version": "2.36-9",
        "arch": "amd64",
        "source": "glibc",
        "source-version": "2.36-9",
    },
    {"type": "pypi", "name": "hammers", "version": "0.3", "path": "/usr/local/lib/python3.11/hammers-0.3.dist-info"},
]
CONTENTS = {"os": {"ID": "debian", "VERSION_ID": "12"}, "installed": INSTALLED, "packages": {"libc6": "2.36-9"}}


def build(store: Store, version: str, **contents: Any) -> None:
    """Put a build into the store that was looked into."""
    add(store, version)
    made = store.build("cc-x", Arch.AMD64, version)
    assert made is not None
    store.record(made, {"packages": {"libc6": "2.36-9"}} | ({"contents": CONTENTS | contents}), "CC-X")


@pytest.fixture
def project(tmp_path: Path, store: Store) -> Path:
    """Return a project with one version in its store and two sites that are folders."""
    write_files(tmp_path, images="CC-X: {elements: [debian-minimal], disk: []}\n", sites=SITES)
    store.root.mkdir()
    build(store, V1)
    return tmp_path


def published(cli: Cli, **environment: str) -> str:
    done = cli(*PUSH, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def version_of(folder: Path) -> Path:
    """Return the folder of the version in force of the catalogue."""
    scope = folder / "catalogue/prod"
    return scope / "versions" / str(json.loads((scope / "current").read_text())["CC-X"])


def valid(cdx: Path, spdx: Path) -> None:
    """Check both forms with the validators of their libraries, and that they name all packages."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(cdx.read_text()) is None
    assert validate_full_spdx_document(JsonLikeDictParser().parse(json.loads(spdx.read_text()))) == []
    for file in (cdx, spdx):
        assert '"pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"' in file.read_text()
        assert '"pkg:pypi/hammers@0.3"' in file.read_text()


def test_bills_are_beside_the_image_in_folders_catalogues_and_the_store(cli: Cli, project: Path) -> None:
    published(cli)
    for folder in (project / "one", version_of(project), project / "store/images"):
        valid(folder / "CC-X.cdx.json", folder / "CC-X.spdx.json")
        assert (folder / "CC-X.cdx.json").read_bytes() == (project / "one/CC-X.cdx.json").read_bytes()
    assert cli("sbom", "cc-x").stdout == (project / "one/CC-X.cdx.json").read_text()
    sums = (version_of(project) / "SHA256SUMS").read_text().splitlines()
    assert [line.split()[1] for line in sums] == ["CC-X.qcow2", "CC-X.cdx.json", "CC-X.spdx.json"]
    before = {path: path.stat().st_ino for path in (project / "one").iterdir()}
    assert "done" not in published(cli)
    assert {path: path.stat().st_ino for path in (project / "one").iterdir()} == before


def test_names_in_the_store_follow_the_version_in_force(cli: Cli, project: Path, store: Store) -> None:
    published(cli)
    add(store, V2)
    assert (project / "store/images/CC-X.qcow2").read_text() == V2
    assert not (project / "store/images/CC-X.cdx.json").is_symlink(), "that version was never looked into"
    older = store.build("cc-x", Arch.AMD64, V1)
    assert older is not None
    store.point_names(older, "CC-X")
    assert (project / "store/images/CC-X.cdx.json").read_text() == (project / "one/CC-X.cdx.json").read_text()


def test_bills_leave_the_store_with_their_build(cli: Cli, project: Path, store: Store) -> None:
    published(cli)
    folder = project / "store/builds/cc-x/amd64"
    assert {path.name for path in folder.glob(f"{V1}.*")} == {
        f"{V1}.{ending}" for ending in ("json", "more", "cdx", "spdx")
    }
    add(store, V2)
    assert cli("prune", "--keep", "1").returncode == 0
    left = {path.name.partition(".")[0] for path in folder.glob("2*")}
    assert len(left) == 1
    store.forget(*store.builds("cc-x", Arch.AMD64))
    assert not [*folder.glob("2*")]


@pytest.mark.long
def test_other_packages_or_files_make_other_bills_and_nothing_else_does(cli: Cli, project: Path, store: Store) -> None:
    published(cli)
    kept = project / f"store/builds/cc-x/amd64/{V1}.cdx"
    before = kept.stat().st_ino
    published(cli)
    assert kept.stat().st_ino == before
    build(store, V1, installed=INSTALLED[:1])
    published(cli)
    assert "hammers" not in kept.read_text()


def test_without_the_libraries_images_are_published_and_a_note_says_why(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "packageurl", None)
    said = published(cli)
    assert "no SBOM: bills of materials need the library packageurl" in said
    assert "pip install 'cc-images[sbom]'" in said
    assert (project / "one/CC-X.qcow2").exists()
    assert not [*project.rglob("*dx.json")]
    assert "no SBOM" not in published(cli), "nothing was published"


def test_a_version_that_was_not_looked_into_has_none_and_a_note_says_so(cli: Cli, project: Path, store: Store) -> None:
    store.forget(*store.builds("cc-x", Arch.AMD64))
    add(store, V1)
    assert "no SBOM: its package databases were not read" in published(cli)
    assert not [*project.rglob("*dx.json")]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_the_signature_is_about_the_bills_too(cli: Cli, project: Path) -> None:
    key = ssh_key(project, "key")
    published(cli, **settings(project, sign=key))
    trust = settings(project, trusted=allowed(project, key))
    for folder in (project / "one", version_of(project)):
        for name in ("CC-X.qcow2", "CC-X.cdx.json", "CC-X.spdx.json"):
            done = cli("verify", "--signature", str(folder / name), **trust)
            assert done.returncode == 0, done.stdout + done.stderr
        with (folder / "CC-X.cdx.json").open("a") as file:
            file.write(" ")
        done = cli("verify", "--signature", str(folder / "CC-X.cdx.json"), **trust)
        assert (done.returncode, "about other bytes" in done.stdout) == (3, True)
    for site in ("one", "all"):
        assert cli("verify", "--signature", site, **trust).returncode == 0
