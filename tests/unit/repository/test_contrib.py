"""What schedules runs: units are right, the installer keeps what somebody has changed, people hear of news."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cc_images.cli.parser import parser
from tests.conftest import REPOSITORY

CONTRIB = REPOSITORY / "contrib"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder like a checkout in which `make setup` was run."""
    made = tmp_path / "checkout"
    shutil.copytree(CONTRIB, made / "contrib")
    shutil.copytree(REPOSITORY / "script", made / "script")
    (made / ".venv" / "bin").mkdir(parents=True)
    (made / ".venv" / "bin" / "cc-images").write_text("#!/bin/sh\n")
    (made / ".venv" / "bin" / "cc-images").chmod(0o755)
    return made


def schedule(checkout: Path, *words: str) -> str:
    environment = os.environ | {"DESTDIR": str(checkout / "host")}
    command = [str(checkout / "script" / "schedule"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_root
def test_the_installer_keeps_what_somebody_has_changed(checkout: Path) -> None:
    host = checkout / "host"
    said = schedule(checkout, "--systemd")
    assert (host / "usr/local/bin/cc-images").readlink() == checkout / ".venv/bin/cc-images"
    environment = host / "etc/cc-images/environment"
    assert environment.stat().st_mode & 0o077 == 0
    assert "HOME=/root\n" in environment.read_text()
    assert "export " not in environment.read_text()
    assert f"installed {host}/etc/systemd/system/cc-images.timer" in said
    environment.write_text("mine")
    timer = host / "etc/systemd/system/cc-images.timer"
    timer.write_text("mine")
    said = schedule(checkout, "--systemd")
    assert f"kept {timer}" in said
    assert f"kept {environment}" in said
    assert (environment.read_text(), timer.read_text()) == ("mine", "mine")


@needs_root
def test_the_sweep_is_installed_when_it_is_asked_for_and_removed_with_the_rest(checkout: Path) -> None:
    def installed() -> set[str]:
        return {path.name for path in (checkout / "host/etc").rglob("cc-images*") if path.is_file()}

    nightly, sweep = {"cc-images.service", "cc-images.timer"}, {"cc-images-sweep.service", "cc-images-sweep.timer"}
    schedule(checkout, "--systemd")
    assert installed() == nightly
    assert "cc-images-sweep.timer" in schedule(checkout, "--sweep", "--dry-run")
    assert installed() == nightly
    schedule(checkout, "--sweep", "--systemd")
    assert installed() == nightly | sweep
    schedule(checkout, "--remove")
    assert installed() == set()


@needs_root
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(checkout: Path) -> None:
    schedule(checkout, "--sweep", "--systemd")
    units = checkout / "host/etc/systemd/system"
    command = checkout / "host/usr/local/bin/cc-images"
    for job in ("cc-images", "cc-images-sweep"):
        service = units / f"{job}.service"
        service.write_text(service.read_text().replace("/usr/local/bin/cc-images", str(command)))
        for unit in (service, units / f"{job}.timer"):
            said = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
            assert (said.returncode, [line for line in said.stderr.splitlines() if "cc-images" in line]) == (0, [])
        for line in (units / f"{job}.timer").read_text().splitlines():
            key, _, value = line.partition("=")
            kind = {"OnCalendar": "calendar", "OnBootSec": "timespan", "OnUnitInactiveSec": "timespan"}.get(key)
            if kind:
                subprocess.run(["systemd-analyze", kind, value], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit_of_the_service(checkout: Path) -> None:
    unit = checkout / "contrib/service/cc-images-serve.service"
    text = unit.read_text()
    unit.write_text(text.replace("/usr/local/bin/cc-images", str(checkout / ".venv/bin/cc-images")))
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert (said.returncode, [line for line in said.stderr.splitlines() if "cc-images" in line]) == (0, [])


def commands() -> dict[str, list[str]]:
    """Return the words with which each of the files runs cc-images."""
    texts = {
        "systemd": (CONTRIB / "systemd/cc-images.service").read_text().partition("ExecStart=")[2].splitlines()[0],
        "cron": (CONTRIB / "cron/cc-images").read_text().splitlines()[-1],
        "ci": yaml.safe_load((CONTRIB / "ci/gitlab-ci.yml").read_text())["images"]["script"][0],
    }
    return {name: text.partition("cc-images -")[2].split() for name, text in texts.items()}


@pytest.mark.parametrize("name", ["systemd", "cron", "ci"])
def test_every_job_has_words_that_the_command_line_takes(name: str) -> None:
    options = parser("").parse_args(["-" + commands()[name][0], *commands()[name][1:]])
    assert (options.build, options.push, options.tags) == (True, True, ["all" if name == "ci" else "scheduled"])
    assert options.if_busy in ("leave", "wait")
    assert options.max_size == 100 << 30


@pytest.mark.parametrize("file", ["systemd/cc-images-sweep.service", "cron/cc-images-sweep"])
def test_every_sweep_has_words_that_the_command_line_takes(file: str) -> None:
    (line,) = (line for line in (CONTRIB / file).read_text().splitlines() if "cc-images builder-node" in line)
    words = line.partition("cc-images ")[2].partition("|")[0].split()
    options = parser(words[0]).parse_args(words[1:])
    assert (options.action, options.nodes, options.json) == ("sweep", [], False)


def test_the_service_has_words_that_the_command_line_takes() -> None:
    text = (CONTRIB / "service/cc-images-serve.service").read_text()
    words = text.partition("ExecStart=")[2].splitlines()[0].partition("cc-images serve ")[2].split()
    assert parser("serve").parse_args(words).listen == "127.0.0.1:8080"
    assert "KillMode=process\n" in text, "runs go on while the service starts again"
    assert "    server 127.0.0.1:8080;" in (CONTRIB / "service/nginx.conf").read_text()


def notify(tmp_path: Path, *words: str, **said: str) -> subprocess.CompletedProcess[str]:
    """Run the notifier with a sendmail and a curl that write down what they get."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("sendmail", "curl"):
        (programs / name).write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/{name}.words\ncat > {tmp_path}/{name}.input\n')
        (programs / name).chmod(0o755)
    told = {"CC_IMAGES_STATE": "ok", "CC_IMAGES_CHANGED": "yes", "CC_IMAGES_SUMMARY": "cc-images x ok: 1 built"}
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"} | told | said
    return subprocess.run(
        [CONTRIB / "notify", *words], env=environment, input="cc-images x ok: 1 built\n", capture_output=True, text=True
    )


def test_people_get_mail_and_word_in_their_chat_when_there_is_news(tmp_path: Path) -> None:
    assert notify(tmp_path, "mail", "ops@example.org").returncode == 0
    assert (tmp_path / "sendmail.input").read_text() == (
        "To: ops@example.org\nSubject: cc-images x ok: 1 built\n\ncc-images x ok: 1 built\n"
    )
    assert notify(tmp_path, "chat", "/etc/hook").returncode == 0
    assert (tmp_path / "curl.input").read_text() == '{"text": "cc-images x ok: 1 built\\n"}\n'
    assert "--config /etc/hook" in (tmp_path / "curl.words").read_text(), "the address is no argument"
    assert notify(tmp_path, "pigeon").returncode == 2


@pytest.mark.parametrize(("state", "changed"), [("ok", "no"), ("left", "no")])
def test_people_are_not_woken_for_nothing(tmp_path: Path, state: str, changed: str) -> None:
    assert notify(tmp_path, "mail", "x", CC_IMAGES_STATE=state, CC_IMAGES_CHANGED=changed).returncode == 0
    assert not (tmp_path / "sendmail.input").exists()
    assert notify(tmp_path, "mail", "x", CC_IMAGES_STATE="failed", CC_IMAGES_CHANGED="no").returncode == 0
    assert (tmp_path / "sendmail.input").exists()
