"""The command line's contract: words, exit codes, and what is not imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cc_images.cli.help_texts import VERBS
from cc_images.host import user_emulation as programs
from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.model.words import RESERVED
from cc_images.store.records import Store
from tests.conftest import REPOSITORY, Cli, clean_environment, write_files

IMAGES = """\
CC-One: {elements: [debian-minimal], disk: []}
CC-Two: {elements: [debian-minimal], disk: [], arch: [amd64, arm64], baremetal-only: true}
CC-Old: {elements: [debian-minimal], disk: [], eol: 2020-01-01}
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    write_files(
        tmp_path, images=IMAGES, sites="local: {directory: site}\nmetal: {directory: metal, is_baremetal: true}"
    )
    return tmp_path


def assert_nothing_ran(store: Path) -> None:
    """Check that there was no task, and that the journal, if the run had one, says why."""
    assert not list(store.glob("work/*"))
    assert not [path for path in store.glob("logs/*/*.log") if path.name != "run.log"]
    for path in store.glob("runs/*.json"):
        said = json.loads(path.read_text())
        assert said["state"] == "failed"
        assert said["error"]
        assert "plan" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cc-one"], "cc-images: error: nothing to do: give -b to build, -p to push, or both"),
        (["-b"], "cc-images: error: the following arguments are required: TAG"),
        (["-b", "-t", "0", "cc-one"], "'0' is not a whole number of at least 1"),
        (["-b", "-t", "-3", "cc-one"], "-t"),
        (["-b", "-t", "many", "cc-one"], "'many' is not a whole number"),
        (["-b", "-a", "mips", "cc-one"], "'mips' is none of amd64, arm64"),
        (["-b", "cc-on"], "cc-images: there is no image cc-on"),
        (["-b", "-a", "arm64", "cc-one"], "cc-images: cc-one is not made for arm64"),
        (["-p", "-s", "metl", "cc-one"], "cc-images: there is no site metl"),
        (["-p", "-s", "local", "cc-two"], "cc-images: no site takes any of the images"),
        (["--nonsense"], "cc-images: error: "),
        (["-b", "--until", "instal", "cc-one"], "invalid choice: 'instal' (choose from 'root', 'extra-data', "),
        (["-b", "-p", "--until", "install", "cc-one"], "--until makes no build, so there is nothing to push"),
        (["-p", "--until", "install", "cc-one"], "--until makes no build, so there is nothing to push"),
        (["-b", "-f", "--until", "install", "cc-one"], "--until builds in any case, and replaces nothing"),
        (["-b", "-s", "local", "--until", "install", "cc-one"], "--until makes no build, so no site is concerned"),
        (["-b", "--until", "install", "--dry-run", "-f", "cc-one"], "--until builds in any case"),
        (["-p", "--keep-failed", "cc-one"], "--keep-failed is about builds, and none is asked for"),
        (["shell", "--kept", "cc-one"], "cc-images: a shell needs a terminal"),
    ],
)
def test_input_that_is_wrong_gets_one_line_and_code_2(cli: Cli, catalogue: Path, words: list[str], said: str) -> None:
    answer = cli(*words)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.splitlines()) <= 2, "what is wrong, and what to do"
    assert_nothing_ran(catalogue / "store")


def test_configuration_errors_come_all_at_once(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="A: {depends: B}\nC: {arhc: amd64}", sites="S: {}")
    answer = cli("-b", "a")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 3


def test_missing_elements_are_found_before_anything_runs(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-A: {elements: [debian-minimla]}\nCC-B: {}")
    answer = cli("-b", "all")
    assert answer.returncode == 2
    assert "CC-A: element debian-minimla is not in any elements folder; did you mean debian-minimal?" in answer.stderr
    assert "CC-B: element cc-b is not in any elements folder" in answer.stderr
    assert_nothing_ran(tmp_path / "store")


def test_a_missing_element_of_another_image_does_not_matter(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-A: {elements: [debian-minimal]}\nCC-B: {}")
    assert cli("plan", "-b", "cc-a").returncode == 0


def test_an_unsound_element_is_a_reason_not_to_plan_its_images_alone(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-A: {elements: [debian-minimal]}\nCC-B: {elements: [debian-minimal, odd]}")
    hook = tmp_path / "elements/odd/install.d/50-odd.sh"
    hook.parent.mkdir(parents=True)
    hook.touch(mode=0o755)
    said = "CC-B: odd/install.d/50-odd.sh never runs, because of its name: rename it to 50-odd"
    everything = cli("plan", "-b", "all", "--json")
    assert everything.returncode == 3
    answer = json.loads(everything.stdout)
    assert [each.startswith(said) for each in answer["left_out"]] == [True]
    assert "build cc-a amd64" in [task["id"] for task in answer["tasks"]]
    named = cli("plan", "-b", "all", "cc-b")
    assert (named.returncode, said in named.stderr) == (2, True)


def planned(cli: Cli, *words: str, **environment: str) -> list[str]:
    answer = cli("plan", "--json", *words, **environment)
    assert answer.returncode == 0, answer.stderr
    tasks = [task["id"] for task in json.loads(answer.stdout)["tasks"]]
    return [task for task in tasks if not task.startswith("twins")]  # which depend on the host


def test_all_leaves_out_what_is_past_its_end_of_life(cli: Cli, catalogue: Path) -> None:
    assert not [task for task in planned(cli, "-b", "all") if "cc-old" in task]
    assert planned(cli, "-b", "cc-old")[0] == "build cc-old amd64"
    assert "note: cc-old is past its end of life (2020-01-01)" in cli("plan", "-b", "cc-old").stdout


@pytest.mark.parametrize("foreign", [True, False])
def test_architectures(cli: Cli, catalogue: Path, monkeypatch: pytest.MonkeyPatch, foreign: bool) -> None:
    monkeypatch.setattr(programs, "runs_programs", lambda arch: foreign or arch is Arch.AMD64)
    both = ["build cc-two amd64", "convert cc-two amd64", "build cc-two arm64", "convert cc-two arm64"]
    assert planned(cli, "-b", "cc-two") == (both if foreign else both[:2]), "what this host can build"
    assert planned(cli, "-b", "-a", "arm64,amd64", "cc-two") == both
    assert planned(cli, "-b", "-a", "arm64", "cc-two") == both[2:]
    assert planned(cli, "-b", "cc-two", ARCH="arm64") == both[2:]
    assert planned(cli, "-b", "-a", "amd64", "cc-two", ARCH="arm64") == both[:2]
    assert planned(cli, "-b", "-a", "arm64", "all") == both[2:], "`all` means all that have the architecture"


def test_a_plan_goes_to_every_site_that_takes_the_image(cli: Cli, catalogue: Path) -> None:
    pushes = [task for task in planned(cli, "cc-one", "cc-two", "-a", "amd64") if task.startswith("push")]
    assert pushes == ["push cc-one amd64 to local", "push cc-one amd64 to metal", "push cc-two amd64 to metal"]
    pushes = [task for task in planned(cli, "cc-one", "-s", "metal") if task.startswith("push")]
    assert pushes == ["push cc-one amd64 to metal"]


def test_a_plan_writes_nothing(cli: Cli, catalogue: Path) -> None:
    assert cli("plan", "all").returncode == 0
    assert sorted(path.name for path in catalogue.iterdir()) == ["images.yaml", "sites.yaml", "third-party.yaml"]


def test_list_shows_the_catalogue(cli: Cli, catalogue: Path) -> None:
    lines = cli("list").stdout.splitlines()
    assert lines[0].split() == ["tag", "arch", "depends", "on", "newest", "build", "age", "state", "end", "of", "life"]
    assert [line.split()[0] for line in lines[1:]] == ["cc-one", "cc-two", "arm64", "cc-old"]
    assert lines[-1].split()[-2:] == ["2020-01-01", "(over)"]
    listed = json.loads(cli("list", "--json").stdout)
    assert [(image["image"], image["arch"], image["fresh"]) for image in listed] == [
        ("cc-one", "amd64", False), ("cc-two", "amd64", False), ("cc-two", "arm64", False), ("cc-old", "amd64", False),
    ]  # fmt: skip


def test_list_shows_parents_and_of_variants_the_family(cli: Cli, catalogue: Path) -> None:
    text = "Base: {}\nTools: {depends: [Base], variants: {cuda: }}\n"
    (catalogue / "images.yaml").write_text(text)
    rows = [re.split(r"  +", line) for line in cli("list").stdout.splitlines()]
    assert rows[0][2:4] == ["depends on", "variant of"]
    assert [row[:4] for row in rows[1:]] == [
        ["base", "amd64", "-", "-"], ["tools", "amd64", "base", "-"], ["tools-cuda", "amd64", "base", "tools"],
    ]  # fmt: skip


def test_status_asks_the_sites(cli: Cli, catalogue: Path) -> None:
    (catalogue / "site").mkdir()
    (catalogue / "site" / "CC-One.qcow2").write_bytes(b"x")
    assert "CC-One" not in cli("status").stdout, "no site is asked unless somebody says so"
    answer = cli("status", "--sites")
    assert answer.returncode == 0, answer.stderr
    rows = [line.split()[:3] for line in answer.stdout.splitlines()[1:]]
    assert rows == [
        ["local", "CC-One", "?"],
        ["metal", "CC-One", "-"],
        ["metal", "CC-Two", "-"],
        ["metal", "CC-Two-ARM64", "-"],
    ]
    assert [row["site"] for row in json.loads(cli("status", "--json", "-s", "local", "cc-one").stdout)["sites"]] == [
        "local"
    ]


def test_doctor_clears_up(cli: Cli, catalogue: Path) -> None:
    assert cli("doctor", ARCH="arm64").stdout.endswith("\nnothing was left behind\n")
    (catalogue / "site").mkdir(exist_ok=True)
    (catalogue / "site" / ".CC-One.qcow2.staged").write_bytes(b"x")
    (catalogue / "store" / "work" / "20260101T000000Z").mkdir(parents=True)
    said = cli("doctor", "--dry-run").stdout
    assert "run 20260101T000000Z: its folder\n" in said
    assert "site local: CC-One: upload of run ?\n" in said
    assert (catalogue / "store" / "work" / "20260101T000000Z").exists()
    assert sorted(cli("doctor").stdout.splitlines()) == sorted(said.splitlines()), "it only looks"
    said = cli("doctor", "--mend").stdout
    assert "run 20260101T000000Z: removed its folder" in said
    assert "site local: CC-One: removed the upload of run ?" in said
    assert cli("doctor").stdout.endswith("\nnothing was left behind\n")


def test_doctor_shows_each_lack_with_a_remedy(cli: Cli, catalogue: Path) -> None:
    write_files(catalogue, images=IMAGES, sites="metal: {cloud: nowhere}")
    answer = cli("doctor", "--json")
    assert answer.returncode == 3
    host = {each["subject"]: each for each in json.loads(answer.stdout)["host"]}
    assert host["site metal"]["state"] == "LACK"
    assert host["site metal"]["remedy"]
    assert all(each["remedy"] for each in host.values() if each["state"] == "LACK")
    assert {"kernel", "tools of builds", "root and namespaces", "boot tests of amd64", "store"} <= host.keys()
    assert "what to do: " in cli("doctor").stdout


def test_inspect_and_boot_say_what_is_missing(cli: Cli, catalogue: Path) -> None:
    said = cli("inspect", "no-such-thing")
    assert said.returncode == 2
    assert "no-such-thing is neither an image of the catalogue nor a file" in said.stderr
    said = cli("boot", "cc-one")
    assert said.returncode == 2
    assert "there is no build of cc-one for amd64 in the store" in said.stderr
    assert "`cc-images -b cc-one` builds it" in said.stderr
    assert cli("boot", "cc-onne").returncode == 2


def test_a_dry_run_shows_what_pushes_would_do(cli: Cli, catalogue: Path) -> None:
    write_files(catalogue, images=IMAGES, sites="local: {directory: site, keep: 1}")
    (catalogue / "site").mkdir()
    (catalogue / "site" / "CC-One.qcow2").write_bytes(b"x")
    said = cli("-b", "-p", "--dry-run", "cc-one").stdout
    assert "push cc-one amd64 to local: replaces ?" in said
    assert not (catalogue / "store").exists()


def test_a_site_that_cannot_be_asked_is_named(cli: Cli, catalogue: Path) -> None:
    write_files(catalogue, images=IMAGES, sites="cloud: {cloud: nowhere}")
    answer = cli("status", "--sites", "cc-one", OS_CLIENT_CONFIG_FILE="/dev/null")
    assert answer.returncode == 3
    assert "clouds.yaml has no usable entry nowhere" in answer.stdout


def test_tags_are_not_sensitive_to_case(cli: Cli, catalogue: Path) -> None:
    assert planned(cli, "-b", "CC-One") == planned(cli, "-b", "cc-one")


def test_help_loads_nothing_heavy_and_shows_the_contract() -> None:
    program = "import sys; from cc_images.cli.main import parser; print(parser('').format_help()); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True).stdout
    assert "[-h]" in said
    for flag in ("-b", "-p", "-f", "-t N", "-a ARCH", "TAG"):
        assert flag in said
    modules = said.splitlines()[-1].split()
    assert not {"openstack", "diskimage_builder", "yaml", "tqdm", "concurrent.futures"} & set(modules)


def test_version() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "cc_images", "--version"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert said.stdout.startswith("cc-images 0.")


def test_a_damaged_newest_build_is_told_before_an_older_one_is_pushed(cli: Cli, catalogue: Path) -> None:
    store = Store(catalogue / "store")
    for version in ("20261120T120000Z", "20261121T120000Z"):
        staged = store.root / "staged"
        staged.parent.mkdir(exist_ok=True)
        staged.write_text(version)
        blob = store.blobs.add(staged)
        output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1)
        build = Build(tag="cc-one", name="CC-One", arch=Arch.AMD64, version=version, recipe_key="a", key="k",
                      outputs={Format.QCOW2: output})  # fmt: skip
        store.record(build, {}, "CC-One")
    assert "note:" not in cli("plan", "-p", "cc-one").stdout
    blob.path.chmod(0o644)
    blob.path.write_text("damaged")
    said = cli("plan", "-p", "cc-one").stdout
    assert "note: version 20261121T120000Z of cc-one amd64 is damaged, -b builds it again" in said
    assert "20261120T120000Z is the newest intact version" in said
    assert "cc-one amd64, damaged 20261121T120000Z" in cli("prune", "--dry-run").stdout
    assert "0 B stay" not in cli("prune", "--max-size", "1g").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dotcor"], "there is no verb dotcor (did you mean doctor?)"),
        (["cc-one", "plan"], "the verb comes first: cc-images plan …"),
        (["cc-one"], "nothing to do: give -b to build, -p to push, or both"),
    ],
)
def test_words_that_ask_for_nothing_are_understood(cli: Cli, words: list[str], said: str) -> None:
    answer = cli(*words)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_doctor_tries_to_write_to_the_store(cli: Cli, catalogue: Path) -> None:
    (catalogue / "file").touch()
    host = json.loads(cli("doctor", "--dry-run", "--json", CC_IMAGES_STORE=str(catalogue / "file")).stdout or "{}")
    (store,) = [each for each in host["host"] if each["subject"] == "store"]
    assert (store["state"], store["remedy"]) == ("LACK", "set CC_IMAGES_STORE to a folder of yours")


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.long)])
def test_an_output_without_box_characters_gets_others(tmp_path: Path, encoding: str) -> None:
    write_files(tmp_path, images="CC-One: {elements: [os]}\n", sites="local: {directory: site}")
    for name, text in {"os/element-provides": "operating-system\n", "vm/x": "", "block-device-efi/x": ""}.items():
        path = tmp_path / "elements" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    said = subprocess.run(
        [sys.executable, "-m", "cc_images", "plan", "-b", "cc-one"], cwd=tmp_path, capture_output=True, text=True,
        env=clean_environment(tmp_path) | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")
    assert "`- build" in said.stdout or "|- build" in said.stdout


def test_a_full_output_is_no_traceback_and_not_the_store(tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-One: {elements: [os]}\n")
    with open("/dev/full", "w") as full:
        said = subprocess.run(
            [sys.executable, "-m", "cc_images", "list"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
            env=clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    assert (said.returncode, said.stderr) == (3, "cc-images: standard output: No space left on device\n")


def test_no_image_is_named_like_a_verb() -> None:
    assert set(VERBS) <= RESERVED


def test_what_is_logged_does_not_steer_a_terminal(cli: Cli, catalogue: Path, store: Store) -> None:
    version = "20260101T000000Z"
    build = Build(tag="cc-one", name="CC-One", arch=Arch.AMD64, version=version, recipe_key="a", key="k", outputs={})
    store.record(build, {}, "CC-One")
    record = store.record_path(build)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"tag": "\033]0;owned\007"}))
    answer = cli("status")
    assert "it records ?]0;owned?" in answer.stderr, answer
    assert answer.stderr.replace("\n", "").isprintable()
