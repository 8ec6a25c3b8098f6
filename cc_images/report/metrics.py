"""Metrics: the state of the images as a Prometheus text file, for the textfile collector of a node exporter.

Pure text. Moments are given, not ages, because the file stands still between two runs: an age is `time() - moment`.
Format: the Prometheus text exposition format, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cc_images.model.catalog import Json
from cc_images.model.run import State


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name without the prefix, what it means, and its values by labels."""

    name: str
    means: str
    values: tuple[tuple[Mapping[str, str], float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Measurements of a store after a run, in bytes and seconds."""

    succeeded: datetime | None = None
    """When the last run that went well began."""
    builds: Sequence[tuple[str, str, datetime]] = ()
    """Image, architecture and moment of each newest build."""
    pushes: Sequence[tuple[str, str, str, float]] = ()
    """Image, architecture, site, and since when (seconds since 1970) the newest version is there."""
    pending: Sequence[tuple[str, str, str, int, int]] = ()
    """Image, architecture, site, pending updates, and those for security, as `check-updates` found them last."""
    durations: Mapping[str, float] = field(default_factory=dict)
    """The usual seconds of tasks."""
    store_bytes: int = 0
    free_bytes: int = 0


def metrics(journal: Json, ended: datetime, measured: Measured) -> list[Metric]:
    """Return the metrics after a run that ended at a time."""
    counts: Mapping[str, int] = journal.get("counts", {})
    verdicts = [({"image": each["image"], "arch": each["arch"]}, each["ok"]) for each in journal.get("images", [])]
    return [
        _one("run_timestamp_seconds", "When the last run ended.", ended.timestamp()),
        _one("run_duration_seconds", "How long the last run took.", journal.get("seconds", 0.0)),
        Metric(
            "run_state",
            "How the last run ended: 1 for its state, 0 for the others.",
            tuple(({"state": each.value}, journal.get("state") == each) for each in State if each is not State.RUNNING),
        ),
        _one("success_timestamp_seconds", "When the last run that went well began.", _moment(measured.succeeded)),
        Metric("run_tasks", "What the last run did.", tuple(({"what": what}, count) for what, count in counts.items())),
        Metric("image_ok", "Whether all went well with the image in the last run.", tuple(verdicts)),
        Metric(
            "build_timestamp_seconds",
            "When the run of the newest build began.",
            tuple(({"image": tag, "arch": arch}, when.timestamp()) for tag, arch, when in measured.builds),
        ),
        Metric(
            "push_timestamp_seconds",
            "Since when the version that is on the site is there, as far as this host has put it there.",
            tuple(({"image": tag, "arch": arch, "site": site}, since) for tag, arch, site, since in measured.pushes),
        ),
        Metric(
            "pending_updates",
            "Packages of which the image's repositories had a later version when check-updates looked last.",
            tuple(({"image": tag, "arch": arch, "site": at}, count) for tag, arch, at, count, _ in measured.pending),
        ),
        Metric(
            "pending_security_updates",
            "Those of them that are for security.",
            tuple(({"image": tag, "arch": arch, "site": at}, count) for tag, arch, at, _, count in measured.pending),
        ),
        Metric(
            "task_duration_seconds",
            "How long a task usually takes.",
            tuple(({"task": task}, seconds) for task, seconds in measured.durations.items()),
        ),
        _one("store_bytes", "What the store holds, as prune counts it.", measured.store_bytes),
        _one("store_free_bytes", "Free room of the store's file system.", measured.free_bytes),
    ]


def text(found: Iterable[Metric]) -> str:
    """Return metrics in the text format."""
    lines: list[str] = []
    for metric in found:
        if metric.values:
            name = f"cc_images_{metric.name}"
            lines += [f"# HELP {name} {metric.means}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(labels)} {float(value):.17g}" for labels, value in metric.values]
    return "\n".join(lines) + "\n"


def _one(name: str, means: str, value: float | None) -> Metric:
    return Metric(name, means, (({}, value),) if value is not None else ())


def _moment(when: datetime | None) -> float | None:
    return when.timestamp() if when is not None else None


def _labels(labels: Mapping[str, str]) -> str:
    escaped = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(escaped) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
