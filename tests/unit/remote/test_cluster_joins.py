"""Hosts that join a cluster: who gets the answer, once, and nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, UserError
from cc_images.remote.cluster_act import certificate
from cc_images.remote.cluster_joins import Answer, Endpoint, Head, Request, ask, packed, unpacked
from cc_images.remote.cluster_texts import Cluster, Node, Place
from cc_images.remote.cluster_tokens import JoinToken, Tokens, decoded, encoded
from cc_images.remote.survey import Facts
from tests.conftest import lacking

pytestmark = pytest.mark.skipif(bool(lacking(("openssl",))), reason=lacking(("openssl",)))

ME = Node(name="head", address="127.0.0.1", cores=2, memory=1000, arch="amd64")
OTHER = replace(ME, name="taken", address="192.0.2.9")
HERE = {"machine": "x86_64", "mke2fs": "1.47.0"}
FACTS = Facts(machine="x86_64", version=version("cc-images"), tools=HERE)
HOST = Request(name="node", cores=2, memory=1000, arch="amd64", slurm="22.05.8", facts=FACTS)
KEY = bytes(range(256)) * 4


class Bed:
    """A head's endpoint while it is entered."""

    def __init__(self, folder: Path) -> None:
        self.place, self.added, self.trouble = Place(folder=folder), list[Node](), ""
        certificate(Cluster(name="cluster", head="head", address="127.0.0.1", me=ME), self.place).make()
        self.head = Head(
            place=self.place, here=HERE, slurm="22.05.1", add=self._add,
            node_of=lambda name: next((each for each in (ME, OTHER) if each.name == name), None),
        )  # fmt: skip

    def _add(self, node: Node) -> Answer:
        if self.trouble:
            raise CCImagesError(self.trouble)
        self.added.append(node)
        time.sleep(0.1)
        return Answer(
            cluster="cluster", head="head", address="127.0.0.1", node=node, munge_key=packed(KEY), certificate="x"
        )

    @contextmanager
    def serving(self) -> Iterator[Endpoint]:
        with Endpoint("127.0.0.1:0", self.head) as endpoint:
            thread = threading.Thread(target=endpoint.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            yield endpoint
            endpoint.shutdown()
            thread.join()

    def token(self, endpoint: Endpoint, seconds: float = 60) -> JoinToken:
        return replace(Tokens(self.place).issue("127.0.0.1", seconds), address=f"127.0.0.1:{endpoint.server_port}")


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


@pytest.fixture
def endpoint(bed: Bed) -> Iterator[Endpoint]:
    with bed.serving() as made:
        yield made


def test_a_token_opens_once(bed: Bed, endpoint: Endpoint) -> None:
    token = bed.token(endpoint)
    assert Tokens(bed.place).valid()
    answer = ask(token, HOST)
    assert unpacked(answer.munge_key) == KEY
    assert bed.added == [Node(name="node", address="127.0.0.1", cores=2, memory=1000, arch="amd64")]
    assert not Tokens(bed.place).valid()
    with pytest.raises(UserError, match="the token was used"):
        ask(token, HOST)
    assert len(bed.added) == 1


def test_of_many_at_a_time_one_gets_the_answer(bed: Bed, endpoint: Endpoint) -> None:
    token = bed.token(endpoint)

    def tries(number: int) -> bool:
        try:
            return bool(ask(token, replace(HOST, name=f"node{number}")))
        except UserError:
            return False

    with ThreadPoolExecutor(8) as asking:
        assert sum(asking.map(tries, range(8))) == 1
    assert len(bed.added) == 1


def test_tokens_that_open_nothing(bed: Bed, endpoint: Endpoint) -> None:
    token = bed.token(endpoint)
    for wrong in (replace(token, secret="x"), replace(token, id="0" * 16), bed.token(endpoint, -1)):
        with pytest.raises(UserError, match=r"no such token|expired"):
            ask(wrong, HOST)
    assert bed.added == []
    assert ask(token, HOST), "and it is not used up by that"


def test_nothing_is_sent_to_another_host_than_the_tokens(bed: Bed, endpoint: Endpoint) -> None:
    token = bed.token(endpoint)
    with pytest.raises(UserError, match="another certificate"):
        ask(replace(token, fingerprint="0" * 64), HOST)
    assert ask(token, HOST)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (replace(HOST, slurm="23.11.4"), "Slurm 23.11.4, and the head has 22.05.1"),
        (replace(HOST, facts=replace(FACTS, version="0.1")), "has cc-images 0.1"),
        (
            replace(HOST, facts=replace(FACTS, tools={**HERE, "mke2fs": "1.46"})),
            "mke2fs is 1.46, and the head has 1.47.0",
        ),
        (replace(HOST, name="taken"), "at 192.0.2.9 already"),
        (replace(HOST, name="a b\nNodeName=c"), "no host that can be a node"),
        (replace(HOST, arch="amd64 State=DOWN"), "no host that can be a node"),
        (replace(HOST, cores=-1), "no host that can be a node"),
    ],
)
def test_hosts_that_do_not_fit(bed: Bed, endpoint: Endpoint, host: Request, why: str) -> None:
    token = bed.token(endpoint)
    with pytest.raises(UserError, match=why):
        ask(token, host)
    assert bed.added == []
    assert ask(token, HOST), "the token is still good"


def test_a_head_in_trouble_gives_the_token_back(bed: Bed, endpoint: Endpoint) -> None:
    token = bed.token(endpoint)
    bed.trouble = "the controller does not answer"
    with pytest.raises(UserError, match=bed.trouble):
        ask(token, HOST)
    assert Tokens(bed.place).valid()
    bed.trouble = ""
    assert ask(token, HOST)


def test_the_head_keeps_no_secret_and_forgets_what_has_expired(bed: Bed, endpoint: Endpoint) -> None:
    token = bed.token(endpoint)
    (file,) = bed.place.tokens.iterdir()
    assert token.secret not in file.read_text()
    assert (file.stat().st_mode & 0o777, bed.place.tokens.stat().st_mode & 0o777) == (0o600, 0o700)
    bed.token(endpoint, -1)
    assert Tokens(bed.place).valid()
    assert [*bed.place.tokens.iterdir()] == [file]


def test_a_token_as_text() -> None:
    token = JoinToken(address="h:1", fingerprint="f", id="0" * 16, secret="canary", expires=1.0)
    assert decoded(f" {encoded(token)}\n") == token
    for text in (
        "",
        "canary",
        "cc-join.canary",
        encoded(token)[:-9],
        encoded(replace(token, id="../x")),
        "cc-join.e30",
    ):
        with pytest.raises(UserError, match="this is no token") as caught:
            decoded(text)
        assert "canary" not in caught.value.message
