"""A request with a Spack part, by a real Spack: packages for the machine's processor, and the rest of the step."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cc_images.builders.spack.lock import read as lock_of
from cc_images.host.containers.archive import plain, read
from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.real.conftest import Project, host_mirrors
from tests.support import spackbed

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(bool(spackbed.REASON), reason=spackbed.REASON or "-"),
    pytest.mark.skipif(bool(why := lacking(("buildah", "unshare"))), reason=why or "-"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the mirror's Spack is for amd64"),
]

ENTRY = "\nOwn-Builder: {builder: containerfile, depends: [CC-Spack-Builder]}\n"

MACHINES = """\
cube: {platform: linux/amd64, architecture: x86_64_v2, container-engine: docker, spack-builder: own-builder}
"""

FILES = {
    "containers/own-builder/Containerfile": (
        "FROM cc-spack-builder\nCOPY mirror /opt/spack-mirror\nCOPY mirrors.yaml /etc/spack/mirrors.yaml\n"
    ),
    "containers/own-builder/mirrors.yaml": (
        'mirrors:: {sources: {url: "file:///opt/spack-mirror", source: true, binary: false}}\n'
    ),
    "step/eflows4hpc.yaml": "spack: [zip]\napt: [less]\n",
    "step/post_inst.sh": '#!/bin/sh\nset -eu\nzip --version > /opt/said\necho "$CFLAGS" >> /opt/said\n',
    "machines.yaml": MACHINES,
    "request.json": json.dumps({"machine": "cube", "workflow": "w", "step_id": "s", "path": "step"}),
}


def test_packages_are_for_the_machine_and_the_script_uses_them(tmp_path: Path) -> None:
    images = (REPOSITORY / "images.yaml").read_text() + ENTRY
    write_files(tmp_path, images=images, sites="local: {directory: site}")
    (tmp_path / "elements").symlink_to(REPOSITORY / "elements")
    shutil.copytree(REPOSITORY / "containers", tmp_path / "containers")
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    bed = spackbed.spack_bed()
    shutil.copytree(bed.mirror, tmp_path / "containers/own-builder/mirror")
    environment = clean_environment(tmp_path) | host_mirrors() | bed.catalogue | {"PYTHONPATH": str(REPOSITORY)}
    project = Project(tmp_path, environment)
    code, said = project.run("build-request", "request.json")
    assert code == 0, said
    image = read(project.store / "images" / "w_s_x86__64__v2_nompi_nogpu.oci.tar")
    members, texts = set[str](), dict[str, str]()
    for layer in image.layers:
        with plain(layer) as tar:
            for each in tar:
                members.add(each.name)
                if each.name in ("opt/spack-environment/spack.lock", "opt/said"):
                    content = tar.extractfile(each)
                    assert content is not None
                    texts[each.name] = content.read().decode()
    packages = [
        each for each in lock_of(texts["opt/spack-environment/spack.lock"]).packages.values() if not each.external
    ]
    shown = texts["opt/said"]
    assert {each.name for each in packages} >= {"zip", "bzip2"}
    assert {each.target for each in packages} == {"x86_64_v2"}
    assert "Zip 3.0" in shown
    assert shown.endswith("-march=x86-64-v2\n")
    assert "usr/bin/less" in members
    assert not [name for name in members if name.startswith("opt/cc-images")]
    code, said = project.run("build-request", "request.json")
    assert (code, "unchanged" in said) == (0, True), said
    project.assert_no_leftovers()
