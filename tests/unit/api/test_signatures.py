"""Signatures: what is published is signed, and what is not signed by a trusted key is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.cli.main import main
from cc_images.errors import CCImagesError
from cc_images.host import signing
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch
from cc_images.model.statement import statement
from cc_images.store.records import Store
from tests.conftest import Cli, clean_environment, forked, write_files
from tests.unit.api.test_rollback import add

V1 = "20261101T000000Z"
NAME = "CC-X"

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def ssh_key(folder: Path, name: str) -> Path:
    """Make a key; return its file."""
    file = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file], check=True)
    return file


def allowed(folder: Path, key: Path, options: str = "") -> Path:
    """Write a list of allowed signers with one key."""
    public = key.with_suffix(".pub").read_text().split()
    file = folder / "allowed_signers"
    file.write_text(f"images@example.org {options}{public[0]} {public[1]}\n")
    return file


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ssh_key(tmp_path_factory.mktemp("pair"), "key")


@pytest.fixture
def key(pair: Path, tmp_path: Path) -> Path:
    shutil.copy(pair.with_suffix(".pub"), tmp_path)
    return Path(shutil.copy(pair, tmp_path))


def gpg_key(owner: str, expires: str) -> None:
    """Make a key in GPG's home."""
    make = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", owner, "ed25519", "sign", expires]
    subprocess.run(make, check=True)


def output(*command: str) -> bytes:
    return subprocess.run(command, capture_output=True, check=True).stdout


def settings(tmp_path: Path, **keys: object) -> dict[str, str]:
    """Write settings with these keys; return the environment that names them."""
    file = tmp_path / "settings.yaml"
    file.write_text(json.dumps({"keys": {name: str(value) for name, value in keys.items()}}))
    return {"CC_IMAGES_SETTINGS": str(file)}


def project(tmp_path: Path, sites: str) -> None:
    write_files(tmp_path, images="CC-X: {elements: [debian-minimal], disk: []}\n", sites=sites)
    store = Store(tmp_path / "store")
    if not store.root.exists():
        store.root.mkdir()
        add(store, V1)


PUSH = ("-q", "-p", "--no-boot-test", "cc-x")
SITES = "all: {catalogue: catalogue, scope: prod}\none: {directory: one}\n"


def publish(folder: Path, key: Path) -> None:
    """Publish a signed version in a catalogue and a folder."""
    project(folder, SITES)
    done = forked(main, PUSH, folder, clean_environment(folder) | settings(folder, sign=key))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def published(cli: Cli, key: Path, tmp_path: Path) -> Cli:
    """Return the command line in a project that has published a signed version in a catalogue and a folder."""
    publish(tmp_path, key)
    return cli


@pytest.fixture(scope="module")
def signed(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    publish(folder, pair)
    return folder


@pytest.fixture
def catalogued(cli: Cli, signed: Path, tmp_path: Path) -> Cli:
    """Return the command line in a copy of the project, without the folder, which knows its images by inode."""
    shutil.copytree(signed, tmp_path, symlinks=True, ignore=shutil.ignore_patterns("one"), dirs_exist_ok=True)
    return cli


def test_what_is_published_is_signed_and_says_by_whom(published: Cli, tmp_path: Path, key: Path) -> None:
    trust = settings(tmp_path, trusted=allowed(tmp_path, key))
    for what in ("all", "one", str(tmp_path / "one" / "CC-X.qcow2")):
        done = published("verify", "--signature", what, "--json", **trust)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [row["signer"] for row in json.loads(done.stdout)] == ["images@example.org"]
    said = json.loads(json.loads((tmp_path / "one" / "CC-X.json").read_text())["properties"]["build-statement"])
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["subject"][0]["name"] == "CC-X.qcow2"
    again = published("-p", "--no-boot-test", "cc-x", **settings(tmp_path, sign=key))
    assert "cached" in again.stdout
    assert "done:" not in again.stdout, "it is signed once"


def test_nothing_trusted_is_said(published: Cli, tmp_path: Path) -> None:
    done = published("verify", "--signature", "one")
    assert done.returncode == 2
    assert "nothing says whose signatures count" in done.stderr


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("flipped", "about other bytes"),
        ("unsigned", "it is not signed"),
        ("unknown", "its key is not among the trusted ones"),
        ("expired", "its key is not valid now"),
        ("statement", "other content was signed"),
        ("signature", "it is no signature"),
        ("namespace", "for something else than cc-images"),
        ("version", "about another version"),
    ],
)
def test_what_no_trusted_key_has_signed_is_refused_by_name(
    catalogued: Cli, tmp_path: Path, key: Path, what: str, said: str
) -> None:
    place = json.loads((tmp_path / "catalogue" / "prod" / "current").read_text())[NAME]
    manifest = tmp_path / "catalogue" / "prod" / "versions" / place / "manifest.json"
    told = json.loads(manifest.read_text())
    properties = told["properties"]
    trusted = allowed(tmp_path, key, 'valid-before="20200101" ' if what == "expired" else "")
    if what == "unknown":
        trusted = allowed(tmp_path, ssh_key(tmp_path, "another"))
    elif what == "flipped":
        told["sha256"] = "0" * 64
        told["sha512"] = "0" * 128
    elif what == "unsigned":
        del properties["build-signature"]
    elif what == "statement":
        properties["build-statement"] = properties["build-statement"].replace("cc-x", "cc-y")
    elif what == "signature":
        properties["build-signature"] = "yes"
    elif what == "version":
        properties["build-version"] = "20301231T000000Z"
    elif what == "namespace":
        file = tmp_path / "message"
        file.write_text(properties["build-statement"])
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", key, file], check=True)
        properties["build-signature"] = file.with_suffix(".sig").read_text()
    manifest.write_text(json.dumps(told))
    if what == "flipped":
        next(manifest.parent.glob("*.qcow2")).write_text("other")
    trust = settings(tmp_path, trusted=trusted)
    verified = catalogued("verify", "--signature", "all", **trust)
    assert verified.returncode == 3
    assert "REFUSED: " in verified.stdout
    assert said in verified.stdout
    project(tmp_path, "two: {directory: two, require-signature: true}\nthree: {directory: three}\n")
    pulled = catalogued(
        "pull", str(tmp_path / "catalogue" / "prod"), "--json", CC_IMAGES_STORE=str(tmp_path / "b"), **trust
    )
    assert pulled.returncode == 3
    rows = {row["site"]: row for row in json.loads(pulled.stdout)}
    assert said in rows["two"]["error"]
    assert not (tmp_path / "two" / "CC-X.qcow2").exists()
    assert (tmp_path / "three" / "CC-X.qcow2").exists() == (what != "flipped"), "that site asks for no signature"


def test_another_image_that_is_signed_does_not_stand_in_its_place(catalogued: Cli, tmp_path: Path, key: Path) -> None:
    scope = tmp_path / "catalogue" / "prod"
    place = json.loads((scope / "current").read_text())[NAME]
    version = scope / "versions" / place
    manifest = json.loads((version / "manifest.json").read_text())
    (version / "manifest.json").write_text(json.dumps(manifest | {"name": "CC-Other"}))
    (version / "CC-X.qcow2").rename(version / "CC-Other.qcow2")
    (scope / "current").write_text(json.dumps({"CC-Other": place}))
    project(tmp_path, "two: {directory: two, require-signature: true}\n")
    trust = settings(tmp_path, trusted=allowed(tmp_path, key))
    done = catalogued("pull", str(scope), CC_IMAGES_STORE=str(tmp_path / "b"), **trust)
    assert done.returncode == 3
    assert "about other bytes, or another image" in done.stdout
    assert not (tmp_path / "two" / "CC-Other.qcow2").exists()


def test_bytes_that_were_changed_on_a_site_are_noticed(published: Cli, tmp_path: Path, key: Path) -> None:
    trust = settings(tmp_path, trusted=allowed(tmp_path, key))
    files = {"one": tmp_path / "one" / "CC-X.qcow2", "all": next((tmp_path / "catalogue").rglob("CC-X.qcow2"))}
    for site, file in files.items():
        status = file.stat()
        file.chmod(0o644)
        file.write_text("x" * status.st_size)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        done = published("verify", "--signature", site, **trust)
        assert done.returncode == 3
        assert "about other bytes" in done.stdout


def test_a_pull_takes_what_is_signed(catalogued: Cli, tmp_path: Path, key: Path) -> None:
    project(tmp_path, "two: {directory: two, require-signature: true}\n")
    words = ("pull", str(tmp_path / "catalogue" / "prod"))
    unknown = catalogued(*words, CC_IMAGES_STORE=str(tmp_path / "b"))
    assert unknown.returncode == 2
    assert "nothing says whose signatures count" in unknown.stderr
    trust = settings(tmp_path, trusted=allowed(tmp_path, key))
    assert catalogued(*words, CC_IMAGES_STORE=str(tmp_path / "b"), **trust).returncode == 0
    assert (tmp_path / "two" / "CC-X.qcow2").read_text() == V1
    there = catalogued("verify", "--signature", "two", **trust)
    assert there.returncode == 0, "the signature has come along"


@pytest.mark.parametrize(
    ("sign", "said"),
    [("/nowhere/key", "/nowhere/key does not sign"), ("gpg:0123456789ABCDEF", "does not sign")],
)
def test_a_key_that_does_not_sign_is_named(cli: Cli, tmp_path: Path, sign: str, said: str) -> None:
    project(tmp_path, "one: {directory: one, is_baremetal: true}\n")
    done = cli(*PUSH, **settings(tmp_path, sign=sign))
    assert done.returncode == 3
    assert said in done.stderr
    assert not (tmp_path / "one" / "CC-X.qcow2").exists(), "nothing is published unsigned"


def test_a_key_with_a_passphrase_needs_an_agent(tmp_path: Path) -> None:
    file = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", file], check=True)
    with pytest.raises(CCImagesError, match="does not sign") as caught:
        signing.sign("text", str(file))
    assert "needs an agent" in caught.value.hint
    assert "passphrase" not in caught.value.message or "incorrect passphrase" in caught.value.message


def test_an_agent_signs_for_a_public_key(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.run(
        ["ssh-agent", "-s", "-a", tmp_path / "agent"], capture_output=True, text=True, check=True
    ).stdout
    pid = int(said.partition("SSH_AGENT_PID=")[2].partition(";")[0])
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        subprocess.run(["ssh-add", "-q", key], check=True)
        public = tmp_path / "only.pub"
        shutil.copy(key.with_suffix(".pub"), public)
        key.unlink()
        made = signing.sign("text", str(public))
        key.with_suffix(".pub").write_text(public.read_text())
        assert signing.signer("text", made, allowed(tmp_path, key)) == "images@example.org"
    finally:
        subprocess.run(["kill", str(pid)], check=True)


@pytest.fixture
def gnupg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the home of a GPG with a key of images@example.org."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    make = [
        "gpg",
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-generate-key",
        "images@example.org",
        "ed25519",
        "sign",
    ]
    subprocess.run([*make, "never"], check=True)
    yield home
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=False)


@pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg")
def test_gpg_signs_and_is_believed_as_far_as_its_keys_are(gnupg: Path, tmp_path: Path) -> None:
    made = signing.sign("text", "gpg:images@example.org")
    trusted = tmp_path / "trusted.gpg"
    trusted.write_bytes(
        subprocess.run(["gpg", "--export", "images@example.org"], capture_output=True, check=True).stdout
    )
    assert "images@example.org" in signing.signer("text", made, trusted)
    with pytest.raises(CCImagesError, match="other content was signed"):
        signing.signer("another text", made, trusted)
    other = [
        "gpg",
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-generate-key",
        "other@example.org",
        "ed25519",
        "sign",
    ]
    subprocess.run([*other, "seconds=1"], check=True)
    expiring = signing.sign("text", "gpg:other@example.org")
    with pytest.raises(CCImagesError, match="its key is not among the trusted ones"):
        signing.signer("text", expiring, trusted)
    trusted.write_bytes(
        subprocess.run(["gpg", "--export", "other@example.org"], capture_output=True, check=True).stdout
    )
    subprocess.run(["sleep", "3"], check=True)
    with pytest.raises(CCImagesError, match="its key has expired"):
        signing.signer("text", expiring, trusted)


@pytest.mark.parametrize(("content", "signature"), [("text", "\ud800"), ("\ud800", "-----BEGIN SSH SIGNATURE-----")])
def test_what_is_no_text_is_refused(tmp_path: Path, key: Path, content: str, signature: str) -> None:
    with pytest.raises(CCImagesError, match="it is no text"):
        signing.signer(content, signature, allowed(tmp_path, key))


def test_a_keyring_of_gpg_knows_no_ssh_key(tmp_path: Path, key: Path) -> None:
    trusted = tmp_path / "trusted.gpg"
    trusted.write_bytes(bytes(range(128, 256)))
    with pytest.raises(CCImagesError, match="not among the trusted ones"):
        signing.signer("text", signing.sign("text", str(key)), trusted)


@pytest.mark.parametrize("site", ["one", "all"])
def test_a_file_that_is_gone_is_said(published: Cli, tmp_path: Path, key: Path, site: str) -> None:
    trust = settings(tmp_path, trusted=allowed(tmp_path, key))
    for file in (tmp_path / ("one" if site == "one" else "catalogue")).rglob("CC-X.qcow2"):
        file.unlink()
    done = published("verify", "--signature", site, **trust)
    assert done.returncode == 3, done.stdout
    assert "CC-X" in done.stdout
    assert "is missing" in done.stdout or "is gone" in done.stdout


def test_a_statement_names_inputs_and_times() -> None:
    build = Build(tag="cc-x", name="CC-X", arch=Arch.AMD64, version=V1, recipe_key="r", key="k", outputs={},
                  upstream={"https://example.org/InRelease": "a" * 64})  # fmt: skip
    recipe = {
        "elements": {"cc-x": "b" * 64},
        "artifacts": {"CC_KEYRING": f"keyring.deb {'c' * 64} as url", "CC_OTHER": "other 0123456789ab"},
        "parent": "d" * 64,
        "tools": {"diskimage-builder": "3.43"},
    }
    details = {"recipe": recipe, "sources": {"mine": "e" * 40}, "finished": "2026-11-01T00:10:00+00:00"}
    said = json.loads(statement(build, "CC-X", details))["predicate"]
    found = {
        each["uri"]: next(iter(each["digest"].values())) for each in said["buildDefinition"]["resolvedDependencies"]
    }
    assert found == {
        "element-source:mine": "e" * 40,
        "element:cc-x": "b" * 64,
        "artifact:CC_KEYRING/keyring.deb": "c" * 64,
        "layer-recipe:": "d" * 64,
        "https://example.org/InRelease": "a" * 64,
    }
    assert said["runDetails"]["metadata"]["startedOn"] == "2026-11-01T00:00:00+00:00"
    assert said["runDetails"]["metadata"]["finishedOn"] == "2026-11-01T00:10:00+00:00"
    assert said["runDetails"]["builder"]["version"] == {"diskimage-builder": "3.43"}
