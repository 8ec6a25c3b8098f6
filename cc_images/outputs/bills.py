"""Bills of materials as documents: SPDX 2.3 and CycloneDX 1.6, written by these formats' own libraries.

Equal bills give equal documents: the time is that of the build, identifiers follow from the bill. The libraries are an
extra, `cc-images[sbom]`, and are imported here alone.
"""

from __future__ import annotations

import json
from typing import Any

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.bill import Bill, Package
from cc_images.model.bill_forms import FORMS

PROGRAM = "cc-images"


def document(bill: Bill, form: str) -> str:
    """Return a bill in one of FORMS, as JSON. Raises CCImagesError where the libraries are missing."""
    if form not in FORMS:
        raise UserError(f"{form} is no format of a bill of materials", hint=f"say {' or '.join(FORMS)}")
    try:
        return _cyclonedx(bill) if form == "cyclonedx" else _spdx(bill)
    except ImportError as error:
        raise CCImagesError(
            f"bills of materials need the library {error.name}",
            hint="install it: pip install 'cc-images[sbom]'",
            reason=Reason.MISSING_TOOL,
        ) from error


def _purl(bill: Bill, package: Package) -> Any:
    from packageurl import PackageURL

    if package.kind == "pypi":
        return PackageURL("pypi", None, package.name, package.version)
    epoch, _, version = package.version.rpartition(":") if package.kind == "rpm" else ("", "", package.version)
    said = {"arch": package.arch, "distro": f"{bill.distro}-{bill.release}" if bill.release else "", "epoch": epoch}
    qualifiers = {name: value for name, value in said.items() if value}
    return PackageURL(package.kind, bill.distro or None, package.name, version, qualifiers)


def _source(package: Package) -> str:
    return f"{package.source} {package.source_version}".strip() if package.source else ""


def _cyclonedx(bill: Bill) -> str:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    image = Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=bill.name,
        version=bill.version,
        bom_ref=str(bill.identity),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for _, digest in sorted(bill.digests.items())],
        properties=[Property(name="cc-images:architecture", value=bill.arch)],
    )
    parts = []
    for package in bill.packages:
        purl, told = _purl(bill, package), {"path": package.path, "source": _source(package)}
        parts.append(
            Component(
                type=ComponentType.LIBRARY,
                name=package.name,
                version=package.version,
                purl=purl,
                bom_ref=f"{purl.to_string()}#{package.path}" if package.path else purl.to_string(),
                licenses=[DisjunctiveLicense(name=package.licence)] if package.licence else None,
                properties=[Property(name=f"cc-images:{name}", value=value) for name, value in told.items() if value],
            )
        )
    tool = Component(type=ComponentType.APPLICATION, name=PROGRAM)
    bom = Bom(
        serial_number=bill.identity,
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
        document_namespace=f"urn:uuid:{bill.identity}",
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
    for number, package in enumerate(bill.packages):
        packages.append(_spdx_package(bill, package, f"SPDXRef-package-{number}"))
        relationships.append(Relationship(image.spdx_id, RelationshipType.CONTAINS, packages[-1].spdx_id))
    written = DocumentConverter().convert(Document(creation, packages=packages, relationships=relationships))
    return json.dumps(written, indent=1, sort_keys=True)


def _spdx_package(bill: Bill, package: Package, identifier: str) -> Any:
    from spdx_tools.common.spdx_licensing import spdx_licensing
    from spdx_tools.spdx.model import ExternalPackageRef, ExternalPackageRefCategory, SpdxNoAssertion
    from spdx_tools.spdx.model import Package as SpdxPackage

    valid = package.licence and not spdx_licensing.validate(package.licence).errors
    source = _source(package)
    info = [f"found at {package.path}" if package.path else "", f"built from {source}" if source else ""]
    purl = _purl(bill, package).to_string()
    return SpdxPackage(
        spdx_id=identifier,
        name=package.name,
        version=package.version,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        license_declared=spdx_licensing.parse(package.licence) if valid else None,
        license_comment=f"declared as {package.licence}" if package.licence and not valid else None,
        source_info="; ".join(filter(None, info)) or None,
        external_references=[ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)],
    )
