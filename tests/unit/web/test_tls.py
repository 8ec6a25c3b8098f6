"""TLS by files: a service with a certificate that is made here, as a browser and a program see it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cc_images.config.loader import load
from cc_images.errors import UserError
from cc_images.web import app, server, start
from cc_images.web.accounts import Accounts
from cc_images.web.database import Database, default
from cc_images.web.passwords import Passwords
from cc_images.web.server import Listen
from cc_images.web.sessions import COOKIE
from tests.conftest import clean_environment, write_files
from tests.support.certificates import certificate
from tests.support.servicebed import CHEAP, IMAGES, PASSWORDS, ServiceBed, add_everyone


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return certificate(tmp_path, "own")


@pytest.fixture
def client(tmp_path: Path, pair: tuple[Path, Path]) -> Iterator[httpx.Client]:
    environment = clean_environment(tmp_path)
    write_files(tmp_path, images=IMAGES, sites="")
    store = Path(environment["CC_IMAGES_STORE"])
    store.mkdir(parents=True, exist_ok=True)
    database = Database(default(store))
    database.migrate()
    add_everyone(Accounts(database, Passwords(CHEAP)))
    database.close()
    settings = start.Settings(
        load=lambda: load(environment, tmp_path), folder=tmp_path, environ={}, cost=CHEAP,
        listen=Listen(address="127.0.0.1:0", tls=pair),
    )  # fmt: skip
    trust = ssl.create_default_context(cafile=str(pair[0]))
    with start.running(settings, app.made) as address, httpx.Client(base_url=address, verify=trust) as made:
        yield made


def test_a_browser_gets_cookies_for_tls_alone(client: httpx.Client) -> None:
    assert client.base_url.scheme == "https"
    page = client.get("/login", headers={"accept": "text/html"})
    assert page.headers["strict-transport-security"] == "max-age=31536000"
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert csrf is not None
    answer = client.post("/login", data={"csrf": csrf[1], "name": "ada", "password": PASSWORDS["ada"]})
    assert answer.status_code == 303
    cookies = [each for each in (*page.headers.get_list("set-cookie"), *answer.headers.get_list("set-cookie"))
               if "Max-Age=0" not in each]  # fmt: skip
    assert [each.partition("=")[0] for each in cookies] == ["cc_images_form", COOKIE]
    assert all({"Secure", "HttpOnly", "SameSite=lax"} <= set(each.split("; ")) for each in cookies)
    assert client.get("/me", headers={"accept": "text/html"}).status_code == 200


def test_browsers_behind_a_proxy_with_tls_come_by_tls_alone(bed: ServiceBed) -> None:
    for scheme, said in (
        ("https", "max-age=31536000"),
        ("http", None),
    ):  # the server takes the word of proxies here alone
        answer = bed.ask("", "GET", f"{scheme}://service/health")
        assert answer.headers.get("strict-transport-security") == said


def test_a_program_gets_what_it_asks_for(client: httpx.Client) -> None:
    assert client.get("/account", auth=("ada", PASSWORDS["ada"])).json()["name"] == "ada"


def test_who_does_not_know_the_certificate_or_speaks_no_tls_gets_nothing(client: httpx.Client, tmp_path: Path) -> None:
    stranger = ssl.create_default_context(cafile=str(certificate(tmp_path, "other")[0]))
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(client.base_url.join("/health"), verify=stranger)
    with pytest.raises(httpx.TransportError):
        httpx.get(str(client.base_url.join("/health")).replace("https:", "http:"))
    assert client.get("/health").status_code == 200


def test_with_tls_other_addresses_may_be_listened_on(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    server.check(Listen(address="0.0.0.0:0", tls=pair))
    other = certificate(tmp_path, "other")
    with pytest.raises(UserError, match="certificate cannot be used"):
        server.check(Listen(address="0.0.0.0:0", tls=(pair[0], other[1])))
    with pytest.raises(UserError, match="not loopback"):
        server.check(Listen(address="0.0.0.0:0"))
