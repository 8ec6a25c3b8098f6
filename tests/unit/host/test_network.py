"""Which network builds have."""

from __future__ import annotations

import pytest

from cc_images.errors import CCImagesError
from cc_images.host import network
from cc_images.host.network import Network, chosen


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"DIB_DISTRIBUTION_MIRROR": "http://mirror.example/debian"}, Network.PRIVATE),
        ({"DIB_DISTRIBUTION_MIRROR": "http://127.0.0.1:3142/debian"}, Network.HOST),
        ({"http_proxy": "http://user@localhost:3128"}, Network.HOST),
        ({"DIB_X": "http://[::1]:80/"}, Network.HOST),
        ({"DIB_X": "127.0.0.1"}, Network.HOST),
        ({"DIB_X": "http://localhost.example/ and 1127.0.0.1"}, Network.PRIVATE),
    ],
)
def test_a_service_on_loopback_wants_the_hosts_network(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Network
) -> None:
    monkeypatch.setattr(network, "program", lambda: "/usr/bin/slirp4netns")
    assert chosen("", variables) is expected
    assert chosen("host", variables) is Network.HOST
    assert chosen("private", variables) is Network.PRIVATE


def test_a_host_without_the_program_gives_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "program", lambda: "")
    assert chosen("", {}) is Network.HOST
    with pytest.raises(CCImagesError, match="which this host does not offer"):
        chosen("private", {})
