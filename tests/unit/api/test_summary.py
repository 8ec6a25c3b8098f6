"""The account of a run: the critical path, and what changed in each image."""

from __future__ import annotations

from cc_images.api import summary
from cc_images.api.summary import Known
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Download, Format, Json
from cc_images.model.plan import ConvertJob, FetchJob, Plan, PushJob, Result, Status, Task
from tests.support.jobs import build_job


def task(name: str, *needs: str) -> Task:
    return Task(id=name, job=build_job(name=name.upper(), tag=name, version="v2"), reason="", needs=needs)


def ran(name: str, started: float, seconds: float) -> Result:
    return Result(task=name, status=Status.DONE, started=started, seconds=seconds)


def path(tasks: list[Task], *results: Result) -> list[str]:
    return summary.critical(Plan(version="v2", tasks=tuple(tasks)), {each.task: each for each in results})


def test_the_critical_path_follows_needs() -> None:
    tasks = [task("a"), task("b"), task("c", "a", "b")]
    assert path(tasks, ran("a", 0, 5), ran("b", 0, 9), ran("c", 9.2, 3)) == ["b", "c"]


def test_the_critical_path_follows_a_place_that_became_free() -> None:
    tasks = [task("a"), task("b"), task("c", "a")]
    # one at a time: c could have begun at 5, but waited for b
    assert path(tasks, ran("a", 0, 5), ran("b", 5.1, 9), ran("c", 14.3, 3)) == ["a", "b", "c"]


def test_the_critical_path_is_not_led_astray_by_what_ends_by_chance() -> None:
    fetch = Task(id="f", job=FetchJob(artifact=Download(url="file:/x")), reason="")
    tasks = [task("a"), fetch, task("c", "a")]
    assert path(tasks, ran("a", 0, 10), ran("f", 0, 9.8), ran("c", 10.1, 3)) == ["a", "c"]


def test_the_critical_path_has_each_task_once_and_in_the_order_in_which_they_began() -> None:
    tasks = [task("long"), task("a"), task("b", "a"), task("c", "a")]
    results = ran("long", 0, 4.9), ran("a", 5, 0.1), ran("b", 5.1, 0.2), ran("c", 5.1, 0.5)
    assert path(tasks, *results) == ["long", "a", "c"]


def test_a_run_without_work_has_no_critical_path() -> None:
    assert path([task("a")], Result(task="a", status=Status.CACHED)) == []


def output(size: int) -> dict[Format, Output]:
    return {Format.QCOW2: Output(format=Format.QCOW2, digest="0" * 64, sha512="0", size=size, virtual_size=1 << 30)}


def known(version: str, size: int, details: Json) -> Known:
    build = Build(
        tag="a", name="A", arch=Arch.AMD64, version=version, recipe_key="a", key="k", outputs=output(size), packages=2
    )
    return Known(build=build, details=details)


INSIDE: Json = {
    "os": {}, "kernels": ["6.1"], "cmdline": "", "users": [], "units": [], "setuid": [], "manifest": None,
    "sizes": {f"/{number}": number << 20 for number in range(20)},
}  # fmt: skip


def told(status: Status, before: Known | None, new: Known | None) -> Json:
    convert = ConvertJob(name="A", published_name="A", tag="a", arch=Arch.AMD64, version="v2", formats=(Format.QCOW2,))
    push = PushJob(
        name="A", tag="a", arch=Arch.AMD64, version="v2", format=Format.QCOW2, site="s", properties={}
    )  # fmt: skip
    tasks = (
        task("a"),
        Task(id="convert", job=convert, reason="", needs=("a",)),
        Task(id="push", job=push, reason="", needs=("convert",)),
    )
    results = {
        "a": ran("a", 0, 1),
        "convert": Result(task="convert", status=status, version="v2" if status.good else ""),
        "push": Result(task="push", status=status, version="v2" if status.good else "", where="there", error="no"),
    }
    olds = {("a", Arch.AMD64): before} if before else {}
    (said,) = summary.images(Plan(version="v2", tasks=tasks), results, olds, lambda tag, arch, version: new)
    return said


def test_an_image_that_was_built_is_compared_with_the_one_before() -> None:
    old = known("v1", 5, {"contents": INSIDE | {"packages": {"vim": "1", "nano": "1"}}})
    new = known("v2", 7, {"contents": INSIDE | {"packages": {"vim": "2", "joe": "1"}}, "boot": {"passed": True}})
    said = told(Status.DONE, old, new)
    assert (said["built"], said["ok"], said["before"], said["version"]) == (True, True, "v1", "v2")
    assert said["changes"] == {"packages": ["+joe 1", "-nano 1", "vim 1 → 2"]}
    assert (said["size"], said["size_before"], said["compared"]) == (7, 5, True)
    assert list(said["sizes"])[:2] == ["/19", "/18"]
    assert sum(said["sizes"].values()) + said["rest"] == sum(INSIDE["sizes"].values())
    assert said["sites"][0] | {"error": ""} == {
        "site": "s", "name": "A", "format": "qcow2", "status": "done", "version": "v2", "where": "there", "error": "",
    }  # fmt: skip


def test_of_images_that_nobody_looked_into_the_packages_are_compared() -> None:
    said = told(Status.DONE, known("v1", 5, {"packages": {"vim": "1"}}), known("v2", 7, {"packages": {"vim": "2"}}))
    assert said["changes"] == {"packages": ["vim 1 → 2"]}
    assert said["compared"] is False


def test_an_image_that_failed_and_the_first_of_its_kind() -> None:
    said = told(Status.FAILED, None, None)
    assert (said["built"], said["ok"], said["version"]) == (False, False, "")
    assert told(Status.DONE, None, known("v2", 7, {}))["changes"] is None


def test_counts_are_of_images() -> None:
    tasks = (task("a"), task("b"))
    results = {"a": ran("a", 0, 1), "b": Result(task="b", status=Status.FAILED)}
    counted = summary.counts(results, Plan(version="v2", tasks=tasks))
    assert (counted["built"], counted["failed"], counted["pushed"]) == (1, 1, 0)


def test_a_build_that_stops_after_a_phase_counts_as_kept_and_not_as_built() -> None:
    tasks = [task("a"), Task(id="b", job=build_job(name="B", tag="b", until="install"), reason="")]
    plan = Plan(version="v2", tasks=tuple(tasks))
    found = summary.counts({"a": ran("a", 0, 1), "b": ran("b", 0, 1)}, plan)
    assert (found["built"], found["kept"]) == (1, 1)
    assert "kept" not in summary.counts({"a": ran("a", 0, 1)}, plan)
