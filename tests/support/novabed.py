"""A real Nova API on loopback, from PyPI, for questions about servers. Nothing is started: its database says what is.

There is no compute host, and no scheduler: a server is a row that Nova's own objects write, and the API lists it by its
own rules: who may see the servers of all projects, and the filter by image.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

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


class NovaBed:
    """The files of a Nova below `folder`, with the programs of the environment `programs`."""

    application = "nova.wsgi.osapi_compute:application"

    def __init__(self, folder: Path, programs: Path, auth: str, password: str) -> None:
        self._programs = programs
        self.folder = folder
        folder.mkdir(parents=True)
        self._file = folder / "nova.conf"
        self._file.write_text(CONFIGURATION.format(folder=folder, auth=auth, password=password))
        (folder / "api-paste.ini").write_bytes((programs.parent / "etc/nova/api-paste.ini").read_bytes())
        self._run("nova-manage", "--config-file", self._file, "api_db", "sync")
        connection = f"sqlite:///{folder}/nova.db"
        self._run(
            "nova-manage", "--config-file", self._file, "cell_v2", "map_cell0", "--database_connection", connection
        )
        self._run("nova-manage", "--config-file", self._file, "db", "sync")

    @property
    def environment(self) -> dict[str, str]:
        """What the service needs in its environment."""
        return {"OS_NOVA_CONFIG_DIR": str(self.folder)}

    def add_server(self, image_id: str, project: str = "p" * 32, *, deleted: bool = False) -> None:
        """Write a server of a project that was started from an image."""
        self._run("python", "-c", STARTED, self._file, image_id, project, "deleted" if deleted else "there")

    def _run(self, program: str, *words: object) -> None:
        with (self.folder / "setup.log").open("ab") as log:
            subprocess.run(
                [self._programs / program, *map(str, words)],
                check=True,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
                stdout=log,
                stderr=log,
            )
