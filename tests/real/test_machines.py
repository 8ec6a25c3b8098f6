"""Machines for builds in a real Nova: made, used, destroyed, and none left, whatever its answers are.

Nova is real, by its API and database; nothing starts there: a stand-in does what scheduler and compute host would do.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openstack
import pytest

from cc_images.errors import CCImagesError, UserError
from cc_images.model.attempt import Provider
from cc_images.remote.cloud_machines import CloudMachines
from cc_images.remote.machine_files import MachineFiles
from cc_images.remote.machine_identity import identity, known_host
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_steps import Policy, State, Want
from cc_images.sites.cloud import Patience
from cc_images.store.records import Store
from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.real.conftest import Project, Watched
from tests.support import slurmbed
from tests.support.computehost import ComputeHost
from tests.support.gateway import Gateway, Instead
from tests.support.slurmbed import SlurmBed, await_for
from tests.support.sshbed import SSHD, SshBed
from tests.support.testbed import TestBed

PROVIDER = Provider(cloud="metal", flavor="tiny", image="cc-builder", network="none")
POLICY = Policy(settle=20, pause=0.2, destroy_every=2, look_every=0.2, build_within=120, tries=2, maximum=2)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """Return a Keystone, a Glance and a Nova with a flavor and an image."""
    with TestBed(tmp_path_factory.mktemp("nova"), compute="metal") as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(made.clouds))
        openstack.connect(cloud="metal-admin").compute.create_flavor(name="tiny", ram=64, vcpus=1, disk=1)
        images = openstack.connect(cloud="metal").image
        image = images.create_image(name="cc-builder", container_format="bare", disk_format="raw", visibility="private")
        content = {"Content-Type": "application/octet-stream"}
        images.put(f"/images/{image.id}/file", data=b"x" * 512, headers=content)
        yield made


def loop(folder: Path, policy: Policy = POLICY, cloud: str = "metal") -> MachineLoop:
    """Return the machines of a head."""
    provider = Provider(cloud=cloud, flavor="tiny", image="cc-builder", network="none")
    source = CloudMachines("burst", provider, Patience(answer=60.0, pause=0.1))
    return MachineLoop(MachineFiles(Store(folder), "burst"), source, policy)


def servers() -> list[Any]:
    return list(openstack.connect(cloud="metal").compute.servers(details=True))


def emptied(machines: MachineLoop) -> None:
    """Step until the head has no record of a machine."""
    machines.run(lambda step: not machines.files.records())


def test_a_machine_is_made_used_and_destroyed(cloud: TestBed, tmp_path: Path) -> None:
    assert cloud.nova is not None
    machines = loop(tmp_path)
    scheduling = threading.Thread(target=_scheduled, args=(cloud,))
    scheduling.start()
    with machines.wanted(Want(id="a1")) as machine:
        (server,) = servers()
        assert server.id == machine.id
        assert machine.address == "192.0.2.1"
        assert server.metadata["cc-images-head"] == machines.files.head()
        assert abs(float(server.metadata["cc-images-expires"]) - time.time() - POLICY.ttl) < 120
    scheduling.join()
    emptied(machines)
    assert servers() == []


def _scheduled(cloud: TestBed, count: int = 1) -> None:
    """Stand in for the scheduler, when there are so many servers to start."""
    assert cloud.nova is not None
    while len(servers()) < count:
        time.sleep(0.5)
    cloud.nova.schedule()


def test_what_is_created_though_the_answer_is_an_error_is_destroyed(
    cloud: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rule(method: str, path: str, number: int) -> Instead | None:
        creates = method == "POST" and path.partition("?")[0].endswith("/servers")
        return Instead(500, done=True) if creates else None

    assert cloud.nova is not None
    with Gateway(cloud.compute.listener.getsockname()[1], rule) as gateway:
        clouds = json.loads(cloud.clouds.read_text())
        clouds["clouds"]["broken"] = clouds["clouds"]["metal"] | {"compute_endpoint_override": f"{gateway.url}/v2.1"}
        (tmp_path / "clouds.yaml").write_text(json.dumps(clouds))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        machines = loop(tmp_path / "store", cloud="broken")
        with machines.files.locked():
            machines.files.want(Want(id="node1", node=True))
        machines.run(lambda step: any(each.id for each in machines.files.records()))
        assert "POST /v2.1/servers" in gateway.calls
        (server,) = servers()
        assert server.status == "BUILD", "for ever"
        with machines.files.locked():
            machines.files.end("node1")
        emptied(machines)
    assert servers() == []


def test_errors_count_and_expired_machines_of_a_dead_head_are_swept(cloud: TestBed, tmp_path: Path) -> None:
    assert cloud.nova is not None
    dead = loop(tmp_path / "dead", Policy(reserve=1, maximum=1, ttl=100, least=0, look_every=0.2))
    dead.run(lambda step: bool(servers()))
    cloud.nova.schedule("error")
    living = loop(tmp_path / "living")
    assert living.swept() == []
    assert [each.state for each in CloudMachines("burst", PROVIDER).every()] == [State.ERROR]
    later = MachineLoop(living.files, CloudMachines("burst", PROVIDER), POLICY, lambda: time.time() + 500)
    assert [why for _, why in later.unowned()] == ["its time is over"]
    later.swept()
    assert servers() == []


def project(folder: Path) -> None:
    """Write the files of a project whose nodes of Slurm are machines of the cloud."""
    provider = "{cloud: metal, flavor: tiny, image: cc-builder, network: none, maximum: 4}"
    entry = f"{{slurm: {{}}, hub: 'https://head:8443', hub-ca: ca.pem, provider: {provider}}}"
    write_files(folder)
    (folder / "builders.yaml").write_text(f"farm: {entry}\n")


def test_a_reserve_is_shown_used_without_a_boot_and_filled_again(cloud: TestBed, tmp_path: Path) -> None:
    assert cloud.nova is not None
    write_files(tmp_path)
    provider = "{cloud: metal, flavor: tiny, image: cc-builder, network: none, reserve: 1, maximum: 2}"
    (tmp_path / "builders.yaml").write_text(f"burst: {{architectures: [amd64], provider: {provider}}}\n")
    environ = os.environ | {"CC_IMAGES_CONFIG": str(tmp_path / "images.yaml"), "CC_IMAGES_STORE": str(tmp_path / "s")}
    environ |= {"CC_SITES_CONFIG": str(tmp_path / "sites.yaml")}

    def said(*words: str) -> Any:
        command = [sys.executable, "-m", "cc_images", *words, "--json"]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def shown() -> list[tuple[str, str, str, str]]:
        (burst,) = (each for each in said("builders")["builders"] if each["name"] == "burst")
        assert burst["state"] == "idle", burst
        assert all(0 <= each["age"] < 600 for each in burst["machines"])
        return [(each["id"], each["state"], each["address"], each["user"]) for each in burst["machines"]]

    assert said("builder-node", "sweep") == ["burst: asked for a machine for the reserve"]
    (warm,) = servers()
    assert shown() == [(warm.id, "starting", "", "")]
    cloud.nova.schedule()
    assert shown() == [(warm.id, "in reserve", "192.0.2.1:22", "")]
    machines = loop(tmp_path / "s", replace(POLICY, reserve=1))
    with machines.wanted(Want(id="a1")) as machine:
        assert machine.id == warm.id, "it was there"
        machines.run(lambda step: len([each for each in machines.files.records() if each.id]) == 2)
        cloud.nova.schedule()
        (other,) = (each.id for each in servers() if each.id != warm.id)
        assert shown() == [
            (warm.id, "active", "192.0.2.1:22", "a1"), (other, "in reserve", "192.0.2.1:22", ""),
        ]  # fmt: skip
    machines.run(lambda step: len(machines.files.records()) == 1)
    assert shown() == [(other, "in reserve", "192.0.2.1:22", "")]
    assert [each.id for each in servers()] == [other]
    emptied(loop(tmp_path / "s"))
    assert servers() == []


def test_nodes_of_slurm_get_machines_and_doctor_shows_what_nobody_owns(cloud: TestBed, tmp_path: Path) -> None:
    project(tmp_path)
    environ = os.environ | {"CC_IMAGES_CONFIG": str(tmp_path / "images.yaml"), "CC_IMAGES_STORE": str(tmp_path / "s")}
    environ |= {"CC_SITES_CONFIG": str(tmp_path / "sites.yaml")}

    def said(*words: str) -> tuple[int, Any]:
        command = [sys.executable, "-m", "cc_images", *words, "--json"]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    scheduling = threading.Thread(target=_scheduled, args=(cloud,), kwargs={"count": 2})
    scheduling.start()
    code, rows = said("builder-node", "create", "n[1-2]")
    scheduling.join()
    assert (code, [row["address"] for row in rows]) == (0, ["192.0.2.1", "192.0.2.1"]), rows
    assert sorted(each.name.rpartition("-")[0] for each in servers()) == ["n1", "n2"]
    for path in (tmp_path / "s/machines/farm/records").glob("n2-*"):
        path.unlink()
    _, found = said("doctor")
    (finding,) = (each for each in found["host"] if each["subject"] == "machines of farm")
    assert "nobody owns n2-" in finding["text"]
    code, done = said("builder-node", "sweep")
    assert code == 0
    compared, destroyed = done
    assert "farm: not compared with Slurm: " in compared, "there is no Slurm here"
    assert destroyed.startswith("farm: destroyed ")
    assert "nobody waits for it" in destroyed
    assert [each.name.rpartition("-")[0] for each in servers()] == ["n1"]
    assert said("builder-node", "destroy", "n1,n2") == (
        0, [{"node": "n1", "address": "", "trouble": ""}, {"node": "n2", "address": "", "trouble": ""}],
    )  # fmt: skip
    assert servers() == []


PROGRAM = """\
#!/bin/sh
cd {folder} || exit 1
exec >> {folder}/{action}.log 2>&1
exec nsenter --net=/proc/{pid}/ns/net env PYTHONPATH={code} CC_IMAGES_CONFIG={folder}/images.yaml \\
    CC_SITES_CONFIG={folder}/sites.yaml CC_IMAGES_STORE={folder}/s OS_CLIENT_CONFIG_FILE={clouds} \\
    SLURM_CONF="$SLURM_CONF" {python} -m cc_images builder-node {action} "$1"
"""
"""A program of Slurm's; the controller is in a network namespace of its own, and leaves it for the cloud."""


@pytest.mark.skipif(bool(slurmbed.REASON), reason=slurmbed.REASON)
def test_slurm_has_machines_made_when_jobs_need_them_and_destroyed_when_they_idle(cloud: TestBed) -> None:
    assert cloud.nova is not None
    with tempfile.TemporaryDirectory(prefix="cc-elastic-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        project(folder)
        for action in ("create", "destroy"):
            values = {"code": REPOSITORY, "clouds": cloud.clouds, "python": sys.executable, "pid": os.getpid()}
            (folder / action).write_text(PROGRAM.format(folder=folder, action=action, **values))
            (folder / action).chmod(0o755)
        elastic = f"ResumeProgram={folder}/create\nSuspendProgram={folder}/destroy\nSuspendExcNodes=NODE1\n"
        with SlurmBed(more=f"{elastic}SuspendTime=2\nSuspendTimeout=5\nResumeTimeout=300") as bed:
            node = bed.nodes[1]
            await_for(lambda: "POWERED_DOWN" in bed.say("scontrol", "show", "node", node), 120, "it is not suspended")
            bed.kill(node)
            bed.say("sbatch", f"--nodelist={node}", "--job-name=elastic", "--output=/dev/null", "--wrap=true")
            await_for(lambda: len(servers()) == 1, 120, "no machine is made")
            (server,) = servers()
            assert server.name.startswith(f"{node}-")
            cloud.nova.schedule()
            bed.start_node(node, booted=True)
            await_for(
                lambda: "COMPLETED" in bed.say("scontrol", "show", "job"), 120, bed.say("scontrol", "show", "job")
            )
            await_for(lambda: servers() == [], 120, "the machine is left")
            assert f"{node} has a machine at 192.0.2.1" in (folder / "create.log").read_text()


def test_names_that_the_cloud_does_not_have_are_told_before_anything_is_made(cloud: TestBed, tmp_path: Path) -> None:
    source = CloudMachines("burst", Provider(cloud="metal", flavor="huge", image="cc-builder"))
    with pytest.raises(UserError, match=r"provider.flavor: the cloud has no huge"):
        source.prepare()
    with pytest.raises(CCImagesError, match=r"clouds.yaml"):
        CloudMachines("burst", Provider(cloud="none", flavor="f", image="i")).every()


CONTAINER = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "for i in $(/bin/busybox seq 30); do echo NAME $i; /bin/busybox sleep 0.2; done"]
"""
LACKS = lacking(("buildah", "busybox")) or ("" if SSHD else "needs sshd")


@pytest.mark.skipif(bool(LACKS), reason=LACKS or "-")
def test_two_images_are_built_on_machines_of_their_own_and_a_killed_run_leaves_none(
    cloud: TestBed, tmp_path: Path
) -> None:
    assert cloud.nova is not None
    provider = "{cloud: metal, flavor: tiny, image: cc-builder, network: none, user: root, maximum: 2}"
    images = "".join(
        f"CC-{name}: {{builder: containerfile, context: {name}, formats: [oci]}}\n" for name in ("one", "two")
    )
    write_files(tmp_path, images=images, sites="")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(str(shutil.which("busybox")), tmp_path / name)
        (tmp_path / name / "Containerfile").write_text(CONTAINER.replace("NAME", name))

    def listed() -> list[str]:
        return [each.id for each in servers()]

    with SshBed(tmp_path / "ssh") as ssh, ComputeHost(tmp_path / "cloud", cloud.nova, ssh, listed) as computing:
        entry = f"burst: {{architectures: [amd64], command: {computing.command}, provider: {provider}}}\n"
        (tmp_path / "builders.yaml").write_text(entry)
        own = {"PYTHONPATH": str(REPOSITORY), "OS_CLIENT_CONFIG_FILE": str(cloud.clouds)}
        made = Project(tmp_path, clean_environment(tmp_path) | ssh.environment | own)
        code, output = made.run("-b", "-a", "amd64", "cc-one", "cc-two")
        assert code == 0, output
        attempts = {
            home: [path.name for path in home.glob("store/logs/a*")] for home in (tmp_path / "cloud").glob("127.*")
        }
        claims = [path.parent.name for path in made.store.glob("attempts/*/claim.json")]
        assert sorted(name for names in attempts.values() for name in names) == sorted(claims)
        assert [len(names) for names in attempts.values()] == [1] * 4, (
            "a layer and a build of each image: four machines"
        )
        await_for(lambda: not listed(), 60, "machines are left")

        (tmp_path / "one" / "Containerfile").write_text(CONTAINER.replace("NAME", "other"))
        run = Watched(made.start("-b", "-a", "amd64", "cc-one"))
        run.wait_for(r"^\[layer cc-one amd64\] .*RUN", 300)
        (lost,) = listed()
        openstack.connect(cloud="metal").compute.delete_server(lost)
        assert run.wait(400) == 0, run.lines
        assert len(computing.made) == 4 + 3, "the machine that people deleted, another one, and that of the build"
        await_for(lambda: not listed(), 60, "machines are left")

        (tmp_path / "one" / "Containerfile").write_text(CONTAINER.replace("NAME", "again"))
        run = Watched(made.start("-b", "-a", "amd64", "cc-one"))
        run.wait_for(r"^\[layer cc-one amd64\] .*RUN", 300)
        run.end(signal.SIGKILL)
        assert len(listed()) == 1
        code, output = made.run("builder-node", "sweep")
        assert code == 0, output
        await_for(lambda: not listed(), 60, "the machine of a dead run is left")
        await_for(lambda: not computing.processes(), 60, "its work goes on")


@pytest.mark.skipif(not SSHD, reason="sshd is missing")
def test_a_machine_is_known_by_the_host_key_that_the_head_gave_it(tmp_path: Path) -> None:
    public, user_data = identity("m1")
    private = json.loads(user_data.removeprefix("#cloud-config\n"))["ssh_keys"]["ed25519_private"]
    other, _ = identity("m1")
    with SshBed(tmp_path / "ssh") as bed:
        (bed.folder / "host").write_text(private)
        bed.stop()
        bed.start()

        def code(key: str) -> tuple[int, str]:
            words = ["ssh", "-o", "BatchMode=yes", *known_host("m1", key, tmp_path), "127.0.0.1", "true"]
            done = subprocess.run(words, env=os.environ | bed.environment, capture_output=True, text=True)
            return done.returncode, done.stderr

        assert code(public)[0] == 0, code(public)
        assert "Host key verification failed" in code(other)[1]
