"""A real Nova API on loopback, from PyPI, for questions about servers. Nothing is started: its database says what is.

There is no compute host, and no scheduler: a server is a row that Nova's own objects write, and the API lists it by its
own rules: who may see the servers of all projects, and the filter by image. A server that is asked for by the API stays
in BUILD, as in a cloud whose scheduler hangs, until `schedule` stands in for scheduler and compute host. A stand-in of
Neutron and Placement says that there is nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PACKAGES = ("nova>=31,<34",)

AUTHTOKEN = """\
[keystone_authtoken]
www_authenticate_uri = {auth}
auth_url = {auth}
auth_type = password
interface = public
username = glance
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
"""
"""How a service asks Keystone whom it serves."""

CONFIGURATION = (
    """\
[DEFAULT]
log_file = {folder}/nova.log
transport_url = fake://
state_path = {folder}
[api_database]
connection = sqlite:///{folder}/nova-api.db
sqlite_synchronous = false
[database]
connection = sqlite:///{folder}/nova.db
sqlite_synchronous = false
[oslo_concurrency]
lock_path = {folder}/lock
[neutron]
endpoint_override = {nothing}
{account}
[placement]
endpoint_override = {nothing}
{account}
"""
    + AUTHTOKEN
)


STARTED = """\
import sys
import nova.conf
from nova import config, context, objects
config.parse_args(["nova", "--config-file", sys.argv[1]])
objects.register_all()
admin = context.get_admin_context()
with context.target_cell(admin, objects.CellMappingList.get_all(admin)[0]) as cell:
    flavor = objects.Flavor(id=1, name="tiny", memory_mb=1, vcpus=1, root_gb=1, ephemeral_gb=0, flavorid="1", swap=0,
                            rxtx_factor=1, vcpu_weight=0, disabled=False, is_public=True, extra_specs={})
    made = objects.Instance(cell, user_id="somebody", project_id=sys.argv[3], image_ref=sys.argv[2],
                            display_name="server", vm_state="active", flavor=flavor, system_metadata={})
    made.create()
    if sys.argv[4] == "deleted":
        made.destroy()
"""


SCHEDULED = """\
import json
import sys
import nova.conf
from nova import config, context, objects
config.parse_args(["nova", "--config-file", sys.argv[1]])
objects.register_all()
admin = context.get_admin_context()
state, address = sys.argv[2:]
target = objects.CellMappingList.get_all(admin)[0]
given = []
for request in objects.BuildRequestList.get_all(admin):
    with context.target_cell(admin, target) as cell:
        made = request.get_new_instance(cell)
        made.vm_state, made.task_state = state, None
        if address:
            made.access_ip_v4 = address.format(len(given))
        given.append({"id": made.uuid, "address": str(made.access_ip_v4 or ""), "user_data": made.user_data or ""})
        made.create()
        if state == "error":
            said = "No valid host was found."
            fault = {"code": 500, "message": said, "details": "", "host": None}
            objects.InstanceFault(cell, instance_uuid=made.uuid, **fault).create()
    mapping = objects.InstanceMapping.get_by_instance_uuid(admin, made.uuid)
    mapping.cell_mapping = target
    mapping.save()
    request.destroy()
print(json.dumps(given))
"""


ACCOUNT = """\
auth_url = {auth}
auth_type = password
username = glance
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
"""

LINKS = [{"rel": "self", "href": ""}]
VERSIONS = {
    "versions": [{"id": "v1.0", "min_version": "1.0", "max_version": "1.39", "status": "CURRENT", "links": LINKS}]
}


class Nothing:
    """A stand-in of Neutron and Placement, which have nothing of anything."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words: object) -> None: ...

            def do_GET(self) -> None:
                words = self.path.partition("?")[0].strip("/").split("/")
                name = words[-1].removesuffix(".json").replace("-", "_")
                allocations: dict[str, Any] = {"allocations": {}} if words[0] == "allocations" else {name: []}
                body = json.dumps(allocations if name else VERSIONS).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_DELETE(self) -> None:
                self.send_response(204)
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class NovaBed:
    """The files of a Nova below `folder`, with the programs of the environment `programs`."""

    application = "nova.wsgi.osapi_compute:application"

    def __init__(self, folder: Path, programs: Path, auth: str, password: str) -> None:
        self._programs = programs
        self.folder = folder
        folder.mkdir(parents=True)
        self._file = folder / "nova.conf"
        self.nothing = Nothing()
        values = {"folder": folder, "auth": auth, "password": password, "nothing": self.nothing.url}
        values["account"] = ACCOUNT.format(auth=auth, password=password)
        self._file.write_text(CONFIGURATION.format(**values))
        (folder / "api-paste.ini").write_bytes((programs.parent / "etc/nova/api-paste.ini").read_bytes())
        self._databases()

    def _databases(self) -> None:
        """Migrate empty databases once per environment of the services, and copy them."""
        folder, templates = self.folder, self._programs.parent
        names = ("nova-api", "nova")
        connection = f"sqlite:///{folder}/nova.db"
        if all((templates / f"{name}.template.db").exists() for name in names):
            for name in names:
                shutil.copy(templates / f"{name}.template.db", folder / f"{name}.db")
            with sqlite3.connect(folder / "nova-api.db") as database:
                database.execute("UPDATE cell_mappings SET database_connection = ?", (connection,))
            database.close()
            return
        configured = ("nova-manage", "--config-file", self._file)
        self._run(*configured, "api_db", "sync")
        self._run(*configured, "cell_v2", "map_cell0", "--database_connection", connection)
        self._run(*configured, "db", "sync")
        for name in names:
            staged = templates / f".{name}.{os.getpid()}.db"
            shutil.copy(folder / f"{name}.db", staged)
            staged.rename(templates / f"{name}.template.db")

    def schedule(self, state: str = "active", address: str = "192.0.2.1") -> list[dict[str, str]]:
        """Do for all servers that were asked for what scheduler and compute host would do; nothing is started.

        Returns id, address and user data of each, in base64. `{}` in an address is replaced by their numbers.
        """
        said = self._run("python", "-c", SCHEDULED, self._file, state, address)
        given: list[dict[str, str]] = json.loads(said.splitlines()[-1])
        return given

    @property
    def environment(self) -> dict[str, str]:
        """What the service needs in its environment."""
        return {"OS_NOVA_CONFIG_DIR": str(self.folder)}

    def add_server(self, image_id: str, project: str = "p" * 32, *, deleted: bool = False) -> None:
        """Write a server of a project that was started from an image."""
        self._run("python", "-c", STARTED, self._file, image_id, project, "deleted" if deleted else "there")

    def _run(self, program: str, *words: Any) -> str:
        with (self.folder / "setup.log").open("ab") as log:
            done = subprocess.run(
                [self._programs / program, *map(str, words)],
                check=True,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return done.stdout
