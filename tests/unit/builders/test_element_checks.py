"""What elements claim: which checks an image gets from them, and what may be dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.builders.dib.element_checks import Claims, own_checks
from cc_images.builders.dib.elements import Elements, own_elements
from cc_images.config.loader import load, packaged
from cc_images.errors import UserError
from cc_images.model.catalog import Image, Material
from tests.unit.builders.test_elements import element


@pytest.fixture
def elements(tmp_path: Path) -> Elements:
    element(tmp_path, "os", element_provides="operating-system")
    element(tmp_path, "low", element_deps="os", checks_yaml="")
    (tmp_path / "low" / "checks.yaml").write_text("units: [a.service, b.service]\npackages: {p: '>= 1'}\n")
    element(tmp_path, "high", element_deps="low\n")
    (tmp_path / "high" / "checks.yaml").write_text("units: {b.service: no}\npackages: {p: '>= 2'}\n")
    return Elements((tmp_path,))


def image(name: str, *wanted: str, **more: object) -> Image:
    return Image(name=name, elements=wanted, disk=(), **more)  # type: ignore[arg-type]


def test_an_element_wins_over_what_it_depends_on_and_the_image_over_all(elements: Elements) -> None:
    one = image("One", "high", checks={"packages": {"p": {"version": ">= 3"}}})
    assert Claims(elements).complete(one, [one]).checks == {
        "units": {"a.service": {}},
        "packages": {"p": {"version": ">= 3"}},
    }


def test_a_child_is_tested_by_what_its_parents_elements_claim(elements: Elements) -> None:
    parent = image("Parent", "low", checks={"files": {"/x": {}}})
    child = image("Child", checks={"files": {"/x": {"dropped": ""}}, "units": {"a.service": {"dropped": ""}}})
    found = Claims(elements).complete(child, [parent, child]).checks
    assert found == {"units": {"b.service": {}}, "packages": {"p": {"version": ">= 1"}}}
    assert own_checks([parent, child]) == {}


def test_a_parent_may_drop_what_its_own_disk_claims(elements: Elements) -> None:
    parent = Image(name="P", elements=("os",), disk=("low",), checks={"units": {"a.service": {"dropped": ""}}})
    child = image("C")
    assert "a.service" not in Claims(elements).complete(parent, [parent]).checks["units"]
    assert Claims(elements).complete(child, [parent, child]).checks == {}


def test_dropping_what_nobody_claims_is_a_mistake(elements: Elements, tmp_path: Path) -> None:
    one = image("One", "low", checks={"packages": {"vim": {"dropped": ""}}, "files": {"/x": {"dropped": ""}}})
    with pytest.raises(UserError) as caught:
        Claims(elements).complete(one, [one])
    assert "images.yaml: One.checks.packages.vim: `no` drops nothing" in caught.value.message
    assert "files can be {absent: yes}" in caught.value.message


def test_claims_that_are_wrong_are_named_with_file_and_line(elements: Elements, tmp_path: Path) -> None:
    (tmp_path / "high" / "checks.yaml").write_text("units:\n  - ssh\nfles: [x]\n")
    one = image("One", "high")
    with pytest.raises(UserError) as caught:
        Claims(elements).complete(one, [one])
    assert "elements/high/checks.yaml:2: units.ssh: is not a unit's name" in caught.value.message
    assert "elements/high/checks.yaml:3: fles: unknown key; did you mean files?" in caught.value.message


def test_neither_claims_nor_readme_are_built(elements: Elements, tmp_path: Path) -> None:
    before = elements.digest("low")
    (tmp_path / "low" / "checks.yaml").write_text("units: [c.service]\n")
    (tmp_path / "low" / "README.rst").write_text("DIB_SOMETHING\n")
    after = Elements((tmp_path,))
    assert after.digest("low") == before
    assert not after.mentions("low", "DIB_SOMETHING")


def test_every_image_of_the_catalogue_has_claims_that_hold_together(tmp_path: Path) -> None:
    config = load({"HOME": str(tmp_path)}, tmp_path)
    claims = Claims(Elements((packaged("elements"), own_elements())))
    for image in config.images.values():
        found = claims.complete(image, config.lineage(image)).checks
        assert "/etc/dib-manifests/dib_environment" in found["files"]
        is_disk = image.makes is Material.DISK
        assert ("22/tcp" in found.get("ports", {})) is is_disk, "containers have no sshd"
        assert ("/etc/cc-images/provenance.json" in found["files"]) is is_disk, "labels say it of containers"
