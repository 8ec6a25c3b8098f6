"""Real Keystone and Glance on loopback, from PyPI, for tests and for a developer at the prompt.

    python -m tests.support.testbed FOLDER     # two sites, until Ctrl-C; prints how to use them

One Keystone, and a Glance for each site in a region of its own. clouds.yaml has `<site>` for the ordinary user "demo",
`<site>-other` for one of another project, and `<site>-admin` for the administrator. No root, nothing outside FOLDER and
the environment that the services are installed into.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import novabed, swiftbed
from tests.support.novabed import NovaBed
from tests.support.swiftbed import SwiftBed

PACKAGES = ("keystone>=30,<31", "glance>=33,<34", "gunicorn>=23", *swiftbed.PACKAGES)
PASSWORD = "not-a-secret"
SERVICES = Path(os.environ.get("CC_IMAGES_TEST_SERVICES") or Path(__file__).parents[2] / ".venv-services")
"""The virtual environment of the services."""

KEYSTONE = """\
[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db
sqlite_synchronous = false
[token]
provider = fernet
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[cache]
enabled = true
backend = dogpile.cache.memory
[identity]
password_hash_rounds = 4
"""

GLANCE = (
    """\
[DEFAULT]
log_file = {folder}/glance.log
enabled_backends = files:file
{extra}
[database]
connection = sqlite:///{folder}/glance.db
sqlite_synchronous = false
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = {images}
[os_glance_staging_store]
filesystem_store_datadir = {folder}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {folder}/tasks
[paste_deploy]
flavor = keystone
config_file = {services}/etc/glance/glance-api-paste.ini
[oslo_concurrency]
lock_path = {folder}/lock
"""
    + novabed.AUTHTOKEN
    + "token_cache_time = -1\n"
)


def install(packages: Sequence[str] = PACKAGES, marker: str = "ready") -> Path:
    """Install the services once into their own environment; return its `bin`."""
    ready = SERVICES / marker
    with _alone():
        if not ready.exists() or ready.read_text() != "\n".join(packages):
            subprocess.run([sys.executable, "-m", "venv", SERVICES], check=True)
            subprocess.run([SERVICES / "bin/pip", "install", "--quiet", *packages], check=True)
            ready.write_text("\n".join(packages))
    return SERVICES / "bin"


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only one who changes the environment of the services; tests run in several processes."""
    SERVICES.mkdir(parents=True, exist_ok=True)
    with (SERVICES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass
class Server:
    """One WSGI service under gunicorn. The socket is ours, so that a restart has the same port."""

    folder: Path
    application: str
    environment: dict[str, str]
    threads: int = 8
    process: subprocess.Popen[bytes] | None = None
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=128))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.listener.set_inheritable(True)
        settings = {
            "wsgi_app": self.application,
            "bind": f"fd://{self.listener.fileno()}",
            "worker_class": "gthread",
            "threads": self.threads,
            "timeout": 0,
            "graceful_timeout": 1,
            "control_socket_disable": True,
        }
        # a file, because Keystone's module parses the arguments of whoever imports it
        lines = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        (self.folder / "gunicorn.conf.py").write_text(lines)
        with (self.folder / "gunicorn.log").open("ab") as log:
            self.process = subprocess.Popen(
                [SERVICES / "bin/gunicorn"],
                cwd=self.folder,
                pass_fds=[self.listener.fileno()],
                env=os.environ | {"PYTHONWARNINGS": "ignore"} | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while True:
            assert self.process.poll() is None, (self.folder / "gunicorn.log").read_text()[-2000:]
            try:
                urllib.request.urlopen(self.url + "/", timeout=30).close()
                return
            except urllib.error.HTTPError:  # 300, a list of versions
                return
            except OSError:
                assert time.monotonic() < deadline, f"{self.application} does not answer"
                time.sleep(0.1)

    def kill(self) -> None:
        """End the service at once, as a crash would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def restart(self) -> None:
        """Start again after `kill`, with the same data and port."""
        self.start()


class TestBed:
    """Keystone, some Glances and, if wanted, a Swift below `folder`."""

    __test__ = False

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, *, objects: str = "", compute: str = ""
    ) -> None:
        """Prepare the sites `metal` and `kvm`; `settings` are lines for a site's [DEFAULT] section of Glance.

        `objects` is the site that has an object store, `compute` the one that has a Nova.
        """
        self.folder = folder
        self.sites = ("metal", "kvm")
        self.glance: dict[str, Server] = {}
        self.swift: SwiftBed | None = None
        self.nova: NovaBed | None = None
        self._compute = compute
        self._objects = objects
        self._settings = settings or {}
        self._servers: list[Server] = []

    def __enter__(self) -> TestBed:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self.swift is not None:
            self.swift.stop()
        if self.nova is not None:
            self.nova.nothing.stop()
        for server in self._servers:
            server.kill()
            server.listener.close()

    @property
    def clouds(self) -> Path:
        """The clouds.yaml of the test bed."""
        return self.folder / "clouds.yaml"

    def images(self, site: str) -> Path:
        """Return the folder in which a site's Glance keeps its data."""
        return self.folder / site / "images"

    def _start(self) -> None:
        install()
        keystone = self._keystone()
        for site in self.sites:
            self.glance[site] = self._glance(site, f"{keystone.url}/v3")
        if self._compute:
            install((*PACKAGES, *novabed.PACKAGES), "ready-nova")
            self.nova = NovaBed(self.folder / "nova", SERVICES / "bin", f"{keystone.url}/v3", PASSWORD)
            self.compute = Server(self.nova.folder, self.nova.application, self.nova.environment)
            self._servers.append(self.compute)
        for server in self._servers:
            server.start()
        if self._objects:
            self.swift = SwiftBed(self.folder / "swift", SERVICES / "bin", f"{keystone.url}/v3", PASSWORD)
            self.swift.start()
        self._populate(f"{keystone.url}/v3")
        self._write_clouds(f"{keystone.url}/v3")

    def _keystone(self) -> Server:
        folder = self.folder / "keystone"
        for name in ("fernet", "credential"):  # as `keystone-manage fernet_setup` does: key 0 staged, 1 primary
            (folder / name).mkdir(parents=True, mode=0o700)
            for number in "01":
                key = folder / name / number
                key.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
                key.chmod(0o600)
        (folder / "keystone.conf").write_text(KEYSTONE.format(folder=folder))
        config = ("--config-file", str(folder / "keystone.conf"))
        bootstrap = ("--bootstrap-username", "admin", "--bootstrap-password", PASSWORD)
        self._database(
            "keystone",
            folder,
            ["keystone-manage", *config, "db_sync"],
            ["keystone-manage", *config, "bootstrap", *bootstrap, "--bootstrap-project-name", "openstack"],
        )
        server = Server(folder, "keystone.wsgi.api:application", {"OS_KEYSTONE_CONFIG_DIR": str(folder)})
        self._servers.append(server)
        return server

    def _glance(self, site: str, auth: str) -> Server:
        folder = self.folder / site
        for name in ("images", "staging", "tasks", "lock"):
            (folder / name).mkdir(parents=True)
        values = {"folder": folder, "images": self.images(site), "auth": auth, "services": SERVICES}
        text = GLANCE.format(**values, extra=self._settings.get(site, ""), password=PASSWORD)
        (folder / "glance-api.conf").write_text(text)
        self._database("glance", folder, ["glance-manage", "--config-file", str(folder / "glance-api.conf"), "db_sync"])
        server = Server(folder, "glance.wsgi.api:application", {"OS_GLANCE_CONFIG_DIR": str(folder)})
        self._servers.append(server)
        return server

    def _database(self, name: str, folder: Path, *commands: list[str]) -> None:
        """Migrate an empty database once per environment of the services, and copy it."""
        template = SERVICES / f"{name}.template.db"
        target = folder / f"{name}.db"
        with _alone():
            if template.exists():
                shutil.copy(template, target)
                return
            for command in commands:
                subprocess.run(
                    [SERVICES / "bin" / command[0], *command[1:]],
                    check=True,
                    env=os.environ | {"PYTHONWARNINGS": "ignore"},
                    stdout=subprocess.DEVNULL,
                    stderr=(folder / "setup.log").open("ab"),
                )
            shutil.copy(target, template)

    def _populate(self, auth: str) -> None:
        token = ""

        def call(path: str, body: Any = None, method: str = "") -> Any:
            nonlocal token
            request = urllib.request.Request(
                auth + path,
                method=method or ("POST" if body else "GET"),
                data=json.dumps(body).encode() if body else None,
                headers={"Content-Type": "application/json"} | ({"X-Auth-Token": token} if token else {}),
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                token = token or answer.headers["X-Subject-Token"]
                return json.loads(answer.read() or b"{}")

        domain = {"id": "default"}
        user = {"name": "admin", "domain": domain, "password": PASSWORD}
        scope = {"project": {"name": "openstack", "domain": domain}}
        call(
            "/auth/tokens",
            {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}},
        )
        roles = {role["name"]: role["id"] for role in call("/roles")["roles"]}
        for name, project, role in (
            ("demo", "demo", "member"),
            ("other", "other", "member"),
            ("glance", "service", "admin"),
        ):
            project_id = call("/projects", {"project": {"name": project}})["project"]["id"]
            user_id = call("/users", {"user": {"name": name, "password": PASSWORD}})["user"]["id"]
            call(f"/projects/{project_id}/users/{user_id}/roles/{roles[role]}", method="PUT")
        kinds = {"identity": "keystone", "image": "glance", "object-store": "swift", "compute": "nova"}
        services = {
            kind: call("/services", {"service": {"type": kind, "name": name}})["service"]["id"]
            for kind, name in kinds.items()
        }
        for site, server in self.glance.items():
            call("/regions", {"region": {"id": site}})
            places = {"identity": auth, "image": server.url}
            if self.swift is not None and site == self._objects:
                places["object-store"] = f"{self.swift.url}/v1/AUTH_%(tenant_id)s"
            if self.nova is not None and site == self._compute:
                places["compute"] = f"{self.compute.url}/v2.1"
            for kind, url in places.items():
                endpoint = {"interface": "public", "region_id": site, "service_id": services[kind], "url": url}
                call("/endpoints", {"endpoint": endpoint})

    def _write_clouds(self, auth: str) -> None:
        users = (("", "demo", "demo"), ("-admin", "admin", "openstack"), ("-other", "other", "other"))
        clouds = {
            site + suffix: {
                "region_name": site,
                "auth": {
                    "auth_url": auth,
                    "username": user,
                    "password": PASSWORD,
                    "project_name": project,
                    "user_domain_id": "default",
                    "project_domain_id": "default",
                },
            }
            for site in self.sites
            for suffix, user, project in users
        }
        self.clouds.write_text(json.dumps({"clouds": clouds}, indent=1))


def main() -> None:
    """Run a test bed until Ctrl-C."""
    folder = Path(sys.argv[1]).absolute()
    with TestBed(folder) as bed:
        (folder / "sites.yaml").write_text("metal: {cloud: metal, is_baremetal: true}\nkvm: {cloud: kvm}\n")
        print(f"Two sites are up. In another terminal:\n\n  export OS_CLIENT_CONFIG_FILE={bed.clouds}"
              f"\n  export CC_SITES_CONFIG={folder}/sites.yaml\n"
              "\n  cc-images -p cc-debian12\n\nCtrl-C ends them.")  # fmt: skip
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
