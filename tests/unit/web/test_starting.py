"""Starting: where a service may listen, what is checked, and the verbs of the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import httpx
import pytest

from cc_images.api import launch
from cc_images.api.run_note import read
from cc_images.cli import accounts, web
from cc_images.config.loader import load
from cc_images.errors import UserError
from cc_images.web import app, server, start
from cc_images.web.server import Listen
from tests.conftest import REPOSITORY, Cli, clean_environment, write_files
from tests.support.servicebed import CHEAP, ServiceBed

LOADED = accounts, web
"""What `cli` forks has the service's modules already: to load them takes longer than to run them."""


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "example.org:80", "192.0.2.1:80"])
def test_without_tls_only_this_host_is_served(address: str) -> None:
    with pytest.raises(UserError, match="not loopback"):
        server.check(Listen(address=address))


@pytest.mark.parametrize("address", ["80", "127.0.0.1", "http://127.0.0.1:80", "127.0.0.1:99999", "unix:/run/x"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(UserError, match="is no address") as raised:
        server.check(Listen(address=address))
    assert raised.value.hint == "HOST:PORT or [HOST]:PORT"


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("nothing")
    for file in ("pem", "missing"):
        with pytest.raises(UserError, match="certificate cannot be used"):
            server.check(Listen(address="0.0.0.0:0", tls=(tmp_path / file, tmp_path / file)))


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = Listen(address=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UserError, match="nothing can listen"), server.serving(None, listen, threading.Event()):
            pass


def test_one_service_works_on_a_store(tmp_path: Path) -> None:
    with launch.alone(tmp_path / "service"), pytest.raises(UserError, match="another service"), \
            launch.alone(tmp_path / "service"):  # fmt: skip
        pass


def test_one_service_works_with_a_database(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'service.sqlite'}"

    def settings(name: str) -> start.Settings:
        (tmp_path / name).mkdir(exist_ok=True)
        environment = clean_environment(tmp_path / name) | {"CC_IMAGES_STORE": str(tmp_path / name / "store")}
        write_files(tmp_path / name, images="CC-One: {elements: [debian-minimal], disk: []}", sites="")
        return start.Settings(load=lambda: load(environment, tmp_path / name), folder=tmp_path / name, environ={},
                              database=database, listen=Listen(address="127.0.0.1:0"), cost=CHEAP)  # fmt: skip

    with start.running(settings("first"), app.made):
        assert start.check(settings("second"))["service"] == "at work; another one cannot start"
        with pytest.raises(UserError, match="another service works with this database"), \
                start.running(settings("second"), app.made):  # fmt: skip
            pass
    assert start.check(settings("second"))["service"] == "none is at work"
    with start.running(settings("second"), app.made) as address:
        assert address.startswith("http://127.0.0.1:")


def test_accounts_are_made_on_the_command_line(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-One: {elements: [debian-minimal], disk: []}", sites="")
    (tmp_path / "password").write_text("correct horse battery\n")
    said = json.loads(cli("serve", "--check", "--json").stdout)
    assert (said["images"], said["database"], said["accounts"]) == ("1", "would be made", "0")
    assert not (tmp_path / "store" / "service.sqlite").exists()
    assert cli("account", "add", "ada", "--administrator", "--password-file", "password").returncode == 0
    assert "already" in cli("account", "add", "ada", "--password-file", "password").stderr
    assert json.loads(cli("account", "list", "--json").stdout)[0]["role"] == "administrator"
    assert cli("account", "password", "ada", "--password-file", "password").returncode == 0
    assert cli("account", "role", "ada", "--user").stdout == "ada: is an ordinary account now\n"
    answer = cli("account", "role", "ada")
    assert (answer.returncode, "--administrator or --user" in answer.stderr) == (2, True), "nobody is demoted unsaid"
    assert cli("account", "role", "ada", "--administrator").stdout == "ada: is an administrator now\n"
    assert cli("account", "role", "ada", "--administrator", "--user").returncode == 2
    assert cli("account", "close", "ada").returncode == 0
    assert cli("account", "list").stdout == "ada                  administrator (closed)\n"
    assert cli("account", "add", "bob").returncode == 2, "there is no terminal"
    assert cli("account", "add").returncode == 2
    said = json.loads(cli("serve", "--check", "--json").stdout)
    assert (said["database"], said["accounts"]) == ("ready", "1")


def test_settings_say_how_the_service_is_started(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-One: {elements: [debian-minimal], disk: []}", sites="")
    settings = tmp_path / "settings.yaml"

    def checked(text: str, *words: str, **variables: str) -> tuple[int, dict[str, str], str]:
        settings.write_text(text)
        answer = cli("serve", "--check", "--json", *words, **{"CC_IMAGES_SETTINGS": str(settings), **variables})
        return answer.returncode, json.loads(answer.stdout or "{}"), answer.stderr

    said = f"store: {tmp_path}/own\nserve:\n  listen: 127.0.0.1:0\n  sign-up: invitation\n  database: {{}}\n"
    own = said.format(f"sqlite:///{tmp_path}/other.sqlite")
    code, found, complaints = checked(own, CC_IMAGES_STORE="")
    assert (code, found["address"], found["sign_up"]) == (0, "127.0.0.1:0", "invitation"), complaints
    assert found["store"] == f"{tmp_path}/own"
    assert checked(own, "--sign-up", "open")[1]["sign_up"] == "open", "words win"
    assert not (tmp_path / "other.sqlite").exists()
    (tmp_path / "x").write_text("correct horse battery\n")
    assert cli("account", "add", "ada", "--password-file", "x", CC_IMAGES_SETTINGS=str(settings)).returncode == 0
    assert (tmp_path / "other.sqlite").exists(), "the accounts are those of the same database"
    elsewhere = checked(own, CC_IMAGES_DATABASE=f"sqlite:///{tmp_path}/third.sqlite")[1]["database"]
    assert (elsewhere, checked(own)[1]["database"]) == ("would be made", "ready"), "a variable wins"
    for wrong, why in (
        ("serve:\n  runs: many\n", f"{settings}:2: serve.runs: 'many' is not a whole number"),
        ("serve:\n  runs: 1\n  port: 80\n", f"{settings}:3: serve.port: 'port' is none of"),
        ("serve:\n  sign-up: all\n", f"{settings}:2: serve.sign-up: all is none of off, open, invitation"),
        ("serve: {database: 'postgresql://me:geheim@h/x'}\n", "which every user of this host could read"),
        ("serve: {tls-key: key.pem}\n", "--tls-certificate and --tls-key belong together"),
        ("options:\n\n  tasks: many\n", f"{settings}:3: options.tasks: 'many' is not a whole number"),
    ):
        code, _, complaints = checked(wrong)
        assert (code, why in complaints) == (2, True), complaints
        assert "geheim" not in complaints


def test_a_catalogue_without_images_is_remarked(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-One: {elements: [debian-minimal], disk: []}", sites="")
    assert cli("serve", "--check", "--listen", "127.0.0.1:0").stderr == ""
    write_files(tmp_path, images="CC-One: {elements: [debian-minimal], disk: [], abstract: true}", sites="")
    answer = cli("serve", "--check", "--listen", "127.0.0.1:0", "--json")
    assert (answer.returncode, json.loads(answer.stdout)["images"]) == (0, "0"), "it would start"
    assert answer.stderr == (
        f"cc-images: nobody can request an image: {tmp_path / 'images.yaml'} has none, or abstract ones alone\n"
    )


def test_make_serve_makes_the_first_account_once(tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-One: {elements: [debian-minimal], disk: []}", sites="")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    command = tmp_path / "bin" / "cc-images"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cc_images "$@"\n')
    command.chmod(0o755)
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)}
    environment.pop("XDG_CONFIG_HOME", None)
    password = tmp_path / ".config" / "cc-images" / "service-password"
    for first in (True, False):
        words = [str(REPOSITORY / "script" / "serve"), str(tmp_path), "127.0.0.1:0"]
        with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None
            said = []
            while not (line := service.stdout.readline()).startswith("the service is at "):
                assert line, "it has not started"
                said.append(line)
            secret = password.read_text().strip()
            with httpx.Client(base_url=line.split()[-1], auth=("admin", secret)) as client:
                assert client.get("/account").json()["role"] == "administrator"
            service.terminate()
            assert service.wait(60) == 0
        assert (f"the first account is admin; its password is in {password}\n" in said) == first
        assert secret not in "".join(said)
    assert password.stat().st_mode & 0o077 == 0


def test_a_password_in_the_words_of_a_process_is_refused(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="", sites="")
    address = "postgresql+psycopg://me:geheim@127.0.0.1/x"
    answer = cli("serve", "--check", "--database", address)
    assert (answer.returncode, "which every user of this host could read" in answer.stderr) == (2, True)
    assert "geheim" not in answer.stderr
    for variable, said in (("CC_IMAGES_DATABASE", address), ("CC_IMAGES_DATABASE_FILE", str(tmp_path / "address"))):
        (tmp_path / "address").write_text(address + "\n")
        answer = cli("serve", "--check", **{variable: said})
        assert answer.returncode == 2
        assert "the database" in answer.stderr
        assert "geheim" not in answer.stderr
    assert "sqlite" not in cli("serve", "--check", "--listen", "0.0.0.0:80").stdout


def test_a_run_tells_the_program_that_started_it(cli: Cli, bed: ServiceBed, tmp_path: Path) -> None:
    bed.stored(b"disk", "20261122T030000Z")
    answer = cli("-p", "--no-boot-test", "cc-one", "--run-file", "run.json")
    note = read(tmp_path / "run.json")
    assert (answer.returncode, note.exit_code, note.state) == (0, 0, "ok"), answer.stderr
    assert note.run
    assert note.pid
    answer = cli("-b", "nothing", "--run-file", "run.json")
    note = read(tmp_path / "run.json")
    assert (note.exit_code, note.run, note.reason) == (2, "", "unknown-image")
    assert read(tmp_path / "missing.json").state == ""


def test_it_is_ready_within_three_seconds_and_ends_by_itself_when_it_is_asked_to(tmp_path: Path) -> None:
    """Time of the processor: how long that takes depends on who else uses it."""
    write_files(tmp_path, images="CC-One: {elements: [debian-minimal], disk: []}", sites="")
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "cc_images", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("the service is at http://127.0.0.1:")
            spent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
            assert sum(map(int, spent)) / os.sysconf("SC_CLK_TCK") < 3.0
            with urllib.request.urlopen(f"{said.split()[-1]}/health") as answer:
                assert json.load(answer)["state"] == "ok"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, process.stderr.read() if process.stderr else ""
