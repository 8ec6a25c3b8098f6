"""Images for arm64 on an amd64 host: built with native twins, booted, published, and the same as by plain emulation."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cc_images.builders.dib import twins
from cc_images.host import user_emulation
from cc_images.host.sandbox import Sandbox
from cc_images.model.catalog import Arch
from cc_images.store.records import Store
from tests.conftest import REPOSITORY, clean_environment, write_files
from tests.real.conftest import Project, Watched, host_mirrors
from tests.real.test_interpreters import WAYS, Host
from tests.real.trees import snapshot

AARCH64 = 183
"""e_machine of elf(5)."""

pytestmark = pytest.mark.skipif(
    not user_emulation.is_foreign(Arch.ARM64) or bool(user_emulation.why_no_twins(Arch.ARM64)),
    reason=f"needs an amd64 host for native twins: {user_emulation.why_no_twins(Arch.ARM64) or 'this is arm64'}",
)

IMAGES = """\
CC-Small:
  arch: [amd64, arm64]
  elements: [small-debian]
  provenance: {distro: debian, release: bookworm, variant: base}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Build a small Debian for arm64, boot-test and publish it."""
    folder = tmp_path_factory.mktemp("arm64")
    write_files(folder, images=IMAGES, sites="local: {directory: site, is_baremetal: true}")
    element = folder / "elements" / "small-debian"
    (element / "environment.d").mkdir(parents=True)
    (element / "environment.d" / "01-small-debian.bash").write_text("export DIB_RELEASE=bookworm\n")
    needed = ("cc-cloud-init", "cc-console", "cc-hygiene", "cc-initramfs", "cc-networkd", "cc-ssh", "debian-minimal")
    (element / "element-deps").write_text("".join(f"{name}\n" for name in needed))
    for each in (REPOSITORY / "elements").iterdir():
        (folder / "elements" / each.name).symlink_to(each)
    environment = clean_environment(folder) | host_mirrors() | {"PYTHONPATH": str(REPOSITORY), "ARCH": "arm64"}
    project = Project(folder, environment, boots=True)
    code, output = project.run("-b", "-p", "cc-small")
    print(output)
    assert code == 0, output
    project.assert_no_leftovers()
    return project


def test_it_has_reached_every_level_and_is_published(small: Project) -> None:
    small.published("CC-Small-ARM64")
    said = json.loads((small.site / "CC-Small-ARM64.json").read_text())["properties"]
    assert said["architecture"] == "aarch64"
    assert said["build-boot"] == "checks"
    code, output = small.run("-b", "-p", "cc-small")
    assert code == 0, output
    assert len(list((small.store / "logs").glob("*/build-*.log"))) == 1, "nothing is built again"
    assert len(list((small.store / "logs").glob("*/boot-*arm64.log"))) == 1, "nor booted"


def test_nearly_all_programs_were_native(small: Project) -> None:
    (log,) = (small.store / "logs").glob("*/build-cc-small-arm64.log")
    counts = re.search(r"^programs started: (\d+) native, (\d+) emulated(.*)$", log.read_text(), re.MULTILINE)
    assert counts is not None
    native, emulated = int(counts[1]), int(counts[2])
    assert native > 10_000
    assert emulated < native / 50
    assert log.read_text().count("update-initramfs: Generating") == 1, "not once per package that asks"
    assert "version" not in counts[3], "twins and programs are from the same state of the repositories"


def test_nothing_of_the_host_is_in_the_image(small: Project, tmp_path: Path) -> None:
    tree = snapshot(small.store / "images" / "CC-Small-ARM64.qcow2", tmp_path)
    assert not [name for name in tree if name.split("/")[0] == ".cc" or "qemu-" in name]
    machines = {name: entry["machine"] for name, entry in tree.items() if entry["machine"]}
    assert len(machines) > 500
    assert {name for name, machine in machines.items() if machine != AARCH64} <= {
        name for name in machines if fnmatch(name, "usr/lib/grub/*") or fnmatch(name, "boot/grub/*")
    }


SHARED = """
from cc_images import cli
from cc_images.host import user_emulation as foreign
told = foreign.registration
foreign.registration = lambda *words: {**told(*words), "private": False}
cli.main(["-b", "-f", "cc-small"])
"""
"""cc-images as on kernels before 6.7."""


@pytest.mark.parametrize("moment", ["root", pytest.param("install", marks=pytest.mark.deep)])
def test_a_killed_build_leaves_the_hosts_interpreters_as_they_were(small: Project, tmp_path: Path, moment: str) -> None:
    host = Host(tmp_path)
    try:
        before = host.registry()
        process = subprocess.Popen(
            host.words("env", f"--chdir={small.folder}", sys.executable, "-c", SHARED),
            env=small.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        run = Watched(process)
        run.wait_for(rf"^\[build .* {moment}\.d")
        time.sleep(2)
        (ours,) = host.registry().keys() - before.keys()
        assert ours.startswith("cc-images-aarch64-"), "programs run by it"
        run.end(signal.SIGKILL)
        host.await_registry(before)
        small.assert_nothing_leaked()
    finally:
        host.close()


# -- the same as by plain emulation ----------------------------------------------------------------------------------

PACKAGES = ("cron", "locales", "openssh-server", "python3-minimal", "udev")

EXPECTED = {"./etc/ssh/ssh_host_*": "are random"}
"""What may differ between a tree made with twins and one made by plain emulation, and why."""


def bootstrap(folder: Path, release: twins.Release, packed: Path | None) -> dict[str, dict[str, Any]]:
    """Bootstrap a tree for arm64 in a sandbox, with the packed twins or by QEMU alone."""
    folder.mkdir()
    interpreter = twins.unpack(packed, folder / "twins") if packed else None
    box = Sandbox(
        workspace=folder,
        guards=folder / "guards",
        # the twins as on kernels before 6.7, QEMU out of their way
        interpreter={**user_emulation.registration(Arch.ARM64, interpreter), "private": packed is None},
        twins=interpreter.parent if interpreter else None,
    )
    words = ["mmdebstrap", "--variant=essential", "--arch=arm64", f"--include={','.join(PACKAGES)}"]
    words += [release.suite, str(box.place(box.out) / "tree.tar"), *release.sources]
    with (folder / "log").open("wb") as log:
        box.run(words, {"SOURCE_DATE_EPOCH": "1700000000"}, log=log, timeout=1200, stop=threading.Event(),
                on_line=lambda line: None)  # fmt: skip
    return dict(members(box.out / "tree.tar"))


def members(archive: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what an archive has, by name: type, mode, owners, attributes, and what is in it."""
    with tarfile.open(archive) as tar:
        for each in tar:
            file = tar.extractfile(each) if each.isfile() else None
            yield (
                each.name,
                {
                    "kind": each.type.decode(),
                    "mode": oct(each.mode),
                    "owner": f"{each.uid}:{each.gid}",
                    "attributes": {key: value for key, value in each.pax_headers.items() if key.startswith("SCHILY")},
                    "content": sha256(file.read()).hexdigest() if file else each.linkname,
                },
            )


@pytest.mark.deep
def test_twins_put_out_what_the_images_own_programs_do(small: Project, tmp_path: Path) -> None:
    store = Store(small.store)
    (layer,) = store.layers("debian-bookworm", Arch.ARM64)
    environment = store.details(layer)["recipe"]["environment"]
    release = twins.Release(
        distro="debian", suite="bookworm", sources=tuple(environment["DIB_APT_SOURCES_CONF"].splitlines())
    )
    with ThreadPoolExecutor(len(WAYS)) as pool:  # one after the other where both have to be registered for the host
        native = pool.submit(bootstrap, tmp_path / "native", release, store.blobs.path(layer.digest))
        emulated = pool.submit(bootstrap, tmp_path / "emulated", release, None)
        ours, theirs = native.result(), emulated.result()
    said = twins.started(tmp_path / "native" / "twins")
    assert int(said.split()[2]) > 1000, said

    def expected(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in EXPECTED)

    assert len(ours) > 5000
    assert [name for name in sorted(ours.keys() ^ theirs.keys()) if not expected(name)] == []
    different = {name: (ours[name], theirs[name]) for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]}
    assert {name: both for name, both in different.items() if not expected(name)} == {}
    assert ours["./var/lib/dpkg/status"] == theirs["./var/lib/dpkg/status"], "the same packages in the same versions"
