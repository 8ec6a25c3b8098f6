"""Bills of materials: valid by the formats' own validators, complete, and the same for equal builds."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cc_images.errors import CCImagesError, UserError
from cc_images.model.bill import Bill, Package, bill_of
from cc_images.model.bill_forms import FORMS
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch
from cc_images.outputs import bills

PACKAGES = (
    Package(kind="deb", name="base-files", version="12.4+deb12u15", arch="amd64", source="base-files",
            source_version="12.4+deb12u15"),
    Package(kind="deb", name="vim", version="2:9.0.1378-2", arch="amd64"),
    Package(kind="pypi", name="Hammers_X", version="0.3", licence="MIT", path="/usr/local/lib/hammers-0.3.dist-info"),
    Package(kind="pypi", name="Hammers_X", version="0.3", licence="as is", path="/opt/a/lib/hammers-0.3.dist-info"),
    Package(kind="rpm", name="bash", version="1:5.1.8-6.el9", arch="x86_64", licence="GPLv3+"),
)  # fmt: skip
BILL = Bill(name="CC-Debian12", version="20261101T000000Z", arch="amd64", created=datetime(2026, 11, 1, tzinfo=UTC),
            digests={"qcow2": "a" * 64}, distro="debian", release="12", packages=PACKAGES)  # fmt: skip
PURLS = [
    "pkg:deb/debian/base-files@12.4%2Bdeb12u15?arch=amd64&distro=debian-12",
    "pkg:deb/debian/vim@2:9.0.1378-2?arch=amd64&distro=debian-12",
    "pkg:pypi/hammers-x@0.3",
    "pkg:pypi/hammers-x@0.3",
    "pkg:rpm/debian/bash@5.1.8-6.el9?arch=x86_64&distro=debian-12&epoch=1",
]


def test_cyclonedx_is_valid_and_names_every_package() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    written = bills.document(BILL, "cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None
    said = json.loads(written)
    assert sorted(each["purl"] for each in said["components"]) == PURLS
    assert len({each["bom-ref"] for each in said["components"]}) == len(PACKAGES)
    licences = [each["licenses"][0]["license"]["name"] for each in said["components"] if "licenses" in each]
    assert sorted(licences) == ["GPLv3+", "MIT", "as is"]
    properties = {(each["name"], each["value"]) for part in said["components"] for each in part.get("properties", [])}
    assert ("cc-images:source", "base-files 12.4+deb12u15") in properties
    assert ("cc-images:path", "/opt/a/lib/hammers-0.3.dist-info") in properties
    assert said["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert said["metadata"]["timestamp"].startswith("2026-11-01T00:00:00")


def test_spdx_is_valid_and_names_every_package() -> None:
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    said = json.loads(bills.document(BILL, "spdx"))
    assert validate_full_spdx_document(JsonLikeDictParser().parse(said)) == []
    image, *packages = sorted(said["packages"], key=lambda each: each["SPDXID"] != "SPDXRef-image")
    assert (image["name"], image["versionInfo"]) == ("CC-Debian12", "20261101T000000Z")
    assert sorted(each["externalRefs"][0]["referenceLocator"] for each in packages) == PURLS
    assert [each["licenseDeclared"] for each in packages if "licenseDeclared" in each] == ["MIT"]
    assert sorted(each["licenseComments"] for each in packages if "licenseComments" in each) == [
        "declared as GPLv3+", "declared as as is",
    ]  # fmt: skip
    assert "built from base-files 12.4+deb12u15" in [each.get("sourceInfo") for each in packages]


@pytest.mark.parametrize("form", FORMS)
def test_equal_builds_have_equal_bills(form: str) -> None:
    again = replace(BILL, digests=dict(BILL.digests), packages=tuple(PACKAGES))
    assert bills.document(BILL, form) == bills.document(again, form)
    for other in (replace(BILL, packages=PACKAGES[1:]), replace(BILL, digests={"qcow2": "b" * 64})):
        assert str(other.identity) not in bills.document(BILL, form), "another bill has another identifier"
    assert str(BILL.identity) in bills.document(BILL, form)


BUILD = Build(tag="x", name="X", arch=Arch.AMD64, version="20261101T000000Z", recipe_key="k", key="k", outputs={})


@pytest.mark.parametrize(("distro", "kind"), [("ubuntu", "deb"), ("centos", "rpm"), ("", "generic")])
def test_an_older_record_has_names_and_versions(distro: str, kind: str) -> None:
    bill = bill_of(BUILD, {"packages": {"bash": "5.2-1"}}, {"distro": distro, "release": "9"})
    assert (bill.whole, bill.packages) == (False, (Package(kind=kind, name="bash", version="5.2-1"),))
    (part,) = json.loads(bills.document(bill, "cyclonedx"))["components"]
    assert part["purl"].startswith(f"pkg:{kind}/")


def test_a_record_with_the_list_has_all_that_was_seen() -> None:
    installed = [
        {"type": "rpm", "name": "bash", "version": "5.1.8-6.el9", "arch": "x86_64", "source": "bash",
         "source-version": "5.1.8-6.el9", "licence": "GPLv3+"},
        {"type": "pypi", "name": "hammers", "version": "0.3", "path": "/usr/local/lib/hammers-0.3.dist-info"},
    ]  # fmt: skip
    seen = {"os": {"ID": "rocky", "VERSION_ID": "9.3"}, "installed": installed, "packages": {"bash": "5"}}
    bill = bill_of(BUILD, {"packages": {"bash": "5"}, "contents": seen}, {"distro": "centos", "release": "9-stream"})
    assert (bill.whole, bill.distro, bill.release) == (True, "rocky", "9.3")
    assert [(each.kind, each.name, each.source_version) for each in bill.packages] == [
        ("pypi", "hammers", ""), ("rpm", "bash", "5.1.8-6.el9"),
    ]  # fmt: skip
    (_, rpm) = sorted(json.loads(bills.document(bill, "cyclonedx"))["components"], key=lambda each: each["purl"])
    assert rpm["purl"] == "pkg:rpm/rocky/bash@5.1.8-6.el9?arch=x86_64&distro=rocky-9.3"


def test_without_the_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packageurl", None)
    monkeypatch.setitem(sys.modules, "spdx_tools.spdx.model", None)
    for form in FORMS:
        with pytest.raises(CCImagesError) as caught:
            bills.document(BILL, form)
        assert "cc-images[sbom]" in caught.value.hint
    with pytest.raises(UserError, match="xml is no format"):
        bills.document(BILL, "xml")
