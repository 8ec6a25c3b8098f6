"""Labels of finished images: of OCI archives and SIF files, none of others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cc_images.model.catalog import Format
from cc_images.model.container import Configuration
from cc_images.outputs.labels import labels_of
from tests.support import containers
from tests.support.containers import archive, base, sif_file

SAID = Configuration(labels={"name": "zip", "version": "3.0", "description": "Two\nlines"})

pytestmark = pytest.mark.skipif(containers.BUSYBOX is None, reason="needs a static busybox")


def test_of_an_archive(tmp_path: Path) -> None:
    assert labels_of(archive(tmp_path / "a.oci.tar", SAID, base()), Format.OCI) == dict(SAID.labels)


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="needs mksquashfs")
def test_of_a_sif_file(tmp_path: Path) -> None:
    assert labels_of(sif_file(tmp_path / "a.sif", SAID, base()), Format.SIF) == dict(SAID.labels)


def test_other_files_have_none(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x" * 100)
    assert labels_of(tmp_path / "short", Format.SIF) == {}
    assert labels_of(tmp_path / "short", Format.TAR) == {}
