"""Chains of a plan, and the builder host for each: pure decisions.

A chain is what stays together on one host: a layer alone, or the build, conversion and boot test of one image. Only the
finished image travels then, and not the raw disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cc_images.errors import UserError
from cc_images.model.attempt import BuilderHost
from cc_images.model.catalog import Arch
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, FetchJob, LayerJob, Plan, PushJob, Request, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Tasks that are done on one host, in their order; `stays`: why that must be this host, if it must."""

    tasks: tuple[Task, ...]
    stays: str = ""

    @property
    def name(self) -> str:
        """The id of its first task."""
        return self.tasks[0].id

    @property
    def builds(self) -> BuildJob | None:
        """Its build or layer, if it has one."""
        job = self.tasks[0].job
        return job if isinstance(job, BuildJob) else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Variables that are declared secrets."""
        return self.builds.spec.secrets if self.builds is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A builder host with what is known of its machine."""

    entry: BuilderHost
    arch: Arch | None
    """The machine's own architecture; None: no Arch of ours."""
    no_emulation: frozenset[Arch] = frozenset()
    """Architectures of other machines for which it builds nothing: the plan is for machines of their own."""
    unfit: str = ""
    """Why nothing can be done there now: it does not answer, or a tool differs from this host's."""
    unfit_for: Mapping[str, str] = field(default_factory=dict)
    """Why builds that run a program of the host cannot be done there, by program."""

    @property
    def name(self) -> str:
        """Its name in builders.yaml."""
        return self.entry.name

    def builds_for(self, arch: Arch) -> bool:
        """Say whether it builds for an architecture, emulated or not."""
        if arch in self.no_emulation:
            return arch is self.arch
        named = self.entry.architectures
        return arch.value in named if named else arch is self.arch


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a chain is done, and why; without a name: it has to wait, and for whom."""

    name: str
    why: str
    busy: tuple[str, ...] = field(default=(), compare=False)
    """The hosts that it waits for."""


def chains(plan: Plan, request: Request) -> tuple[Chain, ...]:
    """Return all tasks of a plan in chains, in the plan's order of their first tasks."""
    members: dict[str, list[Task]] = {}
    first_of: dict[str, str] = {}
    for task in plan.tasks:
        first = task.id
        if isinstance(task.job, ConvertJob | BootJob) and not task.cached:
            first = next((first_of[each] for each in task.needs if _goes_on(each, task, first_of, members)), task.id)
        first_of[task.id] = first
        members.setdefault(first, []).append(task)
    return tuple(Chain(tasks=tuple(tasks), stays=_why_it_stays(tasks[0], request)) for tasks in members.values())


def _goes_on(need: str, task: Task, first_of: Mapping[str, str], members: Mapping[str, Sequence[Task]]) -> bool:
    """Say whether a task continues the chain of one that it needs: the same image's build, which is to be done."""
    if need not in first_of:
        return False
    first, job = members[first_of[need]][0], task.job
    assert isinstance(job, ConvertJob | BootJob)
    build = first.job
    if not isinstance(build, BuildJob) or isinstance(build, LayerJob) or first.cached:
        return False
    return (build.tag, build.arch) == (job.tag, job.arch)


def _why_it_stays(task: Task, request: Request) -> str:
    """Return why the chain that begins with a task is done on this host; empty when another one can do it."""
    job = task.job
    if task.cached:
        return "there is nothing to do"
    if isinstance(job, FetchJob):
        return "downloads come into this host's store"
    if isinstance(job, PushJob):
        return "the credentials of sites stay here"
    if not isinstance(job, BuildJob):
        return "it works on a stored build"
    if job.until:
        return "--until keeps its tree here"
    if request.debug:
        return "a debug shell needs this terminal"
    return "--keep-failed keeps its tree here" if request.keep_failed else ""


def place(
    chain: Chain,
    hosts: Sequence[Host],
    load: Mapping[str, int],
    kept: Mapping[str, Collection[str]],
    on: str = "",
) -> Placed:
    """Return the host for a chain: native before emulating, then one that has its layers, then the least loaded.

    `load` has the chains that run on each host, `kept` the recipe keys of the layers there; `on` is the only host that
    may be taken. `hosts` has this one too, and among equals their order decides. A chain waits for a native host that
    is busy, for emulation takes many times as long.

    Raises UserError when no host can ever do it.
    """
    job = chain.builds
    if chain.stays or job is None:
        here = [each for each in hosts if each.entry.local]
        assert here, "this host is one of them"
        return Placed(name=here[0].name, why=chain.stays)
    refusals = {each.name: _why_not(chain, job, each, on) for each in hosts}
    fit = [each for each in hosts if not refusals[each.name]]
    if not fit:
        raise _nobody(chain, refusals, on)
    native = [each for each in fit if each.arch is job.arch]
    candidates = native or fit
    free = [each for each in candidates if load.get(each.name, 0) < each.entry.tasks]
    if not free:
        names = tuple(each.name for each in candidates)
        return Placed(name="", why=f"{_listed(names)} busy", busy=names)
    parents = {*job.spec.relies_on}

    def cost(host: Host) -> tuple[int, float]:
        return len(parents - {*kept.get(host.name, ())}), load.get(host.name, 0) / host.entry.tasks

    best = min(free, key=cost)
    return Placed(name=best.name, why=_why(job, native, free, parents & {*kept.get(best.name, ())}, on))


def shares(
    chains: Sequence[Chain], hosts: Sequence[Host], kept: Mapping[str, Collection[str]], on: str = ""
) -> dict[str, Placed]:
    """Return where each chain is planned to be done, by its name: as if all that is placed ran at a time, in waves.

    A run may take another host, but this one does what is planned for it, and nothing else. Raises UserError.
    """
    load: Counter[str] = Counter()
    found: dict[str, Placed] = {}
    for chain in chains:
        placed = place(chain, hosts, load, kept, on)
        if not placed.name:
            load.clear()
            placed = place(chain, hosts, load, kept, on)
        if not chain.stays:
            load[placed.name] += 1
        found[chain.name] = placed
    return found


def _why(job: BuildJob, native: Sequence[Host], free: Sequence[Host], has: Collection[str], on: str) -> str:
    """Return why a host was chosen, in a few words."""
    said = [f"--on {on}"] if on else []
    said.append(f"native {job.arch}" if native else f"{job.arch} emulated")
    if has:
        said.append("has its layers" if len(has) == len(job.spec.relies_on) else "has some of its layers")
    if len(free) > 1 and not has:
        said.append("least loaded")
    return ", ".join(said)


def _why_not(chain: Chain, job: BuildJob, host: Host, on: str) -> str:
    """Return why a host can never do a chain; empty when it can."""
    if on and host.name != on:
        return f"--on {on}"
    if not host.builds_for(job.arch):
        if host.unfit and host.arch is None and not host.entry.architectures:  # nobody knows for what it builds
            return host.unfit
        return f"does not build for {job.arch}"
    if chain.secrets and not host.entry.trusted and not host.entry.local:
        return f"is not trusted with {', '.join(chain.secrets)}"
    return host.unfit or "; ".join(host.unfit_for[each] for each in job.spec.host_programs if each in host.unfit_for)


def _nobody(chain: Chain, refusals: Mapping[str, str], on: str) -> UserError:
    if on and on not in refusals:
        return UserError(f"--on {on}: there is no such builder", hint=f"builders: {', '.join(refusals)}")
    asked = {name: why for name, why in refusals.items() if not on or name == on}
    whys = "; ".join(f"{name} {why}" for name, why in asked.items())
    hint = "`cc-images builders` shows how each stands; docs/builders.md says what a builder needs"
    if "not trusted" in whys:
        hint = "`trusted: yes` in builders.yaml lets a builder have secrets"
    return UserError(f"no builder can do {chain.name}: {whys or 'there are none'}", hint=hint)


def _listed(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"
