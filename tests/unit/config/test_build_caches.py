"""`build-caches` of sites.yaml: read, placed, and every mistake named with its line and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.config.loader import Config, load
from cc_images.errors import ConfigError
from cc_images.model.build_cache import BuildCache
from tests.conftest import clean_environment, write_files


def loaded(folder: Path, sites: str) -> Config:
    write_files(folder, images="One: {elements: [vm]}\n", sites=sites)
    return load(clean_environment(folder), folder)


def test_caches_are_read_and_are_no_sites(tmp_path: Path) -> None:
    (tmp_path / "others.asc").write_text("a key")
    (tmp_path / "certificates.pem").write_text("a certificate")
    found = loaded(
        tmp_path,
        """local: {directory: site}
build-caches:
  nfs: {url: 'file:///mnt/cache/', push: yes, key: /mnt/gnupg}
  cloud:
    url: s3://packages/spack
    endpoint: https://s3.example.org
    access-key-variable: SPACK_ACCESS
    secret-key-variable: SPACK_SECRET
    trust: others.asc
  registry:
    url: oci://registry.example.org:5000/team/spack/
    push: yes
    user-variable: SPACK_USER
    password-variable: SPACK_PASSWORD
  near: {url: 'oci://localhost/spack', insecure: yes}
  own: {url: 'oci://registry.example.org/own', ca: certificates.pem}
""",
    )
    assert [site.name for site in found.sites] == ["local"]
    assert found.build_caches == (
        BuildCache(name="nfs", url="file:///mnt/cache", push=True, key="/mnt/gnupg"),
        BuildCache(
            name="cloud",
            url="s3://packages/spack",
            endpoint="https://s3.example.org",
            access=("SPACK_ACCESS", "SPACK_SECRET"),
            trust=(str(tmp_path / "others.asc"),),
        ),
        BuildCache(
            name="registry",
            url="oci://registry.example.org:5000/team/spack",
            push=True,
            access=("SPACK_USER", "SPACK_PASSWORD"),
        ),
        BuildCache(name="near", url="oci://localhost/spack", insecure=True),
        BuildCache(name="own", url="oci://registry.example.org/own", ca=str(tmp_path / "certificates.pem")),
    )
    assert found.build_caches[0].folder == "/mnt/cache"
    assert found.build_caches[1].folder == ""
    assert [each.repository for each in found.build_caches] == [
        "", "", "registry.example.org:5000/team/spack", "localhost/spack", "registry.example.org/own",
    ]  # fmt: skip


def test_without_the_entry_there_are_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, "local: {directory: site}\n").build_caches == ()


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        (
            "{url: 'oci://r.example.org/c', endpoint: 'https://e.example.org'}",
            "endpoint is not used: only s3:// has it",
        ),
        ("{url: 's3://bucket', insecure: yes}", "insecure is not used: only oci:// has it"),
        ("{url: 's3://bucket', user-variable: A}", "user-variable is not used: only oci:// has it"),
        ("{url: 's3://bucket', ca: /etc/hosts}", "ca is not used: only oci:// has it"),
        ("{url: 'file:///c', access-key-variable: A}", "access-key-variable is not used: only s3:// has it"),
    ],
)
def test_keys_of_another_kind_are_named(tmp_path: Path, entry: str, note: str) -> None:
    (said,) = loaded(tmp_path, f"build-caches:\n  c: {entry}\n").notes
    assert said == f"sites.yaml: build-caches.c.{note}"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{}", "build-caches.c: needs|build-caches.c.url: is missing: file:///FOLDER, s3://BUCKET/PREFIX, or oci://"),
        ("{url: /mnt/cache}", "url: '/mnt/cache' is not file:///FOLDER"),
        ("{url: 'file://cache'}", "must be file:///FOLDER, with a whole path"),
        (
            "{url: 'oci+http://127.0.0.1:5000/cache'}",
            "oci+http:// is no build cache here: say oci:// and `insecure: yes`",
        ),
        ("{url: 'oci://registry.example.org'}", "is not oci://HOST/REPOSITORY"),
        ("{url: 'oci://registry.example.org/Team/spack'}", "is not oci://HOST/REPOSITORY, with small letters"),
        ("{url: 'oci://registry.example.org/team/../spack'}", "is not oci://HOST/REPOSITORY"),
        ("{url: 'oci://registry.example.org/spack:latest'}", "is not oci://HOST/REPOSITORY"),
        ("{url: 'oci://team/spack'}", "is not oci://HOST/REPOSITORY"),
        ("{url: 'oci://me:secret@registry.example.org/spack'}", "name variables: user-variable, password-variable"),
        ("{url: 'oci://r.example.org/c', user-variable: A}", "needs both user-variable and password-variable"),
        ("{url: 'oci://r.example.org/c', password-variable: a/b+c}", "the value does not belong here"),
        ("{url: 'oci://r.example.org/c', insecure: yes}", "insecure: is for a registry on this host's loopback"),
        ("{url: 'oci://r.example.org/c', ca: gone.pem}", "gone.pem is not there; it has certificates, as PEM"),
        (
            "{url: 'oci://localhost:5000/c', insecure: yes, ca: /etc/hosts}",
            "ca: there is no certificate to look at with `insecure: yes`",
        ),
        ("{url: 'https://example.org/cache'}", "https:// is no build cache here: nothing can be written there"),
        ("{url: 'gs://bucket'}", "gs:// is not known"),
        ("{url: 's3://me:secret@bucket/x'}", "url: has credentials; name variables"),
        ("{url: 's3://Bucket/x'}", "is not s3://BUCKET/PREFIX"),
        ("{url: 's3://bucket/../x'}", "is not s3://BUCKET/PREFIX"),
        ("{url: 's3://bucket', endpoint: 'http://s3.example.org'}", "endpoint: is without TLS"),
        ("{url: 's3://bucket', endpoint: s3.example.org}", "is not https://HOST"),
        ("{url: 's3://bucket', endpoint: 'https://a:b@s3.example.org'}", "is not https://HOST"),
        ("{url: 's3://bucket', endpoint: 'https://s3.example.org:abc'}", "is not https://HOST"),
        ("{url: 's3://bucket', endpoint: 'https://s3.example.org:99999'}", "is not https://HOST"),
        ("{url: 's3://bucket', endpoint: 'https://s3 example.org'}", "is not https://HOST"),
        ("{url: 's3://bucket', endpoint: 'https://s3.example.org/?a=b'}", "is not https://HOST"),
        ("{url: 's3://bucket', access-key-variable: A}", "needs both access-key-variable and secret-key-variable"),
        ("{url: 's3://bucket', secret-key-variable: a/b+c}", "the value does not belong here"),
        ("{url: 'file:///c', key: mine}", "key: 'mine' is not a fingerprint of 40 digits, or a GnuPG home"),
        ("{url: 'file:///c', trust: gone.asc}", "gone.asc is not there; write it with"),
        ("{url: 'file:///c', pull: yes}", "unknown key; known are url"),
        ("{url: 'file:///c', push: sometimes}", "push: 'sometimes' is not true or false"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, entry: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"build-caches:\n  c: {entry}\n")
    (said,) = caught.value.problems
    assert said.startswith("sites.yaml:2: build-caches.c"), said
    assert any(each in said for each in problem.split("|")), said
    assert "a/b+c" not in said
    assert "me:secret" not in said


def test_two_caches_are_not_at_one_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sites.yaml:3: build-caches.b.url: file:///c is also that of a"):
        loaded(tmp_path, "build-caches:\n  a: {url: 'file:///c'}\n  b: {url: 'file:///c/'}\n")
