"""The queue: requests that join, limits, runs that are found again, and how a build stands for whom."""

from __future__ import annotations

import pytest

from cc_images.model.service_terms import Limits
from tests.support.servicebed import ServiceBed

RUN = "20261122T030000Z"


def test_a_build_goes_its_way(bed: ServiceBed) -> None:
    build = bed.request("ada", "CC-One")
    assert bed.status("ada", build) == "PENDING"
    bed.look()
    assert bed.runs.words[build] == ["-b", "-v", "cc-one"]
    assert bed.status("ada", build) == "STARTED"
    bed.plan(build, RUN)
    bed.look()
    seen = ["STARTED"]
    for kind in ("build", "convert", "boot", "push"):
        task = f"{kind} cc-one amd64"
        bed.emit(RUN, {"event": "started", "task": task}, {"event": "step", "task": task, "doing": "works"})
        said = bed.ask("ada", "GET", f"/build/{build}").json()
        assert said["message"] == f"{task}: works"
        assert 0 < said["estimate"] <= 60
        seen.append(said["status"])
        bed.emit(RUN, {"event": "ended", "task": task, "status": "done"})
    assert seen == ["STARTED", "BUILDING", "CONVERTING", "TESTING", "PUSHING"]
    bed.stored(b"disk", RUN)
    bed.finish(build, RUN)
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (said["status"], said["image_id"], said["filename"]) == (
        "FINISHED", f"cc-one@{RUN}", f"CC-One-{RUN}.qcow2"
    )  # fmt: skip
    assert said["tasks"]["boot cc-one amd64"] == "done"
    assert said["ended"]
    assert said["estimate"] is None


def test_the_status_never_goes_back(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one", "cc-two")
    bed.look()
    bed.plan(build, RUN, {"event": "started", "task": "push cc-one amd64 to local"})
    bed.look()
    bed.emit(RUN, {"event": "started", "task": "build cc-two amd64"})
    assert bed.status("ada", build) == "PUSHING"


def test_identical_requests_are_one_build_that_each_sees_as_theirs(bed: ServiceBed) -> None:
    build = bed.request("ada", "CC-One", "cc-two")
    assert bed.ask("bob", "GET", f"/build/{build}").status_code == 404
    answer = bed.ask("bob", "POST", "/build", json={"images": ["cc-two", "cc-one"], "force": False}).json()
    assert answer == {"id": build, "joined": True}
    assert bed.request("bob", "cc-one", "cc-two", force=True) != build
    bed.look()
    assert bed.ask("ada", "DELETE", f"/build/{build}").json()["done"] == "cancelled"
    assert bed.status("ada", build) == "CANCELLED"
    assert bed.status("bob", build) == "STARTED", "for bob it goes on"
    bed.look()
    bed.plan(build, RUN)
    bed.look()
    bed.finish(build, RUN)
    assert (bed.status("ada", build), bed.status("bob", build)) == ("CANCELLED", "FINISHED")
    assert bed.request("ada", "cc-one", "cc-two") != build, "what is over is not joined"


def test_a_build_that_waits_is_cancelled_and_removed(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    assert bed.ask("bob", "DELETE", f"/build/{build}").status_code == 404
    bed.ask("ada", "DELETE", f"/build/{build}")
    bed.look()
    assert bed.runs.launches == []
    assert [each["status"] for each in bed.ask("ada", "GET", "/builds").json()] == ["CANCELLED"]
    assert bed.ask("ada", "DELETE", f"/build/{build}").json()["done"] == "removed"
    assert bed.ask("ada", "GET", "/builds").json() == []
    assert bed.ask("ada", "GET", f"/build/{build}").status_code == 404
    assert bed.ask("root", "GET", f"/build/{build}").json()["status"] == "CANCELLED"


def test_an_administrator_sees_and_cancels_everything(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    assert bed.ask("root", "GET", "/builds").json() == []
    (row,) = bed.ask("root", "GET", "/builds?everyone=true").json()
    assert (row["id"], row["requesters"]) == (build, ["ada"])
    assert bed.ask("bob", "GET", "/builds?everyone=true").json() == []
    assert bed.ask("root", "DELETE", f"/build/{build}").json()["done"] == "cancelled"
    bed.look()
    assert bed.status("ada", build) == "CANCELLED"


def test_an_account_has_limits(bed: ServiceBed) -> None:
    bed = bed.again(Limits(places=2, running=1, waiting=2))
    first = bed.request("ada", "cc-one")
    bed.look()
    bed.request("ada", "cc-two")
    bed.request("ada", "cc-two", force=True)
    answer = bed.ask("ada", "POST", "/build", json={"images": ["cc-one"], "force": True})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    other = bed.request("bob", "cc-one", force=True)
    assert bed.ask("bob", "GET", f"/build/{other}").json()["queue_position"] == 3
    bed.look()
    assert bed.runs.launches == [first, other], "one of each account runs, though ada's came before"
    bed.close()


def test_a_service_that_starts_again_finds_its_runs(bed: ServiceBed) -> None:
    lives, died, never, done = (bed.request("ada", "cc-one", force=force, push=push) for force in (True, False)
                                for push in (True, False))  # fmt: skip
    again = bed.again(Limits(places=4, running=4))
    again.look()
    assert again.runs.launches == [lives, died, never, done]
    for number, build in enumerate((lives, died, done)):
        bed.plan(build, f"20261122T03000{number}Z")
    bed.runs.die(bed.of(died))
    bed.runs.die(bed.of(never))
    bed.finish(done, "20261122T030002Z")
    restarted = again.again()
    restarted.look()
    restarted.look()
    found = {build: restarted.ask("ada", "GET", f"/build/{build}").json() for build in (lives, died, never, done)}
    assert [each["status"] for each in found.values()] == ["STARTED", "FAILED", "STARTED", "FINISHED"]
    assert found[died]["message"] == "the run was killed; request it again"
    assert restarted.runs.launches.count(never) == 2, "it had no plan, so it begins again"
    assert all(restarted.runs.launches.count(each) == 1 for each in (lives, died, done))


def test_a_build_with_nothing_to_do_finds_what_is_up_to_date(bed: ServiceBed) -> None:
    bed.stored(b"disk", RUN)
    build = bed.request("bob", "cc-one")
    bed.look()
    bed.plan(build, "20261123T030000Z")
    bed.look()
    job = {"tag": "cc-one", "arch": "amd64", "serves": RUN}
    task = {"id": "build cc-one amd64", "resource": "build", "cached": True, "job": job}
    bed.finish(build, "20261123T030000Z", version="none", plan={"tasks": [task]})
    said = bed.ask("bob", "GET", f"/build/{build}").json()
    assert (said["status"], said["image_id"], said["filename"]) == (
        "FINISHED", f"cc-one@{RUN}", f"CC-One-{RUN}.qcow2"
    )  # fmt: skip


def test_a_run_that_cannot_begin_fails_with_its_last_words(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    for _ in range(3):
        bed.look()
        (bed.of(build) / "log").write_text("first\nImportError: no module\n")
        bed.runs.die(bed.of(build))
    bed.look()
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (said["status"], said["message"]) == ("FAILED", "ImportError: no module")
    assert said["log_tail"] == ["first", "ImportError: no module"]


@pytest.mark.parametrize(("code", "status"), [(0, "FINISHED"), (3, "FAILED")])
def test_the_exit_code_of_a_run_counts(bed: ServiceBed, code: int, status: str) -> None:
    build = bed.request("ada", "cc-one")
    bed.look()
    bed.runs.note(bed.of(build), run=RUN, state="ok", exit_code=code, message="something is left out")
    bed.runs.die(bed.of(build))
    bed.look()
    assert bed.status("ada", build) == status
