"""Builds on builder hosts behind a real sshd: what comes back, and what a broken link leaves."""

from __future__ import annotations

import json
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.real.conftest import Project, Watched
from tests.support.sshbed import SSHD, SshBed
from tests.support.works import inhabitants, works

pytestmark = pytest.mark.skipif(not SSHD, reason="needs sshd")


@pytest.fixture
def away(project: Project, ssh: SshBed) -> Project:
    """A project whose builds go to two builder hosts."""
    (project.folder / "builders.yaml").write_text(ssh.builder("east") + ssh.builder("west"))
    project.environment |= ssh.environment
    return project


def test_two_images_over_two_hosts_and_a_link_that_breaks(away: Project, ssh: SshBed) -> None:
    run = Watched(away.start("-b", "-p", "cc-tiny", "cc-tiny-too", DIB_TINY_LINGER="1"))
    run.wait_for(r"^\[build cc-tiny amd64\] .*install\.d")
    ssh.interrupt(5)
    code = run.process.wait(600)
    output = "\n".join(run.lines)
    assert code == 0, output
    assert away.published("CC-Tiny")
    assert away.published("CC-Tiny-Too")
    assert {"on east", "on west"} <= {line.split("s ", 1)[-1] for line in run.lines}, output
    for tag in ("cc-tiny", "cc-tiny-too"):
        (log,) = (away.store / "logs").glob(f"*/build-{tag}-amd64.log")
        (there,) = ssh.folder.glob(f"*/store/logs/a*/build-{tag}-amd64.log")
        assert log.read_bytes() == there.read_bytes(), "each line came, once and in order"
    (attempt,) = (path.parent for path in (away.store / "attempts").glob("*/claim.json") if "too" in path.read_text())
    assert json.loads((attempt / "claim.json").read_text())["tasks"] == [
        "build cc-tiny-too amd64", "convert cc-tiny-too amd64",
    ]  # fmt: skip
    away.assert_no_leftovers()
    assert not works(ssh)

    code, output = away.run("-b", "-p", "cc-tiny", "--on", "here", DIB_TINY_LINGER="1")
    assert code == 0, output
    assert "2 unchanged" in output or "1 unchanged" in output, output
    code, output = away.run("plan", "-b", "-f", "cc-tiny", "--on", "nowhere")
    assert code == 2, output
    assert "there is no such builder" in output


TWELVE = """\
CC-Root:
  elements: [tiny-os, tiny-marks]
  formats: [oci]
  artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}
""" + "".join(
    f"CC-Kid-{number:02}: {{depends: [CC-Root], elements: [], formats: [oci], labels: {{number: '{number}'}}}}\n"
    for number in range(12)
)


def digests(store: Path) -> dict[str, str]:
    """Return the digest of each image in a store."""
    records = (json.loads(path.read_text()) for path in store.glob("builds/cc-kid-*/amd64/2*.json"))
    return {each["tag"]: each["outputs"]["oci"]["digest"] for each in records}


@pytest.mark.deep
def test_twelve_images_over_three_hosts_are_those_of_home(away: Project, ssh: SshBed, tiny_root: Path) -> None:
    (away.folder / "images.yaml").write_text(TWELVE.replace("TINY_ROOT_URL", tiny_root.as_uri()))
    with (away.folder / "builders.yaml").open("a") as file:
        file.write(ssh.builder("south"))
    code, output = away.run("-b", "cc-kid-*")
    assert code == 0, output
    code, said = away.run("-b", "-t", "2", "--on", "here", "cc-kid-*", CC_IMAGES_STORE=str(away.folder / "home"))
    assert code == 0, said
    assert digests(away.store) == digests(away.folder / "home")
    assert len(digests(away.store)) == 12
    built = {name: len([*ssh.store(name).glob("logs/a*/build-*.log")]) for name in ("east", "west", "south")}
    assert min(built.values()) >= 2, built
    forecast, wall = seconds(r"about (.*) by earlier runs", said), seconds(r"ok: 12 built.* in (.*)$", output)
    print(f"built {built}; away {wall} s; at home, with two at a time, forecast {forecast}")
    layers = [path for name in built for path in ssh.store(name).glob("layers/cc-root/amd64/2*.json")]
    assert len(layers) == 3, "the layer was made once, and fetched once by each of the others"
    away.assert_no_leftovers()


def seconds(pattern: str, text: str) -> str:
    """Return a time that was said; empty when it was not."""
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


CANARY = "canary-7f3a-in-a-password"
OF_THE_HEAD = "canary-91c4-in-a-credential"
"""In what belongs to the head alone: its registries, its clouds, its keys."""


def credentials(folder: Path) -> dict[str, str]:
    """Write what a head knows sites by, and return the variables that name it."""
    folder.mkdir()
    held = {
        "REGISTRY_AUTH_FILE": ("auth.json", json.dumps({"auths": {"registry.invalid": {"auth": OF_THE_HEAD}}})),
        "OS_CLIENT_CONFIG_FILE": ("clouds.yaml", f"clouds: {{ours: {{auth: {{password: {OF_THE_HEAD}}}}}}}\n"),
        "GNUPGHOME": ("private.key", OF_THE_HEAD),
    }
    for name, content in held.values():
        (folder / name).write_text(content)
    paths = {variable: str(folder / name) for variable, (name, _) in held.items()} | {"GNUPGHOME": str(folder)}
    return paths | {"AWS_SECRET_ACCESS_KEY": OF_THE_HEAD, "OS_PASSWORD": OF_THE_HEAD}


@pytest.mark.deep
def test_secrets_reach_trusted_hosts_alone_and_stay_nowhere(away: Project, ssh: SshBed, tiny_root: Path) -> None:
    """A hook prints the secret: no log, bundle, record or file of either host has it, and no argument."""
    (away.folder / "images.yaml").write_text(
        "CC-Tiny:\n  elements: [tiny-os, tiny-telltale]\n  disk: [block-device-efi, tiny-disk]\n"
        f"  secrets: [DIB_TINY_SECRET]\n  artifacts: {{DIB_TINY_ROOT: {{url: '{tiny_root.as_uri()}'}}}}\n"
    )
    hook = away.folder / "more" / "tiny-telltale" / "install.d" / "50-tell"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/bash\necho the secret is $DIB_TINY_SECRET.\nsleep 3\n")
    hook.chmod(0o755)
    environment = {"DIB_TINY_SECRET": CANARY, "ELEMENTS_PATH": str(away.folder / "more")}
    environment |= credentials(away.folder / "credentials")
    code, output = away.run("-b", "cc-tiny", **environment)
    assert code == 2, output
    assert "is not trusted with DIB_TINY_SECRET" in output
    entries = (away.folder / "builders.yaml").read_text().replace("{ssh:", "{trusted: yes, ssh:")
    (away.folder / "builders.yaml").write_text(entries)
    run = Watched(away.start("-b", "cc-tiny", **environment))
    seen: set[str] = set()
    told: set[str] = set()
    while run.process.poll() is None:
        seen |= tellers()
        told |= knowing(ssh)
        time.sleep(0.1)
    assert run.wait() == 0, "\n".join(run.lines)
    (log,) = away.store.glob("logs/*/build-cc-tiny-amd64.log")
    assert "the secret is ***." in log.read_text()
    assert not seen
    assert not told
    for root in (away.store, ssh.folder):
        files = [path for path in root.rglob("*") if path.is_file()]
        assert [path for path in files if path.parent.parent.name == "sha256"], "images and layers are among them"
        assert not [path for path in files if has_secret(path)]
    assert CANARY not in "\n".join(run.lines)


def has_secret(path: Path) -> bool:
    """Say whether a file has a secret, also behind its compression."""
    with path.open("rb") as file:
        begins = file.read(4)
    raw = path.with_name(f"{path.name}.raw")
    command: list[str | Path] = ["cat", path]
    if begins == b"\x28\xb5\x2f\xfd":
        command = ["zstd", "-dc", path]
    elif begins == b"QFI\xfb":
        subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
        command = ["cat", raw]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reading:
        found = subprocess.run(
            ["grep", "-caF", "-e", CANARY, "-e", OF_THE_HEAD], stdin=reading.stdout, capture_output=True
        )
    raw.unlink(missing_ok=True)
    assert (reading.returncode, found.returncode in (0, 1)) == (0, True)
    return found.returncode == 0


def tellers() -> set[str]:
    """Return the commands whose arguments have a secret."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if CANARY.encode() in words or OF_THE_HEAD.encode() in words:
            found.add(words.decode(errors="replace"))
    return found


def knowing(ssh: SshBed) -> set[str]:
    """Return the commands on builder hosts whose environment has a credential of the head."""
    found: set[str] = set()
    for number, (_, words) in inhabitants(ssh).items():
        with suppress(OSError):
            if OF_THE_HEAD.encode() in Path(f"/proc/{number}/environ").read_bytes():
                found.add(b" ".join(words).decode(errors="replace"))
    return found
