"""Base images: which there are, their newest builds, and the tags of registries, of others' images too."""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cc_images.api.bases import bases, registry_tags
from cc_images.config.loader import Config, load
from cc_images.errors import CCImagesError, Reason
from cc_images.model.base_images import RegistryTag
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.model.site import Site
from cc_images.report import bases as shown
from cc_images.sites.base import Publication
from cc_images.sites.manifests import manifest_of
from cc_images.sites.publish import Terms, publish
from cc_images.sites.registry import RegistrySite
from cc_images.store.records import Store
from tests.conftest import NOW, Cli, clean_environment, write_files
from tests.support.tagstore import TagStore, archive, described

VERSION = "20261120T000000Z"

IMAGES = """\
Root: {elements: [debian-minimal], disk: []}
Base: {arch: [amd64, arm64], elements: [debian-minimal], formats: [oci, sif], eol: 2030-01-01}
Tool: {depends: [Base], elements: [], formats: [oci]}
Loose: {depends: [Root], elements: [], formats: [sif]}
Frame: {elements: [debian-minimal], formats: [oci], abstract: true}
Disk: {depends: [Base], elements: [], disk: []}
"""

SITES = """\
folder: {directory: folder}
one: {registry: "127.0.0.1:1/team", insecure: yes}
two: {registry: "127.0.0.1:2/team", insecure: yes}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_files(tmp_path, images=IMAGES, sites=SITES)
    return load(clean_environment(tmp_path), tmp_path)


def built(store: Store, tag: str, *layers: bytes) -> str:
    """Put a build with an OCI image of these layers into the store; return the digest of its manifest."""
    store.root.mkdir(exist_ok=True)
    digest = archive(store.root / "staged", *layers)
    recorded(store, tag, Format.OCI)
    return digest


def recorded(store: Store, tag: str, form: Format) -> str:
    """Record a build whose file is staged; return the digest of that."""
    blob = store.blobs.add(store.root / "staged")
    output = Output(format=form, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=0)
    made = Build(tag=tag, name=tag, arch=Arch.AMD64, version=VERSION, recipe_key="a", key="k", outputs={form: output})
    store.record(made, {}, tag)
    return blob.digest


def pushed(registry: TagStore, folder: Path, name: str, *contents: bytes) -> str:
    """Publish an image in a registry; return the digest of its manifest."""
    path = folder / "pushed"
    digest = archive(path, *contents)
    content = path.read_bytes()
    wanted = Publication(name=name, path=path, sha512=hashlib.sha512(content).hexdigest(), size=len(content), run="r1",
                         properties={"build-version": VERSION})  # fmt: skip
    site = RegistrySite(Site(name="one", registry="127.0.0.1:1/team"), Format.OCI, registry=registry)
    publish(site, wanted, Terms(pause=0.0), stop=threading.Event())
    return digest


def test_bases_are_images_for_containers_and_their_parents(config: Config, store: Store) -> None:
    digest = built(store, "base", b"layer")
    found = {(each.image.tag, each.target.arch.value): each for each in bases(config)}
    assert list(found) == [
        ("root", "amd64"),
        ("base", "amd64"),
        ("base", "arm64"),
        ("tool", "amd64"),
        ("loose", "amd64"),
    ]
    base = found["base", "amd64"]
    assert (base.children, base.digest, base.formats) == (("tool", "disk"), digest, ("oci",))
    assert base.build is not None
    assert base.build.version == VERSION
    assert found["base", "arm64"].build is None
    assert found["base", "arm64"].formats == ("oci", "sif")
    lines = shown.base_images(list(found.values()), NOW)
    row = next(line for line in lines if line.startswith("base  ") and "amd64" in line)
    assert row.split() == ["base", "amd64", VERSION, "2", "d", digest[:19], "oci", "2030-01-01", "2"]
    assert "never built" in next(line for line in lines if "arm64" in line)


def test_the_digest_is_that_of_a_file_without_a_manifest_and_none_for_no_archive(config: Config, store: Store) -> None:
    store.root.mkdir()
    (store.root / "staged").write_bytes(b"SIF")
    digest = recorded(store, "loose", Format.SIF)
    (store.root / "staged").write_bytes(b"no archive")
    recorded(store, "tool", Format.OCI)
    found = {each.image.tag: each for each in bases(config)}
    assert (found["loose"].digest, found["tool"].digest) == (f"sha256:{digest}", "")


def test_tags_are_those_of_the_registry_without_records(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = datetime(2026, 11, 21, tzinfo=UTC)
    monkeypatch.setattr("cc_images.clock.now", lambda: published)
    one, two = TagStore(), TagStore()
    digest = pushed(one, tmp_path, "Base", b"ours")
    system = b'{"created": "2020-01-02T03:04:05.123456789Z", "architecture": "amd64"}'
    config_kind = "application/vnd.docker.container.image.v1+json"
    others = {
        "theirs": manifest_of({}, described(system, config_kind), {}),
        "noted": manifest_of({}, {}, {"org.opencontainers.image.created": "2021-01-01T00:00:00Z"}),
        "ageless": manifest_of({}, described(b"{}", config_kind), {}),
        "removed": manifest_of({}, {}, {"cc-images.removed": "x"}),
        "broken": b"no manifest",
        "deep": b'{"annotations": ' + b"[" * 100_000,
    }
    for tag, raw in others.items():
        two.repositories.setdefault("tool", {})[f"sha256:{hashlib.sha256(raw).hexdigest()}"] = raw
        two.tagged.setdefault("tool", {})[tag] = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    two.configurations[two.tagged["tool"]["theirs"]] = system
    found, errors = registry_tags(config, lambda site: {"one": one, "two": two}[site.name])
    assert errors == {}
    by_tag = {(each.repository, each.tag): each for each in found}
    ours = by_tag["127.0.0.1:1/team/base", "latest"]
    assert (ours.digest, ours.version, ours.created) == (digest, VERSION, published)
    assert ("127.0.0.1:1/team/base", VERSION) in by_tag
    assert {tag for repository, tag in by_tag if repository == "127.0.0.1:2/team/tool"} == {
        "theirs", "noted", "ageless", "broken", "deep"
    }  # fmt: skip
    times = {tag: each.created and each.created.year for (_, tag), each in by_tag.items()}
    assert (times["theirs"], times["noted"], times["ageless"], times["broken"]) == (2020, 2021, None, None)
    assert [each.tag for each in found][-4:] == ["theirs", "ageless", "broken", "deep"], "the newest first"
    lines = shown.registry_tags(found, {}, published + timedelta(hours=5))
    assert "one   127.0.0.1:1/team/base:latest" in "\n".join(lines)
    assert next(line for line in lines if ":latest" in line).split()[2:] == [VERSION, "5", "h", digest[:19]]
    json.dumps([each.as_json() for each in found])


def test_a_registry_that_does_not_answer_is_one_line(config: Config, tmp_path: Path) -> None:
    one, two = TagStore(), TagStore()
    pushed(one, tmp_path, "Base", b"ours")

    def away(call: str, reference: str) -> None:
        raise CCImagesError("site two: base: connection refused", reason=Reason.UNREACHABLE)

    two.before = away
    found, errors = registry_tags(config, lambda site: {"one": one, "two": two}[site.name])
    assert {each.site for each in found} == {"one"}
    assert shown.registry_tags(found, errors, NOW)[-1] == "site two: base: connection refused"


def test_words_of_those_who_push_do_not_steer_a_terminal() -> None:
    theirs = RegistryTag(site="one", repository="r/base", tag="latest", digest="sha256:00", version="\033]0;x\007")
    lines = shown.registry_tags([theirs], {"two": "no\033[2Jthing"}, NOW)
    assert all(each.isprintable() for each in lines), lines
    assert "?]0;x?" in "".join(lines)


def test_the_command_shows_what_there_is_and_fails_for_what_is_not(cli: Cli, config: Config, store: Store) -> None:
    """Nothing listens where the registries should be."""
    digest = built(store, "base", b"layer")
    done = cli("bases", "--json")
    said = json.loads(done.stdout)
    assert next(each for each in said["images"] if each["tag"] == "base")["digest"] == digest
    assert done.returncode == 3
    assert list(said["errors"]) == ["one", "two"]
    write_files(Path(store.root).parent, images=IMAGES, sites="folder: {directory: folder}\n")
    done = cli("bases")
    assert (done.returncode, done.stderr) == (0, "")
    assert digest[:19] in done.stdout
    write_files(Path(store.root).parent, images="", sites="")
    assert "formats: [oci]" in cli("bases").stdout
