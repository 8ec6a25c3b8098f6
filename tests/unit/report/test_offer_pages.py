"""The page for the people who use the images: what it says, that names are escaped, and that the feed is one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from xml.etree import ElementTree

from cc_images.model.offer import Offer, Place, Release
from cc_images.report import offer_pages

NEWS = datetime(2026, 11, 3, tzinfo=UTC)
RELEASE = Release(version="20261103T000000Z", created=NEWS, packages=431, boot="checks", before="20261102T000000Z",
                  files=[("qcow2", 345 << 20, "5f" * 32)],
                  changes=[("Packages changed", [f"lib{number} 1 → 2" for number in range(60)])])  # fmt: skip
CLOUD = Place(site="CHI@TACC", name="CC-Debian12", version=RELEASE.version, since=NEWS, cloud=True)
OFFER = Offer(name="CC-Debian12", tag="cc-debian12", arch="amd64", system="debian bookworm", eol=date(2028, 6, 30),
              places=[CLOUD], releases=[RELEASE])  # fmt: skip
TODAY = date(2026, 11, 29)
NAMES = {"a": offer_pages.ATOM}


def test_it_says_where_an_image_is_and_how_it_is_started() -> None:
    page = offer_pages.page([OFFER], "Images", TODAY)
    assert 'openstack server create --image "CC-Debian12"' in page
    assert "since 2026-11-03" in page
    assert "5f" * 32 in page
    assert "Packages changed (60, the first 40)" in page
    assert "past its end of life" not in page
    assert "past its end of life" in offer_pages.page([replace(OFFER, eol=date(2026, 1, 1))], "Images", TODAY)
    folder = replace(CLOUD, site="local", cloud=False)
    assert "CC-Debian12 in its folder" in offer_pages.page([replace(OFFER, places=[folder])], "Images", TODAY)
    held = replace(OFFER, releases=[replace(RELEASE, held="no network")])
    assert "withdrawn" in offer_pages.page([held], "Images", TODAY)
    assert "Nothing is published yet" in offer_pages.page([], "Images", TODAY)


def test_what_others_have_written_is_text() -> None:
    odd = replace(OFFER, system="<b>x</b>", releases=[replace(RELEASE, held='"><script>alert(1)</script>')])
    page = offer_pages.page([odd], "<i>Images</i>", TODAY)
    assert "<script>" not in page
    assert "<b>x</b>" not in page
    assert "<i>Images" not in page
    assert "default-src &#x27;none&#x27;" in page, "and it loads nothing from anywhere"


def test_the_feed_is_one() -> None:
    older = replace(OFFER, name="CC-Old", places=[replace(CLOUD, since=datetime(2026, 1, 1, tzinfo=UTC))])
    root = ElementTree.fromstring(offer_pages.feed([older, OFFER], "Images & more"))
    assert root.findtext("a:title", namespaces=NAMES) == "Images & more"
    entries = root.findall("a:entry", NAMES)
    for each in (root, *entries):
        for name in ("id", "title", "updated"):
            assert each.findtext(f"a:{name}", namespaces=NAMES)
    titles = [each.findtext("a:title", namespaces=NAMES) for each in entries]
    assert titles == ["CC-Debian12 20261103T000000Z (amd64)", "CC-Old 20261103T000000Z (amd64)"]
    assert root.findtext("a:updated", namespaces=NAMES) == "2026-11-03T00:00:00+00:00"
    assert offer_pages.feed([OFFER], "x") == offer_pages.feed([OFFER], "x")


def test_the_data_is_what_the_page_shows() -> None:
    (image,) = json.loads(offer_pages.as_json([OFFER]))["images"]
    assert (image["name"], image["eol"], image["places"][0]["since"]) == (
        "CC-Debian12",
        "2028-06-30",
        "2026-11-03T00:00:00+00:00",
    )


def test_a_file_on_the_web_is_a_link() -> None:
    where = "https://images.example.org/CC-Debian12.qcow2"
    folder = replace(CLOUD, site="local", cloud=False, download=where)
    page = offer_pages.page([replace(OFFER, places=[folder])], "Images", TODAY)
    assert f'<a href="{where}">CC-Debian12.qcow2</a>' in page


def test_a_ramdisk_is_for_bare_metal() -> None:
    half = replace(CLOUD, name="CC-Deploy.initramfs", format="initramfs")
    page = offer_pages.page([replace(OFFER, places=[half])], "Images", TODAY)
    assert 'deploy_kernel="CC-Deploy.kernel" --driver-info deploy_ramdisk="CC-Deploy.initramfs"' in page
    assert "openstack server create" not in page
