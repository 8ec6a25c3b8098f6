"""Glance's own check of image signatures: a real Glance, which takes certificates from a stand-in for a key store."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites.glance import GlanceSite
from tests.real.conftest import Project
from tests.support.testbed import TestBed

STORE = """\
from castellan.common.objects import x_509
from castellan.key_manager import not_implemented_key_manager
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

class Certificates(not_implemented_key_manager.NotImplementedKeyManager):
    def get(self, context, managed_object_id, metadata_only=False):
        with open("FOLDER/" + managed_object_id + ".pem", "rb") as file:
            return x_509.X509(load_pem_x509_certificate(file.read()).public_bytes(Encoding.DER))
"""

RSA = "11111111-2222-3333-4444-555555555555"
CURVE = "66666666-2222-3333-4444-555555555555"

KINDS = {RSA: ("rsa:2048",), CURVE: ("ec", "-pkeyopt", "ec_paramgen_curve:secp384r1")}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """Return services of which the Glance of `metal` has certificates."""
    folder = tmp_path_factory.mktemp("signed")
    (folder / "metal").mkdir()
    (folder / "metal/certificates.py").write_text(STORE.replace("FOLDER", str(folder)))
    for uuid, kind in KINDS.items():
        made = ["-keyout", f"{folder}/{uuid}.key", "-out", f"{folder}/{uuid}.pem", "-subj", "/CN=images", "-days", "2"]
        subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", *kind, *made], check=True, capture_output=True)
    with TestBed(folder, {"metal": "[key_manager]\nbackend = certificates.Certificates"}) as made_bed:
        yield made_bed


@pytest.mark.parametrize("uuid", [RSA, pytest.param(CURVE, marks=pytest.mark.deep)])
def test_glance_checks_what_was_signed(
    project: Project, cloud: TestBed, monkeypatch: pytest.MonkeyPatch, uuid: str
) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.clouds))
    project.environment["OS_CLIENT_CONFIG_FILE"] = str(cloud.clouds)
    key = cloud.folder / f"{uuid}.key"
    site = GlanceSite(Site(name="metal", cloud="metal"), Format.QCOW2)

    def sites(certificate: str) -> None:
        signed = f"image-signature: {{certificate: {certificate}, key: {key}}}"
        (project.folder / "sites.yaml").write_text(f"metal: {{cloud: metal, is_baremetal: true, {signed}}}")

    other = CURVE if uuid == RSA else RSA
    sites(other)
    code, output = project.run("-b", "-p", "-f", "cc-tiny")
    assert code == 3, output
    assert "Signature verification failed" in output
    before = [each.id for each in site.find("CC-Tiny")]
    sites(uuid)
    code, output = project.run("-b", "-p", "cc-tiny")
    assert code == 0, output
    (image,) = site.find("CC-Tiny")
    assert [image.id] != before
    assert image.properties["img_signature_certificate_uuid"] == uuid
    assert image.properties["img_signature_hash_method"] == "SHA-512"
    code, output = project.run("-b", "-p", "cc-tiny")
    assert code == 0, output
    (same,) = site.find("CC-Tiny")
    assert (same.id, same.properties) == (image.id, image.properties), "nothing to do"
    assert "PRIVATE KEY" not in output
