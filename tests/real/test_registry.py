"""A registry as a site, by skopeo and Debian's docker-registry: tags, refusals, faults, and kills at its HTTP calls."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites import open_site
from cc_images.sites.publish import Terms, recover, roll_back
from cc_images.sites.rollbacks import Goal, choose
from tests.conftest import REPOSITORY, clean_environment, write_files
from tests.real.conftest import Project
from tests.support.gateway import Gateway, Instead
from tests.support.registrybed import HTPASSWD, PASSWORD, REASON, USER, RegistryBed
from tests.support.tagpush import NAME, push
from tests.support.tagstore import archive

pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "it can run")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryBed]:
    with RegistryBed(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Return a prefix of the test's own."""
    return f"t{abs(hash(request.node.nodeid)) % 10**9}"


@pytest.fixture(autouse=True)
def private_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def file(folder: Path, *layers: bytes) -> tuple[Path, str]:
    """Write an archive of layers; return it with the digest of its manifest."""
    path = folder / "-".join(each.decode(errors="replace")[:6] for each in layers)
    return path, archive(path, *(gzip.compress(each, mtime=0) for each in layers))


def test_versions_are_pushed_once_and_archived(registry: RegistryBed, prefix: str, tmp_path: Path) -> None:
    (v0, first), (v1, second) = file(tmp_path, b"v0"), file(tmp_path, b"v1")
    where, repository = f"{registry.host}/{prefix}/deep", f"{prefix}/deep/cc-x"
    done = push(where, v0, "1.0", "r0")
    assert (done.changed, done.address) == (True, f"{where}/cc-x:latest")
    assert registry.tags(repository) == {"latest": first, "1.0": first}
    assert not push(where, v0, "1.0", "r1").changed
    archived = push(where, v1, "1.1", "r2").archived.removeprefix("cc-x:")
    assert registry.tags(repository) == {"latest": second, "1.1": second, "1.0": first, archived: first}
    with pytest.raises(CCImagesError, match=r"cc-x:1\.1 exists with other bytes") as failed:
        push(where, file(tmp_path, b"v2")[0], "1.1", "r3")
    assert failed.value.exit_code == 3
    assert registry.tags(repository) == {"latest": second, "1.1": second, "1.0": first, archived: first}
    site = open_site(Site(name="reg", registry=where, insecure=True), Format.OCI)
    _, back = roll_back(site, NAME, lambda view: choose(view, Goal()), "b1", Terms(pause=0.0), stop=threading.Event())
    assert back.changed
    assert registry.tags(repository)["latest"] == first
    push(where, file(tmp_path, b"v3")[0], "1.3", "r4", keep=0)
    assert set(registry.tags(repository)) == {"latest", "1.3"}, "what is not kept is gone, with its tags"


def test_a_child_uploads_its_own_layer_alone(registry: RegistryBed, prefix: str, tmp_path: Path) -> None:
    shared = random.Random(1).randbytes(300_000)
    parent, child = tmp_path / "parent", tmp_path / "child"
    archive(parent, gzip.compress(shared, mtime=0))
    archive(child, gzip.compress(shared, mtime=0), gzip.compress(b"child", mtime=0))
    with Gateway(registry.port) as gateway:
        where = f"{gateway.url.removeprefix('http://')}/{prefix}"
        push(where, parent, "1", "r0")
        first = sum(gateway.sent)
        push(where, child, "2", "r1")
        assert first > 300_000
        assert sum(gateway.sent) - first < 30_000


def test_a_sif_file_is_an_artifact_with_the_file_as_its_layer(
    registry: RegistryBed, prefix: str, tmp_path: Path
) -> None:
    made = tmp_path / "blob"
    made.write_bytes(b"SIF" * 1000)
    done = push(f"{registry.host}/{prefix}", made, "1.0", "r0", form=Format.SIF)
    assert done.address.endswith("/cc-x:latest-sif")
    assert set(registry.tags(f"{prefix}/cc-x")) == {"latest-sif", "1.0-sif"}
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{done.address}"],
        check=True,
        capture_output=True,
    ).stdout
    said = json.loads(raw)
    assert said["artifactType"] == said["config"]["mediaType"] == "application/vnd.sylabs.sif.config.v1+json"
    assert [(each["mediaType"], each["size"]) for each in said["layers"]] == [
        ("application/vnd.sylabs.sif.layer.v1.sif", 3000)
    ]


FAULTS = {
    "refuses": ("POST", Instead(401), Reason.CREDENTIALS),
    "forbids": ("POST", Instead(403), Reason.FORBIDDEN),
    "is full": ("PATCH", Instead(507), Reason.QUOTA),
    "is at fault": ("PATCH", Instead(500), Reason.SITE),
    "loses its connection": ("PATCH", Instead(0), Reason.UNREACHABLE),
    "is away": ("PUT", Instead(503), Reason.UNREACHABLE),
    "loses its answers": ("PUT", Instead(0, done=True), Reason.UNREACHABLE),
    "lies": ("GET", Instead(200, body=b'{"schemaVersion": 2}'), Reason.VERIFICATION),
}
"""The first word of a call, its answer, and the reason of the error that follows."""


def test_a_registry_with_a_fault_keeps_the_old_version(registry: RegistryBed, prefix: str, tmp_path: Path) -> None:
    (v0, first), (v1, digest) = file(tmp_path, b"v0"), file(tmp_path, b"v1")
    with Gateway(registry.port) as gateway:
        where, repository = f"{gateway.url.removeprefix('http://')}/{prefix}", f"{prefix}/cc-x"
        push(where, v0, "1.0", "r0")
        before = registry.tags(repository)
        for number, (what, (call, instead, reason)) in enumerate(FAULTS.items()):

            def rule(method: str, path: str, _: int, call: str = call, instead: Instead = instead) -> Instead | None:
                return instead if method == call and (call != "GET" or path.endswith(digest)) else None

            gateway.rule = rule
            with pytest.raises(CCImagesError) as failed:
                push(where, v1, "1.1", f"r{number + 1}")
            assert failed.value.reason is reason, (what, failed.value.message)
            assert "\n" not in failed.value.message
            assert registry.tags(repository) == before == {"latest": first, "1.0": first}, what
        gateway.rule = lambda method, path, number: None
        push(where, v1, "1.1", "r99", keep=0)
        assert registry.tags(repository) == {"latest": digest, "1.1": digest}


def test_a_password_comes_from_the_standard_file_and_is_in_no_argv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    v0, digest = file(tmp_path, b"v0")
    with RegistryBed(tmp_path / "bed", htpasswd=HTPASSWD) as locked:
        where = f"{locked.host}/x"
        with pytest.raises(CCImagesError) as failed:
            push(where, v0, "1.0", "r0")
        assert failed.value.reason is Reason.CREDENTIALS
        assert "skopeo login" in failed.value.hint
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {locked.host: {"auth": token}}}))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
        seen: list[str] = []
        original = subprocess.Popen.__init__

        def started(self: object, args: list[str], *more: object, **keywords: object) -> None:
            seen.extend(args)
            original(self, args, *more, **keywords)  # type: ignore[call-overload]

        monkeypatch.setattr(subprocess.Popen, "__init__", started)
        assert push(where, v0, "1.0", "r0").changed
        assert digest in " ".join(seen)
        assert not [each for each in seen if PASSWORD in each or token in each]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_registry_with_tls_is_one_whose_certificate_the_host_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    v0, digest = file(tmp_path, b"v0")
    with RegistryBed(tmp_path / "bed", tls=True) as bed:
        where = f"{bed.host}/x"
        with pytest.raises(CCImagesError, match="certificate") as failed:
            push(where, v0, "1.0", "r0", insecure=False)
        assert failed.value.exit_code == 3
        assert bed.tags("x/cc-x") == {}
        monkeypatch.setenv("SSL_CERT_FILE", str(bed.ca))
        assert push(where, v0, "1.0", "r1", insecure=False).changed
        assert bed.tags("x/cc-x") == {"latest": digest, "1.0": digest}


def killed_at(gateway: Gateway, at: int, words: list[str], done: bool) -> bool:
    """Kill a push when the gateway gets its `at`-th call from now on, or when that is done; say whether it came."""
    begun = len(gateway.calls)
    ready = threading.Event()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.tagpush", *words], cwd=REPOSITORY, stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def rule(method: str, path: str, number: int) -> Instead | None:
        if number - begun < at:
            return None
        if not ready.is_set():
            ready.set()
            process.send_signal(signal.SIGKILL)
            return Instead(0, done=done)
        return Instead(0)

    gateway.rule = rule
    _, said = process.communicate(timeout=120)
    gateway.rule = lambda method, path, number: None
    assert ready.is_set() or process.returncode == 0, said
    return ready.is_set()


def kill_and_go_on(registry: RegistryBed, gateway: Gateway, prefix: str, at: int, folder: Path) -> bool:
    """Kill a push at a call, and check what the next one makes of that; `prefix` has versions of earlier rounds."""
    where, repository = f"{gateway.url.removeprefix('http://')}/{prefix}", f"{prefix}/cc-x"
    latest = registry.tags(repository)["latest"]
    (bad, half), (good, whole) = file(folder, f"bad{at}".encode()), file(folder, f"good{at}".encode())
    came = killed_at(gateway, at, [where, str(bad), f"{at}.0", f"r{at}"], done=bool(at % 2))
    assert registry.tags(repository)["latest"] in (latest, half), at
    recover(open_site(Site(name="reg", registry=where, insecure=True), Format.OCI), NAME)
    assert registry.tags(repository)["latest"] in (latest, half), at
    push(where, good, f"{at}.1", f"s{at}")
    has = registry.tags(repository)
    assert has["latest"] == has.pop(f"{at}.1") == whole, at
    assert has.pop("latest") == whole, at
    assert len(has) == 2, (at, has)
    assert {*has.values()} in ({latest}, {half}), "the archive tag of the one before, and its version"
    return came


@pytest.fixture
def gateway(registry: RegistryBed, prefix: str, tmp_path: Path) -> Iterator[Gateway]:
    """Return a gateway to a registry that has a version."""
    with Gateway(registry.port) as made:
        push(f"{made.url.removeprefix('http://')}/{prefix}", file(tmp_path, b"first")[0], "first", "r0")
        yield made


def test_a_push_that_is_killed_is_put_in_order(
    registry: RegistryBed, gateway: Gateway, prefix: str, tmp_path: Path
) -> None:
    for at in (12, 36, 72):
        assert kill_and_go_on(registry, gateway, prefix, at, tmp_path)


@pytest.mark.deep
def test_a_push_that_is_killed_at_every_third_call_is_put_in_order(
    registry: RegistryBed, gateway: Gateway, prefix: str, tmp_path: Path
) -> None:
    reached = 0
    for at in range(1, 600, 3):
        if not kill_and_go_on(registry, gateway, prefix, at, tmp_path):
            break
        reached = at
    assert reached > 60


def test_bases_have_the_tags_of_all_who_push_there(registry: RegistryBed, prefix: str, tmp_path: Path) -> None:
    where = f"{registry.host}/{prefix}"
    ours, digest = file(tmp_path, b"ours")
    push(where, ours, "1.0", "r0")
    archive(tmp_path / "foreign", b"theirs", created="2025-01-02T03:04:05.6Z")
    words = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]
    subprocess.run([*words, f"oci-archive:{tmp_path}/foreign", f"docker://{where}/cc-x:foreign"], check=True)
    folder = tmp_path / "project"
    folder.mkdir()
    images = "CC-X: {elements: [x], formats: [oci]}\nCC-Y: {elements: [x], formats: [oci]}\n"
    sites = (f"reg: {{registry: {where}, insecure: yes}}\n"
             f"gone: {{registry: '127.0.0.1:1/x', insecure: yes}}\n")  # fmt: skip
    write_files(folder, images=images, sites=sites)
    environment = clean_environment(folder) | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-m", "cc_images", "bases", "--json"], cwd=folder, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    said = json.loads(done.stdout)
    assert (done.returncode, list(said["errors"])) == (3, ["gone"])
    tags = {each["tag"]: each for each in said["registries"]}
    assert set(tags) == {"latest", "1.0", "foreign"}
    assert tags["latest"]["digest"] == tags["1.0"]["digest"] == digest
    assert tags["latest"]["repository"] == f"{where}/cc-x"
    assert (tags["latest"]["version"], tags["foreign"]["version"]) == ("1.0", None)
    age = datetime.now(UTC) - datetime.fromisoformat(tags["latest"]["created"])
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert tags["foreign"]["created"].startswith("2025-01-02T03:04:05.6")


def test_an_image_goes_to_a_registry_by_the_command(registry: RegistryBed, prefix: str, project: Project) -> None:
    catalogue = (project.folder / "images.yaml").read_text()
    catalogue = catalogue.replace("  disk: [block-device-efi, tiny-disk]\n", "  disk: []\n  formats: [oci]\n", 1)
    (project.folder / "images.yaml").write_text(catalogue)
    (project.folder / "sites.yaml").write_text(f"reg: {{registry: {registry.host}/{prefix}, insecure: yes, keep: 2}}\n")
    code, said = project.run("-b", "-p", "cc-tiny")
    assert code == 0, said
    tags = registry.tags(f"{prefix}/cc-tiny")
    assert len(tags) == 2
    assert len({*tags.values()}) == 1
    code, said = project.run("-p", "cc-tiny")
    assert code == 0, said
    assert registry.tags(f"{prefix}/cc-tiny") == tags
    code, said = project.run("status", "--sites", "cc-tiny")
    assert code == 0, said
    assert re.search(r"^reg +CC-Tiny +2", said, re.MULTILINE)
    (project.folder / "images.yaml").write_text(catalogue.replace("  disk: []\n", '  disk: []\n  version: "1.0"\n', 1))
    code, said = project.run("-p", "cc-tiny")
    assert code == 0, said
    assert "1.0" in registry.tags(f"{prefix}/cc-tiny")
    code, said = project.run("-b", "-f", "-p", "--dry-run", "cc-tiny")
    assert f"may fail: {registry.host}/{prefix}/cc-tiny:1.0 exists, and the build may have other bytes" in said
    code, said = project.run("-p", "--dry-run", "cc-tiny")
    assert "fail" not in said
    code, said = project.run("-b", "-f", "-p", "cc-tiny")
    assert code == 3, "dib's notes in this image name the folders of their build"
    taken = f"site reg: {registry.host}/{prefix}/cc-tiny:1.0 exists, and the build may have other bytes: raise"
    assert taken in said.partition("[build ")[0], "before anything is built"
    assert "cc-tiny:1.0 exists with other bytes" in said
    code, said = project.run("-p", "--dry-run", "cc-tiny")
    assert "cc-tiny:1.0 exists with other bytes; raise the image's version" in said
    code, said = project.run("rollback", "cc-tiny", "-s", "reg")
    assert "nothing older is archived there" in said
    code, said = project.run("doctor")
    assert re.search(rf"ok +site reg +{registry.host}/{prefix} answers", said)
