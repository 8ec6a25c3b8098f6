"""Targets: which formats of an image go to which site, and under which name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cc_images.model.catalog import RAMDISK, Arch, Format, Image
from cc_images.model.site import Site
from cc_images.sites.registry_names import LABEL
from cc_images.sites.targets import formats_for, name_for, own_properties, takes

DISK = Image(name="CC-X")
TREE = Image(name="CC-X", formats=(Format.TAR, Format.SQUASHFS), disk=())
RAM = Image(name="CC-X", formats=RAMDISK, disk=())
BOTH = Image(name="CC-X", formats=(Format.QCOW2, *RAMDISK))

CLOUD = Site(name="s", cloud="c")
METAL = Site(name="s", cloud="c", is_baremetal=True)
FOLDER = Site(name="s", directory="d")
CATALOGUE = Site(name="s", catalogue="c")
CHUNKS = Site(name="s", directory="d", chunks=True)
REGISTRY = Site(name="s", registry="registry.example.org/x")
OCI = Image(name="CC-X", formats=(Format.TAR, Format.OCI), disk=())


@pytest.mark.parametrize(
    ("site", "image", "expected"),
    [
        (CLOUD, DISK, (Format.RAW,)),
        (CLOUD, TREE, ()),
        (CLOUD, RAM, RAMDISK),
        (METAL, BOTH, (Format.QCOW2, *RAMDISK)),
        (Site(name="s", cloud="c", formats=(Format.QCOW2,)), BOTH, (Format.QCOW2,)),
        (Site(name="s", cloud="c", formats=RAMDISK), RAM, RAMDISK),
        (FOLDER, TREE, (Format.TAR, Format.SQUASHFS)),
        (FOLDER, RAM, RAMDISK),
        (Site(name="s", directory="d", formats=(Format.QCOW2, Format.TAR)), TREE, (Format.TAR,)),
        (Site(name="s", directory="d", formats=(Format.QCOW2, Format.TAR)), DISK, (Format.QCOW2, Format.TAR)),
        (Site(name="s", directory="d", formats=(Format.QCOW2,)), TREE, ()),
        (CATALOGUE, TREE, (Format.TAR,)),
        (CATALOGUE, RAM, ()),
        (CHUNKS, TREE, ()),
        (REGISTRY, TREE, ()),
        (REGISTRY, DISK, ()),
        (REGISTRY, OCI, (Format.OCI,)),
        (Site(name="s", registry="r/x", formats=(Format.SIF,)), OCI, ()),
        (CHUNKS, DISK, (Format.QCOW2,)),
        (replace(REGISTRY, takes={"use": "batch"}), replace(OCI, properties={"use": "batch"}), (Format.OCI,)),
        (replace(REGISTRY, takes={"use": "batch"}), replace(OCI, properties={"use": "interactive"}), ()),
        (replace(REGISTRY, takes={"use": "*"}), OCI, ()),
        (replace(REGISTRY, takes={"tag": "cc-*"}), OCI, (Format.OCI,)),
        (replace(FOLDER, takes={"tag": "ws-*"}), DISK, ()),
        (replace(CLOUD, takes={"tag": "cc-*", "use": "batch"}), DISK, ()),
    ],
)
def test_a_site_takes_an_image_in_these_formats(site: Site, image: Image, expected: tuple[Format, ...]) -> None:
    assert formats_for(site, image, Arch.AMD64) == expected


def test_the_halves_of_a_ramdisk_have_names_of_their_own_where_names_have_no_endings() -> None:
    assert name_for(CLOUD, RAM, Arch.ARM64, Format.KERNEL) == "CC-X-ARM64.kernel"
    assert name_for(FOLDER, RAM, Arch.ARM64, Format.KERNEL) == "CC-X-ARM64"
    assert name_for(CLOUD, DISK, Arch.AMD64, Format.RAW) == "CC-X"


def test_a_pulled_tree_goes_to_folders() -> None:
    assert takes(FOLDER, Format.SQUASHFS)
    assert not takes(CLOUD, Format.SQUASHFS)
    assert not takes(Site(name="s", directory="d", formats=(Format.QCOW2,)), Format.SQUASHFS)
    assert takes(FOLDER, Format.QCOW2)
    assert takes(REGISTRY, Format.OCI)
    assert not takes(REGISTRY, Format.QCOW2)


def test_an_image_goes_to_registries_with_its_own_version() -> None:
    versioned = Image(name="CC-X", formats=(Format.OCI,), disk=(), version="2.1")
    assert own_properties(versioned, Arch.AMD64, REGISTRY)["registry-version"] == "2.1"
    assert "registry-version" not in own_properties(versioned, Arch.AMD64, FOLDER)
    raised = replace(versioned, builder="containerfile", bump=True)
    assert own_properties(raised, Arch.AMD64, REGISTRY)["registry-version"] == LABEL, "the number comes with the build"
    assert own_properties(replace(raised, version=""), Arch.AMD64, REGISTRY).get("registry-version") is None
    assert own_properties(replace(versioned, bump=True), Arch.AMD64, REGISTRY)["registry-version"] == "2.1", "dib's"
