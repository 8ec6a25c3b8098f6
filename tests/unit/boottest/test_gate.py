"""The gate: one file is booted, the others are compared, and a pass is for these bytes and this test alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.boottest.boot import BootResult
from cc_images.boottest.gate import Gate
from cc_images.boottest.verdict import BootTestResult, Refused
from cc_images.engine.capacity import cores_of_guests
from cc_images.engine.contracts import require_kept
from cc_images.errors import CCImagesError
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Firmware, Format, Level
from cc_images.model.plan import BootJob, Plan, PushJob, Task
from cc_images.model.redaction import redacted
from cc_images.model.site import Site
from cc_images.outputs import disk
from cc_images.store.records import Store
from tests.conftest import NOW
from tests.support.context import run_context, task_context

JOB = BootJob(
    name="CC-X", tag="cc-x", arch=Arch.AMD64, version="20261120T120000Z", formats=(Format.QCOW2, Format.RAW),
    firmware=(Firmware.UEFI,), checks={}, test_key="this test",
)  # fmt: skip
PASSED = BootTestResult(climbs={Firmware.UEFI: BootResult(levels={Level.CHECKS: 9.0})})


@pytest.fixture
def build(store: Store) -> Build:
    return built(store, Format.QCOW2, Format.RAW)


def built(store: Store, *formats: Format) -> Build:
    outputs = {}
    for out in formats:
        staged = store.root / "staged"
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(out.encode())
        blob = store.blobs.add(staged)
        outputs[out] = Output(format=out, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=9)
    made = Build(
        tag="cc-x", name="CC-X", arch=Arch.AMD64, version=JOB.version, recipe_key="a", key="k", outputs=outputs
    )  # fmt: skip
    store.record(made, {}, "CC-X")
    return made


class Booted(list[Format]):
    """The formats that were booted; the boot test itself has tests of its own, with real machines."""

    result = PASSED

    def examine(self, image: Path, disk_format: Format) -> BootTestResult:
        self.append(disk_format)
        return self.result


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> Booted:
    monkeypatch.setattr(disk, "same", lambda *files, stop: True)
    return Booted()


def admit(store: Store, build: Build, booted: Booted, *wanted: Format, test_key: str = "this test",
          environment: dict[str, str] | None = None) -> BootTestResult | None:  # fmt: skip
    run = store.start_run(NOW)
    try:
        context = run_context(store, run, guest_cores=1, guests_at_once=2)
        job = replace(JOB, formats=wanted, test_key=test_key)
        with task_context(context, "boot") as task:
            made = Gate(context=task, job=job, build=build, variables=environment or {}, declared=(),
                        intact=lambda output: store.blobs.path(output.digest), examine=booted.examine)  # fmt: skip
            return made.admit([build.outputs[each] for each in wanted])
    finally:
        store.finish_run(run, shutil.rmtree)


def test_one_file_is_booted_and_the_other_compared(store: Store, build: Build, booted: Booted) -> None:
    assert admit(store, build, booted, Format.RAW, Format.QCOW2) is PASSED
    assert booted == [Format.QCOW2]
    assert set(store.passes(out.digest for out in build.outputs.values()).values()) == {"this test"}
    assert admit(store, build, booted, Format.RAW, Format.QCOW2) is None
    assert booted == [Format.QCOW2]
    assert next(store.builds("cc-x", Arch.AMD64)).boot == "checks"


def test_a_format_that_is_wanted_later_is_compared_with_what_was_booted(
    store: Store, build: Build, booted: Booted
) -> None:
    admit(store, build, booted, Format.QCOW2)
    assert store.passes([build.outputs[Format.RAW].digest]) == {}
    assert admit(store, build, booted, Format.RAW) is None
    assert booted == [Format.QCOW2]
    assert store.passes([build.outputs[Format.RAW].digest])


def test_another_test_boots_again(store: Store, build: Build, booted: Booted) -> None:
    admit(store, build, booted, Format.QCOW2)
    admit(store, build, booted, Format.QCOW2, test_key="another test")
    assert len(booted) == 2


def test_a_file_that_holds_another_disk_does_not_pass(
    store: Store, build: Build, booted: Booted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "same", lambda *files, stop: False)
    with pytest.raises(CCImagesError, match="the raw file holds another disk than the qcow2 file"):
        admit(store, build, booted, Format.QCOW2, Format.RAW)
    assert store.passes(out.digest for out in build.outputs.values()) == {}, "one of them is not what was built"


def test_a_refusal_is_recorded_and_no_pass(store: Store, build: Build, booted: Booted) -> None:
    booted.result = BootTestResult(inside=("dirty",))
    with pytest.raises(Refused, match="inside: dirty") as caught:
        admit(store, build, booted, Format.QCOW2)
    assert caught.value.reason == "boot-inside"
    assert "`cc-images inspect cc-x`" in caught.value.hint
    assert store.passes([build.outputs[Format.QCOW2].digest]) == {}
    (recorded,) = store.builds("cc-x", Arch.AMD64)
    assert recorded.boot == "inside"
    assert store.details(recorded)["boot"]["inside"] == ["dirty"]


def test_a_refusal_voids_an_older_pass(store: Store, build: Build, booted: Booted) -> None:
    admit(store, build, booted, Format.QCOW2, Format.RAW)
    booted.result = BootTestResult(inside=("dirty",))
    with pytest.raises(Refused):
        admit(store, build, booted, Format.QCOW2, test_key="another test")
    assert store.passes(out.digest for out in build.outputs.values()) == {}


def test_an_image_cannot_be_searched_for_a_secret_that_is_not_at_hand(
    store: Store, build: Build, booted: Booted
) -> None:
    environment = {"DIB_PASSWORD": "correct-horse", "DIB_RELEASE": "bookworm"}
    store.record(build, {"recipe": {"environment": redacted(environment)}}, "CC-X")
    for now in ({}, {"DIB_PASSWORD": "another-one"}):
        with pytest.raises(CCImagesError, match="DIB_PASSWORD had another value when this version was built"):
            admit(store, build, booted, Format.QCOW2, environment=now)
    assert booted == []
    assert admit(store, build, booted, Format.QCOW2, environment=environment) is PASSED


def test_a_format_that_is_recorded_in_a_boot_is_kept(store: Store, build: Build) -> None:
    """Two processes: one boots the qcow2, another records the raw meanwhile."""
    old = replace(build, outputs={Format.QCOW2: build.outputs[Format.QCOW2]})
    store.note_boot(old, "checks", {}, {})
    (recorded,) = store.builds("cc-x", Arch.AMD64)
    assert set(recorded.outputs) == {Format.QCOW2, Format.RAW}


@pytest.mark.parametrize(
    ("firmware", "cores", "at_once", "each"),
    [([2], 1, 2, 1), ([2], 2, 2, 1), ([2], 4, 2, 2), ([1], 2, 2, 2), ([1], 1, 2, 1), ([2], 2, 1, 2), ([1, 1], 2, 2, 1)],
)
def test_a_guest_alone_gets_two_cores(firmware: list[int], cores: int, at_once: int, each: int) -> None:
    jobs = [replace(JOB, firmware=(*Firmware,)[:count]) for count in firmware]
    tasks = tuple(Task(id=str(number), job=job, reason="") for number, job in enumerate(jobs))
    assert cores_of_guests(Plan(version="", tasks=tasks), cores, at_once) == each


def test_a_tree_out_of_the_disk_that_has_passed_passes(store: Store, booted: Booted) -> None:
    both = built(store, Format.TAR, Format.QCOW2)
    assert admit(store, both, booted, Format.TAR) is PASSED
    assert booted == [Format.QCOW2], "the disk shows more than its tree"
    passes = store.passes(output.digest for output in both.outputs.values())
    assert len(passes) == 2


def test_a_kernel_that_has_passed_says_nothing_of_its_ramdisk(store: Store, booted: Booted) -> None:
    ramdisk = built(store, Format.KERNEL, Format.INITRAMFS)
    said = {"asked": "this test", "tag": "cc-x", "version": "an older one"}
    store.note_pass(ramdisk.outputs[Format.KERNEL].digest, said)
    assert admit(store, ramdisk, booted, Format.KERNEL, Format.INITRAMFS) is PASSED
    assert booted == [Format.INITRAMFS]
    assert admit(store, ramdisk, booted, Format.KERNEL, Format.INITRAMFS) is None


def test_a_tree_does_not_vouch_for_a_disk(store: Store, booted: Booted, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = built(store, Format.QCOW2, Format.RAW, Format.TAR)
    admit(store, mixed, booted, Format.QCOW2, Format.TAR)
    monkeypatch.setattr(disk, "same", lambda *files, stop: False)
    for _ in range(2):
        with pytest.raises(CCImagesError, match="holds another disk"):
            admit(store, mixed, booted, Format.RAW)


def test_a_ramdisk_does_not_vouch_for_a_tree(store: Store, booted: Booted) -> None:
    both = built(store, Format.KERNEL, Format.INITRAMFS, Format.TAR)
    admit(store, both, booted, Format.KERNEL, Format.INITRAMFS, Format.TAR)
    assert sorted(booted) == [Format.INITRAMFS, Format.TAR]


def test_a_container_must_start_itself(store: Store, booted: Booted) -> None:
    build = built(store, Format.QCOW2, Format.OCI, Format.SIF, Format.SQUASHFS)
    admit(store, build, booted, *build.outputs)
    assert booted == [Format.QCOW2, Format.OCI, Format.SIF]
    assert set(next(store.builds("cc-x", Arch.AMD64)).outputs) == set(build.outputs)
    assert admit(store, build, booted, *build.outputs) is None


def test_what_breaks_a_contract_is_known_afterwards(store: Store, booted: Booted) -> None:
    build = built(store, Format.OCI)
    digest = build.outputs[Format.OCI].digest
    booted.result = replace(PASSED, broken={"workstation": ["workstation.user: USER is not set"], "other": []})
    admit(store, build, booted, Format.OCI)
    assert store.broken(digest, "this test") == {"workstation": ["workstation.user: USER is not set"], "other": []}
    assert store.broken(digest, "another test") is None
    assert store.broken("nothing", "this test") is None
    site = Site(name="strict", directory="/strict", contract=("workstation",))
    job = PushJob(
        name="CC-X", tag="cc-x", arch=Arch.AMD64, version="1", format=Format.OCI, site="strict", properties={},
        test_key="this test",
    )  # fmt: skip
    with pytest.raises(CCImagesError, match=r"does not keep the contract of strict: workstation\.user: USER") as caught:
        require_kept(job, site, build.outputs[Format.OCI], store)
    assert (caught.value.reason, caught.value.tail) == ("contract", ("workstation.user: USER is not set",))
    require_kept(job, replace(site, contract=("other",)), build.outputs[Format.OCI], store)
    with pytest.raises(CCImagesError, match="unknown: it was looked into, and not started"):
        require_kept(job, replace(site, contract=("unknown",)), build.outputs[Format.OCI], store)
    require_kept(replace(job, test_key="of a run without boot tests"), site, build.outputs[Format.OCI], store)
