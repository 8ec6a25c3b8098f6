"""What cc-openstack, cc-object-store and cc-snapshot put into images, run here: programs that know a root elsewhere."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cc_images.config.loader import packaged

ELEMENTS = packaged("elements")
OPENSTACK = ELEMENTS / "cc-openstack/static/usr/bin"
SNAPSHOT = ELEMENTS / "cc-snapshot/static"


class Metadata(BaseHTTPRequestHandler):
    documents: ClassVar[dict[str, object]] = {}

    def do_GET(self) -> None:
        found = self.documents.get(self.path.rpartition("/")[2])
        self.send_response(200 if found is not None else 404)
        self.end_headers()
        self.wfile.write(found.encode() if isinstance(found, str) else json.dumps(found or {}).encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Metadata, "documents", {})
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/openstack/latest"
        httpd.shutdown()


def run(service: str, home: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{OPENSTACK}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(home), "CC_METADATA_URL": service, "no_proxy": "127.0.0.1"}
    return subprocess.run([OPENSTACK / program, *words], env=environment, capture_output=True, text=True)


def test_vendor_data_is_shown_whole_or_by_key(service: str, tmp_path: Path) -> None:
    Metadata.documents = {"vendor_data.json": {"a": {"b": "c"}, "x": 1}, "vendor_data2.json": {"x": 2}}
    assert json.loads(run(service, tmp_path, "cc-vendordata").stdout) == {"a": {"b": "c"}, "x": 2}
    assert run(service, tmp_path, "cc-vendordata", "a.b").stdout == "c\n"
    wrong = run(service, tmp_path, "cc-vendordata", "a.b.c")
    assert (wrong.returncode, wrong.stderr) == (1, "cc-vendordata: there is no a.b.c\n")


@pytest.mark.parametrize("documents", [{}, {"vendor_data.json": "not json", "vendor_data2.json": "[]"}])
def test_without_vendor_data_there_is_an_empty_mapping(
    service: str, tmp_path: Path, documents: dict[str, object]
) -> None:
    Metadata.documents = documents
    said = run(service, tmp_path, "cc-vendordata")
    assert (said.returncode, said.stdout) == (0, "{}\n"), said.stderr
    assert "names no auth_url" in run(service, tmp_path, "cc-openrc").stderr


def test_an_openrc_is_written_for_its_owner_only(service: str, tmp_path: Path) -> None:
    cloud = {"auth_url": "https://x.invalid/v3", "region": "it's", "project_id": "p", "project": "n"}
    Metadata.documents = {"vendor_data2.json": {"cloud": cloud}}
    openrc = tmp_path / "openrc"
    openrc.symlink_to(tmp_path / "elsewhere")
    assert run(service, tmp_path, "cc-openrc").stdout == f"{openrc}\n"
    assert openrc.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "elsewhere").exists(), "a link that lay there is not followed"
    told = subprocess.run(["sh", "-c", f". {openrc}; env"], capture_output=True, text=True, env={"PATH": "/bin"}).stdout
    assert "OS_AUTH_URL=https://x.invalid/v3\n" in told
    assert "OS_REGION_NAME=it's\n" in told
    assert "OS_PROJECT_ID=p\n" in told


def test_an_application_credential_names_no_project_beside_it(service: str, tmp_path: Path) -> None:
    secret = {"application_credential_id": "i", "application_credential_secret": "s"}
    Metadata.documents = {"vendor_data.json": {"auth_url": "https://x.invalid", "project": "p", **secret}}
    run(service, tmp_path, "cc-openrc")
    text = (tmp_path / "openrc").read_text()
    assert "OS_AUTH_TYPE=v3applicationcredential" in text
    assert "PROJECT" not in text


def test_public_keys_are_added_once_and_nothing_is_removed(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Metadata.documents = {
        "vendor_data.json": {"public_keys": ["ssh-ed25519 A one", "ssh-ed25519 M mine again"]},
        "vendor_data2.json": {"site": {"public_keys": {"two": "ssh-ed25519 B two", "bad": "x\ny z", "none": ""}}},
    }
    program = (
        "import pwd, runpy, sys; real, home = pwd.getpwnam(sys.argv[1]), sys.argv[2];"
        "pwd.getpwnam = lambda name: pwd.struct_passwd((*real[:5], home, real[6]));"
        f"sys.argv = ['cc-load-public-keys', '--user', real.pw_name];"
        f"runpy.run_path({str(OPENSTACK / 'cc-load-public-keys')!r}, run_name='__main__')"
    )
    (tmp_path / ".ssh").mkdir()
    keys = tmp_path / ".ssh" / "authorized_keys"
    keys.write_text("ssh-ed25519 M mine")
    user = pwd.getpwuid(os.getuid()).pw_name
    environment = {"PATH": f"{OPENSTACK}:{os.environ['PATH']}", "CC_METADATA_URL": service}
    for added in ("2 of 3", "0 of 3"):
        said = subprocess.run(
            [sys.executable, "-c", program, user, str(tmp_path)], env=environment, capture_output=True, text=True
        )
        assert said.stdout == f"added {added}\n", said.stderr
    assert keys.read_text() == "ssh-ed25519 M mine\nssh-ed25519 A one\nssh-ed25519 B two\n"
    assert keys.stat().st_mode & 0o777 in (0o600, 0o644)


def test_a_snapshot_is_prepared_by_hooks_in_order(tmp_path: Path) -> None:
    for name, text in {
        "etc/ssh/ssh_host_rsa_key": "k", "etc/ssh/ssh_host_rsa_key.pub": "k", "etc/ssh/sshd_config": "kept",
        "etc/machine-id": "0" * 32, "var/lib/systemd/random-seed": "r", "var/lib/cloud/data/x": "x",
        "var/lib/dbus/machine-id": "0" * 32, "var/log/syslog": "secret", "root/.bash_history": "secret",
        "home/cc/openrc": "secret", "home/cc/work": "kept", "var/tmp/x": "x", "etc/netplan/50-cloud-init.yaml": "x",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in (SNAPSHOT / "etc/cc-images/snapshot.d").iterdir():
        (hooks / hook.name).symlink_to(hook)
    (hooks / "40-site").write_text("#!/bin/sh\ntest ! -e $CC_SNAPSHOT_ROOT/root/.bash_history && echo site\n")
    (hooks / "40-site").chmod(0o755)
    (hooks / "50-not-executable").write_text("exit 1\n")
    environment = {"PATH": os.environ["PATH"], "CC_SNAPSHOT_HOOKS": str(hooks), "CC_SNAPSHOT_ROOT": str(tmp_path)}
    command = [SNAPSHOT / "usr/sbin/cc-prepare-snapshot"]
    dry = subprocess.run([*command, "--dry-run"], env=environment, capture_output=True, text=True, check=True).stdout
    assert [Path(line).name for line in dry.splitlines()] == ["10-identity", "20-cloud-init", "30-traces", "40-site"]
    assert (tmp_path / "etc/ssh/ssh_host_rsa_key").exists()
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.endswith("site\n")
    left = {
        str(path.relative_to(tmp_path)): path.read_text()
        for path in tmp_path.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert {name for name in left if not name.startswith("hooks")} == {
        "etc/ssh/sshd_config", "etc/machine-id", "var/log/syslog", "home/cc/work"
    }  # fmt: skip
    assert left["etc/machine-id"] == "uninitialized\n"
    assert left["var/log/syslog"] == ""
    assert subprocess.run([*command, "--all"], env=environment, capture_output=True).returncode == 2


def test_mounting_asks_for_credentials_first(tmp_path: Path) -> None:
    program = ELEMENTS / "cc-object-store/static/usr/bin/cc-mount"
    (tmp_path / "bin").mkdir()
    rclone = tmp_path / "bin" / "rclone"
    rclone.write_text('#!/bin/sh\necho "$OS_AUTH_URL" "$@"\n')
    rclone.chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}
    said = subprocess.run([program, "box", f"{tmp_path}/at"], env=environment, capture_output=True, text=True)
    assert (said.returncode, "no credentials" in said.stderr) == (1, True)
    (tmp_path / "openrc").write_text("export OS_AUTH_URL=https://x.invalid\n")
    said = subprocess.run([program, "box", f"{tmp_path}/at"], env=environment, capture_output=True, text=True)
    words = f"https://x.invalid mount --daemon --vfs-cache-mode writes :swift:box {tmp_path}/at\n"
    assert said.stdout == words


@pytest.mark.parametrize(
    ("virtual", "expected"), [(True, "--noclear tty1 linux"), (False, "--autologin cc --noclear tty1 linux")]
)
def test_a_console_logs_in_on_bare_metal_only(tmp_path: Path, virtual: bool, expected: str) -> None:
    hook = (ELEMENTS / "cc-console/post-install.d/60-cc-console").read_text()
    programs = {
        "getty": hook.partition("<<'EOF'\n")[2].partition("\nEOF\n")[0],
        "systemd-detect-virt": f"#!/bin/sh\nexit {0 if virtual else 1}\n",
        "agetty": '#!/bin/sh\necho "$@"\n',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(
        [tmp_path / "getty", "--noclear", "tty1", "linux"], env=environment, capture_output=True, text=True
    )
    assert said.stdout.strip() == expected
