"""Servers of a cloud, by the Compute API v2.1 (Nova): how many were started from an image.

Servers of all projects may be listed by those whom the cloud's policy allows it. A server that was started from a
volume does not need the image any more, and is not counted. Servers in a cell that is down are not listed by Nova when
it is asked with a filter.
"""

from __future__ import annotations

from typing import Any

from cc_images.sites.cloud import Cloud

ENOUGH = 100
"""Servers that are counted at most."""


def count(cloud: Cloud, image_id: str) -> int | None:
    """Return how many servers of all projects were started from an image, at most ENOUGH.

    None where that cannot be asked: the cloud has no compute service, or the account may not list the servers of other
    projects. Raises CCImagesError when the cloud does not answer.
    """

    def call() -> int | None:
        from keystoneauth1.exceptions import EndpointNotFound

        connection = cloud.connection()
        try:
            base = connection.config.get_endpoint("compute") or connection.session.get_endpoint(
                service_type="compute",
                interface=connection.config.get_interface("compute"),
                region_name=connection.config.get_region_name("compute"),
            )
        except EndpointNotFound:
            base = None
        if not base:
            return None
        query = {"all_tenants": "1", "image": image_id, "limit": str(ENOUGH)}
        answer = connection.session.request(
            f"{base.rstrip('/')}/servers",
            "GET",
            params=query,
            timeout=(cloud.patience.connect, cloud.patience.answer),
            raise_exc=False,
            headers={"Accept": "application/json"},
        )
        return _counted(answer)

    found: int | None = cloud.repeated(call)
    return found


def _counted(answer: Any) -> int | None:
    """Return how many servers an answer has; None for one that is a refusal, or not Nova's."""
    if answer.status_code != 200:
        return None
    try:
        return len(answer.json()["servers"])
    except (ValueError, KeyError, TypeError):
        return None
