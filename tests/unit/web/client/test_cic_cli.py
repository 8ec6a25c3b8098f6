"""contrib/cic_cli: the small client in shell, against a service at work; no password is a word of any process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.certificates import certificate
from tests.support.proxy import Proxy
from tests.support.servedbed import Served, stranger, written
from tests.support.servicebed import PASSWORDS, ServiceBed
from tests.unit.web.client.test_client import file_of

PROGRAM = REPOSITORY / "contrib/cic_cli"
RUN = "20261122T030000Z"
FILE = f"CC-One-{RUN}.qcow2"
PASSWORD = PASSWORDS["ada"]

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["dash", pytest.param("bash", marks=pytest.mark.long)])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Return a function that runs the client in a shell, with a curl that writes down its words and variables."""
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"needs {request.param}")
    programs = tmp_path / "bin"
    programs.mkdir()
    real = shutil.which("curl")
    seen = f'tr "\\000" "\\n" < /proc/$$/cmdline >> {tmp_path}/words\nenv >> {tmp_path}/words'
    (programs / "curl").write_text(f'#!/bin/sh\n{seen}\nexec {real} "$@"\n')
    (programs / "curl").chmod(0o755)

    def carry_out(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)} | variables
        return subprocess.run(
            [shell, str(PROGRAM), *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    return carry_out


def play(served: Served, build: str) -> None:
    served.bed.look()
    served.write(build, "one\n\x1b[2Jtwo ä \x9b\n")
    served.bed.plan(build, RUN)
    served.bed.finish(build, RUN)


def test_build_status_log_download_cancel(served: Served, run: Run, tmp_path: Path) -> None:
    served.bed.stored(b"image", RUN)
    variables = {"CIC_USER": "ada", "CIC_PASSWORD": PASSWORD}
    said = run(served.url, "build", "cc-one", **variables)
    assert (said.returncode, said.stderr) == (0, "")
    build = json.loads(said.stdout)["id"]
    play(served, build)
    assert json.loads(run(served.url, "status", build, **variables).stdout)["status"] == "FINISHED"
    assert [each["id"] for each in json.loads(run(served.url, "status", **variables).stdout)] == [build]
    assert run(served.url, "log", build, **variables).stdout == "one\n?[2Jtwo ä ??\n"
    (tmp_path / "there").mkdir()
    said = run(served.url + "/", "download", FILE, "there", **variables)
    assert (said.returncode, said.stdout, said.stderr) == (0, f"there/{FILE}\n", "")
    assert [each.name for each in (tmp_path / "there").iterdir()] == [FILE]
    assert (tmp_path / "there" / FILE).read_bytes() == b"image"
    assert json.loads(run(served.url, "cancel", build, **variables).stdout)["done"] == "removed"
    words = (tmp_path / "words").read_text()
    assert "--config" in words
    assert PASSWORD not in words


def test_images_are_requested_for_one_architecture(served: Served, run: Run) -> None:
    variables = {"CIC_USER": "ada", "CIC_PASSWORD": PASSWORD}
    said = run(served.url, "build", "-a", "arm64", "cc-two", **variables)
    assert said.returncode == 0, said.stderr
    build = json.loads(run(served.url, "status", json.loads(said.stdout)["id"], **variables).stdout)
    assert (build["request"]["images"], build["request"]["architectures"]) == (["cc-two"], ["arm64"])


def test_every_way_to_say_who_asks(served: Served, run: Run, tmp_path: Path) -> None:
    token = served.token_file(tmp_path)
    odd = 'quo"te\\ and $more:colon'
    served.bed.gatekeeper.accounts.change_password("bob", odd)
    for variables in (
        {"CIC_TOKEN_FILE": str(token)},
        {"CIC_PASSWORD_FILE": str(token)},
        {"CIC_USER": "ada", "CIC_PASSWORD_FILE": str(written(tmp_path / "password", f"{PASSWORD}\n"))},
        {"CIC_PASSWORD_FILE": str(written(tmp_path / "both", f"ada:{PASSWORD}"))},
        {"CIC_USER": "bob", "CIC_PASSWORD": odd},
        {"CIC_NETRC_FILE": str(written(tmp_path / "n", f'machine 127.0.0.1 login ada password "{PASSWORD}"\n'))},
    ):
        said = run(served.url, "status", **variables)
        assert (said.returncode, said.stdout, said.stderr) == (0, "[]\n", ""), variables
    secret = token.read_text().strip()
    assert not {each for each in (PASSWORD, odd, secret) if each in (tmp_path / "words").read_text()}


def test_the_form_of_an_older_client_works_and_says_what_is_better(served: Served, run: Run, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"images": ["cc-two"], "push": false}')
    said = run("ada", PASSWORD, served.url, "build", "request.json")
    assert said.returncode == 0
    assert said.stderr.startswith("cic_cli: a password on the command line can be read by every user of this host")
    build = json.loads(said.stdout)["id"]
    assert json.loads(run("ada", PASSWORD, served.url, "status", build).stdout)["request"]["images"] == ["cc-two"]
    assert PASSWORD not in (tmp_path / "words").read_text(), "no program that it starts has it"
    assert PASSWORD not in said.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["http://images.example.org", "status"], "anybody on the way could read the password"),
        (["http://127.0.0.1.example.org", "status"], "anybody on the way could read the password"),
        (["http://ada:pw@127.0.0.1", "status"], "the address has a name, a password or odd characters"),
        (["https://x.example.org/$(touch evil)", "status"], "odd characters"),
        (["http://127.0.0.1:1", "status", "x; touch evil"], "is no id of a build"),
        (["http://127.0.0.1:1", "status", "../tokens"], "is no id of a build"),
        (["http://127.0.0.1:1", "build", 'cc"one'], "is no image, and no file"),
        (["http://127.0.0.1:1", "build", "-a", 'x", "y', "cc-one"], "-a wants an architecture"),
        (["http://127.0.0.1:1", "build", "-a", "amd64"], "cic_cli URL build"),
        (["http://127.0.0.1:1", "download", "../x"], "is no name of a file"),
        (["http://127.0.0.1:1", "download", "x", "nowhere"], "nowhere is no folder"),
        (["http://127.0.0.1:1", "dance"], "cic_cli URL build"),
        ([], "cic_cli URL build"),
        (["ada", "status"], "cic_cli URL build"),
    ],
)
def test_words_that_are_wrong(run: Run, tmp_path: Path, words: list[str], why: str) -> None:
    said = run(*words, CIC_USER="ada", CIC_PASSWORD="x")
    assert (said.returncode, said.stdout) == (2, "")
    assert why in said.stderr
    assert not (tmp_path / "words").exists(), "nothing was asked"
    assert not (tmp_path / "evil").exists()


def test_answers_that_are_refusals(served: Served, run: Run, tmp_path: Path) -> None:
    assert "must know who asks" in run(served.url, "status").stderr
    wrong = run(served.url, "status", CIC_USER="ada", CIC_PASSWORD="not the password")
    assert wrong.returncode == 2
    assert "the service answers 401" in wrong.stderr
    mine = {"CIC_USER": "ada", "CIC_PASSWORD": PASSWORD}
    said = run(served.url, "build", "cc-nope", **mine)
    assert said.returncode == 2
    assert "the catalogue has no image 'cc-nope'" in said.stderr
    assert run(served.url, "download", FILE, **mine).returncode == 2
    assert run("http://127.0.0.1:1", "status", **mine).returncode == 3


def test_a_certificate_must_count(bed: ServiceBed, run: Run, tmp_path: Path) -> None:
    right = certificate(tmp_path, "right")
    served = Served(bed, tls=right)
    served.start()
    try:
        mine = {"CIC_TOKEN_FILE": str(served.token_file(tmp_path))}
        assert run(served.url, "status", **mine).returncode == 3
        assert run(served.url, "download", FILE, **mine).returncode == 3
        assert run(served.url, "status", **mine, CIC_CA_FILE=str(right[0])).stdout == "[]\n"
    finally:
        served.stop()


def test_a_download_goes_on_and_is_verified(served: Served, run: Run, tmp_path: Path) -> None:
    content = os.urandom(900_000)
    served.bed.stored(content, RUN)
    play(served, served.bed.request("ada", "cc-one"))
    mine = {"CIC_USER": "ada", "CIC_PASSWORD": PASSWORD}
    with Proxy(served.port, answer_cut_after=500_000) as proxy:
        said = run(proxy.url, "download", FILE, **mine)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / FILE).read_bytes() == content
    (tmp_path / f".{FILE}.part").write_bytes(b"of another file")
    assert run(served.url, "download", FILE, **mine).returncode == 0
    assert (tmp_path / FILE).read_bytes() == content
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_a_file_that_is_not_what_its_digest_says_gets_no_name(run: Run, tmp_path: Path) -> None:
    tag = '"' + "0" * 64 + '"'
    with stranger(file_of(b"evil", b"good", etag=tag)) as url:
        process = run(url, "download", "x.sif", CIC_USER="ada", CIC_PASSWORD="x", CIC_TRIES="1")
    assert process.returncode == 3
    assert "is not what its digest says" in process.stderr
    assert not (tmp_path / "x.sif").exists()
    assert not (tmp_path / ".x.sif.part").exists()
