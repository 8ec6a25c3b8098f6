"""The plan as a value: which tasks, why, and in which order."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cc_images.boottest.policy import boot_test_key
from cc_images.errors import UserError
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import RAMDISK, Arch, Download, Firmware, Format, Image
from cc_images.model.plan import BootJob, ConvertJob, Plan, PushJob, Request
from cc_images.model.site import Site
from cc_images.planner.image_state import ImageState
from cc_images.planner.planner import make_plan
from tests.support.jobs import build_job

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LOCAL = Site(name="local", directory="/d", is_baremetal=True)
KVM = Site(name="kvm", cloud="k")


def built(version: str = "20261120T120000Z", *formats: Format) -> Build:
    outputs = {
        out: Output(format=out, digest="d", sha512="s", size=1, virtual_size=2) for out in formats or (Format.QCOW2,)
    }
    return Build(
        tag="cc-x", name="CC-X", arch=Arch.AMD64, version=version, recipe_key="a", key="k" * 64, outputs=outputs
    )


def state(name: str = "CC-X", match: Build | None = None, newest: Build | None = None, **image: object) -> ImageState:
    made = replace(Image(name=name), **image)  # type: ignore[arg-type]
    job = build_job(
        name=name, tag=made.tag, recipe_key="a" * 64, content=(made.tag,), disk=made.disk,
        environment={"DIB_PASSWORD": "geheim"}, artifacts=made.artifacts,
    )  # fmt: skip
    return ImageState(image=made, arch=Arch.AMD64, job=job, match=match, newest=newest or match)


def planned(request: Request, *image_states: ImageState, sites: tuple[Site, ...] = (LOCAL,)) -> Plan:
    return make_plan(request, image_states, sites, version="v1", now=NOW)


def shape(plan: Plan) -> list[tuple[str, bool, tuple[str, ...]]]:
    return [(task.id, task.cached, task.needs) for task in plan.tasks]


BUILD = Request(tags=("cc-x",), build=True)
PUSH = Request(tags=("cc-x",), push=True)
BOTH = Request(tags=("cc-x",), build=True, push=True)
FORCE = Request(tags=("cc-x",), build=True, push=True, force=True)


def test_what_was_never_built_is_built_converted_and_pushed() -> None:
    plan = planned(BOTH, state())
    assert shape(plan) == [
        ("build cc-x amd64", False, ()),
        ("convert cc-x amd64", False, ("build cc-x amd64",)),
        ("boot cc-x amd64", False, ("convert cc-x amd64",)),
        ("push cc-x amd64 to local", False, ("boot cc-x amd64",)),
    ]
    assert plan.tasks[0].reason == "never built"
    assert plan.tasks[2].reason == "uefi, 0 checks and hygiene"


def test_an_unchanged_key_is_cached_and_its_version_pushed() -> None:
    plan = planned(BOTH, state(match=built()))
    assert shape(plan) == [
        ("build cc-x amd64", True, ()),
        ("boot cc-x amd64", False, ()),
        ("push cc-x amd64 to local", False, ("boot cc-x amd64",)),
    ]
    assert plan.tasks[2].job.version == "20261120T120000Z"  # type: ignore[union-attr]


def test_a_changed_key_builds_and_says_what_changed() -> None:
    changed = replace(state(newest=built()), changed=("packages +vim", "a", "b", "c"))
    assert planned(BUILD, changed).tasks[0].reason == "changed since 20261120T120000Z: packages +vim, a, b and 1 more"


def test_an_old_build_is_not_trusted_for_ever_when_nobody_can_say_whether_upstream_moved() -> None:
    old = built(f"{NOW - timedelta(days=8):%Y%m%dT%H%M%SZ}")
    blind = replace(state(match=old), unsure="its mirror is down")
    plan = planned(BUILD, blind)
    assert not plan.tasks[0].cached
    assert plan.tasks[0].reason == (
        "version 20261113T120000Z is 8 days old, more than --max-age 7, and its mirror is down"
    )
    assert planned(replace(BUILD, max_age=9), blind).tasks[0].cached
    assert planned(BUILD, state(match=old)).tasks[0].cached, "upstream was asked, and has not moved"


def test_force_builds_in_spite_of_the_cache_and_replaces() -> None:
    plan = planned(FORCE, state(match=built()))
    assert plan.tasks[0].reason == "forced"
    assert plan.tasks[1].job.replaces  # type: ignore[union-attr]


def test_push_alone_takes_the_newest_whatever_its_key() -> None:
    plan = planned(PUSH, state(newest=built()))
    assert shape(plan) == [
        ("boot cc-x amd64", False, ()),
        ("push cc-x amd64 to local", False, ("boot cc-x amd64",)),
    ]


def test_push_alone_builds_what_is_missing() -> None:
    assert [task.id for task in planned(PUSH, state()).tasks] == [
        "build cc-x amd64",
        "convert cc-x amd64",
        "boot cc-x amd64",
        "push cc-x amd64 to local",
    ]


def test_a_format_that_a_site_wants_is_made_from_what_is_stored() -> None:
    plan = planned(BOTH, state(match=built()), sites=(LOCAL, KVM))
    assert shape(plan) == [
        ("build cc-x amd64", True, ()),
        ("convert cc-x amd64", False, ()),
        ("boot cc-x amd64", False, ("convert cc-x amd64",)),
        ("push cc-x amd64 to local", False, ("boot cc-x amd64",)),
        ("push cc-x amd64 to kvm", False, ("boot cc-x amd64",)),
    ]
    assert plan.tasks[2].job.formats == (Format.QCOW2, Format.RAW), "every file that is pushed"  # type: ignore[union-attr]
    assert plan.tasks[1].job.formats == (Format.RAW,)  # type: ignore[union-attr]


def test_a_pass_counts_for_the_same_bytes_and_the_same_checks_only() -> None:
    image = state(newest=built())

    def boots(image: ImageState, passes: dict[str, str]) -> bool:
        plan = make_plan(PUSH, [image], (LOCAL,), version="v1", now=NOW, passes=passes)
        return not plan.tasks[0].cached

    tested = boot_test_key(image.image, Arch.AMD64)
    assert boots(image, {})
    assert not boots(image, {"d": tested})
    assert boots(image, {"another digest": tested})
    checked = replace(image, image=replace(image.image, checks={"files": {"/x": {}}}))
    assert boots(checked, {"d": tested}), "it was not looked for what is looked for now"
    both = replace(image, image=replace(image.image, firmware=(Firmware.BIOS, Firmware.UEFI)))
    assert boots(both, {"d": tested})
    assert boots(replace(image, image=replace(image.image, properties={"min_ram": "4096"})), {"d": tested})


def test_every_format_that_is_pushed_must_have_passed() -> None:
    both = state(newest=built("20261120T120000Z", Format.QCOW2, Format.RAW))
    other = replace(both.newest.outputs[Format.RAW], digest="r")  # type: ignore[union-attr]
    newest = replace(both.newest, outputs={**both.newest.outputs, Format.RAW: other})  # type: ignore[union-attr, type-var]
    both = replace(both, newest=newest)
    passes = {"d": boot_test_key(both.image, Arch.AMD64)}
    plan = make_plan(PUSH, [both], (LOCAL, KVM), version="v1", now=NOW, passes=passes)
    assert not plan.tasks[0].cached
    plan = make_plan(PUSH, [both], (LOCAL, KVM), version="v1", now=NOW, passes=passes | {"r": passes["d"]})
    assert plan.tasks[0].cached


def test_without_the_boot_test_a_push_waits_for_the_file_alone() -> None:
    plan = planned(replace(BOTH, boot_test=False), state())
    assert shape(plan)[-1] == ("push cc-x amd64 to local", False, ("convert cc-x amd64",))
    assert not any(isinstance(task.job, BootJob) for task in plan.tasks)


def test_arm64_boots_with_uefi_whatever_the_disk_has_for_bios() -> None:
    image = Image(name="X", firmware=(Firmware.BIOS, Firmware.UEFI))
    assert image.boots_with(Arch.AMD64) == (Firmware.BIOS, Firmware.UEFI)
    assert image.boots_with(Arch.ARM64) == (Firmware.UEFI,)


def test_bare_metal_images_go_to_bare_metal_sites_only() -> None:
    plan = planned(BOTH, state(baremetal_only=True), sites=(LOCAL, KVM))
    assert [task.id for task in plan.tasks][3:] == ["push cc-x amd64 to local"]
    with pytest.raises(UserError, match="no site takes any"):
        planned(BOTH, state(baremetal_only=True), sites=(KVM,))


def test_arm64_goes_to_bare_metal_unless_a_site_says_otherwise() -> None:
    arm64 = replace(state(arches=(Arch.ARM64,)), arch=Arch.ARM64)
    taking = Site(name="virtual", directory="/v", arches=(Arch.ARM64,))
    plan = planned(BOTH, arm64, sites=(LOCAL, KVM, taking))
    assert [task.id for task in plan.tasks][3:] == ["push cc-x arm64 to local", "push cc-x arm64 to virtual"]
    assert [task.id for task in planned(BOTH, state(), sites=(LOCAL, taking)).tasks][3:] == ["push cc-x amd64 to local"]


def test_children_wait_for_parents_and_share_artifacts() -> None:
    artifact = Download(url="https://x.invalid/tool.run?signature=1")
    parent = state("P", artifacts={"A": artifact})
    child = state("C", depends=("p",), artifacts={"A": artifact})
    plan = planned(BUILD, parent, child)
    fetch = f"fetch tool.run {artifact.identity}"
    assert shape(plan) == [
        (fetch, False, ()),
        ("build p amd64", False, (fetch,)),
        ("convert p amd64", False, ("build p amd64",)),
        ("build c amd64", False, (fetch,)),
        ("convert c amd64", False, ("build c amd64",)),
    ]
    after = {task.id: task.after for task in plan.tasks if task.after}
    assert after == {"build c amd64": ("convert p amd64",)}, (
        "it only comes first: if it fails, the child is built all the same"
    )


def test_published_properties() -> None:
    image = state(provenance={"distro": "debian", "release": "bookworm"}, properties={"os_type": "linux"})
    site = replace(LOCAL, properties={"os_type": "other"})
    job = planned(BOTH, image, sites=(site,)).tasks[-1].job
    assert job.properties == {  # type: ignore[union-attr]
        "architecture": "x86_64",
        "os_distro": "debian",
        "os_version": "bookworm",
        "build-distro": "debian",
        "build-release": "bookworm",
        "os_type": "other",
    }


def test_a_plan_as_json_has_no_secret() -> None:
    secret = Download(url="https://user:geheim@x.invalid/a.run?signature=geheim")
    plan = planned(BOTH, state(artifacts={"DIB_A": secret}))
    assert plan.tasks[0].id == f"fetch a.run {secret.identity}"
    assert "geheim" not in json.dumps(plan.as_json(), default=str)


def test_one_address_with_two_digests_is_fetched_twice() -> None:
    url = "https://x.invalid/a.run"
    one = state("A", artifacts={"X": Download(url=url, sha256="1" * 64)})
    two = state("B", artifacts={"X": Download(url=url)})
    fetches = [task for task in planned(BUILD, one, two).tasks if task.id.startswith("fetch")]
    assert len(fetches) == 2


# -- formats that are no disk ------------------------------------------------------------------------------------------


def test_a_ramdisk_is_made_of_a_tree_and_its_kernel_comes_first() -> None:
    ramdisk = state(formats=RAMDISK, disk=())
    plan = planned(BOTH, ramdisk, sites=(LOCAL, KVM))
    tasks = {task.id: task for task in plan.tasks}
    assert tasks["convert cc-x amd64"].reason == "tree to kernel, initramfs"
    boot = tasks["boot cc-x amd64"]
    assert boot.reason == "bios, to login and hygiene"
    last = tasks["push cc-x amd64 to kvm as initramfs"]
    assert last.needs == ("boot cc-x amd64", "push cc-x amd64 to kvm as kernel")
    names = [task.job.name for task in plan.tasks if isinstance(task.job, PushJob)]
    assert names == ["CC-X", "CC-X", "CC-X.kernel", "CC-X.initramfs"]


def test_a_tree_is_looked_at_and_boots_nowhere() -> None:
    plan = planned(BOTH, state(formats=(Format.TAR,), disk=()))
    (boot,) = (task for task in plan.tasks if isinstance(task.job, BootJob))
    assert boot.reason == "its tree, and hygiene"
    assert isinstance(boot.job, BootJob)
    assert boot.job.firmware == ()


@pytest.mark.parametrize(
    ("stored", "wanted", "again"),
    [
        ((Format.TAR,), (Format.TAR, Format.SQUASHFS), ""),
        ((Format.QCOW2,), (Format.TAR, *RAMDISK), ""),
        ((Format.TAR,), (Format.QCOW2,), "nothing that qcow2 can be made from"),
        (RAMDISK, (*RAMDISK, Format.TAR), "nothing that tar can be made from"),
    ],
)
def test_a_stored_version_is_completed_if_it_can_be(
    stored: tuple[Format, ...], wanted: tuple[Format, ...], again: str
) -> None:
    plan = planned(BUILD, state(match=built("20261120T120000Z", *stored), formats=wanted))
    build = next(task for task in plan.tasks if task.id == "build cc-x amd64")
    assert build.cached is not bool(again)
    assert again in build.reason
    assert any(isinstance(task.job, ConvertJob) for task in plan.tasks)


def test_a_site_that_wants_what_a_version_cannot_become_has_it_built_again() -> None:
    trees = Site(name="trees", directory="/t", formats=(Format.TAR, *RAMDISK))
    plan = planned(BOTH, state(match=built("20261120T120000Z", *RAMDISK), formats=RAMDISK, disk=()), sites=(trees,))
    build = next(task for task in plan.tasks if task.id == "build cc-x amd64")
    assert "nothing that tar can be made from" in build.reason


def test_the_sites_of_a_wave_are_asked_for_the_names_there() -> None:
    later = Site(name="later", cloud="c", wave=2, bake=0)
    plan = planned(BOTH, state(formats=RAMDISK, disk=()), sites=(LOCAL, later))
    gates = [task.job.gate for task in plan.tasks if isinstance(task.job, PushJob) and task.job.gate is not None]
    assert gates
    assert gates[0].before == (("local", Format.KERNEL, "CC-X"), ("local", Format.INITRAMFS, "CC-X"))
