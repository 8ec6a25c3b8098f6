"""The probe's guests on real QEMU, in software: they end as they do on a host that accelerates."""

from __future__ import annotations

import shutil

import pytest

from cc_images.boottest.acceleration import probe
from cc_images.boottest.qemu import EMULATORS
from cc_images.model.catalog import Arch


@pytest.mark.parametrize("arch", Arch)
def test_instructions_and_firmware_run_in_software(arch: Arch) -> None:
    if shutil.which(EMULATORS[arch].program) is None:
        pytest.skip(f"{EMULATORS[arch].program} is missing")
    assert probe(arch, accelerate=False) == ""
