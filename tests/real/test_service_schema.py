"""The interface of the service as a process, as schemathesis sees it, with real builds behind it."""

from __future__ import annotations

import base64

import httpx
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import ignored_auth

from tests.conftest import samples
from tests.real.conftest import Project
from tests.support import schema
from tests.support.serviceprocess import OVER, PASSWORDS, push_untested, services


@pytest.mark.deep
def test_every_answer_is_as_the_document_says_while_it_builds(project: Project) -> None:
    push_untested(project)
    with services(project) as start:
        service = start()
        first = service.request("ada", "cc-tiny")
        assert service.wait("ada", first) == "FINISHED"
        name = service.ask("ada", "GET", f"/build/{first}").json()["filename"]
        building = service.request("ada", "cc-tiny-too")
        document = schemathesis.openapi.from_url(f"{service.address}/api/v1/openapi.json")
        login = base64.b64encode(f"ada:{PASSWORDS['ada']}".encode()).decode()
        known = {"id": first, "name": name, "image": "cc-tiny"}
        for _, operation in schema.operations(document):
            # wrong passwords are refused so often that 429 is the answer: tests/unit/web/test_schema.py looks at them
            schema.check(operation, known, f"Basic {login}", samples(5, 25), excluded_checks=[ignored_auth], timeout=60)
        assert service.wait("ada", building) == "FINISHED"
        while waiting := [each for each in service.ask("ada", "GET", "/builds").json() if each["status"] not in OVER]:
            for each in waiting:
                assert service.wait("ada", each["id"]) in OVER
        found = service.ask("ada", "GET", "/builds").json()
        assert len(found) > 2, "some were requested"
        failed = [each for each in found if each["status"] != "FINISHED"]
        assert failed == [], "what was built again is refused when it is to be published, and does not fail later"
        assert httpx.get(f"{service.address}/health").json()["queue"] == "ok"
        service.end()
        assert not any("traceback" in line for line in service.process.lines)
