"""`cc-images --server`: the command line that people know, carried out by a service, and Ctrl-C amid it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from cc_images.cli.server_arguments import THERE
from tests.conftest import REPOSITORY, clean_environment, sampled
from tests.support.certificates import certificate
from tests.support.servedbed import Canned, Served, stranger, written
from tests.support.servicebed import ServiceBed

RUN = "20261122T030000Z"
FILE = f"CC-One-{RUN}.qcow2"
main = import_module("cc_images.cli.main")


@pytest.fixture
def words(served: Served, tmp_path: Path) -> list[str]:
    return ["--server", served.url, "--token-file", str(served.token_file(tmp_path))]


Answer = tuple[int, str, str]
Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs a command line in this process; it gives exit code, output and complaints."""
    for name, value in clean_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def carry_out(*said: str) -> Answer:
        capsys.readouterr()
        try:
            code = main.run(list(said))
        except SystemExit as end:
            code = int(end.code or 0)
        found = capsys.readouterr()
        return code, found.out, found.err

    return carry_out


def good_run(served: Served) -> Callable[[str], None]:
    def play(build: str) -> None:
        served.write(build, "one\ntwo\n")
        served.bed.plan(build, RUN, {"event": "started", "task": "build cc-one amd64"})
        served.write(build, "three\n")
        served.bed.finish(build, RUN)

    return play


def test_a_request_is_followed_to_its_end(served: Served, run: Run, words: list[str]) -> None:
    served.bed.stored(b"image", RUN)
    with served.playing(good_run(served)):
        code, output, complaints = run(*words, "-b", "-f", "-a", "amd64", "cc-one")
    (build,) = served.bed.runs.launches
    assert served.bed.runs.words[build] == ["-b", "-v", "-f", "-a", "amd64", "cc-one"]
    assert code == 0
    assert output.splitlines() == [
        "one", "two", "three", f"{build} FINISHED", f"  cc-one amd64 {RUN}", f"    {FILE}",
        f"to get the files: cc-images download {build}",
    ]  # fmt: skip
    assert complaints == f"cc-images: build {build}\n"


@pytest.mark.parametrize(("how", "code"), [(3, 3), (1, 1), (130, 130)])
def test_the_exit_code_is_that_of_the_run(served: Served, run: Run, words: list[str], how: int, code: int) -> None:
    with served.playing(lambda build: served.fail(build, RUN, how)):
        assert run(*words, "-b", "cc-one")[0] == code
    (build,) = served.bed.runs.launches
    found = run(*words, "log", "-f", build)
    assert (found[0], found[1]) == (code, f"{build} FAILED: a hook failed\n")


def test_a_build_that_somebody_cancels_ends_as_an_interrupted_run(served: Served, run: Run, words: list[str]) -> None:
    def play(build: str) -> None:
        served.bed.ask("ada", "DELETE", f"/build/{build}")
        served.bed.runs.die(served.bed.of(build))
        served.bed.look()

    with served.playing(play):
        code, output, _ = run(*words, "-b", "cc-one")
    assert (code, output) == (130, f"{served.bed.runs.launches[-1]} CANCELLED\n")


def test_a_run_in_json(served: Served, run: Run, words: list[str]) -> None:
    served.bed.stored(b"image", RUN)
    with served.playing(good_run(served)):
        code, output, complaints = run(*words, "--json", "-b", "cc-one")
    first, *pieces, last = [json.loads(line) for line in output.splitlines()]
    (build,) = served.bed.runs.launches
    assert (code, complaints) == (0, "")
    assert first == {"event": "requested", "build": build, "joined": False}
    assert [line for each in pieces for line in each["lines"]] == ["one", "two", "three"]
    assert pieces[-1]["offset"] == 14
    assert (last["event"], last["exit_code"], last["build"]["status"]) == ("over", 0, "FINISHED")
    assert last["build"]["images"][0]["files"] == [FILE]


def test_a_request_is_left_alone_and_taken_up_again(served: Served, run: Run, words: list[str]) -> None:
    code, output, complaints = run(*words, "--detach", "-b", "cc-one")
    build = output.strip()
    assert (code, complaints) == (0, f"cc-images: to follow it: cc-images --server {served.url} log -f {build}\n")
    assert served.bed.status("ada", build) == "PENDING"
    other = run(*words, "--detach", "--json", "-b", "CC-ONE")
    assert json.loads(other[1]) == {"event": "requested", "build": build, "joined": True}
    assert run(*words, "-q", "cancel", build)[0] == 2, "an option that `cancel` has not"
    assert run(*words, "cancel", build)[:2] == (0, f"{build} is cancelled\n")
    assert run(*words, "log", "-f", build)[:2] == (130, f"{build} CANCELLED\n"), "without a wait for the queue"
    code, said = run(*words, "cancel", build)[:2]
    assert (code, said.startswith(f"{build} is over already: CANCELLED; ")) == (0, True)
    assert f"cc-images --server {served.url} cancel --remove {build}" in said, "how it leaves the list"
    assert build in run(*words, "status")[1], "it was not removed from the list"


def test_a_build_that_is_over_is_removed_from_the_list(served: Served, run: Run, words: list[str]) -> None:
    build = run(*words, "--detach", "-b", "cc-one")[1].strip()
    assert run(*words, "cancel", "--remove", build)[:2] == (0, f"{build} is cancelled\n"), "first things first"
    assert build in run(*words, "status")[1]
    assert run(*words, "cancel", "--remove", build)[:2] == (0, f"{build} is removed\n")
    assert run(*words, "status")[1] == "no builds yet\n"
    code, _, complaints = run(*words, "cancel", "--remove", build)
    assert (code, complaints) == (2, "cc-images: there is no such build\n")
    other = run(*words, "--detach", "-b", "cc-one")[1].strip()
    said = json.loads(run(*words, "cancel", "--json", "--remove", other)[1])
    assert said == {"build": other, "said": f"{other} is cancelled"}


def test_looks_at_what_there_is(served: Served, run: Run, words: list[str]) -> None:
    served.bed.stored(b"image", RUN)
    build = served.bed.request("ada", "cc-one")
    served.bed.look()
    good_run(served)(build)
    table = run(*words, "status")[1].splitlines()
    assert table[0].split() == ["build", "status", "requested", "of", "version"]
    assert table[1].split()[:2] == [build, "FINISHED"]
    assert table[1].split()[-2:] == ["cc-one", RUN]
    assert run("status", *words, build)[1].splitlines()[0] == f"{build}  FINISHED"
    assert json.loads(run(*words, "status", "--json", build)[1])[0]["filename"] == FILE
    assert [each["id"] for each in json.loads(run(*words, "status", "--json")[1])] == [build]
    assert run(*words, "log", build)[:2] == (0, "one\ntwo\nthree\n")
    assert json.loads(run(*words, "log", "--json", build)[1])["log"] == "one\ntwo\nthree\n"
    assert [line.split()[0] for line in run(*words, "list", "*two")[1].splitlines()] == ["tag", "cc-two"]
    assert [each["image"] for each in json.loads(run(*words, "list", "--json")[1])] == ["cc-one", "cc-two"]
    for nobodys in ("0" * 32, "CC-One", "../x"):
        assert run(*words, "status", nobodys)[0] == 2


def test_what_builds_have_made_is_downloaded(served: Served, run: Run, words: list[str], tmp_path: Path) -> None:
    served.bed.stored(b"image", RUN)
    build = served.bed.request("ada", "cc-one")
    code, _, complaints = run(*words, "download", build)
    assert (code, complaints.splitlines()[0]) == (2, f"cc-images: build {build} is not over: PENDING")
    served.bed.look()
    good_run(served)(build)
    assert run(*words, "download", build)[:2] == (0, f"{FILE}\n")
    (tmp_path / "there").mkdir()
    assert run(*words, "download", FILE, "-o", "there", "--json")[0] == 0
    assert (tmp_path / FILE).read_bytes() == (tmp_path / "there" / FILE).read_bytes() == b"image"
    assert run(*words, "download", FILE, "-o", "nowhere")[0] == 2


@pytest.mark.parametrize(
    "name", ["Makefile", "notes.txt", "authorized_keys", "x.sh", "sif", "../x.sif", ".x.sif", "-x.sif"]
)
def test_a_service_does_not_choose_which_files_of_ones_own_are_replaced(run: Run, tmp_path: Path, name: str) -> None:
    digest = base64.b64encode(hashlib.sha256(b"bad").digest()).decode()
    made = {"image": "x", "architecture": "amd64", "version": "1", "files": [name]}
    build = {"id": "a" * 32, "status": "FINISHED", "images": [made]}

    def evil(method: str, path: str, given: dict[str, str]) -> Canned:
        if "/build/" in path:
            return Canned(200, json.dumps(build).encode())
        return Canned(200, b"bad", {"repr-digest": f"sha-256=:{digest}:"})

    token = written(tmp_path / "token", "cci_abc_def")
    (tmp_path / "here").mkdir()
    mine = tmp_path / "here" / name
    mine.write_text("mine")
    with stranger(evil) as url:
        code, _, complaints = run("--server", url, "--token-file", str(token), "download", "a" * 32, "-o", "here")
    assert code == 2, complaints
    assert mine.read_text() == "mine"


def test_a_stored_version_is_published(served: Served, run: Run, words: list[str]) -> None:
    served.bed.stored(b"image", RUN)
    build = served.bed.request("ada", "cc-one")
    served.bed.look()
    good_run(served)(build)
    with served.playing(lambda build: served.bed.finish(build, "20261123T030000Z", version=RUN)):
        assert run(*words, "-p", "--version", RUN, "cc-one")[0] == 0
    pushed = served.bed.runs.words[served.bed.runs.launches[-1]]
    assert pushed == ["-p", "-v", "--version", RUN, "-a", "amd64", "cc-one"]
    assert run(*words, "-p", "--version", RUN, "-a", "arm64", "cc-one")[0] == 2


def test_patterns_mean_images_of_the_service_and_arch_means_as_ever(
    run: Run, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def requested(*more: str) -> dict[str, list[str]]:
        build = run(*words, "--detach", *more)[1].strip()
        said: dict[str, list[str]] = json.loads(run(*words, "status", "--json", build)[1])[0]["request"]
        return said

    assert requested("-b", "cc-*")["images"] == ["cc-one", "cc-two"]
    assert requested("-b", "cc-two")["architectures"] == []
    settings = tmp_path / "own.yaml"
    settings.write_text("options: {architecture: [amd64], tasks: 3, no-boot-test: yes, site: [local]}\n")
    monkeypatch.setenv("CC_IMAGES_SETTINGS", str(settings))
    assert requested("-b", "cc-two")["architectures"] == ["amd64"], "as here; the rest is for the service to say"
    monkeypatch.setenv("ARCH", "arm64")
    assert requested("-b", "cc-two")["architectures"] == ["arm64"]
    assert requested("-b", "-a", "amd64", "cc-two")["architectures"] == ["amd64"]


def test_without_an_architecture_a_run_there_has_those_of_a_run_here(
    served: Served, run: Run, words: list[str]
) -> None:
    build = run(*words, "--detach", "-b", "cc-two")[1].strip()
    served.bed.look()
    there = [each for each in served.bed.runs.words[build] if each != "-v"]
    plans = [json.loads(run("plan", "--offline", "--json", *each)[1]) for each in (there, ["-b", "cc-two"])]
    tasks = [[each["id"] for each in plan["tasks"]] for plan in plans]
    assert tasks[0] == tasks[1]
    assert "build cc-two amd64" in tasks[0]


@pytest.mark.parametrize(
    ("said", "why"),
    sampled([
        (["shell", "cc-one"], "a service does not carry out shell; on this host: cc-images --server here shell"),
        (["prune"], "a service does not carry out prune"),
        (["serve"], "a service does not carry out serve"),
        (["plan", "-b", "cc-one"], "a service does not carry out plan"),
        (["-b", "--dry-run", "cc-one"], "a service does not carry out --dry-run"),
        (["-b", "--until", "install", "cc-one"], "a service does not carry out --until"),
        (["-b", "-s", "local", "cc-one"], "a service does not carry out --site"),
        (["-b", "--no-boot-test", "cc-one"], "a service does not carry out --no-boot-test"),
        (["status", "--sites"], "a service does not carry out --sites"),
        (["cc-one"], "nothing to do"),
        (["-b", "all"], "all means images of this host's catalogue"),
        (["-b", "nope-*"], "the service has no image nope-*"),
        (["-b", "cc-two", "debian"], "cc-images: images: the catalogue has no image 'debian'\n"),
        (["-b", "CC-Tow"], "cc-images: images: the catalogue has no image 'cc-tow'; did you mean cc-two?\n"),
        (["-b", "-a", "arm64", "cc-one"], "cc-images: architectures: cc-one is not made for arm64\n"),
        (["-p", "cc-one"], "-p without -b publishes a stored version"),
        (["-p", "-f", "--version", RUN, "cc-one"], "-f without -b"),
        (["-b", "--version", RUN, "cc-one"], "--version is about a stored version"),
        (["-p", "--version", RUN, "cc-one"], f"you have no version {RUN} of cc-one there"),
        (["log", "abc"], "'abc' is no id of a build"),
        (["download", "../../etc/passwd"], "is no name of a file"),
    ]),
)  # fmt: skip
def test_what_a_service_does_not_do_gets_one_line(run: Run, words: list[str], said: list[str], why: str) -> None:
    code, output, complaints = run(*words, *said)
    assert (code, output) == (2, "")
    assert why in complaints.splitlines(keepends=True)[0]
    assert len(complaints.splitlines()) <= 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["log", "0" * 32], "this is about a service"),
        (["download", "x"], "this is about a service"),
        (["cancel", "0" * 32], "this is about a service"),
        (["-b", "--detach", "cc-one"], "--detach is about a service: name --server"),
        (["status", "--everyone"], "--everyone is about a service"),
        (["--token-file", "x", "list"], "--token-file is about a service"),
        (["list", "--server"], "--server needs a value"),
        (["--server", "http://127.0.0.1:1", "list"], "the service must know who asks"),
        (["--server", "http://127.0.0.1:1", "--token-file", "-", "list"], "not standard input"),
        (["--server", "http://example.org", "--token-file", "x", "list"], "anybody on the way"),
    ],
)
def test_words_about_a_service_that_are_wrong(run: Run, said: list[str], why: str) -> None:
    code, output, complaints = run(*said)
    assert (code, output) == (2, "")
    assert why in complaints


def test_variables_name_the_service_and_here_means_this_host(
    served: Served, run: Run, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC_IMAGES_SERVER", served.url)
    monkeypatch.setenv("CC_IMAGES_TOKEN_FILE", words[3])
    assert run("list", "cc-one")[:2] == (0, "tag     arch   depends on  name\ncc-one  amd64  -           CC-One\n")
    assert run("status")[1] == "no builds yet\n"
    assert "does not carry out prune" in run("prune")[2]
    assert run("completion", "bash")[0] == 0
    assert run("prune", "--help")[0] == 0
    assert "never built" in run("--server", "here", "list", "cc-one")[1]
    assert "CC_IMAGES_SERVER" not in os.environ, "what this process starts is for this host, too"


def test_authorities_come_from_a_file_or_a_variable(
    bed: ServiceBed, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = certificate(tmp_path, "right")
    served = Served(bed, tls=right)
    served.start()
    try:
        words = ["--server", served.url, "--token-file", str(served.token_file(tmp_path)), "list"]
        code, _, complaints = run(*words)
        assert code == 3
        assert "does not count: self-signed certificate" in complaints
        assert "--ca-file FILE or SSL_CERT_FILE" in complaints
        assert run(*words, "--ca-file", str(right[0]))[0] == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(right[0]))
        assert run(*words)[0] == 0
    finally:
        served.stop()


@pytest.mark.parametrize(
    "text",
    [
        "machine: {platform: linux/amd64, architecture: zen3, container_engine: docker, gpu: 12.10}\n"
        "workflow: w\nstep_id: s\nversion: 1.10\nforce: yes\n",
        '{"machine": {"platform": "linux/amd64", "architecture": "zen3", "container_engine": "docker", "gpu": "12.10"},'
        ' "workflow": "w", "step_id": "s", "version": "1.10", "force": true}',
    ],
)
def test_a_request_in_a_file_is_sent_as_it_was_written(run: Run, tmp_path: Path, text: str) -> None:
    asked: list[str] = []

    def refuse(method: str, path: str, given: dict[str, str]) -> Canned:
        asked.append(f"{method} {path} {given['content-type']}")
        return Canned(400, b'{"message": "is not one of ours", "field": "machine.architecture"}')

    token = written(tmp_path / "token", "cci_abc_def")
    (tmp_path / "request").write_text(text)
    with stranger(refuse) as url:
        code, _, complaints = run("--server", url, "--token-file", str(token), "build-request", "request", "-p")
    assert (code, complaints) == (2, "cc-images: machine.architecture: is not one of ours\n")
    assert asked == ["POST /api/v1/build/ application/json"]


def test_requests_in_files_that_are_none(run: Run, words: list[str], tmp_path: Path) -> None:
    for text, why in [
        ("- a\n", "request:1:1"), ("a: &x 1\n", "an anchor or alias"), ("[1]", "has no mapping"),
        ("push: no\n", "says push: false"), ("a: 1\na: 2\n", "a"),
    ]:  # fmt: skip
        (tmp_path / "request").write_text(text)
        code, _, complaints = run(*words, "build-request", "request", "-p")
        assert code == 2
        assert why in complaints


WITHOUT = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "jinja2", "argon2", "pydantic", "httpx")


def test_the_client_needs_none_of_the_libraries_of_the_service(words: list[str], tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({WITHOUT!r}));"
        f"from importlib import import_module as of; sys.exit(of('cc_images.cli.main').run({[*words, 'list']!r}))"
    )
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    assert "cc-one" in said.stdout


def test_who_asks_no_service_loads_nothing_for_it(tmp_path: Path) -> None:
    program = (
        "import sys; from importlib import import_module as of\n"
        "try: of('cc_images.cli.main').run(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'http.client', 'ssl', 'msgspec', 'cc_images.web'} & {*sys.modules}), file=sys.stderr)"
    )
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert said.stderr == "[]\n"
    for word in ("--server", "--token-file", *(each for each in THERE if each)):
        assert word in said.stdout


class Client:
    """A client as a process, at a terminal or not."""

    def __init__(self, folder: Path, words: list[str], *, terminal: bool = False) -> None:
        self.keyboard, theirs = pty.openpty() if terminal else (-1, -1)
        self.process = subprocess.Popen(
            ["env", "--default-signal=INT,TERM,HUP", sys.executable, "-m", "cc_images", *words],
            env=clean_environment(folder) | {"PYTHONPATH": str(REPOSITORY)}, cwd=folder,
            stdin=theirs if terminal else subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=theirs if terminal else subprocess.PIPE,
        )  # fmt: skip
        self.seen = ""
        if terminal:
            os.close(theirs)

    def wait_for(self, text: str) -> None:
        """Read what the terminal shows until a text is there."""
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self.seen += os.read(self.keyboard, 4096).decode()

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def type(self, text: str) -> None:
        os.write(self.keyboard, text.encode())

    def end(self) -> tuple[int, str]:
        """Return the exit code, and all complaints."""
        if self.keyboard >= 0:
            with suppress(OSError):
                while more := os.read(self.keyboard, 4096):
                    self.seen += more.decode()
            os.close(self.keyboard)
        said = self.process.communicate(timeout=30)[1]
        return self.process.returncode, self.seen or said.decode()


@pytest.fixture
def started(served: Served, words: list[str], tmp_path: Path) -> Iterator[Callable[..., tuple[Client, str]]]:
    """Return a function that starts a client, and waits until it shows the log of its build."""
    made: list[Client] = []

    def start(*more: str, terminal: bool = False) -> tuple[Client, str]:
        client = Client(tmp_path, [*words, *more, "-b", "cc-one"], terminal=terminal)
        made.append(client)
        build = served.launched()
        served.bed.plan(build, RUN)
        served.write(build, "begun\n")
        assert client.process.stdout is not None
        assert client.process.stdout.readline() == b"begun\n"
        return client, build

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


Started = Callable[..., tuple[Client, str]]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.long) for each in (signal.SIGTERM, signal.SIGHUP))]
)
def test_without_a_terminal_an_interrupt_detaches(served: Served, started: Started, number: int) -> None:
    client, build = started()
    client.interrupt(number)
    code, said = client.end()
    assert code == 130
    assert f"the build goes on; to follow it: cc-images --server {served.url} log -f {build}; to end it:" in said
    assert served.bed.status("ada", build) == "STARTED"


def test_an_option_says_what_an_interrupt_does(served: Served, started: Started) -> None:
    client, build = started("--on-interrupt", "cancel")
    client.interrupt()
    code, said = client.end()
    assert (code, f"{build} is cancelled" in said) == (130, True)
    assert served.bed.status("ada", build) == "CANCELLED"


def test_at_a_terminal_a_person_is_asked(served: Served, started: Started) -> None:
    client, build = started(terminal=True)
    client.interrupt()
    client.wait_for("cancel the build, detach from it, or go on? [c/d/G] ")
    client.type("what?\n")
    client.wait_for("what?\r\n\r\ncancel the build")
    client.type("\n")
    served.write(build, "it goes on\n")
    assert client.process.stdout is not None
    assert client.process.stdout.readline() == b"it goes on\n"
    client.interrupt()
    client.wait_for("[c/d/G] what?\r\n\r\ncancel the build, detach from it, or go on? [c/d/G] \r\n\r\ncancel")
    assert served.bed.status("ada", build) == "STARTED"
    client.type("c\n")
    code, said = client.end()
    assert (code, f"{build} is cancelled" in said) == (130, True)
    assert served.bed.status("ada", build) == "CANCELLED"


def test_a_second_interrupt_detaches(served: Served, started: Started) -> None:
    client, build = started(terminal=True)
    client.interrupt()
    client.wait_for("[c/d/G] ")
    client.interrupt()
    code, said = client.end()
    assert (code, "the build goes on" in said) == (130, True)
    assert served.bed.status("ada", build) == "STARTED"
