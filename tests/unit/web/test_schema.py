"""The interface as schemathesis sees it: no request breaks it, and each answer is what the document says."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from cc_images.web import app
from cc_images.web.throttle import Throttle
from tests.conftest import samples
from tests.support.servicebed import PASSWORDS, ServiceBed
from tests.unit.web.test_interface import FILE, finished


@pytest.mark.parametrize("who", [pytest.param("ada", marks=pytest.mark.long), "root"])
def test_every_answer_is_as_the_document_says(bed: ServiceBed, who: str) -> None:
    import schemathesis  # takes longer than most modules, of which every worker imports all

    from tests.support import schema

    bed = bed.again(tries=10**6)
    build = finished(bed, who, b"what it said\n" * 10)
    document = schemathesis.openapi.from_asgi(
        "/api/v1/openapi.json", app.made(dataclasses.replace(bed.service, requests=Throttle(10**6, 60.0)))
    )
    login = base64.b64encode(f"{who}:{PASSWORDS[who]}".encode()).decode()
    names, known = [], {"id": build, "name": FILE, "image": "cc-one"}
    for name, operation in schema.operations(document):
        names.append(name)
        bed.look()
        schema.check(operation, known, f"Basic {login}", samples(1, 25))
    assert {"POST /api/v1/build", "GET /api/v1/build/{id}/log", "DELETE /api/v1/tokens/{id}"} <= {*names}
    assert len(bed.ask("root", "GET", "/builds?everyone=true").json()) > 1, "some were requested"
    bed.close()
