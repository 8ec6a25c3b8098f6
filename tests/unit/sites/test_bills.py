"""Bills of materials beside the images of a folder: each image has its own, however its pushes ended."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites import bills
from cc_images.sites.base import ImageSite, Publication
from cc_images.sites.directory import DirectorySite
from cc_images.sites.publish import Terms, publish, roll_back
from cc_images.sites.rollbacks import Goal, choose
from tests.unit.sites.test_sites import POINTS, Tripping, die, publication, refuse, site_at, today

FORMS = ("cdx", "spdx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "site"


def billed(tmp_path: Path, content: bytes, **properties: str) -> Publication:
    """Return a publication whose bills have the image's content in them."""
    told = {"cyclonedx": f'"cdx of {content.decode()}"\n', "spdx": f'"spdx of {content.decode()}"\n'}
    return replace(publication(tmp_path, content, **properties), bills=told)


def put(site: ImageSite, wanted: Publication, **terms: int) -> None:
    publish(site, wanted, Terms(pause=0.01, keep=terms.get("keep")), stop=threading.Event())


def check(folder: Path) -> dict[str, str]:
    """Check that each image has its own bills beside it, no others, and no more are kept; return the images."""
    images = {path.name.removesuffix(".qcow2"): path.read_text() for path in folder.glob("*.qcow2")}
    told = {path.name: json.loads(path.read_text()) for ending in FORMS for path in folder.glob(f"*.{ending}.json")}
    assert told == {f"{name}.{form}.json": f"{form} of {text}" for name, text in images.items() for form in FORMS}
    pool = {path.name: path for path in (folder / ".bills").iterdir()}
    assert {*pool} == {hashlib.sha256(f'"{text}"\n'.encode()).hexdigest() for text in told.values()}
    for name, text in images.items():
        said = json.loads((folder / f"{name}.json").read_text())
        assert (folder / f"{name}.cdx.json").samefile(pool[said["bills"]["cyclonedx"]]), text
    return images


def test_every_image_has_its_own_bills_beside_it(tmp_path: Path, folder: Path) -> None:
    for content in (b"v1", b"v2", b"v3"):
        put(site_at(folder), billed(tmp_path, content))
    assert check(folder) == {"CC-X": "v3", f"CC-X-{today()}": "v1", f"CC-X-{today()}.1": "v2"}
    assert stat.S_IMODE((folder / "CC-X.spdx.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((folder / ".bills").stat().st_mode) == 0o755


def test_bills_go_with_their_image(tmp_path: Path, folder: Path) -> None:
    for content in (b"v1", b"v2", b"v3"):
        put(site_at(folder), billed(tmp_path, content), keep=1)
    assert check(folder) == {"CC-X": "v3", f"CC-X-{today()}.1": "v2"}
    put(site_at(folder), publication(tmp_path, b"v4"), keep=0)
    assert not [*folder.glob("*dx.json"), *(folder / ".bills").iterdir()], "the new image has none"


def test_an_image_that_is_rolled_back_to_has_its_own_again(tmp_path: Path, folder: Path) -> None:
    for number, content in enumerate((b"v1", b"v2")):
        put(site_at(folder), billed(tmp_path, content, **{"build-version": f"2026110{number + 1}T000000Z"}))
    site = site_at(folder)
    roll_back(site, "CC-X", lambda view: choose(view, Goal()), "r9", Terms(pause=0.01), stop=threading.Event())
    assert check(folder)["CC-X"] == "v1"


@pytest.mark.parametrize(("at", "after"), POINTS)
def test_the_next_push_finishes_what_a_killed_one_has_left(tmp_path: Path, folder: Path, at: int, after: bool) -> None:
    put(site_at(folder), billed(tmp_path, b"v1"))
    if os.fork() == 0:
        put(Tripping(site_at(folder), at, after, die), billed(tmp_path, b"v2"))
        os._exit(0)
    os.wait()
    put(site_at(folder), billed(tmp_path, b"v2"))
    assert check(folder) == {"CC-X": "v2", f"CC-X-{today()}": "v1"}


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_push_that_is_refused_leaves_the_old_ones(tmp_path: Path, folder: Path, at: int) -> None:
    put(site_at(folder), billed(tmp_path, b"v1"))
    with pytest.raises(CCImagesError):
        put(Tripping(site_at(folder), at, False, refuse), billed(tmp_path, b"v2"))
    assert check(folder) == {"CC-X": "v1"}


def test_an_image_that_is_described_anew_gets_what_it_lacked(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), publication(tmp_path, b"v1"))
    assert not (folder / ".bills").exists()
    put(site_at(folder), billed(tmp_path, b"v1", os_type="linux"))
    assert check(folder) == {"CC-X": "v1"}


def test_a_persons_file_is_left_alone(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    for name in ("CC-X.cdx.json", "CC-Y.spdx.json"):
        (folder / name).write_text("theirs")
    put(site_at(folder), billed(tmp_path, b"v1"))
    shutil.copy(folder / "CC-X.spdx.json", folder / "kept.spdx.json")
    put(site_at(folder), billed(tmp_path, b"v2"))
    assert json.loads((folder / "kept.spdx.json").read_text()) == "spdx of v1"
    assert (folder / "CC-X.cdx.json").read_text() == "theirs"
    assert (folder / "CC-Y.spdx.json").read_text() == "theirs"
    assert json.loads((folder / "CC-X.spdx.json").read_text()) == "spdx of v2"


@pytest.mark.parametrize("ignored", [(), (".bills",)])
def test_a_copy_of_the_folder_goes_on(tmp_path: Path, folder: Path, ignored: tuple[str, ...]) -> None:
    put(site_at(folder), billed(tmp_path, b"v1"))
    other = tmp_path / "copy"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns(*ignored))
    put(site_at(other), publication(tmp_path, b"v1"))
    assert json.loads((other / "CC-X.cdx.json").read_text()) == "cdx of v1"
    put(site_at(other), billed(tmp_path, b"v2"))
    assert check(other) == {"CC-X": "v2", f"CC-X-{today()}": "v1"}


def test_two_formats_in_a_folder_have_bills_of_their_own(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), billed(tmp_path, b"v1"))
    put(DirectorySite(Site(name="local", directory=str(folder)), Format.RAW), billed(tmp_path, b"v2"))
    assert json.loads((folder / "CC-X.cdx.json").read_text()) == "cdx of v1"
    assert json.loads((folder / "CC-X.raw.cdx.json").read_text()) == "cdx of v2"


def test_damaged_descriptions_and_unknown_forms_do_no_harm(tmp_path: Path, folder: Path) -> None:
    put(site_at(folder), billed(tmp_path, b"v1"))
    (folder / "CC-Z.json").write_text("torn")
    (folder / "CC-W.json").write_text(json.dumps({"bills": {"xml": "0" * 64, "spdx": "1" * 64}}))
    bills.arrange(folder)
    assert not [*folder.glob("CC-[ZW].*dx.json")]
    assert json.loads((folder / "CC-X.cdx.json").read_text()) == "cdx of v1"
