"""Machines of an OpenStack cloud, by the Compute API: listed by their tags, made, and destroyed.

Tags are the server's metadata, which is set by the request that makes it: there is no moment without them. A request
for a machine is made once, for its answer may be lost and the machine made all the same; all other calls are repeated
while their failure is temporary.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.attempt import BuilderHost, Provider
from cc_images.remote.machine_files import MachineFiles
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_steps import Machine, Policy, State
from cc_images.sites.cloud import ENOUGH, Cloud, Patience
from cc_images.store.records import Store

CLUSTER, HEAD, RUN, EXPIRES = (f"cc-images-{each}" for each in ("cluster", "head", "run", "expires"))
"""The tags: the entry of builders.yaml, the head, for what it was made, and the seconds since 1970 of its end."""

_STATES: Mapping[str, State] = {
    "ACTIVE": State.ACTIVE,
    "BUILD": State.BUILD,
    "ERROR": State.ERROR,
    "DELETED": State.LEAVING,
    "SOFT_DELETED": State.LEAVING,
    **dict.fromkeys(("SHUTOFF", "SUSPENDED", "PAUSED", "SHELVED", "SHELVED_OFFLOADED"), State.STOPPED),
}


class CloudMachines:
    """The machines of a cloud, for one entry of builders.yaml."""

    def __init__(self, cluster: str, provider: Provider, patience: Patience = ENOUGH) -> None:
        self._cluster, self._provider = cluster, provider
        self._cloud = Cloud(cluster, provider.cloud, patience, subject=f"builder {cluster}: cloud {provider.cloud}")
        self._resolved: dict[str, Any] = {}

    def every(self) -> list[Machine]:
        """Return all machines of the project that have our tags. Raises CCImagesError."""
        connection = self._cloud.connection()
        servers = self._cloud.repeated(lambda: list(connection.compute.servers(details=True)))
        return [_machine(each) for each in servers if EXPIRES in (each.metadata or {})]

    def is_gone(self, id: str) -> bool:
        """Say whether the cloud has no such machine any more. Raises CCImagesError."""
        from openstack.exceptions import NotFoundException

        connection = self._cloud.connection()

        def call() -> bool:
            try:
                return str(connection.compute.get_server(id).status) == "DELETED"
            except NotFoundException:
                return True

        gone: bool = self._cloud.repeated(call)
        return gone

    def prepare(self) -> None:
        """Look up what machines are made of, once. Raises UserError for a name that the cloud does not have."""
        if self._resolved:
            return
        provider, connection = self._provider, self._cloud.connection()
        found: dict[str, Any] = {
            "flavor_id": self._found("flavor", provider.flavor, connection.compute.find_flavor),
            "image_id": self._found("image", provider.image, connection.image.find_image),
            "networks": provider.network,
        }
        if provider.network not in ("auto", "none"):
            network = self._found("network", provider.network, connection.network.find_network)
            found["networks"] = [{"uuid": network}]
        if provider.key:
            self._found("key", provider.key, connection.compute.find_keypair)
            found["key_name"] = provider.key
        if provider.zone:
            found["availability_zone"] = provider.zone
        self._resolved = found

    def create(self, name: str, *, head: str, run: str, expires: float, user_data: str = "") -> str:
        """Ask for a machine, once; return its id, empty when the answer is lost. Raises CCImagesError when refused."""
        self.prepare()
        tags = {CLUSTER: self._cluster, HEAD: head, RUN: run[:255], EXPIRES: str(int(expires))}
        wanted = {"name": name, "metadata": tags, **self._resolved}
        if user_data:
            wanted["user_data"] = base64.b64encode(user_data.encode()).decode()
        connection = self._cloud.connection()
        try:
            with self._cloud.translated():
                return str(connection.compute.create_server(**wanted).id)
        except CCImagesError as error:
            if _is_refusal(error):
                raise
            return ""

    def destroy(self, id: str) -> None:
        """Ask the cloud to destroy a machine, if it is there. Raises CCImagesError."""
        connection = self._cloud.connection()
        self._cloud.repeated(lambda: connection.compute.delete_server(id, ignore_missing=True))

    def _found(self, key: str, name: str, find: Any) -> str:
        """Return the id of something that the entry names. Raises UserError when there is none, or several."""
        from openstack.exceptions import DuplicateResource, NotFoundException

        def call() -> Any:
            try:
                return find(name, ignore_missing=False)
            except NotFoundException:
                return None

        where = f"builder {self._cluster}: provider.{key}"
        try:
            found = self._cloud.repeated(call)
        except CCImagesError as error:
            if isinstance(error.__cause__, DuplicateResource):
                raise UserError(
                    f"{where}: the cloud has several with the name {name}", hint="name it by its id"
                ) from error
            raise
        if found is None:
            listing = {"key": "keypair"}.get(key, key)
            raise UserError(
                f"{where}: the cloud has no {name}", hint=f"`openstack {listing} list` shows what there is",
                reason=Reason.CONFIGURATION,
            )  # fmt: skip
        return str(found.id)


def machine_loop(host: BuilderHost, store: Path, patience: Patience = ENOUGH) -> MachineLoop:
    """Return the machines of an entry of builders.yaml, for one thread."""
    provider = host.provider
    assert provider is not None
    policy = Policy(reserve=provider.reserve, maximum=provider.maximum, ttl=provider.ttl, least=provider.ttl / 2)
    return MachineLoop(MachineFiles(Store(store), host.name), CloudMachines(host.name, provider, patience), policy)


def _is_refusal(error: CCImagesError) -> bool:
    """Say whether nothing was made for certain: the cloud itself has said no, and no gateway."""
    status = getattr(error.__cause__, "http_status", None) or 0
    return (400 <= status < 500 and status != 408) or error.reason in (Reason.CREDENTIALS, Reason.CLOUD)


def _machine(server: Any) -> Machine:
    tags = server.metadata
    state = _STATES.get(server.status, State.UNKNOWN)
    if server.task_state in ("deleting", "soft-deleting", "force-deleting"):
        state = State.LEAVING
    return Machine(
        id=server.id,
        name=server.name,
        state=state,
        created=_moment(server.created_at),
        address=_address(server),
        cluster=tags.get(CLUSTER, ""),
        head=tags.get(HEAD, ""),
        run=tags.get(RUN, ""),
        expires=float(tags[EXPIRES]) if tags[EXPIRES].isdecimal() else None,
        fault=str((server.fault or {}).get("message", ""))[:300],
    )


def _moment(said: str | None) -> float:
    try:
        return datetime.fromisoformat(said or "").astimezone(UTC).timestamp()
    except ValueError:
        return 0.0


def _address(server: Any) -> str:
    """Return the address that reaches a machine: its own word, a floating one, or the first of the fixed ones."""
    if server.access_ipv4 or server.access_ipv6:
        return str(server.access_ipv4 or server.access_ipv6)
    known = [each for network in (server.addresses or {}).values() for each in network]
    known.sort(key=lambda each: (each.get("OS-EXT-IPS:type") != "floating", each.get("version") != 4))
    return str(known[0]["addr"]) if known else ""
