"""Plans: what a run would do and why; nothing is built or published."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cc_images import clock
from cc_images.api import site_status
from cc_images.api.builders import ask, divided, facts_for
from cc_images.config.loader import Config
from cc_images.host.facts import HostFacts
from cc_images.model.builds import VERSION_FORMAT
from cc_images.model.catalog import Json
from cc_images.model.plan import Plan, Request
from cc_images.planner.partial import require_sense
from cc_images.planner.snapshot import Snapshot, look
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A plan. `pushes` says what each push would replace and delete, if the sites were asked."""

    plan: Plan
    pushes: tuple[str, ...] = ()
    answered: bool = True
    """Whether every site could be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why images would be built: for each the inputs that differ from its newest build, and notes."""

    reasons: tuple[Json, ...]
    notes: tuple[str, ...]


def plan(
    request: Request,
    config: Config,
    *,
    offline: bool = False,
    ask_sites: bool = False,
    stop: threading.Event | None = None,
) -> Preview:
    """Return the plan of a request, and with `ask_sites` what its pushes would do.

    Raises CCImagesError for sources that cannot be had, and UserError for what the user can correct.
    """
    asked = ask(request, config)
    snapshot = _look(request, config, offline, stop, facts_for(asked))
    pushes, answered = site_status.preview(snapshot, Store(config.store)) if ask_sites else ([], True)
    found = divided(snapshot.plan(f"{snapshot.now:{VERSION_FORMAT}}"), request, asked)
    return Preview(plan=found.plan, pushes=tuple(pushes), answered=answered)


def explain(
    request: Request, config: Config, *, offline: bool = False, stop: threading.Event | None = None
) -> Explanation:
    """Return in which inputs images differ from their newest builds. Raises what `plan` raises."""
    snapshot = _look(request, config, offline, stop, facts_for(ask(request, config)))
    return Explanation(reasons=tuple(snapshot.reasons()), notes=snapshot.notes)


def _look(
    request: Request, config: Config, offline: bool, stop: threading.Event | None, host: HostFacts | None
) -> Snapshot:
    require_sense(request)
    return look(request, config, Store(config.store), now=clock.now(), offline=offline, stop=stop, host=host)
