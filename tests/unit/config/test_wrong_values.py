"""Values that cannot be, in files of hosts, machines, settings and build caches: a line each, and no secret in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cc_images.config.loader import load
from cc_images.errors import ConfigError
from tests.conftest import Cli, write_files

ESCAPES = "\x1b]0;title\x07\u202ename"


def said(folder: Path, name: str, text: str) -> str:
    """Return what is wrong with a project that has one more file, or another sites.yaml."""
    write_files(folder)
    (folder / name).write_text(text)
    settings = folder / "settings.yaml"
    with pytest.raises(ConfigError) as caught:
        load({"HOME": str(folder), "CC_IMAGES_SETTINGS": str(settings) if settings.exists() else ""}, folder)
    return caught.value.message


BURST = {"architectures": "amd64", "provider": {"cloud": "ours", "flavor": "m1", "image": "builder"}}


@pytest.mark.parametrize("key", ["cloud", "flavor", "image"])
def test_machines_of_a_cloud_are_made_of_something(tmp_path: Path, key: str) -> None:
    entry = {**BURST, "provider": {**BURST["provider"], key: ""}}  # type: ignore[dict-item]
    assert f"burst.provider: needs {key}" in said(tmp_path, "builders.yaml", json.dumps({"burst": entry}))


@pytest.mark.parametrize("key", ["cloud", "flavor", "image", "network", "key", "zone"])
def test_what_a_cloud_is_asked_for_is_one_line(tmp_path: Path, key: str) -> None:
    entry = {**BURST, "provider": {**BURST["provider"], key: "a\nb"}}  # type: ignore[dict-item]
    wrong = f"burst.provider.{key}: 'a\\nb' is not one line"
    assert wrong in said(tmp_path, "builders.yaml", json.dumps({"burst": entry}))


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ({"ssh": "near", "scratch": "../store"}, "near.scratch: '../store' is not a folder that begins with / or ~/"),
        ({"ssh": "near", "scratch": "/a\nb"}, "near.scratch: '/a\\nb' is not a folder"),
        ({"ssh": "near", "hub": "https://h:99999", "hub-ca": "c"}, "near.hub: 99999 is no port"),
        ({"ssh": "near", "hub": "https://[", "hub-ca": "c"}, "near.hub: 'https://[' is not https://HOST:PORT"),
        ({"ssh": "near", "command": "/"}, "near.command: '/' is not a program's name or path"),
        ({"slurm": {}, "hub": "https://", "hub-ca": "c"}, "near.hub: 'https://' is not https://HOST:PORT"),
    ],
)
def test_entries_of_builder_hosts(tmp_path: Path, entry: dict[str, object], wrong: str) -> None:
    assert wrong in said(tmp_path, "builders.yaml", json.dumps({"near": entry}))


def test_the_name_of_this_host_is_no_other_host_s(tmp_path: Path) -> None:
    assert "here: is this host's name" in said(tmp_path, "builders.yaml", "here: {ssh: near}\n")
    (tmp_path / "builders.yaml").write_text("here: {local: yes}\n")
    (host,) = load({"HOME": str(tmp_path), "CC_IMAGES_SETTINGS": ""}, tmp_path).builders
    assert host.local


@pytest.mark.parametrize(
    ("workflows", "wrong"),
    [
        ({"served": "/srv/.."}, "workflows.served: '/srv/..' must be a folder below /"),
        ({"served": ["/srv/a", "//"]}, "workflows.served: '//' must be a folder below /"),
        ({"branch": "main"}, "workflows.repo: is missing"),
        ({"repo": "https://["}, "workflows.repo: is no address"),
        ({"repo": "a\nb"}, "workflows.repo: 'a\\nb' has characters"),
        ({"folder": "steps"}, "workflows.repo: is missing"),
        ({"repo": "https://g/w.git", "folder": "a\nb"}, "workflows.folder: 'a\\nb'"),
    ],
)
def test_workflows_of_settings(tmp_path: Path, workflows: dict[str, object], wrong: str) -> None:
    assert wrong in said(tmp_path, "settings.yaml", json.dumps({"workflows": workflows}))


def test_the_repository_of_elements(tmp_path: Path) -> None:
    assert "theirs.repo: is no address" in said(tmp_path, "third-party.yaml", "theirs: {repo: 'https://['}\n")


@pytest.mark.parametrize(
    ("cache", "wrong"),
    [
        ({"url": "file:///"}, "build-caches.c.url: file:/// must be file:///FOLDER"),
        ({"url": "file:///c", "trust": "x" * 5000}, "build-caches.c.trust: "),
        ({"url": "file:///c?a#b"}, "build-caches.c.url: file:///c?a#b has characters"),
        ({"url": "file:///c\nd"}, "has characters"),
    ],
)
def test_build_caches(tmp_path: Path, cache: dict[str, object], wrong: str) -> None:
    assert wrong in said(tmp_path, "sites.yaml", json.dumps({"build-caches": {"c": cache}}))


LOGIN = "https://user:hunter2@host/x"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("builders.yaml", f"near: {{ssh: '{LOGIN}'}}"),
        ("builders.yaml", f"near: {{ssh: near, hub: '{LOGIN}', hub-ca: c}}"),
        ("machines.yaml", f"m: {{platform: '{LOGIN}', architecture: zen, container-engine: docker}}"),
        ("settings.yaml", f"workflows: {{repo: x, branch: '{LOGIN}'}}"),
        ("settings.yaml", f"store: '{LOGIN}'"),
        ("sites.yaml", f"build-caches: {{c: {{url: 's3://bucket', endpoint: '{LOGIN}'}}}}"),
        ("sites.yaml", f"build-caches: {{c: {{url: 'oci:{LOGIN.removeprefix('https:')}'}}}}"),
        ("sites.yaml", f"a: {{registry: '{LOGIN}'}}"),
        ("images.yaml", f"A: {{arch: '{LOGIN}'}}"),
    ],
)
def test_a_message_has_no_login_of_an_address(tmp_path: Path, name: str, text: str) -> None:
    found = said(tmp_path, name, text)
    assert name in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("settings.yaml", {"store": ESCAPES}),
        ("settings.yaml", {"workflows": {"served": ESCAPES}}),
        ("sites.yaml", {"build-caches": {"c": {"url": "file:///c", "trust": ESCAPES}}}),
        ("builders.yaml", {"near": {ESCAPES: 1}}),
    ],
)
def test_a_message_has_nothing_that_steers_a_terminal(
    cli: Cli, tmp_path: Path, name: str, entry: dict[str, object]
) -> None:
    write_files(tmp_path)
    (tmp_path / name).write_text(json.dumps(entry))
    done = cli("list", CC_IMAGES_SETTINGS=str(tmp_path / name) if name == "settings.yaml" else "")
    assert done.returncode == 2
    assert "title" in done.stderr
    assert "name" in done.stderr
    assert done.stderr.replace("\n", "").isprintable()
