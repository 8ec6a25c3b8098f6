"""The boot task writes the bills of the version that it has looked into."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from cc_images.boottest import acceleration
from cc_images.boottest.boot_test import BootTest
from cc_images.boottest.verdict import BootTestResult, Refused
from cc_images.engine.tasks import boot
from cc_images.model.catalog import Arch, Firmware, Format
from cc_images.model.plan import BootJob, Result, Status
from cc_images.store.records import Store
from cc_images.store.workspace import Run
from tests.support.context import envelope, run_context, task_context
from tests.unit.api.test_bills import CONTENTS, V1
from tests.unit.api.test_rollback import add

JOB = BootJob(name="CC-X", tag="cc-x", arch=Arch.AMD64, version=V1, formats=(Format.QCOW2,),
              firmware=(Firmware.UEFI,), checks={}, test_key="this test")  # fmt: skip


@pytest.fixture
def looked(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[BootTestResult]:
    """Return the results of boot tests to come; no machine is started."""
    add(store, V1)
    results: list[BootTestResult] = []
    monkeypatch.setattr(BootTest, "run", lambda self: results.pop(0))
    monkeypatch.setattr(acceleration, "acceleration", lambda arch, memory: SimpleNamespace(runs=False))
    return results


def booted(store: Store, run: Run) -> Result:
    context = run_context(store, run)
    result = Result(task="boot", status=Status.DONE)
    with task_context(context, "boot") as task:
        return boot.do(envelope(context, "boot", JOB), task, result)


def names(store: Store) -> dict[str, Path]:
    return {path.name: path for path in (store.root / "images").iterdir()}


def test_bills_are_beside_the_image_of_the_store_once_it_has_passed(
    store: Store, run: Run, looked: list[BootTestResult]
) -> None:
    assert {*names(store)} == {"CC-X.qcow2"}
    looked.append(BootTestResult(contents=CONTENTS))
    booted(store, run)
    assert {*names(store)} == {"CC-X.qcow2", "CC-X.cdx.json", "CC-X.spdx.json"}
    said = json.loads(names(store)["CC-X.cdx.json"].read_text())
    assert [each["name"] for each in said["components"]] == ["hammers", "libc6"]
    for name in ("CC-X.cdx.json", "CC-X.spdx.json"):
        names(store)[name].resolve().unlink()
    assert booted(store, run).status is Status.CACHED
    assert names(store)["CC-X.cdx.json"].exists(), "what is missing is written again without a boot"


def test_an_image_that_is_refused_has_none(store: Store, run: Run, looked: list[BootTestResult]) -> None:
    looked.append(BootTestResult(inside=("a password is empty",), contents=CONTENTS))
    with pytest.raises(Refused):
        booted(store, run)
    assert {*names(store)} == {"CC-X.qcow2"}
