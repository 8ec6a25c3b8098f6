"""Builder hosts as a run sees them: which tasks they do, and the pools of these tasks."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cc_images.engine import worker
from cc_images.engine.envelope import Envelope
from cc_images.engine.execute import Pool
from cc_images.host import root
from cc_images.model.plan import Result, Task
from cc_images.remote.chain_run import ChainRun, Shared
from cc_images.remote.claims import Claims
from cc_images.remote.equality import facts_of
from cc_images.remote.fleet import Fleet
from cc_images.remote.hub import Hub
from cc_images.remote.placement import Chain
from cc_images.remote.protocol import UNIX
from cc_images.store.run_context import RunContext


def hub_path() -> Path:
    """Return a path for the socket of a run's hub; the store's own may be too long for one."""
    return Path(tempfile.gettempdir()) / f"cc-images-{secrets.token_hex(8)}" / "hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Builders:
    """The builder hosts of one run, and the chains that are done there; see `engine.local.Elsewhere`."""

    fleet: Fleet
    chains: Sequence[Chain]
    hub: Path
    """The socket of the run's own hub, whose folder is made for it."""
    here: int = 1
    """Builds that this host does at a time besides."""

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that are not done on this host."""
        return frozenset(task.id for chain in self.chains for task in chain.tasks)

    @property
    def places(self) -> int:
        """How many images the hosts work on at a time."""
        return self.fleet.places

    @contextmanager
    def opened(self, envelope: Callable[[Task], Envelope], context: RunContext) -> Iterator[Mapping[str, Pool]]:
        """Give the pool of each of these tasks; in the end nothing of them is left at work."""
        arches = {chain.builds.arch for chain in self.chains if chain.builds is not None}
        with ExitStack() as ending:
            self.hub.parent.mkdir(mode=0o700)
            ending.callback(root.remove, self.hub.parent)
            ending.enter_context(Hub(context.store, f"{UNIX}{self.hub}").serving())
            ending.callback(self.fleet.close)
            self.fleet.share(context)
            executor = ending.enter_context(ThreadPoolExecutor(max(1, len(self.tasks)), thread_name_prefix="elsewhere"))
            shared = Shared(
                fleet=self.fleet, facts={each: facts_of({each}) for each in arches}, claims=Claims(context.store)
            )
            pools: dict[str, Pool] = {}
            for chain in self.chains:
                pool = ChainPool(chain, shared, envelope, context, executor)
                ending.callback(pool.close)
                pools |= dict.fromkeys((task.id for task in chain.tasks), pool)
            yield pools


class ChainPool:
    """The tasks of one chain, done on a builder host."""

    def __init__(
        self,
        chain: Chain,
        shared: Shared,
        envelope: Callable[[Task], Envelope],
        context: RunContext,
        executor: Executor,
    ) -> None:
        self._chain, self._shared = chain, shared
        self._envelope, self._context, self._executor = envelope, context, executor
        self._run: ChainRun | None = None

    def submit(self, task: Task) -> Future[Result]:
        """Begin a task: it waits in a thread for its builder host."""
        if self._run is None:
            envelopes = [self._envelope(each) for each in self._chain.tasks]
            self._run = ChainRun(self._chain, envelopes, self._context, self._shared)
        envelope = self._envelope(task)
        plain = self._context.sealed(envelope.as_json(), envelope.secrets)
        return self._executor.submit(worker.perform, plain, self._context, self._run.do)

    def close(self) -> None:
        """Give up what is open."""
        if self._run is not None:
            self._run.close()
