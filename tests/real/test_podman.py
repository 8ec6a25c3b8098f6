"""OCI images of ours and the real podman: loaded, shown and run, as who has one from a site does it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.host.containers import image as oci
from cc_images.model.catalog import Arch
from cc_images.model.container import Configuration
from tests.support import containers
from tests.support.containers import archive, base, packed_tree

pytestmark = [
    pytest.mark.skipif(bool(containers.lacking()), reason=f"missing: {', '.join(containers.lacking())}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not (shutil.which("podman") and shutil.which("runc")), reason="needs podman and runc"),
]

SAYS = """\
id -u; id -g; pwd; echo "$WHO"; cat /etc/who; test ! -e /gone || echo there
for each; do echo "<$each>"; done
grep -c : /proc/net/dev
"""
SAID = Configuration(
    user="user",
    folder="/home/user",
    entrypoint=("/bin/sh", "-c", SAYS, "entry"),
    command=("usual", "a b"),
    environment={"WHO": "the image's"},
    labels={"name": "tiny", "version": "1.0", "description": "Two\nlines"},
    ports=("8888/tcp",),
)
RUN = ["1000", "1000", "/home/user", "the image's", "above", *("<usual>", "<a b>"), "1"]

ENGINE = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
"""What root needs where it lacks capabilities, or the kernel has cgroups of both versions."""


class Podman:
    """podman with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "containers.conf").write_text(ENGINE)
        places = f'runroot = "{folder}/run"\ngraphroot = "{folder}/storage"\n'
        (folder / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\n{places}')
        names = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        self.environment = {**os.environ, **{name: str(folder / file) for name, file in names.items()}}

    def __call__(self, *words: str) -> list[str]:
        done = subprocess.run(
            ["podman", *words], env=self.environment, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def run(self, image: str, *words: str) -> list[str]:
        """Run an image without a network, and return what it prints."""
        return self("run", "--rm", "--network", "none", image, *words)


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    made = Podman(tmp_path_factory.mktemp("podman"))
    yield made
    made("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def image(podman: Podman) -> Path:
    lower = base() | {"etc/who": "below\n", "gone": "x"}
    return archive(podman.folder / "tiny.oci.tar", SAID, lower, {"etc/who": "above\n", ".wh.gone": ""})


def test_it_is_run_as_its_user_with_its_words_and_variables(podman: Podman, image: Path) -> None:
    where = f"oci-archive:{image}"
    assert podman.run(where) == RUN
    assert podman.run(where, "--", "c  d", "e") == [*RUN[:5], "<-->", "<c  d>", "<e>", "1"]


def test_it_is_loaded_and_shown(podman: Podman, image: Path) -> None:
    (said,) = podman("load", "--quiet", "--input", str(image))
    (shown,) = json.loads("\n".join(podman("image", "inspect", said.rpartition(" ")[2])))
    assert shown["Labels"] == dict(SAID.labels)
    assert shown["Config"]["ExposedPorts"] == {"8888/tcp": {}}
    assert (shown["Architecture"], shown["User"]) == ("amd64", "user")
    assert len(shown["RootFS"]["Layers"]) == 2
    assert podman.run(shown["Id"]) == RUN


@pytest.mark.parametrize("compression", ["", "zstd"])
def test_a_tree_that_was_converted_is_run(podman: Podman, compression: str) -> None:
    tree = packed_tree(podman.folder / f"tree{compression}.tar.zst", base() | {"etc/who": "above\n"})
    said = Configuration(
        user="user", folder="/home/user", entrypoint=SAID.entrypoint, command=SAID.command,
        environment=SAID.environment, compression=compression,
    )  # fmt: skip
    target = tree.with_suffix(".oci.tar")
    with tree.with_suffix(".log").open("wb") as log:
        oci.write_oci(tree, target, said, Arch.AMD64, log=log, stop=containers.NEVER)
    assert podman.run(f"oci-archive:{target}") == RUN
