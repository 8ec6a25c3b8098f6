"""Which disks are put together here, what stands in their keys, and what a plan says of the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cc_images.api import doctor
from cc_images.api.finding import State
from cc_images.builders.dib import assembly, disk_tools, toolbox_parts
from cc_images.builders.dib.elements import Elements, own_elements
from cc_images.builders.dib.spec import DibSpec, DiskToolsSpec
from cc_images.builders.resolver import image_builder
from cc_images.config.loader import Config, load
from cc_images.model.catalog import Arch
from cc_images.model.plan import BuildJob, Request
from cc_images.planner import snapshot
from cc_images.store.records import Store

USED = ("bootloader", "debian-minimal", "dpkg", "vm", "block-device-efi")


@pytest.fixture
def elements(tmp_path: Path) -> Elements:
    (tmp_path / "elements").mkdir()
    return Elements((tmp_path / "elements", own_elements()))


def why(elements: Elements, *used: str, said: str | None = None, kind: str | None = None, block: str = "") -> str:
    return assembly.obstacle(elements, used or USED, said, kind, block)


def with_hook(tmp_path: Path, name: str, hook: str, text: str = "") -> Elements:
    file = tmp_path / "elements" / name / hook
    file.parent.mkdir(parents=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    return Elements((tmp_path / "elements", own_elements()))


@pytest.mark.parametrize("layout", ["efi", "gpt", "mbr"])
def test_dibs_own_layouts_are_known(elements: Elements, layout: str) -> None:
    assert why(elements, "bootloader", "dpkg", "vm", f"block-device-{layout}") == ""


TABLE = "- local_loop: {{name: image0}}\n- partitioning: {{base: image0, label: {label}, partitions: [{parts}]}}\n"


@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        (TABLE.format(label="gpt", parts="{name: a, size: 100%, mkfs: {type: ext4}}"), None, ""),
        (TABLE.format(label="gpt", parts="{name: a, size: 100%, mkfs: {type: xfs}}"), None, "its layout has xfs"),
        (TABLE.format(label="gpt", parts="{name: a, size: 100%, mkfs: {}}"), "btrfs", "its layout has btrfs"),
        (TABLE.format(label="gpt", parts="{name: a, size: 1G, type: 8e00}"), None, "a partition of type 8e00"),
        (TABLE.format(label="gpt", parts="{name: a, size: 1G, encrypt: {}}"), None, "its layout has encrypt"),
        (TABLE.format(label="mbr", parts="{name: a, size: 1G, flags: [boot]}"), None, "a logical partition"),
        (TABLE.format(label="gpt", parts="") + "- lvm: {name: lvm}\n", None, "its layout has lvm"),
        ("- local_loop: {name: image0}\n", None, "not one disk with one partition table"),
        ("{nonsense", None, "its layout cannot be read"),
        ("[[]]", None, "its layout cannot be read"),
    ],
)
def test_a_layout_is_known_or_the_reason_is(elements: Elements, said: str, kind: str | None, reason: str) -> None:
    found = why(elements, said=said, kind=kind)
    assert reason in found
    assert bool(reason) == bool(found)


def test_elements_that_deal_with_devices_stay_with_dib(tmp_path: Path) -> None:
    found = with_hook(tmp_path, "own", "finalise.d/60-own", "echo $IMAGE_BLOCK_DEVICE")
    assert why(found, *USED, "own") == "element own reads IMAGE_BLOCK_DEVICE"
    found = with_hook(tmp_path, "maker", "block-device.d/10-maker")
    assert why(found, *USED, "maker") == "element maker makes the disk"
    found = with_hook(tmp_path, "bootloader", "finalise.d/50-bootloader")
    assert why(found) == "its element bootloader is not dib's"


def test_other_families_and_sectors_stay_with_dib(elements: Elements) -> None:
    assert why(elements, "bootloader", "vm", "block-device-efi") == "its packages are not Debian's or Ubuntu's"
    assert why(elements, block="4096") == "DIB_BLOCK_SIZE is 4096"
    assert why(elements, block="512") == ""


def test_a_host_that_cannot_have_the_tools_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_tools.why_not(tmp_path / "keyring", "ppc64le") == "there are no disk tools for ppc64le"
    assert "debian-archive-keyring" in disk_tools.why_not(tmp_path / "keyring", "x86_64")
    monkeypatch.setenv(disk_tools.SWITCH, "No")
    assert disk_tools.why_not() == "CC_IMAGES_ASSEMBLE=no"


def test_doctor_says_who_makes_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_tools, "why_not", lambda: "")
    assert doctor.disks().state is State.FINE
    monkeypatch.setattr(disk_tools, "why_not", lambda: "this host lacks mmdebstrap")
    assert doctor.disks().state is State.SLOW
    assert "different in each build: this host lacks mmdebstrap" in doctor.disks().text


def test_parts_of_the_assembler_move_keys_of_disks_alone() -> None:
    raised = {"disk/layout.py": 2, "elements/cc-disk/cc-disk/grub-install": 2, "du": 2}
    assert toolbox_parts.identity(raised) == toolbox_parts.identity({})
    assert toolbox_parts.identity_of_disks(raised) != toolbox_parts.identity_of_disks({})
    assert toolbox_parts.identity_of_disks({"tar": 2}) == toolbox_parts.identity_of_disks({})


# -- in a plan ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    home = tmp_path_factory.mktemp("home")
    return load({"HOME": str(home)}, home)


def planned(
    config: Config, tmp_path: Path, *tags: str, can: bool = True, assemble: bool = True
) -> tuple[dict[str, BuildJob], list[str]]:
    arches = (Arch.AMD64,)
    host = image_builder().host_facts(arches)
    host = replace(host, no_disk_tools="" if can else "this host lacks mmdebstrap")
    images = {tag: replace(image, assemble=assemble) for tag, image in config.images.items()}
    found = snapshot.look(
        Request(tags=tags, build=True, arches=arches),
        replace(config, images=images),
        Store(tmp_path / "store"),
        now=datetime(2026, 11, 21, tzinfo=UTC),
        offline=True,
        host=host,
    )
    tasks = found.plan("20261121T000000Z").tasks
    return {task.id: task.job for task in tasks if isinstance(task.job, BuildJob)}, list(found.notes)


def test_a_disk_relies_on_the_tools_of_one_release(config: Config, tmp_path: Path) -> None:
    jobs, notes = planned(config, tmp_path, "cc-debian12", "cc-ubuntu24.04")
    (tools,) = (job for name, job in jobs.items() if name.startswith("tools disk-tools "))
    assert isinstance(tools.spec, DiskToolsSpec)
    assert "ubuntu" not in tools.spec.environment["DIB_DISTRIBUTION_MIRROR"]
    for tag in ("cc-debian12", "cc-ubuntu24.04"):
        spec = jobs[f"build {tag} amd64"].spec
        assert isinstance(spec, DibSpec)
        assert spec.assembled
        assert tools.spec.recipe_key in spec.relies_on
        assert not spec.needs_loop_devices
        assert spec.host_programs == ()
    assert not [note for note in notes if "dib makes the disk" in note]


@pytest.mark.parametrize(("can", "assemble"), [(False, True), (True, False)])
def test_else_dib_makes_it_and_the_plan_says_why(config: Config, tmp_path: Path, can: bool, assemble: bool) -> None:
    ours, _ = planned(config, tmp_path, "cc-debian12")
    theirs, notes = planned(config, tmp_path, "cc-debian12", can=can, assemble=assemble)
    assert not [name for name in theirs if name.startswith("tools")]
    one, other = (jobs["build cc-debian12 amd64"].spec for jobs in (ours, theirs))
    assert one.recipe_key != other.recipe_key, "the bytes are others"
    assert other.needs_loop_devices
    told = [note for note in notes if "dib makes the disk" in note]
    wanted = "dib makes the disk of cc-debian12, different in each build: this host lacks mmdebstrap"
    assert told == ([] if not assemble else [wanted]), "not when the entry asked for it"


def test_a_mirror_of_ubuntus_is_none_of_the_tools(config: Config, tmp_path: Path) -> None:
    elsewhere = replace(config, environment={**config.environment, "DIB_DISTRIBUTION_MIRROR": "http://x.invalid/u"})
    one, _ = planned(config, tmp_path, "cc-ubuntu24.04")
    other, _ = planned(elsewhere, tmp_path, "cc-ubuntu24.04")
    assert one["tools disk-tools amd64"].spec == other["tools disk-tools amd64"].spec
