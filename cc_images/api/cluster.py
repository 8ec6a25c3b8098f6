"""A cluster from nothing: a head on this host, hosts that join it, and how they are."""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.stop import Stop
from cc_images.remote import cluster_act as act
from cc_images.remote import cluster_part as parts
from cc_images.remote import cluster_texts as texts
from cc_images.remote.cluster_act import Say
from cc_images.remote.cluster_joins import Answer, Endpoint, Head, ask, facts_of_store, request_of, require_reachable
from cc_images.remote.cluster_part import Part
from cc_images.remote.cluster_texts import Cluster, Node, Place
from cc_images.remote.cluster_tokens import Tokens, decoded, encoded

NAME = "cluster"
"""The name of a cluster, and of its entry in builders.yaml."""

ENDING = 60.0
"""Seconds that jobs have to end, which `down` cancels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A node as Slurm sees it; memory in MiB."""

    name: str
    address: str
    state: str
    cores: int
    memory: int
    arch: str


def up(config: Config, folder: Path, address: str, builders: Path, dry_run: bool, say: Say) -> int:
    """Make this host the head of a cluster, or bring its part up again; return how many steps were left. Raises."""
    _require_root()
    place = Place(folder=folder)
    cluster = parts.kept(place) or _head_here(config, address)
    if address and address != cluster.address:
        raise UserError(
            f"the head has the address {cluster.address}, by which its nodes and its certificate know it",
            hint=f"for another one make the cluster again: cc-images cluster down, and remove {folder}",
        )
    _require_fit(place)
    part = Part(place=place, cluster=cluster, builders=builders if cluster.is_head else None)
    return _brought_up(part, dry_run, say)


def down(folder: Path, with_jobs: bool, say: Say) -> int:
    """End what runs of the cluster on this host; return how many services that were. Raises CCImagesError."""
    _require_root()
    place = Place(folder=folder)
    part = Part(place=place, cluster=parts.in_cluster(place))
    with parts.held(place):
        _end_jobs(part, with_jobs, say)
        return part.hands().down(say)


def leave(folder: Path, with_jobs: bool, say: Say) -> None:
    """Take this host out of its cluster: end its services, and remove what `join` has made. Raises CCImagesError."""
    _require_root()
    place = Place(folder=folder)
    part = parts.joined(place, parts.kept(place)) or Part(place=place, cluster=parts.in_cluster(place))
    cluster = part.cluster
    if cluster.is_head:
        raise UserError("this host is the head of its cluster", hint="`cc-images cluster down` ends it here")
    with parts.held(place):
        _end_jobs(part, with_jobs, say)
        part.hands().ask("scontrol", "update", f"nodename={cluster.me.name}", "state=DOWN", "reason=it has left")
        part.hands().down(say)
        parts.removed(place)
    say(f"this host has left the cluster of {cluster.head}: packages stay, and the head has {cluster.me.name} as down")


def token(folder: Path, minutes: float) -> str:
    """Return a token to join with, a secret, and open the endpoint for it. Raises CCImagesError."""
    _require_root()
    place = Place(folder=folder)
    cluster = _head_of(place)
    require_reachable(cluster)
    with parts.held(place):
        made = Tokens(place).issue(cluster.address, minutes * 60)
    parts.bare(place).open(texts.joins(place, act.habits()), made.address)
    return encoded(made)


def admit(folder: Path, stop: Stop) -> None:
    """Answer hosts that join, until no token is valid any more. Raises CCImagesError."""
    place = Place(folder=folder)
    cluster = _head_of(place)
    head = Head(
        place=place,
        here=facts_of_store(Path(cluster.store)).tools,
        slurm=act.slurm_version(),
        node_of=lambda name: next((each for each in [cluster.me, *parts.known(place)] if each.name == name), None),
        add=lambda node: _add(place, cluster, node),
    )
    with Endpoint(f"{texts.bracketed(cluster.address)}:{texts.PORTS['joins']}", head) as endpoint:
        endpoint.timeout = 0.5
        while not stop.is_set():
            endpoint.handle_request()
            if Tokens(place).valid():
                continue
            endpoint.settle()
            with parts.held(place):  # no token is made meanwhile
                if not Tokens(place).valid():
                    endpoint.socket.close()
                    return


def join(config: Config, folder: Path, given: bytes, say: Say) -> int:
    """Make this host a node of the head that made a token, or bring it up again; return the steps. Raises."""
    _require_root()
    place = Place(folder=folder)
    made = decoded(given.decode(errors="replace"))
    cluster = parts.kept(place)
    if cluster is not None and cluster.is_head:
        raise UserError("this host is the head of a cluster itself", hint="join from another host")
    _require_fit(place)
    with parts.held(place):
        part = parts.joined(place, cluster)
        if part is None:
            _install(place, say)
            answer = ask(made, request_of(act.node_here(""), act.slurm_version(), config.store))
            parts.keep_answer(place, answer)
            say(f"the head {answer.head} ({answer.address}) has added this host as {answer.node.name}")
            part = parts.of_answer(place, answer)
    steps_taken = _brought_up(part, False, say)
    parts.forget_answer(place)
    return steps_taken


def status(folder: Path) -> tuple[Cluster, dict[str, bool], list[NodeState]]:
    """Return this host's cluster, which of its services run, and the nodes that Slurm has. Raises UserError."""
    place = Place(folder=folder)
    part = Part(place=place, cluster=parts.in_cluster(place))
    wanted = part.wanted()
    found = part.hands().observe(wanted).running
    running = {each.name: each.name in found for each in wanted.services}
    return part.cluster, running, nodes_in(part.hands().ask("scontrol", "--oneliner", "show", "node"))


def nodes_in(said: str) -> list[NodeState]:
    """Return the nodes in a text of `scontrol show node`, a line each."""
    found = []
    for line in said.splitlines():
        words = dict(re.findall(r"(\w+)=(\S*)", line))
        if "NodeName" in words:
            found.append(
                NodeState(
                    name=words["NodeName"],
                    address=words.get("NodeAddr", ""),
                    state=words.get("State", "").lower(),
                    cores=int(words.get("CPUTot", 0)),
                    memory=int(words.get("RealMemory", 0)),
                    arch=words.get("AvailableFeatures", ""),
                )
            )
    return found


def _brought_up(part: Part, dry_run: bool, say: Say) -> int:
    """Say which steps are left, and take them."""
    hands, wanted = part.hands(), part.wanted()
    left = hands.left(wanted)
    for step in left:
        say(f"to do: {step}")
    if dry_run or not left:
        return len(left)
    with parts.held(part.place):
        return hands.up(part.wanted(), say)


def _head_here(config: Config, address: str) -> Cluster:
    """Return the settings of a new cluster with this host as its head."""
    me = act.node_here(address or act.own_address())
    return Cluster(
        name=NAME, head=me.name, address=me.address, me=me, hub_user=act.owner_of(config.store),
        store=str(config.store), home=str(config.home),
    )  # fmt: skip


def _head_of(place: Place) -> Cluster:
    cluster = parts.in_cluster(place)
    if not cluster.is_head:
        raise UserError(f"this host is a node; the head is {cluster.head} ({cluster.address})")
    return cluster


def _add(place: Place, cluster: Cluster, node: Node) -> Answer:
    """Add a node to a head's configuration, start the controller again, and return the answer for the node."""
    part = Part(place=place, cluster=cluster)
    with parts.held(place):
        parts.add(place, node)
        whole = part.wanted()  # its slurmd needs a while until the new controller asks it, and is not waited for
        first = tuple(each for each in whole.services if each.name in (texts.MUNGED, texts.CONTROLLER))
        part.hands().up(replace(whole, services=first), lambda line: print(line, flush=True))
    return replace(part.answer(), node=node)


def _install(place: Place, say: Say) -> None:
    """Install the programs of a node: their versions are compared with the head's."""
    hands = parts.bare(place)
    for step in hands.left(texts.TOOLS):
        say(f"to do: {step}")
    hands.up(texts.TOOLS, say)


def _end_jobs(part: Part, with_jobs: bool, say: Say) -> None:
    """Cancel the jobs of the cluster, or of a node. Raises CCImagesError when there are some, and they may not end."""
    hands = part.hands()
    if texts.NODE not in hands.observe(part.wanted()).running:
        return
    mine = () if part.cluster.is_head else ("--nodelist", part.cluster.me.name)
    jobs = hands.ask("squeue", "--noheader", "--format=%i", *mine).split()
    if jobs and not with_jobs:
        raise CCImagesError(
            f"jobs are at work: {', '.join(jobs[:10])}",
            hint="wait for them, or end them: --with-jobs",
            reason=Reason.BUSY,
        )
    if jobs:
        hands.ask("scancel", *jobs)
        say(f"cancelled jobs {', '.join(jobs)}")
    deadline = time.monotonic() + ENDING
    while hands.ask("squeue", "--noheader", "--format=%i", *mine).split() and time.monotonic() < deadline:
        time.sleep(0.5)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise UserError(
            "a cluster is made by root: its daemons run jobs as their users",
            hint="sudo --preserve-env=HOME,CC_IMAGES_STORE cc-images cluster …",
            reason=Reason.NO_ROOT,
        )


def _require_fit(place: Place) -> None:
    """Raise UserError for a host with another Slurm, or with a name or folder that slurm.conf cannot have."""
    other = parts.DEBIANS
    if place.folder == parts.DEFAULT and other.exists() and other.resolve() != place.configuration:
        raise UserError(f"this host has a Slurm already: {other}", hint="name it in builders.yaml: `slurm: {}`")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}", name := socket.gethostname().partition(".")[0]):
        raise UserError(f"a node cannot have this host's name, {name}", hint="letters, digits and hyphens")
    if not re.fullmatch(r"[A-Za-z0-9/._+-]+", str(place.folder)):
        raise UserError(
            f"slurm.conf cannot name the folder {str(place.folder)!r}", hint="letters, digits and / . _ + -"
        )
