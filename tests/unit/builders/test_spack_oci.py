"""The build cache in a registry: Spack's layout with our signature, what is refused, logins, faults and redirects."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack import oci_layout
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.cache_layout import Blob, Odd
from cc_images.builders.spack.oci import Repository
from cc_images.builders.spack.signing import Signer
from cc_images.errors import CCImagesError, Reason
from cc_images.model.build_cache import BuildCache
from tests.conftest import lacking
from tests.support.fakeregistry import PASSWORD, TOKEN, USER, FakeRegistry, Fault, basic
from tests.support.packages import Made, drop, made, published

REASON = lacking(("gpg", "gpg-agent", "gpgconf"))
signs = pytest.mark.skipif(bool(REASON), reason=REASON or "")

STOP = threading.Event()
A, B = made("aaa"), made("bbb")
CONTENT = b"some bytes of a blob" * 5000
BLOB = layout.blob_of(CONTENT)
REALM = 'Bearer realm="http://{host}/token",service="tests",scope="repository:other:pull"'


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as made_now:
        yield made_now


@pytest.fixture(autouse=True)
def no_credentials_of_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def cache_in(registry: FakeRegistry, **more: Any) -> BuildCache:
    return BuildCache(name="reg", url=f"oci://{registry.host}/team/spack", push=True, insecure=True, **more)


def fetched(cache: BuildCache, blob: Blob = BLOB) -> bytes:
    to = io.BytesIO()
    Repository(cache).fetch(blob, to)
    return to.getvalue()


# -- the layout ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "version", "tag"),
    [
        ("zlib-ng", "2.1.6", "zlib-ng-2.1.6-{hash}.spack"),
        ("gcc", "git.abc=13+x", "gcc-git.abc_13_x-{hash}.spack"),
        ("py-" + "n" * 100, "1.0", f"py-{'n' * 61}{'n' * 21}-1.0-{{hash}}.spack"),
    ],
)
def test_a_package_has_the_tag_that_spack_gives_it(name: str, version: str, tag: str) -> None:
    """By Spack's rule: what is no letter, digit, dot, underscore or hyphen is an underscore; 128 signs at most."""
    package = Made(name, A.hash, version)
    found = oci_layout.tag_of(layout.manifest_path(package))
    whole = f"{name}-{version}-{A.hash}.spack".replace("=", "_").replace("+", "_")
    assert found == (whole if len(whole) <= 128 else whole[:64] + whole[-64:])
    assert found == tag.format(hash=A.hash)


def test_what_is_no_package_has_no_tag() -> None:
    with pytest.raises(ValueError, match="no manifest of a package"):
        oci_layout.tag_of(layout.LAYOUT)


def test_the_configuration_is_the_spec_and_that_of_an_image(tmp_path: Path) -> None:
    manifest = drop(tmp_path, A)
    packed = (tmp_path / manifest.spec.path).read_bytes()
    said = json.loads(oci_layout.config_of(manifest, packed, "f" * 64))
    assert said["spec"] == json.loads(gzip.decompress(packed))["spec"]
    assert said["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}",
                                          f"sha256:{'f' * 64}"]  # fmt: skip
    assert said["binary_cache_checksum"] == {"hash_algorithm": "sha256", "hash": manifest.archive.digest}
    assert (said["os"], said["architecture"]) == ("linux", "unknown")
    with pytest.raises(Odd, match="cannot be read"):
        oci_layout.config_of(manifest, b"no gzip", "f" * 64)


@pytest.mark.parametrize(
    ("target", "architecture"),
    [
        ("x86_64", "amd64"),
        ("ppc64le", "ppc64le"),
        ({"name": "zen3", "features": ["sse2", "avx2"]}, "amd64"),
        ({"name": "neoverse_n1", "features": ["asimd"]}, "arm64"),
        ({"name": "power9le", "features": []}, "power9le"),
    ],
)
def test_the_architecture_is_that_of_the_target(tmp_path: Path, target: object, architecture: str) -> None:
    manifest = drop(tmp_path, A)
    packed = gzip.compress(json.dumps({"spec": {"nodes": [{"arch": {"target": target}}]}}).encode())
    assert json.loads(oci_layout.config_of(manifest, packed, "f" * 64))["architecture"] == architecture


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"layers": 3}', b'{"layers": [{}]}', b'{"annotations": 3}'])
def test_a_manifest_that_is_none_is_odd(content: bytes) -> None:
    with pytest.raises(Odd, match="is none"):
        oci_layout.signed_in(content)


# -- packages -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key") / "gnupg"
    Signer.of("", folder).public_key()
    return folder


def tag(package: Made) -> str:
    return oci_layout.tag_of(layout.manifest_path(package))


@signs
@pytest.mark.long
def test_another_host_has_what_was_pushed(registry: FakeRegistry, home: Path, tmp_path: Path) -> None:
    cache = cache_in(registry)
    first, second = Caches([cache], tmp_path / "first", home), Caches([cache], tmp_path / "second", home)
    assert second.known([A, B]) == set()
    manifest = drop(tmp_path / "drop", A)
    registry.calls.clear()
    assert published(first, tmp_path / "drop", A)[1:] == [f"aaa@1.0/{A.hash[:7]} is in the build cache reg"]
    writes = [each for each in registry.calls if each.startswith("PUT")]
    assert [each.split("/")[-2] for each in writes] == ["uploads"] * 3 + ["manifests"], "blobs first"
    for each in (manifest.archive, manifest.spec):
        looked = registry.calls.index(f"HEAD /v2/team/spack/blobs/sha256:{each.digest}")
        assert looked < registry.calls.index(writes[-1])
    said = json.loads(registry.manifests[tag(A)])
    assert said["layers"][-1]["digest"] == f"sha256:{manifest.archive.digest}", "which is what Spack takes"
    assert json.loads(registry.blobs[said["config"]["digest"]])["spec"]["nodes"][0]["hash"] == A.hash
    unpacked = gzip.decompress(registry.blobs[f"sha256:{manifest.archive.digest}"])
    config = json.loads(registry.blobs[said["config"]["digest"]])
    assert config["rootfs"]["diff_ids"][-1] == f"sha256:{hashlib.sha256(unpacked).hexdigest()}"
    assert published(first, tmp_path / "none", A) == [], "it is there"
    assert len([each for each in registry.calls if each.startswith(("PUT", "POST"))]) == 7
    assert second.known([A, B]) == {A.hash}
    with second.wanted([A, B], STOP):
        for path in (manifest.archive.path, manifest.spec.path):
            assert (second.folder / path).read_bytes() == (first.folder / path).read_bytes()
        mine, its = ((each.folder / layout.manifest_path(A)).read_bytes() for each in (first, second))
        assert its == said["annotations"][oci_layout.SIGNED].encode()
        assert layout.signed_text(its) == layout.signed_text(mine), "each cache has a signature of its own"
    assert Caches((), tmp_path / "second", home).known([A]) == {A.hash}


def changed(registry: FakeRegistry, how: str, manifest: layout.Manifest, stranger: Signer) -> None:
    """Change the package A in the registry."""
    said = json.loads(registry.manifests[tag(A)])
    text = layout.signed_text(said["annotations"][oci_layout.SIGNED].encode())
    archive = f"sha256:{manifest.archive.digest}"
    if how == "other bytes":
        registry.blobs[archive] = bytes(manifest.archive.size)
    elif how == "longer":
        registry.blobs[archive] += b"more"
    elif how == "no blob":
        del registry.blobs[archive]
    elif how == "that of another":
        registry.manifests[tag(A)] = registry.manifests[tag(B)]
        return
    elif how == "too large":
        said["annotations"]["more"] = "x" * layout.MOST_OF_A_MANIFEST
    elif how == "by Spack":
        del said["annotations"]
    elif how == "unsigned":
        said["annotations"][oci_layout.SIGNED] = text
    elif how == "by another key":
        said["annotations"][oci_layout.SIGNED] = stranger.signed(text)
    elif how == "another archive":
        other = b"another archive"
        registry.blobs[f"sha256:{layout.blob_of(other).digest}"] = other
        said["layers"][-1] |= {"digest": f"sha256:{layout.blob_of(other).digest}", "size": len(other)}
    registry.manifests[tag(A)] = json.dumps(said).encode()


UNSEEN = ("other bytes", "longer", "that of another")
"""Changes that nobody sees who does not read the blobs."""


@signs
@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    ["other bytes", "longer", "no blob", "that of another", "too large", "by Spack", "unsigned", "by another key",
     "another archive"],
)  # fmt: skip
def test_what_was_changed_is_not_copied_and_pushed_again(
    registry: FakeRegistry, home: Path, tmp_path: Path, how: str
) -> None:
    cache = cache_in(registry)
    first, second = Caches([cache], tmp_path / "first", home), Caches([cache], tmp_path / "second", home)
    manifest = drop(tmp_path / "drop", A)
    drop(tmp_path / "drop", B)
    published(first, tmp_path / "drop", A, B)
    changed(registry, how, manifest, Signer.of("", tmp_path / "stranger"))
    if how not in (*UNSEEN, "no blob"):
        assert second.known([A, B]) == {B.hash}
    with second.wanted([A, B], STOP):
        assert not (second.folder / layout.manifest_path(A)).exists()
        assert (second.folder / layout.manifest_path(B)).exists()
        assert not list((second.folder / ".parts").iterdir())
    if how not in UNSEEN:
        assert published(first, tmp_path / "none", A, B) == [f"aaa@1.0/{A.hash[:7]} is in the build cache reg"]
        again = Caches([cache], tmp_path / "third", home)
        with again.wanted([A], STOP):
            assert (again.folder / layout.manifest_path(A)).exists()


@signs
@pytest.mark.long
def test_a_host_takes_what_keys_have_signed_that_it_trusts(registry: FakeRegistry, home: Path, tmp_path: Path) -> None:
    drop(tmp_path / "drop", A)
    published(Caches([cache_in(registry)], tmp_path / "first", home), tmp_path / "drop", A)
    key = tmp_path / "first.asc"
    key.write_text(Signer.of("", home).public_key())
    own = tmp_path / "second-key"
    assert Caches([cache_in(registry)], tmp_path / "second", own).known([A]) == set()
    trusting = Caches([cache_in(registry, trust=(str(key),))], tmp_path / "second", own)
    assert trusting.known([A]) == {A.hash}
    with trusting.wanted([A], STOP):
        assert trusting.known([A]) == {A.hash}


@signs
@pytest.mark.long
def test_an_archive_that_is_none_stays_here(registry: FakeRegistry, home: Path, tmp_path: Path) -> None:
    manifest = drop(tmp_path / "drop", A)
    folder = tmp_path / "drop"
    odd = layout.blob_of(b"no archive")
    (folder / odd.path).parent.mkdir(parents=True, exist_ok=True)
    (folder / odd.path).write_bytes(b"no archive")
    (folder / layout.manifest_path(A)).write_text(layout.manifest_text(replace(manifest, archive=odd)))
    told = published(Caches([cache_in(registry)], tmp_path / "store", home), folder, A)
    assert told[-1].startswith("build cache reg: its archive cannot be unpacked")
    assert registry.manifests == {}


@signs
@pytest.mark.long
def test_what_is_away_or_refuses_costs_its_packages_alone(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_USER", USER)
    monkeypatch.setenv("TEST_PASSWORD", "a-wrong-password")
    access = ("TEST_USER", "TEST_PASSWORD")
    with FakeRegistry('Basic realm="tests"') as locked:
        away = BuildCache(name="away", url="oci://127.0.0.1:9/spack", push=True, insecure=True, access=access)
        for broken, why in ((away, "refused"), (cache_in(locked, access=access), "HTTP 401 UNAUTHORIZED authent")):
            shutil.rmtree(tmp_path / "store", ignore_errors=True)
            drop(tmp_path / "drop", A)
            caches = Caches([broken], tmp_path / "store", home)
            told = published(caches, tmp_path / "drop", A)
            assert caches.known([A]) == {A.hash}
            assert len(told) == 2, told
            assert told[1].startswith(f"build cache {broken.name}: ")
            assert why in told[1]
            assert "a-wrong-password" not in " ".join(told) + caplog.text


# -- logins -------------------------------------------------------------------------------------------------------


def auths(file: Path, host: str, **more: Any) -> None:
    """Write a file with credentials for a host."""
    file.parent.mkdir(parents=True, exist_ok=True)
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    file.write_text(json.dumps({"auths": {host: {"auth": token}}} | more))


@pytest.mark.parametrize("place", [".docker/config.json", ".config/containers/auth.json", "named.json"])
@pytest.mark.parametrize("below", ["", "/team", "/team/spack"])
def test_credentials_are_those_of_containers_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, below: str
) -> None:
    with FakeRegistry('Basic realm="tests"') as locked:
        locked.blobs[f"sha256:{BLOB.digest}"] = CONTENT
        with pytest.raises(CCImagesError, match="wants a login, and there is none") as failed:
            fetched(cache_in(locked))
        assert failed.value.reason is Reason.CREDENTIALS
        auths(tmp_path / place, locked.host + below)
        if place == "named.json":
            monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / place))
        assert fetched(cache_in(locked)) == CONTENT


def test_the_nearest_entry_counts(tmp_path: Path) -> None:
    with FakeRegistry('Basic realm="tests"') as locked:
        locked.blobs[f"sha256:{BLOB.digest}"] = CONTENT
        wrong = {"auth": base64.b64encode(b"somebody:else").decode()}
        right = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        said = {locked.host: wrong, f"{locked.host}/team/spack": right, f"{locked.host}/team": wrong}
        (tmp_path / ".docker").mkdir()
        (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": said}))
        assert fetched(cache_in(locked)) == CONTENT


def test_a_program_has_the_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the host as its input, and nothing as an argument but what it is to do."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "docker-credential-tests"
    secret = json.dumps({"Username": USER, "Secret": PASSWORD})
    program.write_text(f"#!/bin/sh\nread host\necho \"$* $host\" >> {tmp_path}/asked\necho '{secret}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with FakeRegistry('Basic realm="tests"') as locked:
        locked.blobs[f"sha256:{BLOB.digest}"] = CONTENT
        for more in ({"credHelpers": {locked.host: "tests"}}, {"credsStore": "tests"}):
            auths(tmp_path / ".docker/config.json", "elsewhere.example.org", **more)
            assert fetched(cache_in(locked)) == CONTENT
        assert (tmp_path / "asked").read_text() == f"get {locked.host}\n" * 2
        for name in ("../tests", "gone"):
            auths(tmp_path / ".docker/config.json", "elsewhere.example.org", credsStore=name)
            with pytest.raises(CCImagesError) as failed:
                fetched(cache_in(locked))
            assert failed.value.reason is Reason.CREDENTIALS


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 3}', '{"auths": {"HOST": {"auth": "%"}}}'])
def test_a_damaged_file_with_credentials_is_named(tmp_path: Path, text: str) -> None:
    with FakeRegistry('Basic realm="tests"') as locked:
        (tmp_path / ".docker").mkdir()
        (tmp_path / ".docker/config.json").write_text(text.replace("HOST", locked.host))
        with pytest.raises(CCImagesError, match=r"config\.json cannot be read, or is no file with credentials"):
            fetched(cache_in(locked))


def test_an_identity_token_is_refused_with_a_word(tmp_path: Path) -> None:
    with FakeRegistry('Basic realm="tests"') as locked:
        auths(tmp_path / ".docker/config.json", "x", auths={locked.host: {"identitytoken": "a-secret"}})
        with pytest.raises(CCImagesError, match="identity token") as failed:
            fetched(cache_in(locked))
        assert "a-secret" not in failed.value.message


def with_variables(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("TEST_USER", USER)
    monkeypatch.setenv("TEST_PASSWORD", PASSWORD)
    return "TEST_USER", "TEST_PASSWORD"


def test_a_variable_that_is_not_set_is_named(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.challenge = 'Basic realm="tests"'
    access = with_variables(monkeypatch)
    monkeypatch.delenv("TEST_PASSWORD")
    with pytest.raises(CCImagesError, match="the variable TEST_PASSWORD is not set"):
        fetched(cache_in(registry, access=access))


def test_a_registry_gets_a_token_for_its_repository(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.challenge = REALM.format(host=registry.host)
    cache = cache_in(registry, access=with_variables(monkeypatch))
    repository = Repository(cache)
    file = Path(os.environ["HOME"]) / "blob"
    file.write_bytes(CONTENT)
    repository.put(BLOB.path, file)
    assert repository.size(BLOB.path) == BLOB.size
    assert repository.size(layout.blob_path("0" * 64)) is None
    assert registry.scopes == ["repository:team/spack:pull,push", "repository:team/spack:pull"], "once each"
    kinds = zip(registry.calls, registry.authorizations, strict=True)
    assert {"token" in call for call, sent in kinds if sent.startswith("Basic")} == {True}, "no password elsewhere"


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="http://elsewhere.example.org/token",service="x"',
        'Bearer realm="file:///etc/passwd"',
        'Bearer service="x"',
        'Negotiate realm="x"',
        "",
    ],
)
def test_a_password_goes_to_no_odd_place(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, challenge: str
) -> None:
    registry.rule = lambda method, path, number: (
        Fault(401, (("WWW-Authenticate", challenge),)) if "blobs" in path else None
    )
    with pytest.raises(CCImagesError) as failed:
        fetched(cache_in(registry, access=with_variables(monkeypatch)))
    assert failed.value.reason is Reason.CREDENTIALS
    assert not any(registry.authorizations)


def test_a_token_that_ends_is_asked_for_again(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.blobs[f"sha256:{BLOB.digest}"] = CONTENT
    registry.challenge = REALM.format(host=registry.host)
    repository = Repository(cache_in(registry, access=with_variables(monkeypatch)))
    assert repository.size(BLOB.path) == BLOB.size
    ended = len(registry.calls)
    registry.rule = lambda method, path, number: (
        Fault(401, (("WWW-Authenticate", registry.challenge),)) if number == ended + 1 else None
    )
    assert repository.size(BLOB.path) == BLOB.size
    assert len(registry.scopes) == 2


# -- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault(503), Fault(429), Fault(cut=True)], ids=["503", "429", "cut"])
def test_what_may_pass_is_tried_again(registry: FakeRegistry, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    registry.blobs[f"sha256:{BLOB.digest}"] = CONTENT
    faults = iter([fault])
    registry.rule = lambda method, path, number: next(faults, None) if "blobs" in path else None
    assert fetched(cache_in(registry)) == CONTENT
    assert "retry in 0.5 s" in caplog.text


@pytest.mark.parametrize("at", range(3), ids=["looked for", "begun", "brought"])
def test_an_upload_begins_again(registry: FakeRegistry, tmp_path: Path, at: int) -> None:
    (tmp_path / "blob").write_bytes(CONTENT)
    faults = iter([None] * at + [Fault(502)])
    registry.rule = lambda method, path, number: next(faults, None) if "blobs" in path else None
    repository = Repository(cache_in(registry))
    if repository.size(BLOB.path) is None:
        repository.put(BLOB.path, tmp_path / "blob")
    assert registry.blobs == {f"sha256:{BLOB.digest}": CONTENT}


@pytest.mark.parametrize(
    ("status", "reason"), [(403, Reason.FORBIDDEN), (413, Reason.QUOTA), (405, Reason.SITE), (500, Reason.SITE)]
)
def test_a_refusal_is_named(registry: FakeRegistry, tmp_path: Path, status: int, reason: Reason) -> None:
    (tmp_path / "blob").write_bytes(CONTENT)
    registry.rule = lambda method, path, number: Fault(status) if method == "PUT" else None
    with pytest.raises(CCImagesError, match=f"HTTP {status}") as failed:
        Repository(cache_in(registry)).put(BLOB.path, tmp_path / "blob")
    assert failed.value.reason is reason
    assert "state=x" not in failed.value.message, "addresses of uploads may have secrets"


def test_other_bytes_do_not_get_there(registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(bytes(BLOB.size))
    with pytest.raises(CCImagesError, match="HTTP 400 DIGEST_INVALID"):
        Repository(cache_in(registry)).put(BLOB.path, tmp_path / "blob")
    assert registry.blobs == {}


def test_a_registry_with_tls_is_not_asked_without(registry: FakeRegistry) -> None:
    cache = replace(cache_in(registry), insecure=False)
    with pytest.raises(CCImagesError, match="oci://127") as failed:
        fetched(cache)
    assert "insecure: yes" in failed.value.hint
    assert registry.calls == []


def test_loopback_is_not_asked_by_a_proxy(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.blobs[f"sha256:{BLOB.digest}"] = CONTENT
    with FakeRegistry() as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetched(cache_in(registry)) == CONTENT
        assert proxy.calls == []


def test_no_secret_goes_along_a_redirect(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry.challenge = 'Basic realm="tests"'
    path = f"/v2/team/spack/blobs/sha256:{BLOB.digest}"
    with FakeRegistry() as storage:
        storage.blobs[f"sha256:{BLOB.digest}"] = CONTENT
        there = Fault(307, (("Location", f"http://{storage.host}{path}"),))
        registry.rule = lambda method, where, number: (
            there if where == path and registry.authorizations[-1] == basic() else None
        )
        cache = cache_in(registry, access=with_variables(monkeypatch))
        assert fetched(cache) == CONTENT
        assert Repository(cache).size(BLOB.path) == BLOB.size
        assert storage.calls == [f"GET {path}", f"HEAD {path}"]
        assert storage.authorizations == ["", ""]
        storage.challenge = 'Basic realm="give it to me"'
        with pytest.raises(CCImagesError, match="HTTP 401"):
            fetched(cache)
        assert not any(storage.authorizations)


def test_a_redirect_within_the_registry_keeps_the_login(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.challenge = 'Basic realm="tests"'
    registry.blobs[f"sha256:{BLOB.digest}"] = CONTENT
    there = Fault(302, (("Location", f"/v2/other/blobs/sha256:{BLOB.digest}"),))
    registry.rule = lambda method, path, number: there if path.startswith("/v2/team/spack/blobs/") else None
    assert fetched(cache_in(registry, access=with_variables(monkeypatch))) == CONTENT


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_an_odd_redirect_is_not_followed(registry: FakeRegistry, place: str) -> None:
    registry.rule = lambda method, path, number: Fault(302, (("Location", place),)) if "blobs" in path else None
    with pytest.raises(CCImagesError, match="HTTP 302"):
        fetched(cache_in(registry))


def test_an_upload_is_not_led_to_another_scheme(registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(CONTENT)
    there = Fault(202, (("Location", "ftp://127.0.0.1/x"),))
    registry.rule = lambda method, path, number: there if method == "POST" else None
    with pytest.raises(CCImagesError, match="place for uploads"):
        Repository(cache_in(registry)).put(BLOB.path, tmp_path / "blob")


@pytest.mark.parametrize("path", ["/token", "/v2/team/spack/blobs"])
def test_an_answer_that_is_nested_too_deeply_is_none(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    registry.challenge = REALM.format(host=registry.host)
    monkeypatch.setenv("U", USER)
    monkeypatch.setenv("P", PASSWORD)
    status = 200 if path == "/token" else 403
    registry.rule = lambda method, asked, number: (
        Fault(status, body=b"[" * 100_000) if asked.startswith(path) and registry.authorizations[-1] else None
    )
    with pytest.raises(CCImagesError) as caught:
        fetched(cache_in(registry, access=("U", "P")))
    assert caught.value.reason in (Reason.SITE, Reason.FORBIDDEN), caught.value.reason


def test_a_token_is_in_no_message(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.challenge = REALM.format(host=registry.host)
    registry.rule = lambda method, path, number: (
        Fault(403) if registry.authorizations[-1] == f"Bearer {TOKEN}" else None
    )
    with pytest.raises(CCImagesError) as failed:
        fetched(cache_in(registry, access=with_variables(monkeypatch)))
    assert failed.value.reason is Reason.FORBIDDEN
    assert TOKEN not in failed.value.message
    assert PASSWORD not in failed.value.message
