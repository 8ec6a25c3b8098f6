"""Requests for machines over HTTP: what they may say, which are one build, what they make, and who sees that."""

from __future__ import annotations

import dataclasses
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from cc_images.api import launch, run_note
from cc_images.api.launch import Launcher
from cc_images.api.plan import plan
from cc_images.api.requests import prepared, read_request
from cc_images.config.requests import mapping_of, request_of
from cc_images.model.catalog import Format
from cc_images.web import app
from cc_images.web.commands import OWN
from cc_images.web.kinds import KINDS
from cc_images.web.progress import STAGES
from cc_images.web.throttle import Throttle
from tests.conftest import LONG, REPOSITORY, clean_environment
from tests.support.servicebed import ServiceBed
from tests.support.workflows import Workflows, with_one_step
from tests.unit.api.test_hostile_requests import PLACES, WORDS
from tests.unit.repository.test_documents import snippets

RUN = "20261122T030000Z"

CUBE = {"platform": "linux/amd64", "architecture": "x86_64_v3", "container_engine": "singularity", "mpi": "openmpi@4"}
DESK = {"platform": "linux/amd64", "architecture": "haswell", "container_engine": "podman"}
NAME = "flow_one_x86__64__v3_openmpi-4_nogpu"

MACHINES = """\
cube: {platform: linux/amd64, architecture: x86_64_v3, container-engine: singularity, mpi: openmpi@4}
other: {platform: linux/arm64, architecture: grace, container-engine: sarus, gpu: cuda@12}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Workflows:
    made = with_one_step(tmp_path / "repository")
    (tmp_path / "steps" / "own").mkdir(parents=True)
    (tmp_path / "steps" / "own" / "post_inst.sh").write_text("true\n")
    (tmp_path / "machines.yaml").write_text(MACHINES)
    settings = f"workflows: {{repo: '{made.address}', served: ['{tmp_path / 'steps'}']}}\n"
    (tmp_path / "settings.yaml").write_text(settings)
    return made


@pytest.fixture
def bed(repository: Workflows, bed: ServiceBed) -> ServiceBed:
    """Return a service with machines and a repository of workflows."""
    return bed


def body(machine: Any = None, **said: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"machine": CUBE if machine is None else machine, "workflow": "flow", "step_id": "one"}
    return {key: value for key, value in (whole | said).items() if value != "left out"}


def post(bed: ServiceBed, said: Any, who: str = "ada") -> str:
    answer = bed.ask(who, "POST", "/build/", json=said)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def content(bed: ServiceBed, build: str) -> dict[str, Any]:
    found: dict[str, Any] = bed.ask("root", "GET", f"/build/{build}").json()["request"]
    return found


def changed(**said: Any) -> dict[str, Any]:
    return body({key: value for key, value in (CUBE | said).items() if value != "left out"})


WRONG: list[tuple[dict[str, Any], str, str]] = [
    (body(workflow="left out"), "workflow", "is missing"),
    (body(step_id="left out"), "step_id", "is missing"),
    ({"workflow": "flow", "step_id": "one"}, "machine", "is missing"),
    ({"step_id": "one"}, "machine", "is missing"),
    (body(workflow=""), "workflow", "is missing"),
    (body(workflow="x; rm -rf /"), "workflow", "letters and digits"),
    (body(workflow="a" * 41), "workflow", "more than 40"),
    (body(workflow=5), "workflow", "a text is expected"),
    (body(workflow=["a"]), "workflow", "a text is expected"),
    (body(step_id="$(id)"), "step_id", "letters and digits"),
    (body(step_id=None), "step_id", "a text is expected"),
    (body(workflow="BASE"), "step_id", "BASE is the workflow and the step, or neither"),
    (body(workflow="w" * 40, step_id="s_" * 19 + "t"), "workflow", "the image's name would have"),
    (body(version="a b"), "version", "slashes"),
    (body(version="v2"), "version", "no such tag, branch or commit"),
    (body(version="latest-x"), "version", "only latest itself"),
    (body(version=1), "version", "a text is expected"),
    (body(force="yes"), "force", "true or false"),
    (body(push=1), "push", "true or false"),
    (body(more=1), "more", "no such key"),
    (body(images=["cc-one"]), "machine", "no such key"),
    (body(path="nowhere"), "path", "no such folder"),
    (body("nobody"), "machine", "no machine is called 'nobody'; known are cube, other"),
    (body(5), "machine", "a text is expected"),
    (body([]), "machine", "a text is expected"),
    (body({}), "machine.platform", "is missing"),
    (changed(platform="left out"), "machine.platform", "is missing"),
    (changed(platform=""), "machine.platform", "is missing"),
    (changed(platform="linux/vax"), "machine.platform", "linux/amd64"),
    (changed(platform=["linux/amd64"]), "machine.platform", "a text is expected"),
    (changed(architecture="left out"), "machine.architecture", "is missing"),
    (changed(architecture="pentium"), "machine.architecture", "is not known"),
    (changed(architecture="grace"), "machine.architecture", "no part of linux/amd64"),
    (changed(container_engine="left out"), "machine.container_engine", "is missing"),
    (changed(container_engine="lxc"), "machine.container_engine", "one of docker"),
    (changed(**{"container-engine": "docker"}), "machine.container-engine", "no such key"),
    (changed(mpi="x; rm -rf /"), "machine.mpi", "NAME@VERSION"),
    (changed(mpi="a" * 25), "machine.mpi", "more than 24"),
    (changed(mpi=4), "machine.mpi", "a text is expected"),
    (changed(mpi="nompi"), "machine.mpi", ""),
    (changed(gpu="cuda@"), "machine.gpu", "NAME@VERSION"),
    (changed(base="../x"), "machine.base", "image of the catalogue"),
    (changed(base="cc-none"), "machine.base", "the catalogue has no image 'cc-none'"),
    (changed(**{"spack-builder": "cc-none"}), "machine.spack-builder", "the catalogue has no image 'cc-none'"),
    (changed(**{"spack-builder": "a b"}), "machine.spack-builder", "image of the catalogue"),
    (changed(user="root"), "machine.user", "no such key"),
]


@pytest.mark.parametrize(("said", "field", "words"), WRONG, ids=lambda each: str(each)[:70])
def test_each_field_that_is_missing_or_wrong_is_named(
    bed: ServiceBed, said: dict[str, Any], field: str, words: str
) -> None:
    answer = bed.ask("ada", "POST", "/build/", json=said)
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
    assert words in answer.json()["message"]
    bed.look()
    assert bed.runs.launches == []


def test_hostile_words_in_each_place_run_nothing(bed: ServiceBed) -> None:
    taken = 0
    bed.app = app.made(dataclasses.replace(bed.service, requests=Throttle(10**6, 60.0)))
    pairs = [(place, word) for place in PLACES for word in WORDS]
    for place, word in [pair for number, pair in enumerate(pairs) if LONG or number % 5 == 0 or pair[1] == "null"]:
        whole, _, key = place.partition(".")
        said = body(**{whole: {**CUBE, key: word} if key else word})
        answer = bed.ask("ada", "POST", "/build/", content=json.dumps(said),
                         headers={"content-type": "application/json"})  # fmt: skip
        if answer.status_code == 200:
            taken += 1
            build = answer.json()["id"]
            assert word in ("null", "latest-x") or (place, word) == ("path", "."), (place, word)
            assert set(content(bed, build)["image_id"]) <= {*"abcdefghijklmnopqrstuvwxyz0123456789._-:"}
            bed.ask("ada", "DELETE", f"/build/{build}")
            continue
        message = answer.json()["message"]
        assert (answer.status_code, answer.json()["field"]) == (400, place), (place, word, answer.text)
        assert message.isprintable()
        assert len(message) < 900
    assert 0 < taken < 12
    bed.look()
    assert bed.runs.words == {}


@pytest.mark.parametrize("place", PLACES)
def test_half_characters_and_long_keys_are_answered(bed: ServiceBed, place: str) -> None:
    whole, _, key = place.partition(".")
    odd = body(**{whole: {**CUBE, key: "a\ud800"} if key else "a\ud800"})
    long = changed(**{"x" * 100_000: 1}) if key else body(**{"x" * 100_000: 1})
    half = changed(**{"\ud800": 1}) if key else body(**{"\ud800": 1})
    for said in (odd, long, half):
        answer = bed.ask("ada", "POST", "/build/", content=json.dumps(said).encode(),
                         headers={"content-type": "application/json"})  # fmt: skip
        assert answer.status_code == 400
        assert len(answer.content) < 1000
        assert said is not odd or answer.json()["field"] == place


@pytest.mark.parametrize("text", ['{"machine": "cube",\n "workflow": }', '{"machine": "cube"\n "workflow": "flow"}'])
def test_what_is_no_json_is_told_by_line_and_column(bed: ServiceBed, text: str) -> None:
    answer = bed.ask("ada", "POST", "/build/", content=text, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (400, "")
    column = 14 if text[-1] == "}" and ": }" in text else 2
    assert answer.json()["message"].startswith(f"the request is no JSON: line 2, column {column}: "), answer.text


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ({"mpi": "openmpi@4", "gpu": "cuda@12"}, "flow_one_haswell_openmpi-4_cuda-12"),
        ({"mpi": "", "gpu": "cuda"}, "flow_one_haswell_nompi_cuda"),
        ({"mpi": "mpich"}, "flow_one_haswell_mpich_nogpu"),
        ({"mpi": None, "gpu": ""}, "flow_one_haswell_nompi_nogpu"),
    ],
)
def test_mpi_and_gpu_may_be_left_out_or_empty(bed: ServiceBed, machine: dict[str, Any], name: str) -> None:
    build = post(bed, body(DESK | machine))
    assert content(bed, build)["image_id"] == f"{name}:latest"
    left = {key: value for key, value in machine.items() if value}
    assert post(bed, body(DESK | left), "bob") == build


def test_identical_requests_are_one_build_however_they_are_written(bed: ServiceBed) -> None:
    build = post(bed, body())
    spelled = {"container-engine" if key == "container_engine" else key: CUBE[key] for key in reversed(CUBE)}
    spelled |= {"base": "CC-Debian12-Container", "gpu": ""}
    same = [body("cube"), body(spelled), body(push=False, force=False, version="latest", path=""), body(version=None)]
    for said in same:
        answer = bed.ask("bob", "POST", "/build", json=said).json()
        assert answer == {"id": build, "joined": True}, said
    others = [body(force=True), body(push=True), body(version="v1"), body(DESK), body(CUBE | {"base": "cc-two"}),
              body(workflow="BASE", step_id="BASE"), body(step_id="two"), body(path="own")]  # fmt: skip
    assert len({post(bed, said) for said in others} | {build}) == len(others) + 1


def test_a_build_is_the_command_with_a_private_file(bed: ServiceBed) -> None:
    build = post(bed, body("cube", version="v1", push=True))
    bed.look()
    file = bed.of(build) / "request.json"
    assert bed.runs.words[build] == ["build-request", str(file)]
    asked = read_request(file, {})
    assert (asked.machine.architecture, asked.version, asked.push, asked.path) == ("x86_64_v3", "v1", True, None)
    assert {"image_id", "commit"} & json.loads(file.read_text()).keys() == set()


def test_after_a_commit_the_next_request_is_a_build_of_its_own(bed: ServiceBed, repository: Workflows) -> None:
    build, tagged = post(bed, body()), post(bed, body(version="v1"))
    bed.look()
    assert bed.status("ada", build) == "STARTED", "it has looked for the newest commit"
    assert post(bed, body(), "bob") == build, "which is still the newest"
    newest = repository.commit()
    after = post(bed, body(), "bob")
    assert after != build
    assert content(bed, after)["commit"] == newest != content(bed, build)["commit"]
    assert post(bed, body(version="main")) not in (build, after)
    assert post(bed, body(version="v1")) == tagged, "a tag stays"
    repository.git("branch", "abcdef0", "v1")
    assert content(bed, post(bed, body(version="abcdef0")))["commit"] == content(bed, tagged)["commit"]
    assert "commit" not in content(bed, post(bed, body(version="1234567"))), "a commit is what it is"
    assert "commit" not in content(bed, post(bed, body(workflow="BASE", step_id="BASE")))


def test_a_repository_that_does_not_answer_is_no_mistake_of_the_caller(bed: ServiceBed, repository: Workflows) -> None:
    repository.folder.rename(repository.folder.with_name("away"))
    answer = bed.ask("ada", "POST", "/build/", json=body())
    assert (answer.status_code, answer.json()) == (
        503, {"message": "the repository of workflows does not answer; try again later", "field": ""}
    )  # fmt: skip
    assert str(bed.folder) not in answer.text
    post(bed, body(path="own"))


def test_without_a_repository_a_request_needs_a_path_or_is_for_the_base(bed: ServiceBed) -> None:
    settings = bed.folder / "settings.yaml"
    for served, field in (("[]", "workflow"), (f"['{bed.folder / 'steps'}']", "path")):
        settings.write_text(f"workflows: {{served: {served}}}\n")
        answer = bed.ask("ada", "POST", "/build/", json=body())
        assert (answer.status_code, answer.json()["field"]) == (400, field), "the file is read again"
        post(bed, body(workflow="BASE", step_id="BASE", version=f"v-{field}"))
    post(bed, body(path="own"))


def test_paths_are_below_folders_that_are_served(bed: ServiceBed, tmp_path: Path) -> None:
    steps, outside = tmp_path / "steps", tmp_path / "outside"
    outside.mkdir()
    (steps / "deep" / "er").mkdir(parents=True)
    (steps / "file").write_text("")
    for name, target in (("link", "own"), ("out", "../outside"), ("abs", str(outside)), ("loop", "loop")):
        (steps / name).symlink_to(target)
    own = str(steps / "own")
    assert {content(bed, post(bed, body(path=each)))["path"] for each in ("own", own, f"{own}/", "link", "./own")} == {
        own
    }
    assert content(bed, post(bed, body(path="deep/er")))["path"] == str(steps / "deep" / "er")
    assert content(bed, post(bed, body(path=str(steps))))["path"] == str(steps)
    messages = set()
    for path in ("out", "abs", "loop", "file", "none", str(outside), "/etc", "/", "..", "../outside",
                 "own/../../outside", f"{steps}/../outside", "/proc/self/cwd", "own\0", "a" * 999, "~",
                 f"{steps}2"):  # fmt: skip
        answer = bed.ask("ada", "POST", "/build/", json=body(path=path))
        assert (answer.status_code, answer.json()["field"]) == (400, "path"), path
        messages.add(answer.json()["message"])
    assert messages == {"there is no such folder below those that this service offers for requests"}


def test_a_folder_that_has_changed_is_another_request(bed: ServiceBed) -> None:
    build = post(bed, body(path="own"))
    assert post(bed, body(path="own"), "bob") == build
    (bed.folder / "steps" / "own" / "post_inst.sh").write_text("false\n")
    assert post(bed, body(path="own")) != build


def made(bed: ServiceBed, who: str, said: dict[str, Any], *formats: Format, run: str = RUN, bytes_: bytes = b"") -> str:
    """Let an account's request have made an image."""
    build = post(bed, said, who)
    bed.look()
    name = content(bed, build)["image_id"].partition(":")[0]
    bed.plan(build, run, {"event": "started", "task": f"build {name} amd64"})
    bed.look()
    bed.stored(bytes_ or run.encode(), run, name, name, *formats)
    bed.finish(build, run, name)
    return build


def test_a_machine_gets_the_file_that_its_engine_takes(bed: ServiceBed) -> None:
    build = made(bed, "ada", body(), Format.OCI, Format.SIF)
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (said["status"], said["kind"], said["image_id"]) == ("FINISHED", "machine", f"{NAME}:latest")
    assert said["filename"] == f"{NAME}-{RUN}.sif"
    assert sorted(said["images"][0]["files"]) == [f"{NAME}-{RUN}.oci.tar", f"{NAME}-{RUN}.sif"]
    assert bed.ask("ada", "GET", f"/images/download/{said['filename']}").content == RUN.encode()
    build = made(bed, "ada", body(DESK), Format.OCI, run="20261122T040000Z")
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (said["filename"], len(said["images"][0]["files"])) == (None, 1)
    rows = bed.ask("ada", "GET", "/images").json()
    assert [each["format"] for each in rows] == ["oci", "oci", "sif"]


def test_images_of_requests_are_seen_by_those_who_have_requested_them(bed: ServiceBed) -> None:
    build = made(bed, "ada", body(), Format.OCI, Format.SIF)
    file = f"{NAME}-{RUN}.sif"
    theirs = made(bed, "bob", body(version="v1"), Format.SIF, run="20261122T040000Z")
    for path in (f"/build/{build}", f"/build/{build}/log", f"/images/download/{file}"):
        assert bed.ask("bob", "GET", path).status_code == 404, path
    assert bed.ask("bob", "POST", f"/images/{file}/push").status_code == 404
    assert bed.ask("bob", "DELETE", f"/build/{build}").status_code == 404
    assert [each["version"] for each in bed.ask("bob", "GET", "/images").json()] == ["20261122T040000Z"]
    assert {each["version"] for each in bed.ask("ada", "GET", "/images").json()} == {RUN}
    assert len(bed.ask("root", "GET", "/images").json()) == 3
    assert bed.ask("ada", "GET", f"/build/{theirs}").status_code == 404
    post(bed, body(), "bob")
    assert bed.ask("bob", "GET", f"/images/download/{file}").status_code == 404, "not before a build has found it"


def test_an_image_of_a_request_is_published_by_a_request(bed: ServiceBed) -> None:
    made(bed, "ada", body(), Format.SIF)
    answer = bed.ask("ada", "POST", f"/images/{NAME}-{RUN}.sif/push")
    assert (answer.status_code, "request it with push: true" in answer.json()["message"]) == (400, True)
    token = bed.ask("ada", "POST", "/tokens", json={"scopes": ["read", "build"]}).json()["token"]
    answer = bed.ask(token, "POST", "/build/", json=body(push=True))
    assert (answer.status_code, answer.json()["field"]) == (403, "push")
    assert bed.ask(token, "POST", "/build/", json=body()).status_code == 200


def test_a_failure_has_a_message_and_the_end_of_the_log(bed: ServiceBed) -> None:
    build = post(bed, body(step_id="nothing"))
    bed.look()
    (bed.of(build) / "log").write_text("cc-images: the repository has no folder flow/nothing\n")
    bed.runs.note(bed.of(build), state="failed", exit_code=2, message="no folder flow/nothing")
    bed.runs.die(bed.of(build))
    bed.look()
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (said["status"], said["message"], said["image_id"]) == ("FAILED", "no folder flow/nothing", None)
    assert said["log_tail"] == ["cc-images: the repository has no folder flow/nothing"]
    assert bed.runs.launches == [build], "it is not tried again"


def test_a_run_tells_how_it_ended_and_its_file_is_nobody_elses(repository: Workflows, tmp_path: Path) -> None:
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    (tmp_path / "images.yaml").write_text("")
    (tmp_path / "sites.yaml").write_text("")
    launcher = Launcher(tmp_path, environment)
    for name, text, message in (("one", json.dumps(body(step_id="none")), "nothing says where the workflow flow is"),
                                ("two", "{", "is not JSON")):  # fmt: skip
        folder = tmp_path / name
        assert launcher.launch(folder, ["build-request", str(folder / "request.json")], {"request.json": text})
        assert stat.S_IMODE((folder / "request.json").stat().st_mode) == 0o600
        deadline = time.monotonic() + 60
        while launch.observe(folder).alive and time.monotonic() < deadline:
            time.sleep(0.05)
        note = run_note.read(folder / "run.json")
        assert (note.state, note.exit_code, message in note.message) == ("failed", 2, True), note
        assert note.pid
        assert message in "\n".join(launch.last_lines(folder, 5))
    launcher.reap()


def test_every_task_of_a_request_has_a_status(bed: ServiceBed, tmp_path: Path) -> None:
    (tmp_path / "images.yaml").write_text("CC-Base: {elements: [debian-minimal], formats: [oci]}\n")
    config = bed.service.catalogue.config
    said = body(CUBE | {"base": "cc-base", "mpi": "openmpi"}, path=str(tmp_path / "steps" / "own"), push=True)
    with prepared(request_of(said, {}, tmp_path), config) as ready:
        tasks = [each.id.partition(" ")[0] for each in plan(ready.request, ready.config, offline=True).plan.tasks]
    assert {"layer", "build", "convert", "push"} <= {*tasks} <= {*STAGES}


def test_each_combination_of_mpi_and_gpu_is_planned(bed: ServiceBed, tmp_path: Path) -> None:
    (tmp_path / "images.yaml").write_text("CC-Base: {elements: [debian-minimal], formats: [oci]}\n")
    config, own = bed.service.catalogue.config, str(tmp_path / "steps" / "own")
    layers: dict[str, set[str]] = {}
    for mpi in ("", "openmpi@4"):
        for gpu in ("", "cuda@12"):
            build = post(bed, body(CUBE | {"base": "cc-base", "mpi": mpi, "gpu": gpu}, path=own))
            said = {key: each for key, each in content(bed, build).items() if key not in OWN}
            with prepared(request_of(said, {}, tmp_path), config) as ready:
                tasks = [each.id for each in plan(ready.request, ready.config, offline=True).plan.tasks]
                environment = ready.image.container.get("environment", {})
            name = f"flow_one_x86__64__v3_{mpi.replace('@', '-') or 'nompi'}_{gpu.replace('@', '-') or 'nogpu'}"
            assert {f"build {name} amd64", f"convert {name} amd64"} <= {*tasks}
            assert ("NVIDIA_VISIBLE_DEVICES" in environment) is bool(gpu)
            layers[name] = {each for each in tasks if each.startswith("layer cc-base-packages")}
    assert [len(each) for each in layers.values()] == [0, 0, 1, 1], "MPI is installed by apt, once for both"


def test_machines_can_be_listed_and_are_read_again(bed: ServiceBed) -> None:
    rows = bed.ask("ada", "GET", "/machines").json()
    assert rows[0] == {"name": "cube", "gpu": None, **CUBE}
    assert [each["name"] for each in rows] == ["cube", "other"]
    (bed.folder / "machines.yaml").write_text(MACHINES.replace("other:", "new:"))
    assert [each["name"] for each in bed.ask("ada", "GET", "/machines").json()] == ["cube", "new"]
    assert content(bed, post(bed, body("new")))["image_id"] == "flow_one_grace_nompi_cuda-12-arm64:latest"


def test_a_request_is_read_again_as_it_was(bed: ServiceBed) -> None:
    config = bed.service.catalogue.config
    for said in (body(), body("other", version="a/b", force=True, push=False), body(path="own", push=True)):
        asked = request_of(said, config.machines, bed.folder / "steps")
        again = request_of(mapping_of(asked), {}, Path("/"))
        assert mapping_of(again) == mapping_of(asked)


def test_the_schema_has_the_keys_that_are_read(bed: ServiceBed) -> None:
    """Each key is taken by the code of the command line, and each that it takes is there."""
    model = KINDS["machine"].model
    assert model is not None
    schema = model.model_json_schema()
    whole = {
        "machine": "cube",
        "workflow": "w",
        "step_id": "s",
        "version": "v",
        "path": "",
        "force": True,
        "push": True,
    }
    assert schema["properties"].keys() == whole.keys()
    machine = schema["$defs"]["MachineDescription"]
    full = CUBE | {"gpu": "cuda", "base": "cc-two", "spack-builder": "cc-one"}
    assert machine["properties"].keys() == full.keys()
    assert machine["required"] == ["platform", "architecture", "container_engine"]
    config = bed.service.catalogue.config
    assert mapping_of(request_of(whole | {"machine": full}, {}, Path("/")))["machine"] == full
    assert request_of(whole, config.machines, Path("/")).push


def test_the_documents_example_is_taken(bed: ServiceBed, repository: Workflows, tmp_path: Path) -> None:
    document = REPOSITORY / "docs" / "service.md"
    (example,) = (json.loads(each) for each in snippets(document, r"\{\n  \"machine\""))
    repository.write("minimal_workflow/wordcount", eflows4hpc__yaml="apt: [less]\n")
    repository.commit()
    name = "minimal__workflow_wordcount_x86__64__v3_openmpi-4_nogpu"
    assert content(bed, post(bed, example))["image_id"] == f"{name}:latest"
    (settings,) = snippets(document, r"\s*workflows:")
    (tmp_path / "settings.yaml").write_text(settings)
    found = bed.service.catalogue.config.workflows
    assert (found.repo, found.served) == ("https://git.example.org/workflows.git", ("/srv/steps",))
