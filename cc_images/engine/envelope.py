"""Envelopes: all that a task needs, as JSON, wherever it is done.

Sent away, an envelope has references in place of secrets; the run's context has what is behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import convert, to_builtins

from cc_images.model.catalog import Json
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, FetchJob, Job, LayerJob, PushJob
from cc_images.model.site import Site
from cc_images.model.spec import BuildSpec

FORMAT = 1

KINDS: Mapping[str, type[Job]] = {
    "fetch": FetchJob,
    "layer": LayerJob,
    "build": BuildJob,
    "convert": ConvertJob,
    "boot": BootJob,
    "push": PushJob,
}
"""The kinds of jobs by the names that envelopes have for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One task of a run, for any worker."""

    store: str
    run: str
    task: str
    job: Job
    layers: Mapping[str, LayerJob] = field(default_factory=dict)
    """Of a build or layer: the layers that it relies on, and those that these rely on, by recipe key."""
    site: Site | None = None
    """Of a push: the site."""
    before: tuple[Site, ...] = ()
    """Of a push with a gate: the sites of the wave before."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of a boot test: the variables of the image's builds."""
    declared: tuple[str, ...] = ()
    """Of a boot test: the variables that are declared secrets."""
    tmpfs_mib: int = 0
    """Of a build: the size of its scratch folder in memory; 0: it lies on disk."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Variables that are declared secrets."""
        return self.job.spec.secrets if isinstance(self.job, BuildJob) else self.declared

    def as_json(self) -> Json:
        """Return the envelope as plain data."""
        plain = to_builtins(self, str_keys=True)
        assert isinstance(plain, dict)
        kind = next(name for name, each in KINDS.items() if type(self.job) is each)
        return plain | {"format": FORMAT, "kind": kind}

    @classmethod
    def from_json(cls, plain: Json, spec: Callable[[Json], BuildSpec]) -> Envelope:
        """Return the envelope that plain data has; `spec` decodes what a builder owns.

        Raises msgspec.ValidationError for anything else.
        """
        job = _job(KINDS[plain["kind"]], plain["job"], spec)
        layers = {key: _job(LayerJob, each, spec) for key, each in plain["layers"].items()}
        rest: dict[str, Any] = {
            "site": convert(plain["site"], Site | None),
            "before": convert(plain.get("before", []), tuple[Site, ...]),
            "variables": plain["variables"],
            "declared": tuple(plain["declared"]),
            "tmpfs_mib": plain["tmpfs_mib"],
        }
        return cls(store=plain["store"], run=plain["run"], task=plain["task"], job=job, layers=layers, **rest)


def _job(kind: type[Job], plain: Json, spec: Callable[[Json], BuildSpec]) -> Any:
    if issubclass(kind, BuildJob):
        rest = {"version": plain["version"], "force": plain["force"], "serves": plain["serves"]}
        rest["until"] = plain.get("until", "")
        return kind(spec=spec(plain["spec"]), known=tuple(plain["known"]), **rest)
    return convert(plain, kind)
