"""Usual shares: the progress of a task that never ran before, by its present step, and its share of a run.

Taken from runs of cc-debian12 (docs/performance.md); an estimate that only fills a bar, never a time.
"""

from __future__ import annotations

from collections.abc import Mapping

from cc_images.model.plan import BootJob, BuildJob, ConvertJob, FetchJob, Job, LayerJob, PushJob

WEIGHTS: Mapping[type[Job], float] = {
    FetchJob: 5,
    LayerJob: 60,
    BuildJob: 25,
    ConvertJob: 6,
    BootJob: 110,
    PushJob: 2,
}
"""Seconds that a task of a kind takes beside the others, on the machine of docs/performance.md."""

LAYER: Mapping[str, float] = {
    "root.d": 0.02, "extra-data.d": 0.33, "pre-install.d": 0.34, "install.d": 0.37, "post-install.d": 0.9,
    "block-device.d": 0.91, "pre-finalise.d": 0.92, "finalise.d": 0.92, "cleanup.d": 0.93,
}  # fmt: skip
BUILD: Mapping[str, float] = {
    "root.d": 0.06, "extra-data.d": 0.15, "pre-install.d": 0.16, "install.d": 0.24, "post-install.d": 0.27,
    "block-device.d": 0.5, "pre-finalise.d": 0.7, "finalise.d": 0.72, "cleanup.d": 0.85,
}  # fmt: skip
BOOT: Mapping[str, float] = {
    "inside": 0.01, "firmware": 0.03, "boot loader": 0.05, "kernel": 0.15, "login": 0.8, "cloud-init": 0.9, "ssh": 0.95,
    "systemd": 0.98, "checks": 0.99,
}  # fmt: skip
"""How far a task is when it begins to do this."""

_STEPS: Mapping[type[Job], Mapping[str, float]] = {LayerJob: LAYER, BuildJob: BUILD, BootJob: BOOT}


def weight(job: Job) -> float:
    """Return how much of a run a task is, beside the weights of the others."""
    return next(WEIGHTS[kind] for kind in type(job).__mro__ if kind in WEIGHTS)


def done(job: Job, doing: Mapping[str, str]) -> float | None:
    """Return how far a task is, 0 to 1, by what it does; of several that do something the least; None: it does not say.

    `doing` is what it does by who does it, as bars keep it.
    """
    steps = next((_STEPS[kind] for kind in type(job).__mro__ if kind in _STEPS), {})
    seen = [steps[name] for what in doing.values() if (name := what.partition("/")[0]) in steps]
    return min(seen, default=None)
