"""A cluster from nothing: what a host lacks of its part in it, and the next step. Decides; `cluster_act` acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Act(StrEnum):
    """Kinds of steps."""

    INSTALL = "install"
    MAKE = "make"
    WRITE = "write"
    STOP = "stop"
    START = "start"
    AWAIT = "wait for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: the packages, the thing that is made, the file, or the service."""

    act: Act
    name: str

    def __str__(self) -> str:
        return f"{self.act} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A program that goes on running. One whose stamp is another one is started again."""

    name: str
    argv: tuple[str, ...]
    stamp: str
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """The user that it runs as; empty: root."""
    stays: bool = True
    """Whether it is started with the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """All that a host has when its part of the cluster is up."""

    programs: Mapping[str, str] = field(default_factory=dict)
    """Programs, and the packages that have them."""
    made: tuple[str, ...] = ()
    """Keys, certificates and entries: made once, and kept whatever they are."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Files by path; they are written again when they differ."""
    services: tuple[Service, ...] = ()
    """In the order in which they are started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was observed on a host."""

    programs: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    texts: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, str] = field(default_factory=dict)
    """The stamps of services that run."""
    answering: frozenset[str] = frozenset()


def next_step(wanted: Wanted, seen: Seen) -> Step | None:
    """Return the one step that comes next; None when nothing is left to do."""
    if lacking := sorted({package for name, package in wanted.programs.items() if name not in seen.programs}):
        return Step(act=Act.INSTALL, name=" ".join(lacking))
    for name in wanted.made:
        if name not in seen.made:
            return Step(act=Act.MAKE, name=name)
    for path, text in wanted.texts.items():
        if seen.texts.get(path) != text:
            return Step(act=Act.WRITE, name=path)
    for service in wanted.services:
        if step := _of_service(service, seen):
            return step
    return None


def _of_service(service: Service, seen: Seen) -> Step | None:
    stamp = seen.running.get(service.name)
    if stamp is None:
        return Step(act=Act.START, name=service.name)
    if stamp != service.stamp:
        return Step(act=Act.STOP, name=service.name)
    if service.name not in seen.answering:
        return Step(act=Act.AWAIT, name=service.name)
    return None


def next_end(services: tuple[str, ...], seen: Seen) -> Step | None:
    """Return the next step to a host on which no service runs: the last one that was started ends first."""
    return next((Step(act=Act.STOP, name=name) for name in reversed(services) if name in seen.running), None)


def after(seen: Seen, step: Step, wanted: Wanted) -> Seen:
    """Return what is observed after a step that did what it should."""
    stamps = {each.name: each.stamp for each in wanted.services}
    match step.act:
        case Act.INSTALL:
            return replace(seen, programs=seen.programs | set(wanted.programs))
        case Act.MAKE:
            return replace(seen, made=seen.made | {step.name})
        case Act.WRITE:
            return replace(seen, texts={**seen.texts, step.name: wanted.texts[step.name]})
        case Act.STOP:
            left = {name: stamp for name, stamp in seen.running.items() if name != step.name}
            return replace(seen, running=left, answering=seen.answering - {step.name})
        case Act.START:
            return replace(seen, running={**seen.running, step.name: stamps[step.name]})
        case Act.AWAIT:
            return replace(seen, answering=seen.answering | {step.name})


def steps(wanted: Wanted, seen: Seen) -> tuple[Step, ...]:
    """Return all steps that are left, if each does what it should."""
    found = []
    while step := next_step(wanted, seen):
        found.append(step)
        seen = after(seen, step, wanted)
    return tuple(found)
