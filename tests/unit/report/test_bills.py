"""Bills of materials: valid by the formats' own validators, complete, and the same for equal builds."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import pytest

from cc_images.errors import CCImagesError, UserError
from cc_images.model.bill import Bill
from cc_images.report import bills

PACKAGES = {"adduser": "3.134", "libstdc++6": "12.2.0-14+deb12u1", "base-files": "12.4+deb12u15", "vim": "2:9.0.1378-2"}
BILL = Bill(name="CC-Debian12", version="20261101T000000Z", arch="amd64", created=datetime(2026, 11, 1, tzinfo=UTC),
            digests={"qcow2": "a" * 64}, distro="debian", release="bookworm", packages=PACKAGES)  # fmt: skip


def test_cyclonedx_is_valid_and_names_every_package() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    written = bills.document(BILL, "cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None
    said = json.loads(written)
    assert {each["name"]: each["version"] for each in said["components"]} == PACKAGES
    purls = {each["name"]: each["purl"] for each in said["components"]}
    assert purls["vim"] == "pkg:deb/debian/vim@2:9.0.1378-2?distro=debian-bookworm"
    assert said["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert said["metadata"]["timestamp"].startswith("2026-11-01T00:00:00")


def test_spdx_is_valid_and_names_every_package() -> None:
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    said = json.loads(bills.document(BILL, "spdx"))
    assert validate_full_spdx_document(JsonLikeDictParser().parse(said)) == []
    found = {each["name"]: each["versionInfo"] for each in said["packages"]}
    assert found == {**PACKAGES, "CC-Debian12": "20261101T000000Z"}


@pytest.mark.parametrize("form", bills.FORMATS)
def test_equal_builds_have_equal_bills(form: str) -> None:
    assert bills.document(BILL, form) == bills.document(BILL, form)


@pytest.mark.parametrize(("distro", "kind"), [("ubuntu", "deb"), ("centos", "rpm"), ("", "generic")])
def test_package_urls_have_the_distributions_type(distro: str, kind: str) -> None:
    bill = Bill(name="X", version="1", arch="arm64", created=BILL.created, distro=distro, packages={"bash": "5.2-1"})
    (part,) = json.loads(bills.document(bill, "cyclonedx"))["components"]
    assert part["purl"].startswith(f"pkg:{kind}/")


def test_without_the_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packageurl", None)
    monkeypatch.setitem(sys.modules, "spdx_tools.spdx.model", None)
    for form in bills.FORMATS:
        with pytest.raises(CCImagesError) as caught:
            bills.document(BILL, form)
        assert "cc-images[sbom]" in caught.value.hint
    with pytest.raises(UserError, match="xml is no format"):
        bills.document(BILL, "xml")
