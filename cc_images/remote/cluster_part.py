"""A host's part in a cluster, as its files keep it: its settings, the nodes that it knows, and all that it has."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import to_builtins

from cc_images.config.builders import add_entry, builder_hosts
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import root
from cc_images.host.files import locked, write_json, write_public, write_secret
from cc_images.remote import cluster_act as act
from cc_images.remote import cluster_texts as texts
from cc_images.remote.cluster import Wanted
from cc_images.remote.cluster_act import Hands, Makes
from cc_images.remote.cluster_joins import Answer, packed, unpacked
from cc_images.remote.cluster_services import services
from cc_images.remote.cluster_texts import Cluster, Node, Place

DEFAULT = Path("/var/lib/cc-images/cluster")
"""The folder of a host's cluster."""

DEBIANS = Path("/etc/slurm/slurm.conf")
"""Where Slurm's commands look for their configuration."""

SETTINGS = "the settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A host's part in a cluster."""

    place: Place
    cluster: Cluster
    builders: Path | None = None
    """The file of builder hosts, at a head that adds the cluster's entry to it."""
    munge_key: bytes = b""
    """The key that the head gave; empty: one is made if there is none."""
    certificate: str = ""
    """The certificate that the head gave."""

    def wanted(self) -> Wanted:
        """Return all that this host has when its part is up."""
        nodes = (self.cluster.me, *(each for each in known(self.place) if each.name != self.cluster.me.name))
        return texts.wanted(self.cluster, self.place, nodes, act.habits(), tuple(self._makes()))

    def hands(self) -> Hands:
        """Return what acts on this host."""
        return Hands(self.place, services(self.place), self._makes())

    def _makes(self) -> Mapping[str, Makes]:
        place, cluster = self.place, self.cluster
        found = {
            SETTINGS: Makes(there=place.settings.exists, make=lambda: write_json(place.settings, to_builtins(cluster))),
            texts.MUNGE_KEY: act.munge_key(place, self.munge_key),
        }
        if cluster.is_head:
            found[texts.CERTIFICATE] = act.certificate(cluster, place)
        elif self.certificate:
            given = self.certificate
            found[texts.CERTIFICATE] = Makes(
                there=place.certificate.exists, make=lambda: write_public(place.certificate, given)
            )
        if place.folder == DEFAULT:
            found[texts.LINK] = Makes(there=DEBIANS.is_symlink, make=lambda: _link(place))
        if (file := self.builders) is not None:
            found[f"{texts.ENTRY} {file}"] = Makes(
                there=lambda: _has_entry(file, cluster, place),
                make=lambda: add_entry(file, texts.entry(cluster, place)),
            )
        return found

    def answer(self) -> Answer:
        """Return what another host needs to join, but for its node, which is this host's here."""
        return Answer(
            cluster=self.cluster.name,
            head=self.cluster.head,
            address=self.cluster.address,
            node=self.cluster.me,
            munge_key=packed(self.place.munge_key.read_bytes()),
            certificate=self.place.certificate.read_text(),
        )


def of_answer(place: Place, answer: Answer) -> Part:
    """Return the part of a host that has joined."""
    cluster = Cluster(name=answer.cluster, head=answer.head, address=answer.address, me=answer.node)
    return Part(place=place, cluster=cluster, munge_key=unpacked(answer.munge_key), certificate=answer.certificate)


def joined(place: Place, cluster: Cluster | None) -> Part | None:
    """Return the part of a host that the head has added already; None for one that it has not."""
    try:
        return of_answer(place, msgspec.json.decode(answer_file(place).read_bytes(), type=Answer))
    except FileNotFoundError:
        return None if cluster is None else Part(place=place, cluster=cluster)
    except msgspec.MsgspecError:
        return None


def keep_answer(place: Place, answer: Answer) -> None:
    """Keep the head's answer, a secret, until all of it is in its place."""
    write_secret(answer_file(place), msgspec.json.encode(answer))


def forget_answer(place: Place) -> None:
    """Remove the head's answer."""
    answer_file(place).unlink(missing_ok=True)


def answer_file(place: Place) -> Path:
    """Return the file with the head's answer."""
    return place.folder / "answer.json"


def kept(place: Place) -> Cluster | None:
    """Return the settings of this host; None when it is in no cluster. Raises CCImagesError."""
    try:
        found = msgspec.json.decode(place.settings.read_bytes(), type=Cluster)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise CCImagesError(f"{place.settings} cannot be read: {error}", reason=Reason.DAMAGED) from None
    if found.format > texts.FORMAT:
        raise UserError(f"{place.settings} was written by a newer cc-images")
    return found


def in_cluster(place: Place) -> Cluster:
    """Return the settings of this host. Raises UserError when it is in no cluster."""
    if (found := kept(place)) is None:
        raise UserError(
            f"this host is in no cluster: there is no {place.settings}",
            hint="`cc-images cluster up` makes it a head, `cc-images cluster join` a node",
            reason=Reason.MISSING_FILE,
        )
    return found


def removed(place: Place) -> None:
    """Remove what a node has of its cluster, when nothing of it runs: the settings last, so that it can be repeated."""
    for name in texts.SERVICES:
        services(place).forget(name)
    if place.folder == DEFAULT and DEBIANS.is_symlink() and DEBIANS.readlink() == place.configuration:
        DEBIANS.unlink()
    for name in texts.OF_A_NODE:
        root.remove(place.folder / name)
    place.settings.unlink(missing_ok=True)
    (place.folder / "lock").unlink(missing_ok=True)
    with suppress(OSError):  # somebody else's files are in it
        place.folder.rmdir()


def known(place: Place) -> list[Node]:
    """Return the nodes that have joined this head."""
    found = []
    for file in sorted(place.nodes.glob("*.json")):
        try:
            found.append(msgspec.json.decode(file.read_bytes(), type=Node))
        except msgspec.MsgspecError as error:
            raise CCImagesError(f"{file} cannot be read: {error}", reason=Reason.DAMAGED) from None
    return found


def add(place: Place, node: Node) -> None:
    """Let a head know a node."""
    write_json(place.nodes / f"{node.name}.json", to_builtins(node))


def bare(place: Place) -> Hands:
    """Return what acts on a host that has no part yet."""
    return Hands(place, services(place), {})


@contextmanager
def held(place: Place) -> Iterator[None]:
    """Be the only one that changes this host's part."""
    place.folder.mkdir(parents=True, exist_ok=True)
    place.folder.chmod(0o755)
    lock = locked(place.folder / "lock", fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def _link(place: Place) -> None:
    DEBIANS.parent.mkdir(parents=True, exist_ok=True)
    DEBIANS.symlink_to(place.configuration)


def _has_entry(file: Path, cluster: Cluster, place: Place) -> bool:
    if not file.exists():
        return False
    hub = f"https://{texts.bracketed(cluster.address)}:{texts.PORTS['hub']}"
    return any(each.hub == hub and each.ca == str(place.certificate) for each in builder_hosts(file, []))
