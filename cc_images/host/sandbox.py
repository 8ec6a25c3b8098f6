"""The sandbox of a dib run: private namespaces, a view of its own of the host, the toolbox first on PATH.

Owns how root is entered and what a sandbox may see; `toolbox/enter.py` makes the namespaces, and
docs/architecture/sandbox.md says what is guaranteed. A workspace holds

    scratch/   the sandbox's own: /tmp, HOME, dib's caches and locks; on tmpfs when memory was booked; never kept
    out/       what the command leaves for the caller
    spec.json  the order to `enter.py`, readable for its owner only, since it holds the environment
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cc_images.errors import CCImagesError, Reason
from cc_images.host import process, record_files
from cc_images.host.root import PYTHON, SYSTEM_PATH, TOOLBOX, Way, as_root, host_tool, outside, way
from cc_images.model import record_shapes
from cc_images.model.catalog import Json

FAILED_TO_ENTER = 125

NAMESERVER = "10.0.2.3"
"""The name server of a private network; see `toolbox/networks.py`."""

NEUTRAL = Path("/cc-images")
"""Where a sandbox shows what has an odd name."""

_PLAIN = re.compile(r"[\w/.+@~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One sandbox's folder, what it may read of the host, and its tmpfs size in MiB (0: scratch lies on disk)."""

    workspace: Path
    guards: Path
    """A file that the sandbox's guard keeps locked while the sandbox exists."""
    visible: tuple[Path, ...] = ()
    """Files and folders of the host that the command reads; `place` says where it finds them."""
    behind: tuple[Path, ...] = ()
    """The same for those that it only finds through links: each is where it is on the host."""
    network: str = "host"
    """`host`, `private` (a namespace with a way out through `outlet`), or `none`."""
    outlet: str = ""
    """The program that gives a private network its way out."""
    keeps: str = ""
    """A capability that the command has although builds have not; see `toolbox/powers.py`."""
    hosts: bool = False
    """Whether the command must be the host's own root: it uses loop devices."""
    tmpfs_mib: int = 0
    cores: int = 1
    seeds: tuple[Path, ...] = ()
    """The contents of dib's cache at the start: the image's own, then its ancestors'; they are only read.

    What the command adds is left in `out/cache`. apt's packages are offered apart, to be verified: `CC_IMAGES_OFFERED`.
    """
    interpreter: Mapping[str, str | bool] | None = None
    """The runner of another architecture's programs while the sandbox lives; see `user_emulation.registration`."""
    twins: Path | None = None
    """The native twins that are shown in the image's tree."""

    @property
    def scratch(self) -> Path:
        """The folder that is gone when the sandbox is."""
        return self.workspace / "scratch"

    @property
    def out(self) -> Path:
        """The folder in which results are left."""
        return self.workspace / "out"

    def place(self, path: Path) -> Path:
        """Return where the command finds a path of the host: there, or under a plain name where it has an odd one.

        dib and its hooks cannot cope with spaces, colons or quotes in the names of their own folders.
        """
        for number, shown in enumerate((self.workspace, *self._read)):
            if path == shown or shown in path.parents:
                return (shown if _PLAIN.fullmatch(str(shown)) else NEUTRAL / str(number)) / path.relative_to(shown)
        return path

    @property
    def rootless(self) -> bool:
        """Whether root in it is an ordinary user of the host."""
        return way(self.hosts) is Way.NAMESPACE

    @property
    def _read(self) -> tuple[Path, ...]:
        return (TOOLBOX, *self.visible, *self.seeds)

    def peaks(self) -> dict[str, int]:
        """Return the most that the command took, in MiB: `memory` of its processes, `scratch`, and `disk` for `out`.

        Room for the scratch folder is the caller's to book: it lies in memory or on disk.
        """
        found = {"memory": 0, "scratch": 0}
        said = record_files.found(self.out / "peaks.json", record_shapes.PeaksShape)
        found |= {name: said[name] for name in found if name in said}
        files = (path.lstat() for path in self.out.rglob("*"))
        return {name: each >> 20 for name, each in found.items()} | {
            "disk": sum(status.st_blocks * 512 for status in files) >> 20
        }

    def environment(self) -> dict[str, str]:
        """Return the variables that every command of the sandbox has."""
        toolbox, scratch = self.place(TOOLBOX), self.place(self.scratch)
        path = [str(toolbox), str(Path(sys.executable).parent), *SYSTEM_PATH]
        return {
            "PATH": ":".join(path),
            "HOME": str(scratch / "home"),
            "USER": "root",
            "LOGNAME": "root",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "TMPDIR": "/tmp",
            "TMP_DIR": "/tmp",
            "DIB_LOCKFILES": str(scratch / "locks"),
            "DIB_IMAGE_CACHE": str(scratch / "cache"),
            "DEBIAN_FRONTEND": "noninteractive",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "CC_IMAGES_PYTHON": sys.executable,
            "CC_IMAGES_TOOLBOX": str(toolbox),
            "DIB_PYTHON_EXEC": str(toolbox / "python"),
            "CC_IMAGES_CORES": str(self.cores),
            "CC_IMAGES_OFFERED": str(scratch / "offered") if self.seeds else "",
            "CC_IMAGES_BEGAN": str(int(time.time())),
            "CC_IMAGES_EMULATED": "yes" if self.interpreter else "",
            "CC_IMAGES_INTERPRETERS": "",
            "CC_IMAGES_ROOTLESS": "yes" if self.rootless else "",
            "CC_IMAGES_TWINS": str(self.place(self.twins) if self.twins else ""),
        } | {
            f"CC_IMAGES_{name.upper().replace('-', '_')}": host_tool(name)
            for name in ("mount", "umount", "losetup", "qemu-img", "tar", "du", "chroot", "apt-get", "mmdebstrap")
        }

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        log: BinaryIO,
        timeout: float,
        stop: threading.Event,
        on_line: Callable[[str], None],
        secrets: Sequence[str] = (),
    ) -> None:
        """Run a command as root in this sandbox; `environment` wins over the sandbox's own. `timeout` is in seconds.

        Raises what `process.run` raises, and CCImagesError when the kernel refuses to make the sandbox.
        """
        env = self.environment() | dict(environment)
        for folder in (self.scratch, self.out):
            folder.mkdir(parents=True, exist_ok=True)
        self.guards.touch()  # by this user, who will want to lock it after root's guard
        spec = self.workspace / "spec.json"
        spec.touch(mode=0o600)
        spec.write_text(json.dumps(self._spec(argv, env)))
        try:
            process.run(
                [*as_root(self.hosts), *PYTHON, str(TOOLBOX / "enter.py"), str(spec)],
                env=outside(),
                timeout=timeout,
                stop=stop,
                output=process.Output(log=log, on_line=on_line, secrets=secrets),
                die_with_us=False,
            )
        except process.CommandFailed as error:
            if (refused := _refused(error)) is not None:
                raise refused from error
            raise
        finally:
            spec.unlink(missing_ok=True)

    def _spec(self, argv: Sequence[str], env: Mapping[str, str]) -> Json:
        """Return the order to `toolbox/enter.py`."""
        return {
            "argv": list(argv),
            "env": env,
            "workspace": str(self.workspace),
            "inside": str(self.place(self.workspace)),
            "guards": str(self.guards),
            "shown": self._shown(),
            "keeps": self.keeps,
            "network": str(self.network),
            "outlet": self.outlet,
            "folders": [env["HOME"], env["DIB_LOCKFILES"], env["DIB_IMAGE_CACHE"]],
            "cache": env["DIB_IMAGE_CACHE"],
            "seeds": [str(self.place(each)) for each in self.seeds],
            "tmpfs_mib": self.tmpfs_mib,
            "interpreter": self.interpreter,
            "owner": [0, 0] if self.rootless else [os.getuid(), os.getgid()],
        }

    def _shown(self) -> dict[str, str]:
        """Return what of the host is shown, by the place at which the command finds it."""
        python = {Path(sys.prefix), Path(sys.base_prefix)}
        literally = {each for path in (*python, *self.behind) for each in (path, path.resolve())}
        found = {
            str(path): str(path)
            for path in literally
            if not (path.is_relative_to("/usr") or path.is_relative_to(self.workspace))
        }
        return found | {str(self.place(path)): str(path) for path in self._read}


def _refused(error: process.CommandFailed) -> CCImagesError | None:
    """Return why there was no sandbox, or no sandbox any more; None for a command that failed by itself."""
    if error.code == FAILED_TO_ENTER and error.tail and error.tail[-1].startswith("sandbox: "):
        return CCImagesError(
            f"cannot make the sandbox: {error.tail[-1].removeprefix('sandbox: ')}",
            hint="`cc-images doctor` says what builds for another architecture need"
            if "binfmt_misc" in error.tail[-1]
            else "cc-images needs Linux >= 5.12 and the right to make mount and PID namespaces",
            reason=Reason.SANDBOX,
        )
    if error.code < 0 and not isinstance(error, process.TimedOut):
        return CCImagesError(
            f"the sandbox's guard was killed by signal {-error.code}",
            hint="find out what kills processes of this user: see the kernel's log, supervisors, memory limits",
            reason=Reason.KILLED,
            temporary=True,
        )
    return None
