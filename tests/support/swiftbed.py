"""A real Swift on loopback with one replica, for tests: account, container, object and proxy server of PyPI's swift.

Users are Keystone's. Needs user attributes (xattr) on the file system of its folder, as Swift does.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

PACKAGES = ("swift>=2.37,<3",)

RINGS = ("account", "container", "object")

SWIFT = """\
[swift-hash]
swift_hash_path_suffix = not-a-secret
[storage-policy:0]
name = one
default = yes
"""

DEFAULT = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
log_address = /nonexistent
"""

STORAGE = """\
devices = {folder}/srv
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {ring}-server
[app:{ring}-server]
use = egg:swift#{ring}
"""

PROXY = """\
[pipeline:main]
pipeline = catch_errors tempurl authtoken keystoneauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:tempurl]
use = egg:swift#tempurl
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {auth}
auth_url = {auth}
auth_type = password
interface = public
username = glance
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
delay_auth_decision = true
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
[filter:slo]
use = egg:swift#slo
"""


S3 = """\
[pipeline:main]
pipeline = catch_errors cache s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
paste.filter_factory = memory_cache:filter_factory
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
force_swift_request_proxy_log = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {password} .admin
[filter:slo]
use = egg:swift#slo
"""
"""A proxy that speaks S3; its one user is `test:tester`."""

MEMORY_CACHE = """\
class Cache:
    def __init__(self):
        self.known = {}
    def get(self, key, raise_on_error=False):
        return self.known.get(key)
    def set(self, key, value, **more):
        self.known[key] = value
    def delete(self, key, **more):
        self.known.pop(key, None)
    def incr(self, key, delta=1, **more):
        self.known[key] = self.known.get(key, 0) + delta
        return self.known[key]
def filter_factory(settings, **local):
    cache = Cache()
    def made(app):
        def call(environ, start_response):
            environ["swift.cache"] = cache
            return app(environ, start_response)
        return call
    return made
"""
"""The cache that Swift's proxy wants, in its own memory: a filter in the place of memcached's."""


class SwiftBed:
    """A Swift whose programs are in `bin`, for the users of the Keystone at `auth`, or of another `proxy`."""

    def __init__(self, folder: Path, programs: Path, auth: str, password: str, proxy: str = PROXY) -> None:
        self._proxy = proxy
        self._folder, self._programs, self._auth, self._password = folder, programs, auth, password
        self._processes: list[subprocess.Popen[bytes]] = []
        self.url = ""

    def start(self) -> None:
        """Start everything and wait until the proxy answers."""
        (self._folder / "srv" / "d1").mkdir(parents=True)
        ports = dict(zip((*RINGS, "proxy"), _free_ports(4), strict=True))
        self.url = f"http://127.0.0.1:{ports['proxy']}"
        (self._folder / "swift.conf").write_text(SWIFT)
        (self._folder / "memory_cache.py").write_text(MEMORY_CACHE)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        for name, port in ports.items():
            text = self._proxy if name == "proxy" else STORAGE
            values = {"port": port, "user": user, "folder": self._folder, "auth": self._auth}
            text = (DEFAULT + text).format(**values, ring=name, password=self._password)
            (self._folder / f"{name}.conf").write_text(text)
        for ring in RINGS:
            self._ring(ring, ports[ring])
        for name in ports:
            with (self._folder / f"{name}.log").open("wb") as log:
                self._processes.append(
                    subprocess.Popen(
                        [self._programs / f"swift-{name}-server", self._folder / f"{name}.conf"],
                        env=os.environ
                        | {
                            "SWIFT_DIR": str(self._folder),
                            "PYTHONPATH": str(self._folder),
                            "PYTHONWARNINGS": "ignore",
                        },
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/info", timeout=10).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                assert time.monotonic() < deadline, "Swift does not answer"
                assert all(each.poll() is None for each in self._processes), "Swift has ended; see its logs"
                time.sleep(0.1)

    def stop(self) -> None:
        """End it at once."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def signed(self, path: str, key: str, seconds: int = 600) -> str:
        """Return a temporary URL for a path such as /v1/AUTH_x/c/o; `key` is the account's Temp-URL-Key."""
        expires = int(time.time()) + seconds
        signature = hmac.new(key.encode(), f"GET\n{expires}\n{path}".encode(), hashlib.sha256).hexdigest()
        return f"{self.url}{path}?temp_url_sig={signature}&temp_url_expires={expires}"

    def _ring(self, name: str, port: int) -> None:
        def build(*words: str, codes: tuple[int, ...] = (0,)) -> None:
            command = [str(self._programs / "swift-ring-builder"), str(self._folder / f"{name}.builder"), *words]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            assert done.returncode in codes, command

        build("create", "4", "1", "1")
        build("add", f"r1z1-127.0.0.1:{port}/d1", "1")
        build("rebalance", codes=(0, 1))  # 1 is a warning


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, from below those that the kernel gives to clients meanwhile."""
    found: list[int] = []
    for port in random.sample(range(20000, 30000), 1000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")
