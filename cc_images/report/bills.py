"""Bills of materials as documents: SPDX 2.3 and CycloneDX 1.6, written by these formats' own libraries.

Equal bills give equal documents: the time is that of the build, identifiers follow from its digests. The libraries are
an extra, `cc-images[sbom]`, and are imported here alone.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.bill import Bill

PROGRAM = "cc-images"

FORMATS = ("cyclonedx", "spdx")

SPACE = uuid.UUID("6c1d7c2e-9d4a-5b53-8a5e-6f6f0d3b7b11")
"""The namespace of our documents' identifiers."""


def document(bill: Bill, form: str) -> str:
    """Return a bill in one of FORMATS, as JSON. Raises CCImagesError where the libraries are missing."""
    if form not in FORMATS:
        raise UserError(f"{form} is no format of a bill of materials", hint=f"say {' or '.join(FORMATS)}")
    try:
        return _cyclonedx(bill) if form == "cyclonedx" else _spdx(bill)
    except ImportError as error:
        raise CCImagesError(
            f"bills of materials need the library {error.name}",
            hint="install it: pip install 'cc-images[sbom]'",
            reason=Reason.MISSING_TOOL,
        ) from error


def _identity(bill: Bill) -> uuid.UUID:
    said = [bill.name, bill.version, bill.arch, *(f"{form}={digest}" for form, digest in sorted(bill.digests.items()))]
    return uuid.uuid5(SPACE, "\n".join(said))


def _purl(bill: Bill, name: str, version: str) -> Any:
    from packageurl import PackageURL

    qualifiers = {"distro": f"{bill.distro}-{bill.release}"} if bill.release else {}
    return PackageURL(bill.kind, bill.distro or None, name, version, qualifiers)


def _cyclonedx(bill: Bill) -> str:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    image = Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=bill.name,
        version=bill.version,
        bom_ref=str(_identity(bill)),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for _, digest in sorted(bill.digests.items())],
        properties=[Property(name="cc-images:architecture", value=bill.arch)],
    )
    parts = []
    for name, version in sorted(bill.packages.items()):
        purl = _purl(bill, name, version)
        parts.append(
            Component(type=ComponentType.LIBRARY, name=name, version=version, purl=purl, bom_ref=purl.to_string())
        )
    tool = Component(type=ComponentType.APPLICATION, name=PROGRAM)
    bom = Bom(
        serial_number=_identity(bill),
        components=parts,
        metadata=BomMetaData(
            timestamp=bill.created,
            component=image,
            tools=ToolRepository(components=[tool]),
        ),
    )
    bom.register_dependency(image, parts)
    written = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    return json.dumps(json.loads(written), indent=1, sort_keys=True)


def _spdx(bill: Bill) -> str:
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
    from spdx_tools.spdx.model import (
        Actor,
        ActorType,
        Checksum,
        ChecksumAlgorithm,
        CreationInfo,
        Document,
        ExternalPackageRef,
        ExternalPackageRefCategory,
        Package,
        PackagePurpose,
        Relationship,
        RelationshipType,
        SpdxNoAssertion,
    )

    creation = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=f"{bill.name} {bill.version} {bill.arch}",
        document_namespace=f"urn:uuid:{_identity(bill)}",
        creators=[Actor(ActorType.TOOL, PROGRAM)],
        created=bill.created.replace(tzinfo=None, microsecond=0),
    )
    image = Package(
        spdx_id="SPDXRef-image",
        name=bill.name,
        version=bill.version,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        primary_package_purpose=PackagePurpose.OPERATING_SYSTEM,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, digest) for _, digest in sorted(bill.digests.items())],
    )
    packages, relationships = [image], [Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, image.spdx_id)]
    for number, (name, version) in enumerate(sorted(bill.packages.items())):
        purl = _purl(bill, name, version).to_string()
        packages.append(
            Package(
                spdx_id=f"SPDXRef-package-{number}",
                name=name,
                version=version,
                download_location=SpdxNoAssertion(),
                files_analyzed=False,
                external_references=[ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)],
            )
        )
        relationships.append(Relationship(image.spdx_id, RelationshipType.CONTAINS, packages[-1].spdx_id))
    written = DocumentConverter().convert(Document(creation, packages=packages, relationships=relationships))
    return json.dumps(written, indent=1, sort_keys=True)
