"""builders.yaml: what is read, and a message for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cc_images.config.builders import add_entry, builder_hosts
from cc_images.errors import UserError
from cc_images.model.attempt import BuilderHost, Provider


def read(text: str, folder: Path) -> tuple[tuple[BuilderHost, ...], list[str]]:
    (folder / "builders.yaml").write_text(text)
    problems: list[str] = []
    return builder_hosts(folder / "builders.yaml", problems), problems


def test_hosts_by_ssh_and_by_slurm(tmp_path: Path) -> None:
    hosts, problems = read(
        "near: {ssh: me@near, limits: 2, trusted: yes}\n"
        "farm: {slurm: {partition: arm, options: [--exclusive]}, hub: 'https://head:8443', hub-ca: ca.pem}\n",
        tmp_path,
    )
    assert problems == []
    near, farm = hosts
    assert (near.ssh, near.tasks, near.trusted) == ("me@near", 2, True)
    assert dict(farm.slurm) == {"partition": "arm", "options": "--exclusive"}


def test_words_of_slurm_go_to_sbatch_as_they_are(tmp_path: Path) -> None:
    options = ["--time=1-00:00:00", "--exclusive", "--gres=gpu:a100:1,x:2", "--mem=4G"]
    slurm = {"partition": "main,big", "constraint": "(intel&gpu)|amd*2", "account": "a.b-c", "options": options}
    (farm,), problems = read(f"farm: {{slurm: {json.dumps(slurm)}, {HUB}}}\n", tmp_path)
    assert problems == []
    assert dict(farm.slurm) == slurm | {"options": " ".join(options)}


def test_machines_of_a_cloud_alone_and_for_the_nodes_of_slurm(tmp_path: Path) -> None:
    hosts, problems = read(
        "burst: {architectures: [amd64],"
        " provider: {cloud: ours, flavor: m1, image: cc-builder, reserve: 1, maximum: 4, ttl: 6h}}\n"
        "farm: {slurm: {}, hub: 'https://head:8443', hub-ca: ca.pem, provider: {cloud: ours, flavor: m1, image: i}}\n",
        tmp_path,
    )
    assert problems == []
    burst, farm = hosts
    assert burst.provider == Provider(cloud="ours", flavor="m1", image="cc-builder", reserve=1, maximum=4, ttl=21600)
    assert (burst.kind, farm.kind) == ("machine", "slurm")
    assert (burst.tasks, burst.tasks_on_one) == (4, 1), "each chain has a machine of its own"
    assert farm.provider is not None
    assert farm.provider.ttl == 12 * 3600


def test_a_certificate_lies_beside_the_file(tmp_path: Path) -> None:
    (near, far), problems = read(
        f"near: {{ssh: a, {HUB}}}\nfar: {{ssh: b, hub: 'https://h:1', hub-ca: /c}}\n", tmp_path
    )
    assert (problems, near.ca, far.ca) == ([], str(tmp_path / "c"), "/c")


HUB = "hub: 'https://h:1', hub-ca: c"
CLOUD = "cloud: c, flavor: f, image: i"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{}", "needs one of"),
        ("{ssh: me@near, local: yes}", "needs one of"),
        ("{ssh: -oProxyCommand=id}", "ssh"),
        ("{slurm: {}}", "hub: is missing"),
        (f"{{slurm: {{queue: x}}, {HUB}}}", "builders.yaml:1: one.slurm.queue"),
        (f"{{slurm: {{partition: main; id}}, {HUB}}}", "builders.yaml:1: one.slurm.partition"),
        (f"{{slurm: {{options: [--wrap=id]}}, {HUB}}}", "builders.yaml:1: one.slurm.options: --wrap is not one of "),
        (f"{{slurm: {{options: [--requeue]}}, {HUB}}}", "slurm.options: --requeue is not one of "),
        (f"{{slurm: {{options: [--job-name=x]}}, {HUB}}}", "slurm.options: --job-name is not one of "),
        (f"{{slurm: {{options: [--dependency=singleton]}}, {HUB}}}", "slurm.options: --dependency is not one of "),
        (f"{{slurm: {{options: [-p, main]}}, {HUB}}}", "slurm.options: '-p' is not of the form"),
        (f"{{slurm: {{options: ['--time=$(id)']}}, {HUB}}}", "slurm.options: '--time=$(id)' is not of the form"),
        ("{ssh: me@near, hub: 'https://h:1'}", "hub-ca"),
        ("{ssh: me@near, sshh: x}", "sshh"),
        ("{ssh: me@near, limits: two}", "one.limits: 'two' is not a whole number"),
        ("{ssh: me@near, trusted: maybe}", "one.trusted: 'maybe' is not true or false"),
        ("{ssh: me@near, architectures: [x86_64]}", "one.architectures: 'x86_64' is none of amd64, arm64"),
        ("hello", "one: must be a mapping"),
        ("{local: yes}\ntwo: {local: yes}", "builders.yaml:2: two.local: this host has an entry, one"),
        ("{local: yes}\nhere: {ssh: me@near}", "builders.yaml:2: here: is the name of this host"),
        ("{ssh: me@near}\nEast: {ssh: me@east}", "builders.yaml:2: East: is not a name: small letters, digits, "),
        (f"{{ssh: me@near, provider: {{{CLOUD}}}}}", "needs one of"),
        ("{provider: {}}", "needs flavor"),
        (f"{{provider: {{{CLOUD}}}}}", "architectures: is missing"),
        (f"{{provider: {{{CLOUD}, size: 1}}}}", "size"),
        (f"{{provider: {{{CLOUD}, reserve: 2}}}}", "more than the maximum, 1"),
        (f"{{provider: {{{CLOUD}, ttl: 5m}}}}", "less than 30 m"),
        (f"{{provider: {{{CLOUD}, ttl: soon}}}}", "a duration"),
        (f"{{slurm: {{}}, hub: 'https://h:1', hub-ca: c, provider: {{{CLOUD}, reserve: 1}}}}", "SuspendExcNodes"),
    ],
)
def test_mistakes_have_a_message(entry: str, said: str, tmp_path: Path) -> None:
    _, problems = read(f"one: {entry}\n", tmp_path)
    assert any(said in each for each in problems), problems


ENTRY = "cluster: {slurm: {}, hub: 'https://h:1', hub-ca: c}\n"


def test_an_entry_is_added_and_the_rest_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "builders.yaml"
    add_entry(file, ENTRY)
    assert file.read_text() == ENTRY
    file.write_text("# mine\nnear: {ssh: me@near}  # here")
    file.chmod(0o640)
    add_entry(file, ENTRY)
    assert file.read_text() == f"# mine\nnear: {{ssh: me@near}}  # here\n{ENTRY}"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in builder_hosts(file, [])] == ["near", "cluster"]


@pytest.mark.parametrize("text", ["{near: {ssh: me@near}}\n", f"{ENTRY}", "near: {sshh: x}\n", "- x\n", "a: [\n"])
def test_a_file_into_which_no_entry_fits_is_left_alone(text: str, tmp_path: Path) -> None:
    file = tmp_path / "builders.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        add_entry(file, ENTRY)
    assert ENTRY.strip() in caught.value.hint
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_text() == text
