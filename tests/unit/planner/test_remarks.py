"""Remarks before a plan is carried out."""

from __future__ import annotations

import pytest

from tests.conftest import Cli, write_files

ENTRY = "One: {{builder: containerfile, formats: [{formats}], container: {{compression: {how}}}}}\n"


@pytest.mark.parametrize(
    ("formats", "how", "said"), [("oci, sif", "zstd", True), ("oci, sif", "gzip", False), ("oci", "zstd", False)]
)
def test_who_can_read_a_sif_file_of_zstd_is_said(cli: Cli, tmp_path_factory: pytest.TempPathFactory, formats: str,
                                                 how: str, said: bool) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("project")
    write_files(folder, images=ENTRY.format(formats=formats, how=how))
    (folder / "containers" / "one").mkdir(parents=True)
    (folder / "containers" / "one" / "Containerfile").write_text("FROM scratch\n")
    done = cli("plan", "-b", "one", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert ("SIF file of one amd64 is compressed by zstd: only hosts with Linux 4.14" in done.stdout) is said
