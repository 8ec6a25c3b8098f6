"""Metrics, read by the field's own parser."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from cc_images.report import metrics

WHEN = datetime(2026, 11, 22, 3, tzinfo=UTC)


def read(text: str) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            found[sample.name.removeprefix("cc_images_"), *sample.labels.values()] = sample.value
    return found


def test_metrics_of_a_run() -> None:
    journal = {
        "state": "failed", "seconds": 12.5, "counts": {"built": 2, "failed": 1},
        "images": [{"image": "cc-x", "arch": "amd64", "ok": True}, {"image": "cc-y", "arch": "arm64", "ok": False}],
    }  # fmt: skip
    text = metrics.text(
        metrics.metrics(journal, WHEN, metrics.Measured(
            builds=[("cc-x", "amd64", WHEN)], pushes=[("cc-x", "amd64", 'k"\\v\n', 5.0)],
            durations={"build cc-x amd64": 75.0}, store_bytes=1 << 40, free_bytes=7,
        ))
    )  # fmt: skip
    found = read(text)
    assert found["run_timestamp_seconds",] == WHEN.timestamp()
    assert found["run_state", "failed"] == 1
    assert found["run_state", "ok"] == found["run_state", "killed"] == 0
    assert ("run_state", "running") not in found
    assert found["image_ok", "cc-x", "amd64"] == 1
    assert found["image_ok", "cc-y", "arm64"] == 0
    assert found["build_timestamp_seconds", "cc-x", "amd64"] == WHEN.timestamp()
    assert found["push_timestamp_seconds", "cc-x", "amd64", 'k"\\v\n'] == 5
    assert found["task_duration_seconds", "build cc-x amd64"] == 75
    assert found["store_bytes",] == 1 << 40
    assert not [name for name, *_ in found if name == "success_timestamp_seconds"], "it never went well"


def test_metrics_of_a_run_that_could_not_start() -> None:
    found = read(
        metrics.text(
            metrics.metrics({"state": "failed"}, WHEN, metrics.Measured(succeeded=WHEN))
        )
    )  # fmt: skip
    assert found["run_state", "failed"] == 1
    assert found["success_timestamp_seconds",] == WHEN.timestamp()
